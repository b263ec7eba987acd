//! The spec of an MtaStsPolicy: every rule that needs no network, once more than in the CRD.
//!
//! The CRD's schema refuses the same; this is for files, and for objects that were stored
//! before a rule existed.

use std::collections::BTreeSet;

use super::policy::{mx_remedy, short_max_age, too_broad};
use super::spec_hosting::hosting;
use super::spec_rollout::rollout;
use super::tlsrpt::self_only;
use crate::diagnosis::advice::{meant_mode, near_miss};
use crate::diagnosis::spec::{SpecFields, SpecProvider};
use crate::diagnosis::text::quote;
use crate::diagnosis::{Code, Finding};
use crate::limits::{SPEC_MX_BYTES, SPEC_MX_COUNT, SPEC_RUA_BYTES, SPEC_RUA_COUNT};
use crate::protocol::{Domain, HostNameError, MaxAge, Mode, MxPattern, MxPreset, Rua};

/// TTLs in seconds that `dns.ttlSeconds` may have.
const TTL_SECONDS: std::ops::RangeInclusive<i64> = 30..=86_400;

/// What is wrong or odd with a spec. It is valid if no finding is an error.
pub fn lint_spec(spec: &SpecFields<'_>) -> Vec<Finding> {
    // Named one by one, so that a new field cannot be forgotten here.
    let SpecFields {
        domain: _,
        mode: written_mode,
        mx,
        mx_presets,
        max_age_seconds,
        provider: provider_ref,
        ttl_seconds,
        hosting: hosting_fields,
        rollout: written_rollout,
        rua: written_rua,
        enforcement: guarded,
        deletion_policy: deletion,
    } = spec;
    let mut findings = Vec::new();
    let domain = keep(domain(spec.domain), &mut findings);
    let mode = match written_mode {
        Some(written) => keep(mode(written), &mut findings),
        None => Some(Mode::Testing),
    };
    findings.extend(patterns(mx, domain.as_ref()));
    findings.extend(presets(mx_presets));
    findings.extend(mx_missing(mx.len() + mx_presets.len(), mode));
    findings.extend(max_age_seconds.and_then(|seconds| max_age(seconds, mode)));
    findings.extend(provider_ref.iter().flat_map(provider));
    findings.extend(ttl_seconds.and_then(ttl));
    findings.extend(
        written_rollout
            .iter()
            .flat_map(|written| rollout(written, spec)),
    );
    findings.extend(
        written_rua
            .iter()
            .flat_map(|written| rua(written, domain.as_ref())),
    );
    findings.extend(guarded.and_then(enforcement));
    findings.extend(deletion.and_then(deletion_policy));
    findings.extend(
        hosting_fields
            .iter()
            .flat_map(|fields| hosting(fields, domain.as_ref())),
    );
    findings
}

fn keep<T>(read: Result<T, Finding>, findings: &mut Vec<Finding>) -> Option<T> {
    read.map_err(|finding| findings.push(finding)).ok()
}

fn domain(written: &str) -> Result<Domain, Finding> {
    let subject = "spec.domain";
    if written.is_empty() {
        let finding = Finding::new(Code::SpecDomainInvalid, subject, "domain is missing");
        return Err(finding
            .with_remedy("write the part after the @ of the mail addresses: domain: example.com"));
    }
    Domain::parse(written).map_err(|error| {
        let remedy = match &error {
            HostNameError::NotAscii {
                a_label: Some(a_label),
            } => {
                format!("write the A-label form: domain: {a_label}")
            }
            HostNameError::UpperCase { lower } => format!("write: domain: {lower}"),
            HostNameError::FinalDot => format!("write: domain: {}", written.trim_end_matches('.')),
            HostNameError::TooLong { limit, .. } => {
                format!("use a domain of at most {limit} characters")
            }
            _ => "write a domain in lower case, A-labels, without a final dot: domain: example.com"
                .to_owned(),
        };
        Finding::new(
            Code::SpecDomainInvalid,
            subject,
            &format!("the domain {error}"),
        )
        .with_evidence(&quote(written.as_bytes()))
        .with_remedy(&remedy)
    })
}

fn mode(written: &str) -> Result<Mode, Finding> {
    written.parse().map_err(|()| {
        let remedy = meant_mode(written).map_or_else(
            || "write testing, enforce or none, or leave it out (testing)".to_owned(),
            |meant| format!("write: mode: {meant}"),
        );
        Finding::new(
            Code::SpecModeInvalid,
            "spec.mode",
            "mode is enforce, testing or none",
        )
        .with_evidence(&quote(written.as_bytes()))
        .with_remedy(&remedy)
    })
}

fn rua(written: &[String], domain: Option<&Domain>) -> Vec<Finding> {
    const FIELD: &str = "spec.tlsReporting.rua";
    if written.is_empty() {
        let found = Finding::new(Code::TlsrptRuaMissing, FIELD, "rua is missing");
        let remedy = "write where reports go: rua: [\"mailto:tlsrpt@example.com\"]";
        return vec![found.with_remedy(remedy)];
    }
    let mut findings = Vec::new();
    let mut good = Vec::new();
    for (index, text) in written.iter().enumerate() {
        let subject = format!("{FIELD}[{index}]");
        match Rua::parse(text) {
            Ok(address) => good.push(address),
            Err(error) => {
                let message = format!("the address {error}");
                let found = Finding::new(Code::TlsrptRuaInvalid, &subject, &message);
                findings.push(found.with_evidence(&quote(text.as_bytes())).with_remedy(
                    "write mailto: and an address, or an https: URL; , as %2C, ! as %21, ; as %3B",
                ));
            }
        }
    }
    if written.len() > SPEC_RUA_COUNT || written.iter().any(|text| text.len() > SPEC_RUA_BYTES) {
        let message = format!(
            "rua has {} addresses; at most {SPEC_RUA_COUNT} of at most {SPEC_RUA_BYTES} bytes are allowed",
            written.len()
        );
        let found = Finding::new(Code::TlsrptRuaInvalid, FIELD, &message);
        findings.push(found.with_remedy("one or two addresses are enough"));
    }
    findings.extend(domain.and_then(|domain| self_only(FIELD, &good, domain)));
    findings
}

fn enforcement(written: &str) -> Option<Finding> {
    const KINDS: [&str; 2] = ["Guarded", "Unconditional"];
    (!KINDS.contains(&written)).then(|| {
        Finding::new(
            Code::SpecEnforcementInvalid,
            "spec.enforcement",
            "enforcement is Guarded or Unconditional",
        )
        .with_evidence(&quote(written.as_bytes()))
        .with_remedy("write Guarded, or leave it out: Unconditional may make senders refuse mail")
    })
}

fn deletion_policy(written: &str) -> Option<Finding> {
    const POLICIES: [&str; 3] = ["Graceful", "Immediate", "Retain"];
    let remedy = "write Graceful, Immediate or Retain, or leave it out (Graceful)";
    (!POLICIES.contains(&written)).then(|| {
        Finding::new(
            Code::SpecDeletionPolicyInvalid,
            "spec.deletionPolicy",
            "deletionPolicy is Graceful, Immediate or Retain",
        )
        .with_evidence(&quote(written.as_bytes()))
        .with_remedy(remedy)
    })
}

fn patterns(mx: &[String], domain: Option<&Domain>) -> Vec<Finding> {
    if let Some(finding) = too_many(mx) {
        return vec![finding];
    }
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, written) in mx.iter().enumerate() {
        let subject = format!("spec.mx[{index}]");
        match MxPattern::parse(written) {
            Err(error) => {
                let message = format!("the mx {error}");
                let finding = Finding::new(Code::PolicyMxInvalid, &subject, &message);
                let remedy = mx_remedy(written);
                findings.push(
                    finding
                        .with_evidence(&quote(written.as_bytes()))
                        .with_remedy(&remedy),
                );
            }
            Ok(pattern) => {
                findings.extend(too_broad(&subject, &pattern, domain));
                if !seen.insert(pattern) {
                    findings.push(duplicate(&subject, written));
                }
            }
        }
    }
    findings
}

fn too_many(mx: &[String]) -> Option<Finding> {
    let bytes: usize = mx.iter().map(String::len).sum();
    let message = if mx.len() > SPEC_MX_COUNT {
        format!(
            "mx has {} entries, at most {SPEC_MX_COUNT} are allowed",
            mx.len()
        )
    } else if bytes > SPEC_MX_BYTES {
        format!("mx has {bytes} bytes altogether, at most {SPEC_MX_BYTES} are allowed")
    } else {
        return None;
    };
    let finding = Finding::new(Code::SpecTooManyMx, "spec.mx", &message);
    Some(
        finding.with_remedy(
            "cover hosts that share a parent with one wildcard, such as *.mx.example.com",
        ),
    )
}

fn duplicate(subject: &str, written: &str) -> Finding {
    let message = format!("{} stands twice", quote(written.as_bytes()));
    Finding::new(Code::SpecMxDuplicate, subject, &message).with_remedy("delete one of them")
}

fn presets(names: &[String]) -> Vec<Finding> {
    let known: Vec<_> = MxPreset::all().map(MxPreset::name).collect();
    if names.len() > SPEC_MX_COUNT {
        let message = format!(
            "mxPresets has {} entries, there are {} presets",
            names.len(),
            known.len()
        );
        return vec![Finding::new(
            Code::SpecTooManyMx,
            "spec.mxPresets",
            &message,
        )];
    }
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, name) in names.iter().enumerate() {
        let subject = format!("spec.mxPresets[{index}]");
        if name.parse::<MxPreset>().is_err() {
            let remedy = near_miss(name, &known).map_or_else(
                || format!("write one of {}", known.join(", ")),
                |meant| format!("write: {meant}"),
            );
            let message = format!("{} is no known preset", quote(name.as_bytes()));
            findings.push(
                Finding::new(Code::SpecMxPresetUnknown, &subject, &message).with_remedy(&remedy),
            );
        } else if !seen.insert(name) {
            findings.push(duplicate(&subject, name));
        }
    }
    findings
}

fn mx_missing(count: usize, mode: Option<Mode>) -> Option<Finding> {
    let mode = mode.filter(|mode| *mode != Mode::None && count == 0)?;
    let message = format!("mode {mode} needs at least one entry in mx or mxPresets");
    let finding = Finding::new(Code::SpecMxMissing, "spec.mx", &message);
    Some(finding.with_remedy("list the hosts of the domain's MX records: mx: [mail.example.com]"))
}

fn max_age(seconds: i64, mode: Option<Mode>) -> Option<Finding> {
    let subject = "spec.maxAgeSeconds";
    let valid = u32::try_from(seconds).ok().filter(|seconds| *seconds > 0);
    match valid.and_then(|seconds| MaxAge::from_seconds(seconds).ok()) {
        Some(max_age) => short_max_age(subject, max_age, mode),
        None => {
            let message = format!("maxAgeSeconds is {seconds}, it is 1 to {}", MaxAge::MAX);
            let finding = Finding::new(Code::SpecMaxAgeInvalid, subject, &message);
            Some(finding.with_remedy(
                "write 86400 while testing and 604800 or more in enforce, or leave it out",
            ))
        }
    }
}

fn provider(written: &SpecProvider<'_>) -> Vec<Finding> {
    let finding = |subject, message: &str, remedy: &str| {
        Finding::new(Code::SpecProviderInvalid, subject, message).with_remedy(remedy)
    };
    let mut findings = Vec::new();
    let kinds = ["DnsProvider", "ClusterDnsProvider"];
    if let Some(kind) = written.kind.filter(|kind| !kinds.contains(kind)) {
        let message = format!("the kind is {}", quote(kind.as_bytes()));
        let remedy = "write DnsProvider (of this namespace) or ClusterDnsProvider";
        findings.push(finding("spec.dns.providerRef.kind", &message, remedy));
    }
    if !super::spec_hosting::is_object_name(written.name) {
        let message = "the name is no name of a Kubernetes object";
        let remedy = "write the provider's metadata.name";
        let found = finding("spec.dns.providerRef.name", message, remedy);
        findings.push(found.with_evidence(&quote(written.name.as_bytes())));
    }
    findings
}

fn ttl(seconds: i64) -> Option<Finding> {
    if TTL_SECONDS.contains(&seconds) {
        return None;
    }
    let (least, most) = TTL_SECONDS.into_inner();
    let message = format!("ttlSeconds is {seconds}, it is {least} to {most}");
    let finding = Finding::new(Code::SpecTtlInvalid, "spec.dns.ttlSeconds", &message);
    Some(finding.with_remedy("write 300, or leave it out"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn codes(spec: &SpecFields<'_>) -> Vec<&'static str> {
        lint_spec(spec)
            .iter()
            .map(|finding| finding.code.name())
            .collect()
    }

    #[test]
    fn the_smallest_spec_is_good() {
        let mx = strings(&["mail.example.com"]);
        let spec = SpecFields {
            domain: "example.com",
            mx: &mx,
            ..SpecFields::default()
        };
        assert_eq!(codes(&spec), [""; 0]);
    }

    #[test]
    fn no_hostile_domain_passes() {
        let mx = strings(&["mail.example.com"]);
        let long = "a.".repeat(32 * 1024);
        for domain in [
            "",
            "Example.com",
            "example.com.",
            "bücher.example",
            "example",
            "192.0.2.1",
            "a b.example",
            "example.com\r\nmx: evil.example",
            "example.com\n",
            "example\0.com",
            "exa;mple.com",
            "\"example.com\"",
            "'example.com'",
            "_mta-sts.example.com",
            "*.example.com",
            &long,
        ] {
            let spec = SpecFields {
                domain,
                mx: &mx,
                ..SpecFields::default()
            };
            assert_eq!(codes(&spec), ["spec-domain-invalid"], "{domain:.40?}");
        }
    }

    #[test]
    fn the_a_label_is_printed() {
        let found = domain("bücher.example").unwrap_err();
        assert_eq!(
            found.remedy.unwrap(),
            "write the A-label form: domain: xn--bcher-kva.example"
        );
    }

    #[test]
    fn no_hostile_pattern_passes() {
        let long = "a".repeat(7 * 1024);
        for (mx, expected) in [
            ("mail.example.com\r\nmode: none", "policy-mx-invalid"),
            ("mail.example.com\n", "policy-mx-invalid"),
            ("mail\0.example.com", "policy-mx-invalid"),
            ("mail.example.com;", "policy-mx-invalid"),
            ("\"mail.example.com\"", "policy-mx-invalid"),
            ("Mail.example.com", "policy-mx-invalid"),
            ("*", "policy-mx-invalid"),
            ("192.0.2.1", "policy-mx-invalid"),
            ("", "policy-mx-invalid"),
            ("*.example.com", "policy-mx-too-broad"),
            ("*.co.uk", "policy-mx-too-broad"),
            (&long, "spec-too-many-mx"),
        ] {
            let list = strings(&[mx]);
            let spec = SpecFields {
                domain: "example.com",
                mx: &list,
                ..SpecFields::default()
            };
            assert_eq!(codes(&spec), [expected], "{mx:.40?}");
        }
    }

    #[test]
    fn each_rule_has_its_code() {
        let mx = strings(&["mail.example.com"]);
        let twice = strings(&["mail.example.com", "mail.example.com"]);
        let many: Vec<String> = (0..101).map(|n| format!("mx{n}.example.com")).collect();
        let preset = strings(&["google-workspace"]);
        let unknown = strings(&["google-workspce"]);
        let preset_twice = strings(&["microsoft-365", "microsoft-365"]);
        let good = SpecFields {
            domain: "example.com",
            mx: &mx,
            ..SpecFields::default()
        };
        let with = |kind, name| SpecFields {
            provider: Some(SpecProvider { kind, name }),
            ..good.clone()
        };
        for (case, spec, expected) in [
            (
                "no mx",
                SpecFields {
                    mx: &[],
                    ..good.clone()
                },
                vec!["spec-mx-missing"],
            ),
            (
                "no mx in none",
                SpecFields {
                    mx: &[],
                    mode: Some("none"),
                    ..good.clone()
                },
                vec![],
            ),
            (
                "preset",
                SpecFields {
                    mx: &[],
                    mx_presets: &preset,
                    ..good.clone()
                },
                vec![],
            ),
            (
                "preset unknown",
                SpecFields {
                    mx_presets: &unknown,
                    ..good.clone()
                },
                vec!["spec-mx-preset-unknown"],
            ),
            (
                "preset twice",
                SpecFields {
                    mx_presets: &preset_twice,
                    ..good.clone()
                },
                vec!["spec-mx-duplicate"],
            ),
            (
                "mx twice",
                SpecFields {
                    mx: &twice,
                    ..good.clone()
                },
                vec!["spec-mx-duplicate"],
            ),
            (
                "101 mx",
                SpecFields {
                    mx: &many,
                    ..good.clone()
                },
                vec!["spec-too-many-mx"],
            ),
            (
                "100 mx",
                SpecFields {
                    mx: &many[1..],
                    ..good.clone()
                },
                vec![],
            ),
            (
                "mode",
                SpecFields {
                    mode: Some("Testing"),
                    ..good.clone()
                },
                vec!["spec-mode-invalid"],
            ),
            (
                "max age 0",
                SpecFields {
                    max_age_seconds: Some(0),
                    ..good.clone()
                },
                vec!["spec-max-age-invalid"],
            ),
            (
                "max age above",
                SpecFields {
                    max_age_seconds: Some(31_557_601),
                    ..good.clone()
                },
                vec!["spec-max-age-invalid"],
            ),
            (
                "max age negative",
                SpecFields {
                    max_age_seconds: Some(i64::MIN),
                    ..good.clone()
                },
                vec!["spec-max-age-invalid"],
            ),
            (
                "max age 1",
                SpecFields {
                    max_age_seconds: Some(1),
                    ..good.clone()
                },
                vec!["policy-max-age-short"],
            ),
            (
                "a day",
                SpecFields {
                    max_age_seconds: Some(86_400),
                    ..good.clone()
                },
                vec![],
            ),
            (
                "a day in enforce",
                SpecFields {
                    max_age_seconds: Some(86_400),
                    mode: Some("enforce"),
                    ..good.clone()
                },
                vec!["policy-max-age-short"],
            ),
            (
                "ttl 29",
                SpecFields {
                    ttl_seconds: Some(29),
                    ..good.clone()
                },
                vec!["spec-ttl-invalid"],
            ),
            (
                "ttl 30",
                SpecFields {
                    ttl_seconds: Some(30),
                    ..good.clone()
                },
                vec![],
            ),
            (
                "ttl 86401",
                SpecFields {
                    ttl_seconds: Some(86_401),
                    ..good.clone()
                },
                vec!["spec-ttl-invalid"],
            ),
            ("provider", with(Some("ClusterDnsProvider"), "bind"), vec![]),
            (
                "provider kind",
                with(Some("Secret"), "bind"),
                vec!["spec-provider-invalid"],
            ),
            (
                "provider name",
                with(None, "../bind"),
                vec!["spec-provider-invalid"],
            ),
        ] {
            assert_eq!(codes(&spec), expected, "{case}");
        }
    }
}
