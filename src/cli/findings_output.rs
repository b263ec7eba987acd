//! Findings in the forms that other tools read: SARIF for code hosts, JUnit for CI systems.

use std::collections::BTreeMap;
use std::io::{self, Write};

use clap::{Args, ValueEnum};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;

use super::output::{self, ColourArgs};
use crate::diagnosis::{Code, Finding, Severity, printable};

/// How findings are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For scripts; the shape is stable.
    Json,
    /// For code hosts and editors: SARIF 2.1.0.
    Sarif,
    /// For CI systems: JUnit XML.
    Junit,
}

/// How the answer of a command with findings is shown.
#[derive(Args, Clone, Debug)]
pub struct FindingsOutputArgs {
    /// How it is written.
    #[arg(long, value_enum, default_value_t)]
    pub output: Format,

    /// Whether text is coloured.
    #[command(flatten)]
    pub colour: ColourArgs,
}

/// What was looked at, with its findings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group<'a> {
    /// A file, or a domain.
    pub(super) name: &'a str,
    pub(super) findings: &'a [Finding],
}

/// What kind of thing the groups are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Of {
    Files,
    Domains,
}

#[derive(Serialize)]
struct Sarif<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run<'a>; 1],
}

#[derive(Serialize)]
struct Run<'a> {
    tool: Tool,
    #[serde(rename = "columnKind")]
    column_kind: &'static str,
    results: Vec<ResultShown<'a>>,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver {
    name: &'static str,
    semantic_version: &'static str,
    information_uri: &'static str,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: &'static str,
    short_description: Message,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<Message>,
}

#[derive(Serialize)]
struct Message {
    text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultShown<'a> {
    rule_id: &'static str,
    level: &'static str,
    message: Message,
    locations: [Location<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    physical_location: Option<PhysicalLocation>,
    logical_locations: [LogicalLocation<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
}

#[derive(Serialize)]
struct ArtifactLocation {
    uri: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogicalLocation<'a> {
    fully_qualified_name: &'a str,
}

/// Writes SARIF 2.1.0: a rule for each code that was found, a result for each finding.
pub(super) fn sarif(out: &mut dyn Write, of: Of, groups: &[Group<'_>]) -> io::Result<()> {
    let mut rules: BTreeMap<&'static str, Code> = BTreeMap::new();
    let mut results = Vec::new();
    for group in groups {
        for finding in group.findings {
            rules.insert(finding.code.name(), finding.code);
            results.push(result(of, group.name, finding));
        }
    }
    let rules = rules.into_values().map(|code| Rule {
        id: code.name(),
        short_description: Message {
            text: code.meaning().to_owned(),
        },
        help: code.reference().map(|reference| Message {
            text: reference.to_owned(),
        }),
    });
    let run = Run {
        tool: Tool {
            driver: Driver {
                name: "mta-sts",
                semantic_version: env!("CARGO_PKG_VERSION"),
                information_uri: env!("CARGO_PKG_REPOSITORY"),
                rules: rules.collect(),
            },
        },
        column_kind: "unicodeCodePoints",
        results,
    };
    output::json(
        out,
        &Sarif {
            schema: "https://json.schemastore.org/sarif-2.1.0.json",
            version: "2.1.0",
            runs: [run],
        },
    )
}

fn result<'a>(of: Of, name: &'a str, finding: &'a Finding) -> ResultShown<'a> {
    let physical_location = (of == Of::Files).then_some(PhysicalLocation {
        artifact_location: ArtifactLocation { uri: uri(name) },
    });
    ResultShown {
        rule_id: finding.code.name(),
        level: match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info | Severity::Unknown => "note",
        },
        message: Message {
            text: sentence(finding),
        },
        locations: [Location {
            physical_location,
            logical_locations: [LogicalLocation {
                fully_qualified_name: &finding.subject,
            }],
        }],
    }
}

/// A path as a URI reference (RFC 3986 §4.1): a colon in it would else begin a scheme.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                uri.push(char::from(byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

/// A finding in one line.
fn sentence(finding: &Finding) -> String {
    let mut text = format!("{}: {}", finding.subject, finding.message);
    for (word, more) in [("seen", &finding.evidence), ("fix", &finding.remedy)] {
        if let Some(more) = more {
            text.push_str(&format!("; {word}: {more}"));
        }
    }
    text
}

/// Writes JUnit XML: a suite for each file or domain, a failed case for each error (and warning, where
/// these fail), one that passed where there is none.
pub(super) fn junit(
    out: &mut dyn Write,
    command: &str,
    groups: &[Group<'_>],
    fails: impl Fn(&Finding) -> bool,
) -> io::Result<()> {
    let mut report = Report::new(format!("mta-sts {command}"));
    for group in groups {
        let mut suite = TestSuite::new(printable(group.name));
        let failed: Vec<&Finding> = group.findings.iter().filter(|it| fails(it)).collect();
        for finding in &failed {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status
                .set_type(finding.code.name())
                .set_message(printable(&finding.message))
                .set_description(printable(&sentence(finding)));
            let name = format!("{} {}", finding.code, printable(&finding.subject));
            let mut case = TestCase::new(name, status);
            case.set_classname(printable(group.name));
            suite.add_test_case(case);
        }
        if failed.is_empty() {
            let mut case = TestCase::new(command, TestCaseStatus::success());
            case.set_classname(printable(group.name));
            let rest = group.findings.iter().map(|it| printable(&sentence(it)));
            let rest: Vec<String> = rest.collect();
            if !rest.is_empty() {
                case.set_system_out(rest.join("\n"));
            }
            suite.add_test_case(case);
        }
        report.add_test_suite(suite);
    }
    let text = report.to_string().map_err(io::Error::other)?;
    out.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::new(Code::PolicyMode, "line 2", "the mode is \"<enforced>\"")
                .with_remedy("write: mode: enforce"),
            Finding::new(Code::PolicyKeyUnknown, "line 3", "unknown\u{1b}[31m key"),
        ]
    }

    #[test]
    fn sarif_has_a_rule_for_each_code_and_a_place_for_each_result() {
        let findings = findings();
        let group = Group {
            name: "policies/my mta-sts.txt",
            findings: &findings,
        };
        let mut out = Vec::new();
        sarif(&mut out, Of::Files, &[group]).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let run = &document["runs"][0];
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        assert_eq!(rules.len(), 2);
        let result = &run["results"][0];
        assert_eq!(result["ruleId"], "policy-mode");
        assert_eq!(result["level"], "error");
        let place = &result["locations"][0];
        let uri = &place["physicalLocation"]["artifactLocation"]["uri"];
        assert_eq!(uri, "policies/my%20mta-sts.txt");
        assert_eq!(place["logicalLocations"][0]["fullyQualifiedName"], "line 2");
        assert_eq!(run["results"][1]["level"], "warning");
    }

    #[test]
    fn junit_fails_for_what_fails_the_command() {
        let findings = findings();
        let groups = [
            Group {
                name: "bad",
                findings: &findings,
            },
            Group {
                name: "good",
                findings: &[],
            },
        ];
        let errors = |finding: &Finding| finding.severity == Severity::Error;
        let mut out = Vec::new();
        junit(&mut out, "lint", &groups, errors).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("tests=\"2\""), "{text}");
        assert!(text.contains("failures=\"1\""), "{text}");
        assert!(text.contains("&quot;&lt;enforced&gt;&quot;"), "{text}");
        let mut out = Vec::new();
        junit(&mut out, "lint", &groups, |_| true).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("failures=\"2\""), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
