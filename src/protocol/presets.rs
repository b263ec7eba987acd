//! MX patterns of well-known mail providers, kept as data and proved against real MX names.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MxPattern;

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

/// Version of [`TABLE`]: raised with each change of the data, and told in the CHANGELOG, since a
/// change alters the policies of everybody who uses the preset.
pub const TABLE_VERSION: u32 = 1;

/// Every preset, its name in manifests, and its patterns.
///
/// Microsoft's DNSSEC-enabled hosts are `<tenant>.<letter>-v1.mx.microsoft`, the letter being a
/// partition that Microsoft assigns. A wildcard stands for one label, so `*.mx.microsoft` covers
/// none of them, and a tenant can be told its letter only after it was assigned. All 26 letters
/// cost 650 bytes of body; every name in `mx.microsoft` is Microsoft's, so none of them trusts
/// anybody else. Who wants a shorter policy writes the exact host in `mx` instead.
const TABLE: &[(MxPreset, &str, &[&str])] = &[
    (
        MxPreset::GoogleWorkspace,
        "google-workspace",
        &[
            "smtp.google.com",
            "aspmx.l.google.com",
            "*.aspmx.l.google.com",
            "*.googlemail.com",
        ],
    ),
    (
        MxPreset::Microsoft365,
        "microsoft-365",
        &[
            "*.mail.protection.outlook.com",
            "*.a-v1.mx.microsoft",
            "*.b-v1.mx.microsoft",
            "*.c-v1.mx.microsoft",
            "*.d-v1.mx.microsoft",
            "*.e-v1.mx.microsoft",
            "*.f-v1.mx.microsoft",
            "*.g-v1.mx.microsoft",
            "*.h-v1.mx.microsoft",
            "*.i-v1.mx.microsoft",
            "*.j-v1.mx.microsoft",
            "*.k-v1.mx.microsoft",
            "*.l-v1.mx.microsoft",
            "*.m-v1.mx.microsoft",
            "*.n-v1.mx.microsoft",
            "*.o-v1.mx.microsoft",
            "*.p-v1.mx.microsoft",
            "*.q-v1.mx.microsoft",
            "*.r-v1.mx.microsoft",
            "*.s-v1.mx.microsoft",
            "*.t-v1.mx.microsoft",
            "*.u-v1.mx.microsoft",
            "*.v-v1.mx.microsoft",
            "*.w-v1.mx.microsoft",
            "*.x-v1.mx.microsoft",
            "*.y-v1.mx.microsoft",
            "*.z-v1.mx.microsoft",
        ],
    ),
    (
        MxPreset::CloudflareEmailRouting,
        "cloudflare-email-routing",
        &["*.mx.cloudflare.net"],
    ),
];

/// The text is not the name of a preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no known preset")]
pub struct MxPresetError;

impl MxPreset {
    /// Every preset.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|(preset, ..)| *preset)
    }

    /// Its name in manifests.
    pub fn name(self) -> &'static str {
        self.row().map_or("", |(_, name, _)| name)
    }

    /// The patterns that cover every MX host of the provider.
    pub fn patterns(self) -> Vec<MxPattern> {
        let texts = self.row().map_or(&[][..], |(.., patterns)| patterns);
        texts.iter().filter_map(|text| text.parse().ok()).collect()
    }

    fn row(self) -> Option<&'static (Self, &'static str, &'static [&'static str])> {
        TABLE.iter().find(|(preset, ..)| *preset == self)
    }
}

impl FromStr for MxPreset {
    type Err = MxPresetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        TABLE
            .iter()
            .find(|(_, name, _)| *name == text)
            .map(|(preset, ..)| *preset)
            .ok_or(MxPresetError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{HostName, MaxAge, Mode, Policy};

    fn covers(preset: MxPreset, mx: &str) -> bool {
        let mx = HostName::parse_any_case(mx).unwrap();
        preset.patterns().iter().any(|pattern| pattern.matches(&mx))
    }

    #[test]
    fn every_mx_host_of_a_provider_is_covered() {
        let google: Vec<String> = [
            "smtp.google.com",
            "aspmx.l.google.com",
            "ASPMX.L.GOOGLE.COM",
        ]
        .into_iter()
        .map(str::to_owned)
        .chain((1..=4).map(|n| format!("alt{n}.aspmx.l.google.com")))
        .chain((2..=5).map(|n| format!("aspmx{n}.googlemail.com")))
        .collect();
        let microsoft: Vec<String> = ["example-org.mail.protection.outlook.com".to_owned()]
            .into_iter()
            .chain(('a'..='z').map(|letter| format!("example-org.{letter}-v1.mx.microsoft")))
            .collect();
        let cloudflare: Vec<String> = ["route1", "route2", "route3", "linda", "amir", "isaac"]
            .iter()
            .map(|host| format!("{host}.mx.cloudflare.net"))
            .collect();
        for (preset, hosts) in [
            (MxPreset::GoogleWorkspace, google),
            (MxPreset::Microsoft365, microsoft),
            (MxPreset::CloudflareEmailRouting, cloudflare),
        ] {
            for host in hosts {
                assert!(covers(preset, &host), "{}: {host}", preset.name());
            }
        }
    }

    #[test]
    fn what_guides_recommend_covers_less_than_they_say() {
        for (pattern, mx) in [
            ("*.google.com", "aspmx.l.google.com"),
            ("*.google.com", "alt1.aspmx.l.google.com"),
            ("*.googlemail.com", "aspmx.l.google.com"),
            ("*.mx.microsoft", "example-org.o-v1.mx.microsoft"),
            ("*.cloudflare.net", "route1.mx.cloudflare.net"),
        ] {
            let host = HostName::parse(mx).unwrap();
            assert!(
                !MxPattern::parse(pattern).unwrap().matches(&host),
                "{pattern} {mx}"
            );
        }
    }

    #[test]
    fn presets_trust_nobody_else() {
        for (preset, mx) in [
            (MxPreset::GoogleWorkspace, "mail.google.com"),
            (MxPreset::GoogleWorkspace, "l.google.com"),
            (MxPreset::Microsoft365, "mail.outlook.com"),
            (MxPreset::Microsoft365, "x.1-v1.mx.microsoft"),
            (MxPreset::CloudflareEmailRouting, "www.cloudflare.net"),
        ] {
            assert!(!covers(preset, mx), "{}: {mx}", preset.name());
        }
    }

    #[test]
    fn every_preset_is_in_the_table_under_the_name_it_has_in_manifests() {
        for preset in MxPreset::all() {
            let (_, name, patterns) = preset.row().unwrap();
            assert_eq!(serde_json::to_value(preset).unwrap(), *name);
            assert_eq!(name.parse(), Ok(preset));
            assert_eq!(
                preset.patterns().len(),
                patterns.len(),
                "{name}: each row is a pattern"
            );
        }
        // Adding a variant without a row fails here: the match is exhaustive.
        let rows = |preset| match preset {
            MxPreset::GoogleWorkspace
            | MxPreset::Microsoft365
            | MxPreset::CloudflareEmailRouting => 3,
        };
        assert_eq!(MxPreset::all().count(), rows(MxPreset::GoogleWorkspace));
    }

    #[test]
    fn all_presets_together_leave_room_in_the_body() {
        let mx = MxPreset::all().flat_map(MxPreset::patterns).collect();
        let policy = Policy {
            mode: Mode::Enforce,
            max_age: MaxAge::WEEK,
            mx,
        };
        assert!(policy.render().len() < 1024, "{}", policy.render().len());
    }
}
