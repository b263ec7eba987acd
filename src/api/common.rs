//! Small types that several kinds share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// A choice without settings of its own, written `{}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Empty {}

/// A key of a Secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret. It must carry the label `mta-sts.dev/credentials: "true"`.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
    /// Key within the Secret.
    #[schemars(schema_with = "schema::secret_key")]
    pub key: String,
}
