//! `mta-sts lint`: the rules of the diagnosis, offline.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::findings_output::{self, FindingsOutputArgs, Format, Group, Of};
use super::manifest;
use super::output::{self, Streams, say};
use crate::diagnosis::{
    Finding, Severity, lint_policy, lint_record, lint_tlsrpt_record, printable,
};
use crate::limits::{FINDINGS_COUNT, LINT_INPUT_BYTES, RECORD_FILE_BYTES};
use crate::protocol::{Domain, Policy, StsRecord, TlsRptRecord};

/// Name and version of the JSON document.
const SCHEMA: &str = "mta-sts.lint/1";

/// Nothing at error level.
const CLEAN: u8 = 0;
/// Findings at the level of `--fail-on`.
const FOUND: u8 = 1;
/// Unreadable input.
const UNREADABLE: u8 = 2;

/// Check policy files, TXT records and manifests, without the network.
#[derive(Args, Clone, Debug)]
pub struct LintArgs {
    /// Files to check; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// What the files are; found out if not given. A record file holds one TXT record a line.
    #[arg(long = "as", value_name = "KIND")]
    pub kind: Option<Kind>,

    /// The mail domain, to tell wildcards that trust the whole of it.
    #[arg(long, value_parser = Domain::parse)]
    pub domain: Option<Domain>,

    /// The least severity that makes the exit code 1.
    #[arg(long, value_enum, default_value_t)]
    pub fail_on: FailOn,

    /// How findings are written.
    #[command(flatten)]
    pub shown: FindingsOutputArgs,
}

/// What a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A policy body.
    Policy,
    /// The TXT records at `_mta-sts`.
    Record,
    /// The TXT records at `_smtp._tls`.
    TlsrptRecord,
    /// Kubernetes objects in YAML.
    Manifest,
}

/// The least severity that counts as a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum FailOn {
    /// Errors only.
    #[default]
    Error,
    /// Warnings as well.
    Warning,
}

#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    inputs: &'a [Input],
}

/// One file and what was found in it.
#[derive(Serialize)]
struct Input {
    name: String,
    kind: Kind,
    /// The RFC's verdict: no breach of the grammar or of a MUST.
    valid: bool,
    findings: Vec<Finding>,
}

/// Runs on the process's own streams.
pub fn execute(args: &LintArgs) -> ExitCode {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let terminal = stdout.is_terminal();
    let code = run(
        args,
        &mut Streams {
            stdin: &mut stdin.lock(),
            stdout: &mut stdout.lock(),
            stderr: &mut stderr.lock(),
            terminal,
        },
    );
    ExitCode::from(code)
}

/// Runs, and returns the exit code: 0, 1 for findings, 2 for unreadable input.
pub fn run(args: &LintArgs, streams: &mut Streams<'_>) -> u8 {
    let mut inputs = Vec::new();
    let mut code = CLEAN;
    for path in &args.files {
        let name = path.to_string_lossy().into_owned();
        let input = match read(path, streams.stdin, LINT_INPUT_BYTES)
            .and_then(|bytes| check(args, &name, &bytes, streams.stderr))
        {
            Ok(input) => input,
            Err(error) => {
                say(streams.stderr, &format!("{name}: {error}"));
                code = UNREADABLE;
                continue;
            }
        };
        if args.fail_on.is_met_by(&input.findings) {
            code = code.max(FOUND);
        }
        inputs.push(input);
    }
    let colour = args.shown.colour.on(streams.terminal);
    let written = match args.shown.output {
        Format::Json => output::json(
            streams.stdout,
            &Report {
                schema: SCHEMA,
                inputs: &inputs,
            },
        ),
        Format::Text => text(streams.stdout, &inputs, colour),
        Format::Sarif => findings_output::sarif(streams.stdout, Of::Files, &groups(&inputs)),
        Format::Junit => findings_output::junit(streams.stdout, "lint", &groups(&inputs), |it| {
            args.fail_on.is_met_by(std::slice::from_ref(it))
        }),
    };
    match written.and_then(|()| streams.stdout.flush()) {
        Ok(()) => code,
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Err(error) => {
            say(streams.stderr, &format!("standard output: {error}"));
            UNREADABLE
        }
    }
}

fn groups(inputs: &[Input]) -> Vec<Group<'_>> {
    let groups = inputs.iter().map(|input| Group {
        name: &input.name,
        findings: &input.findings,
    });
    groups.collect()
}

impl FailOn {
    pub(super) fn is_met_by(self, findings: &[Finding]) -> bool {
        let least = match self {
            Self::Error => Severity::Error,
            Self::Warning => Severity::Warning,
        };
        findings.iter().any(|finding| finding.severity <= least)
    }
}

/// Reads a file, or standard input for `-`.
pub(super) fn read(path: &Path, stdin: &mut dyn Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut file;
    let source: &mut dyn Read = if path == Path::new("-") {
        stdin
    } else {
        file = File::open(path)?;
        &mut file
    };
    let mut bytes = Vec::new();
    source.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(limit));
    }
    Ok(bytes)
}

fn too_large(limit: impl std::fmt::Display) -> io::Error {
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        format!("is larger than {limit} bytes"),
    )
}

fn check(args: &LintArgs, name: &str, bytes: &[u8], stderr: &mut dyn Write) -> io::Result<Input> {
    let kind = args.kind.unwrap_or_else(|| detect(name, bytes));
    let domain = args.domain.as_ref();
    let (valid, mut findings) = match kind {
        Kind::Policy => (Policy::parse(bytes).is_ok(), lint_policy(bytes, domain)),
        Kind::Record => {
            let texts = lines(bytes)?;
            (
                StsRecord::parse_rrset(&texts).is_ok(),
                lint_record(&texts, domain),
            )
        }
        Kind::TlsrptRecord => {
            let texts = lines(bytes)?;
            (
                TlsRptRecord::parse_rrset(&texts).is_ok(),
                lint_tlsrpt_record(&texts, domain),
            )
        }
        Kind::Manifest => {
            let read = manifest::lint(bytes);
            for note in read.notes {
                say(stderr, &format!("{name}: {note}"));
            }
            (!FailOn::Error.is_met_by(&read.findings), read.findings)
        }
    };
    if findings.len() > FINDINGS_COUNT {
        say(
            stderr,
            &format!("{name}: the first {FINDINGS_COUNT} findings are shown"),
        );
        // The exit code rests on what is kept.
        findings.sort_by_key(|finding| finding.severity);
        findings.truncate(FINDINGS_COUNT);
    }
    Ok(Input {
        name: name.to_owned(),
        kind,
        valid,
        findings,
    })
}

/// A record file: one TXT record a line, as its joined text.
fn lines(bytes: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    if bytes.len() > RECORD_FILE_BYTES {
        return Err(too_large(RECORD_FILE_BYTES));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    Ok(bytes
        .split(|b| *b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

/// What a file most likely is. What looks like nothing else is taken for a policy, whose linter
/// says best what it looks like.
fn detect(name: &str, bytes: &[u8]) -> Kind {
    let path = Path::new(name);
    let extension = path.extension().and_then(|extension| extension.to_str());
    if path.file_name().is_some_and(|file| file == "mta-sts.txt") {
        return Kind::Policy;
    }
    if matches!(extension, Some("yaml" | "yml")) {
        return Kind::Manifest;
    }
    let text = String::from_utf8_lossy(bytes);
    let lines = || {
        text.lines()
            .map(|line| line.trim_start_matches(['\u{feff}', ' ', '"', '{']))
    };
    if lines().any(|line| line.starts_with("apiVersion")) {
        return Kind::Manifest;
    }
    // A page about MTA-STS may well quote a record.
    if text.trim_start().starts_with('<') {
        return Kind::Policy;
    }
    let is = |start: &str, inside: &str| {
        lines().any(|line| {
            let line = line.to_ascii_lowercase();
            line.starts_with(start) || line.contains(inside)
        })
    };
    if is("rua=", "v=tlsrpt") {
        Kind::TlsrptRecord
    } else if is("v=", "v=sts") {
        Kind::Record
    } else {
        Kind::Policy
    }
}

fn text(out: &mut dyn Write, inputs: &[Input], colour: bool) -> io::Result<()> {
    for input in inputs {
        let name = printable(&input.name);
        let kind = match input.kind {
            Kind::Policy => "policy",
            Kind::Record => "MTA-STS record",
            Kind::TlsrptRecord => "TLS-RPT record",
            Kind::Manifest => "manifest",
        };
        let verdict = if input.valid { "valid" } else { "not valid" };
        let count = match input.findings.len() {
            0 => "nothing found".to_owned(),
            1 => "1 finding".to_owned(),
            n => format!("{n} findings"),
        };
        writeln!(out, "{name}: {kind}, {verdict}, {count}")?;
        for finding in &input.findings {
            output::finding(out, finding, colour)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_is_shows_in_its_name_or_its_text() {
        for (name, bytes, kind) in [
            ("-", "version: STSv1\nmode: none\n", Kind::Policy),
            ("-", "mode: enforce", Kind::Policy),
            ("-", "", Kind::Policy),
            ("-", "<html>v=STSv1; id=1</html>", Kind::Policy),
            ("a/mta-sts.txt", "v=STSv1; id=1;", Kind::Policy),
            ("-", "v=STSv1; id=1;", Kind::Record),
            ("-", "v=spf1 -all\nv=STSv1; id=1;\n", Kind::Record),
            ("-", "v=spf1 -all", Kind::Record),
            ("-", "\"v=STSv1; id=1;\"", Kind::Record),
            ("-", "id=1; v=STSv1", Kind::Record),
            (
                "-",
                "v=TLSRPTv1; rua=mailto:a@example.org",
                Kind::TlsrptRecord,
            ),
            (
                "-",
                "rua=mailto:a@example.org; v=TLSRPTv1",
                Kind::TlsrptRecord,
            ),
            ("x.yaml", "", Kind::Manifest),
            ("x.yml", "a: b", Kind::Manifest),
            ("-", "---\napiVersion: v1\n", Kind::Manifest),
            ("x.json", "{\"apiVersion\": \"v1\"}", Kind::Manifest),
        ] {
            assert_eq!(detect(name, bytes.as_bytes()), kind, "{name} {bytes:?}");
        }
    }

    #[test]
    fn a_record_file_has_a_record_a_line() {
        assert_eq!(
            lines(b"\xef\xbb\xbfa\r\n\nb").unwrap(),
            [b"a".to_vec(), b"b".to_vec()]
        );
        assert_eq!(lines(b"").unwrap(), [[0; 0]; 0]);
        assert!(lines(&vec![b'a'; RECORD_FILE_BYTES + 1]).is_err());
    }
}
