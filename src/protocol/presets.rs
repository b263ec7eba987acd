//! MX patterns of well-known mail providers, kept as data and proved against real MX names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A mail provider whose MX patterns are known.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum MxPreset {
    /// Google Workspace, both the MX host of since 2023 and the older set.
    GoogleWorkspace,
    /// Microsoft 365, both `mail.protection.outlook.com` and the DNSSEC-enabled `mx.microsoft`.
    #[serde(rename = "microsoft-365")]
    Microsoft365,
    /// Cloudflare Email Routing.
    CloudflareEmailRouting,
}
