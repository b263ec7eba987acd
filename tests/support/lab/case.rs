//! A domain of the lab, as its file describes it.

use std::collections::BTreeMap;
use std::fs;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Deserializer};

use super::cases_folder;
use crate::support::bind::Zone;
use crate::support::front::{Answer, Certificate, Site};

pub const ENFORCE: &str =
    "version: STSv1\r\nmode: enforce\r\nmx: *.mx.example\r\nmax_age: 1209600\r\n";

/// What an MX host does on port 25.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
pub enum Mail {
    Good,
    Expired,
    WrongName,
    Untrusted,
    /// The same with the root that nobody trusts.
    Stranger,
    Ending,
    /// The right certificate for those only who say which host they want.
    NeedsSni,
    WithoutStartTls,
    /// TLS 1.1 at most.
    OldTls,
    /// It refuses the command that it offers.
    RefusesStartTls,
    /// It sends more in plain text behind its "go ahead" (CVE-2011-0411 and its kin).
    Injects,
    /// A banner without an end.
    Endless,
    /// A reply of more lines than anybody has.
    ManyLines,
    /// A byte now and then.
    Drips,
    /// Another protocol.
    Http,
    /// It takes the connection and says nothing.
    Mute,
    /// Nobody listens.
    Closed,
    /// One server for all that have this, on port 25 of loopback.
    Shared,
    /// The test has an MX of its own.
    Elsewhere,
}

/// What the policy host does beside serving its text.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Special {
    Status(u16),
    Redirect(String),
    Close,
    /// It serves the text with this status.
    Page(u16),
    /// 403 for those whose name matches the expression.
    Wall(String),
    /// It takes longer than one reader waits.
    Slow,
    /// It speaks TLS 1.1 at most.
    OldTls,
    /// Every other connection gets an expired certificate.
    Certificates,
    /// Every other connection gets another file.
    Bodies,
}

/// What is certified by TLSA records.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dane {
    None,
    Matches,
    Differs,
    /// It matches, and the domain's zone is not signed.
    Unsigned,
}

/// Who has the other text of the record.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecondIs {
    Nobody,
    Authority,
    Resolver,
}

/// A domain: a good one, with what its file changes.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Case {
    #[serde(skip)]
    pub name: String,
    /// Another domain than `<name>.test`, which is its zone.
    pub domain: Option<String>,
    pub record: String,
    pub host: String,
    pub mx: String,
    pub reports: String,
    /// The record that a second server has.
    pub second: String,
    pub second_is: SecondIs,
    pub policy: String,
    #[serde(rename = "type")]
    pub media_type: String,
    pub headers: BTreeMap<String, String>,
    /// Where the text stands, if not everywhere.
    pub path: Option<String>,
    pub certificate: Certificate,
    #[serde(deserialize_with = "special")]
    pub answer: Option<Special>,
    /// Whether the front knows the policy host.
    pub site: bool,
    /// Whether connections to the policy host are led to the front.
    pub detour: bool,
    /// Whether those over IPv6 are led to where nobody listens.
    pub dead_ipv6: bool,
    pub mail: Mail,
    pub dane: Dane,
    /// The findings, no more and no less.
    pub expect: Vec<String>,
}

/// `{wall: NAME}`, as YAML itself would have it only with a tag.
fn special<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Special>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let special = serde_json::from_value(value).map_err(serde::de::Error::custom)?;
    Ok(Some(special))
}

impl Default for Case {
    fn default() -> Self {
        Self {
            name: String::new(),
            domain: None,
            record: "_mta-sts TXT \"v=STSv1; id=20261126;\"".to_owned(),
            host: "mta-sts A 127.0.0.1".to_owned(),
            mx: String::new(),
            reports: "_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:tls@reports.example\"".to_owned(),
            second: String::new(),
            second_is: SecondIs::Nobody,
            policy: ENFORCE.to_owned(),
            media_type: "text/plain".to_owned(),
            headers: BTreeMap::new(),
            path: None,
            certificate: Certificate::Valid,
            answer: None,
            site: true,
            detour: true,
            dead_ipv6: false,
            mail: Mail::Good,
            dane: Dane::None,
            expect: Vec::new(),
        }
    }
}

impl Case {
    /// A good domain.
    pub fn good(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// All that have a file, by name.
    pub fn all() -> Vec<Self> {
        let files = fs::read_dir(cases_folder()).expect("a folder of cases");
        let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
        paths.sort();
        let read = |path: &std::path::PathBuf| {
            let text = fs::read_to_string(path).expect("a case");
            let case: Self = serde_yaml::from_str(&text)
                .unwrap_or_else(|why| panic!("{}: {why}", path.display()));
            let name = path.file_stem().expect("a name").to_string_lossy();
            Self {
                name: name.into_owned(),
                ..case
            }
        };
        paths.iter().map(read).collect()
    }

    pub fn domain(&self) -> String {
        self.domain.clone().unwrap_or_else(|| self.zone_name())
    }

    pub fn zone_name(&self) -> String {
        format!("{}.test", self.name)
    }

    pub fn policy_host(&self) -> String {
        format!("mta-sts.{}", self.domain())
    }

    pub fn mx_host(&self) -> String {
        format!("{}.mx.example", self.name)
    }

    pub fn zone(&self) -> Zone {
        Zone {
            signed: matches!(self.dane, Dane::Matches | Dane::Differs),
            ..self.zone_with(&self.record)
        }
    }

    fn zone_with(&self, record: &str) -> Zone {
        let mx = match self.mx.as_str() {
            "" => format!("@ MX 10 {}.", self.mx_host()),
            mx => mx.to_owned(),
        };
        let lines = [record, &self.host, &mx, &self.reports].join("\n");
        Zone::new(&self.zone_name(), &lines)
    }

    /// The zone as a second server has it.
    pub fn second_zone(&self) -> Option<Zone> {
        let zone = self.zone_with(&self.second);
        (self.second_is != SecondIs::Nobody).then_some(zone)
    }

    /// The TLSA record of an MX with this certificate.
    pub fn tlsa(&self, certificate: &[u8]) -> Option<String> {
        let certified = match self.dane {
            Dane::None => return None,
            Dane::Matches | Dane::Unsigned => certificate,
            Dane::Differs => b"another certificate",
        };
        let digest = data_encoding::HEXLOWER.encode(digest(&SHA256, certified).as_ref());
        Some(format!("3 0 1 {digest}"))
    }

    /// What the front has of it.
    pub fn on_front(&self) -> Option<(String, Site)> {
        let page = |status, refused| Answer::Page {
            status,
            content_type: self.media_type.clone(),
            body: self.policy.clone(),
            headers: self.headers.clone(),
            refused,
            path: self.path.clone(),
        };
        let answer = match &self.answer {
            Some(Special::Slow | Special::OldTls | Special::Certificates | Special::Bodies) => {
                return None;
            }
            None => page(200, None),
            Some(Special::Status(status)) => Answer::Status(*status),
            Some(Special::Redirect(url)) => Answer::Redirect(url.clone()),
            Some(Special::Close) => Answer::Close,
            Some(Special::Page(status)) => page(*status, None),
            Some(Special::Wall(agents)) => page(200, Some(agents.clone())),
        };
        let certificate = self.certificate;
        let site = Site {
            certificate,
            answer,
        };
        self.site.then(|| (self.policy_host(), site))
    }
}
