//! The lab of `mta-sts check` in a network of its own, with what others wrote: checkdmarc says of each
//! domain whether it is sound, and a real Postfix is an MX.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::Value;
use support::lab::{Case, Lab, Mail, Ports, SecondIs, Special};
use support::netns;
use support::peers::{self, Peers};
use support::postfix::Postfix;
use support::tls::Validity;

/// Rows in which checkdmarc and we differ on purpose: docs/check.md says it to people.
const WE_DIFFER: &[(&str, &str)] = &[
    ("blank-line", BLANK_LINE),
    ("bot-wall", ONE_LOOK),
    ("bot-wall-us", ONE_LOOK),
    ("caa-above", NO_CAA),
    ("caa-alias", NO_CAA),
    ("caa-critical", NO_CAA),
    ("caa-nobody", NO_CAA),
    ("dead-ipv6", ONE_FAMILY),
    ("no-media-type", MEDIA_TYPE),
];

/// A Postfix that speaks TLS 1.1 at most.
const NO_NEW_TLS: &str = "smtpd_tls_protocols = >=TLSv1, <=TLSv1.1\n\
    smtpd_tls_ciphers = low\ntls_low_cipherlist = ALL:@SECLEVEL=0\n";

const BLANK_LINE: &str =
    "the grammar of RFC 8461 §3.2 has no empty line, and named senders refuse it";
const ONE_LOOK: &str = "it looks once, under a name that the wall lets through";
const ONE_FAMILY: &str =
    "it takes whichever family answers, and a sender with IPv6 alone gets nothing";
const NO_CAA: &str =
    "it does not look at CAA, and the policy is good until the certificate has to be renewed";
const MEDIA_TYPE: &str = "RFC 8461 §3.2 demands text/plain, and it only warns";

#[tokio::test(flavor = "multi_thread")]
async fn checkdmarc_agrees_row_by_row_or_we_say_why() {
    if !netns::inside() {
        // Inside there is no network to get it by.
        peers::folder();
        return netns::run("checkdmarc_agrees_row_by_row_or_we_say_why", &[]).await;
    }
    // It looks once, at one server, by port 443; and at no MX's TLS.
    let own_port = |case: &Case| {
        use Special::{Bodies, Certificates, OldTls, Slow};
        matches!(case.answer, Some(Slow | OldTls | Bodies | Certificates))
    };
    let mut cases = Case::all();
    cases.retain(|case| !own_port(case) && case.second_is == SecondIs::Nobody);
    let lab = Lab::start_on(Ports::Real, &cases).await;
    let peers = Peers::get(lab.site_ca());
    let domains: Vec<String> = cases.iter().map(Case::domain).collect();
    let theirs = peers.checkdmarc(&domains);
    let mut args: Vec<&str> = domains.iter().map(String::as_str).collect();
    args.push("--smtp=off");
    let (_, ours) = lab.json(&args);
    let mut wrong = Vec::new();
    for ((case, theirs), ours) in cases.iter().zip(&theirs).zip(&ours) {
        let refused = refusals(ours);
        let differs = refused.is_empty() != theirs.is_none();
        let said = WE_DIFFER.iter().any(|(name, _)| *name == case.name);
        if differs != said {
            wrong.push(format!(
                "{}: we say {refused:?}, it says {theirs:?}",
                case.name
            ));
        }
    }
    for (name, why) in WE_DIFFER {
        assert!(
            cases.iter().any(|case| case.name == *name) && !why.is_empty(),
            "{name}"
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The errors that we find in record, policy and policy host.
fn refusals(domain: &Value) -> BTreeSet<&str> {
    let errors = findings(domain).filter(|finding| finding["severity"] == "error");
    let codes = errors.map(|finding| finding["code"].as_str().unwrap());
    codes
        .filter(|code| !code.starts_with("mx-") && !code.starts_with("tlsrpt-"))
        .collect()
}

fn findings(domain: &Value) -> impl Iterator<Item = &Value> {
    domain["findings"].as_array().unwrap().iter()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_postfix_is_told_by_its_tls() {
    if !netns::inside() {
        let addresses = [25, 26, 27, 28, 29, 30].map(|last| format!("10.77.0.{last}"));
        let addresses = addresses.each_ref().map(String::as_str);
        return netns::run("a_real_postfix_is_told_by_its_tls", &addresses).await;
    }
    let rows: [(&str, u8, &[&str]); 6] = [
        ("postfix", 25, &[]),
        ("postfix-plain", 26, &["mx-starttls-missing"]),
        ("postfix-expired", 27, &["mx-tls-expired"]),
        ("postfix-misnamed", 28, &["mx-tls-name-mismatch"]),
        ("postfix-sni", 29, &["mx-tls-needs-sni"]),
        ("postfix-old", 30, &["mx-tls-version"]),
    ];
    let cases = rows.map(|(name, last, _)| Case {
        mx: format!("@ MX 10 mail\nmail A 10.77.0.{last}"),
        policy: Case::good(name)
            .policy
            .replace("*.mx.example", &format!("mail.{name}.test")),
        mail: Mail::Elsewhere,
        ..Case::good(name)
    });
    let lab = Lab::start_on(Ports::Real, &cases).await;
    let mut running = Vec::new();
    for (case, (name, last, _)) in cases.iter().zip(rows) {
        let (host, domain) = (format!("mail.{name}.test"), case.domain());
        let address = Ipv4Addr::new(10, 77, 0, last);
        let domains = &[domain.as_str()];
        let good = lab.mail_ca.issue(&[&host], Validity::Now);
        let with = async |certificate| Postfix::mx_with(address, domains, certificate).await;
        running.push(match name {
            "postfix-plain" => with(None).await,
            "postfix-expired" => with(Some(lab.mail_ca.issue(&[&host], Validity::Expired))).await,
            "postfix-misnamed" => with(Some(lab.mail_ca.issue(domains, Validity::Now))).await,
            "postfix-sni" => {
                let default = lab.mail_ca.issue(&["default.example"], Validity::Now);
                Postfix::mx_by_sni(address, domains, &host, good, default).await
            }
            "postfix-old" => Postfix::mx_that(address, domains, good, NO_NEW_TLS).await,
            _ => with(Some(good)).await,
        });
    }
    for (case, (name, _, expected)) in cases.iter().zip(rows) {
        let (_, domains) = lab.json(&[
            &case.domain(),
            "--allow-target=10.77.0.0/16",
            "--smtp=required",
        ]);
        let codes: Vec<&str> = findings(&domains[0])
            .map(|it| it["code"].as_str().unwrap())
            .collect();
        assert_eq!(codes, expected, "{name}: {:#}", domains[0]);
    }
}
