//! What must hold for every input, not only for those somebody thought of.

#![allow(clippy::unwrap_used)]

use jiff::Timestamp;
use mta_sts_operator::diagnosis::{
    Code, Finding, SpecFields, lint_policy, lint_record, lint_spec, lint_tlsrpt_record,
};
use mta_sts_operator::protocol::{
    HostName, InstallationId, MaxAge, Mode, MxPattern, Policy, PolicyId, Rua, Sha256Digest,
    StsRecord, TlsRptRecord,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn label() -> impl Strategy<Value = String> {
    "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?"
        .prop_filter("no A-label by chance", |label| !label.starts_with("xn--"))
}

fn host() -> impl Strategy<Value = HostName> {
    (vec(label(), 1..4), "[a-z]{2,6}")
        .prop_map(|(labels, top)| HostName::parse(&format!("{}.{top}", labels.join("."))).unwrap())
}

fn pattern() -> impl Strategy<Value = MxPattern> {
    (any::<bool>(), host()).prop_map(|(wildcard, host)| {
        let star = if wildcard { "*." } else { "" };
        MxPattern::parse(&format!("{star}{host}")).unwrap()
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let mode = prop_oneof![Just(Mode::Enforce), Just(Mode::Testing), Just(Mode::None)];
    (mode, 0..=MaxAge::MAX.seconds(), vec(pattern(), 1..20)).prop_map(|(mode, seconds, mut mx)| {
        mx.sort_by_key(ToString::to_string);
        mx.dedup();
        Policy {
            mode,
            max_age: MaxAge::from_seconds(seconds).unwrap(),
            mx,
        }
    })
}

/// Bytes that come near the grammar far more often than random ones.
fn near_policy() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("version".to_owned()),
        Just("STSv1".to_owned()),
        Just("mode".to_owned()),
        Just("enforce".to_owned()),
        Just("max_age".to_owned()),
        Just("mx".to_owned()),
        Just("86400".to_owned()),
        Just(": ".to_owned()),
        Just(":".to_owned()),
        Just("\r\n".to_owned()),
        Just("\n".to_owned()),
        Just("\r".to_owned()),
        Just("\u{feff}".to_owned()),
        "[ \t;,#*._\"\\\\<{-]{1,3}",
        "\\PC{0,6}",
        pattern().prop_map(|pattern| pattern.to_string()),
    ];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
}

/// The same for both records.
fn near_record() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("v=STSv1".to_owned()),
        Just("v=TLSRPTv1".to_owned()),
        Just("id".to_owned()),
        Just("rua".to_owned()),
        Just("=".to_owned()),
        Just(";".to_owned()),
        Just("mailto:a@example.org".to_owned()),
        Just("https://example.org/".to_owned()),
        "[ \t;,=!%:]{1,3}",
        "\\PC{0,6}",
    ];
    vec(piece, 0..20).prop_map(|pieces| pieces.concat().into_bytes())
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..200), near_policy(), near_record(),]
}

fn is_safe(findings: &[Finding]) -> bool {
    let safe = |text: &str| !text.contains(char::is_control);
    findings.iter().all(|finding| {
        safe(&finding.subject)
            && safe(&finding.message)
            && finding.evidence.as_deref().is_none_or(safe)
            && finding.remedy.as_deref().is_none_or(safe)
    })
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic_or_a_finding_steer_a_terminal(
        body in bytes(),
        texts in vec(bytes(), 0..3),
    ) {
        let verdict = Policy::parse(&body);
        let reading = Policy::read(&body);
        prop_assert_eq!(verdict.is_err(), reading.issues.iter().any(|at| at.issue.is_breach()));
        let _ = (StsRecord::parse_rrset(&texts), TlsRptRecord::parse_rrset(&texts));
        prop_assert!(is_safe(&lint_policy(&body, None)));
        prop_assert!(is_safe(&lint_record(&texts, None)));
        prop_assert!(is_safe(&lint_tlsrpt_record(&texts, None)));
    }

    #[test]
    fn a_refused_body_has_a_finding_of_level_error(body in near_policy()) {
        let has_error = lint_policy(&body, None)
            .iter()
            .any(|finding| finding.severity.as_str() == "error");
        prop_assert!(Policy::parse(&body).is_ok() || has_error);
    }

    #[test]
    fn a_refused_record_has_a_finding(text in near_record()) {
        let texts = [text];
        let refused = StsRecord::parse_rrset(&texts).is_err();
        prop_assert!(!refused || !lint_record(&texts, None).is_empty());
        let refused = TlsRptRecord::parse_rrset(&texts).is_err();
        prop_assert!(!refused || !lint_tlsrpt_record(&texts, None).is_empty());
    }

    #[test]
    fn a_rendered_policy_is_read_as_the_same(policy in policy()) {
        let body = policy.render();
        prop_assert_eq!(Policy::parse(body.as_bytes()), Ok(policy));
    }

    #[test]
    fn the_canonical_body_has_no_defect_of_form(policy in policy()) {
        // What the values deserve is said all the same.
        let advice = [
            Code::PolicyMaxAgeShort,
            Code::PolicyMaxAgeZero,
            Code::PolicyMxTooBroad,
        ];
        let below_a_day = policy.max_age < MaxAge::DAY;
        for finding in lint_policy(policy.render().as_bytes(), None) {
            let reader = finding.code == Code::PolicyReaderIncompatible && below_a_day;
            prop_assert!(reader || advice.contains(&finding.code), "{finding:?}");
        }
    }

    #[test]
    fn a_rendered_record_is_read_as_the_same_and_has_no_defect(id in "[A-Za-z0-9]{1,32}") {
        let id: PolicyId = id.parse().unwrap();
        let text = StsRecord::render(&id).into_bytes();
        prop_assert!(StsRecord::is_candidate(&text));
        prop_assert_eq!(StsRecord::parse(&text), Ok(StsRecord { id }));
        prop_assert_eq!(lint_record(&[text], None), []);
    }

    #[test]
    fn a_rendered_tls_rpt_record_is_read_as_the_same(
        addresses in vec((any::<bool>(), "[a-z0-9.+-]{1,10}", host()), 1..4),
    ) {
        let rua = addresses.into_iter().map(|(mail, local, host)| match mail {
            true => Rua::Mailto(format!("{local}@{host}")),
            false => Rua::Https(format!("https://{host}/{local}")),
        });
        let record = TlsRptRecord { rua: rua.collect() };
        let text = record.render().into_bytes();
        prop_assert_eq!(TlsRptRecord::parse(&text), Ok(record));
        prop_assert_eq!(lint_tlsrpt_record(&[text], None), []);
    }

    #[test]
    fn ids_are_ids_and_always_grow(
        times in vec(0_i64..16_725_225_600, 1..20),
        body in vec(any::<u8>(), 0..20),
        random in any::<[u8; 3]>(),
    ) {
        let installation = InstallationId::from_random(random);
        let digest = Sha256Digest::of(&body);
        let mut last: Option<PolicyId> = None;
        for seconds in times {
            let time = Timestamp::from_second(seconds).unwrap();
            let id = PolicyId::issue(time, &digest, &installation, last.as_ref());
            prop_assert_eq!(id.as_str().parse(), Ok(id.clone()));
            prop_assert!(id.is_of(&installation) && id.belongs_to(&digest));
            prop_assert!(last.is_none_or(|last| id > last));
            last = Some(id);
        }
    }

    #[test]
    fn a_wildcard_stands_for_exactly_one_label(
        host in host(),
        labels in vec(label(), 0..4),
    ) {
        let pattern = MxPattern::parse(&format!("*.{host}")).unwrap();
        let mut name = labels.clone();
        name.push(host.to_string());
        let mx = HostName::parse(&name.join(".")).unwrap();
        prop_assert_eq!(pattern.matches(&mx), labels.len() == 1);
        let capitals = HostName::parse_any_case(&format!("MX.{host}")).unwrap();
        prop_assert!(pattern.matches(&capitals));
    }

    #[test]
    fn a_spec_without_errors_renders_without_a_foreign_line(
        domain in "\\PC{0,20}|[a-z]{1,5}\\.[a-z]{2,4}",
        mx in vec("(\\*\\.)?[a-z]{1,5}\\.[a-z]{1,5}\\.[a-z]{2,4}[\\r\\n;\"\u{0} ]?[a-z:]{0,4}", 1..4),
    ) {
        let spec = SpecFields { domain: &domain, mx: &mx, ..SpecFields::default() };
        let findings = lint_spec(&spec);
        prop_assert!(is_safe(&findings));
        if findings.iter().all(|finding| finding.severity.as_str() != "error") {
            let patterns: Vec<_> = mx.iter().map(|mx| MxPattern::parse(mx).unwrap()).collect();
            let policy = Policy { mode: Mode::Testing, max_age: MaxAge::DAY, mx: patterns };
            prop_assert_eq!(policy.render().lines().count(), mx.len() + 3);
        }
    }
}
