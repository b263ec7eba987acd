//! `mta-sts report`: TLS reports (RFC 8460) explained.

use std::collections::HashSet;
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::exit;
use super::lint::{self, FailOn};
use super::output::{self, Format, OutputArgs, Streams, say};
use super::words::{counted, time};
use crate::diagnosis::{Code, Finding, advise, explain_report, printable, refuse_report};
use crate::limits::{FINDINGS_COUNT, REPORT_FILE_BYTES};
use crate::protocol::{
    Failure, Report, ReportIdentity, ReportPolicy, ReportPolicyType, ResultType,
};
use crate::reports;

/// Name and version of the JSON document.
const SCHEMA: &str = "mta-sts.report/1";

/// Explain the TLS reports (RFC 8460) that senders of mail have sent: what failed, why, and what to do.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// Files with reports: .json, .json.gz, .zip, or a mail (.eml) as it arrived; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// The least severity that makes the exit code 1.
    #[arg(long, value_enum, default_value_t)]
    pub fail_on: FailOn,

    /// How the reports are written.
    #[command(flatten)]
    pub shown: OutputArgs,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    inputs: &'a [Input],
}

/// One file, the reports in it and what is to be said about them.
#[derive(Serialize)]
struct Input {
    name: String,
    /// At least one report could be read.
    accepted: bool,
    reports: Vec<ReportShown>,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportShown {
    organization: Option<String>,
    report_id: Option<String>,
    begin: Option<Timestamp>,
    end: Option<Timestamp>,
    policies: Vec<PolicyShown>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PolicyShown {
    #[serde(rename = "type")]
    kind: Option<ReportPolicyType>,
    domain: Option<String>,
    mx_hosts: Vec<String>,
    policy_strings: Vec<String>,
    successful: Option<u64>,
    failed: Option<u64>,
    results: Vec<ResultShown>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultShown {
    #[serde(rename = "type")]
    kind: Option<ResultType>,
    /// Whether the RFC has the type.
    known: bool,
    count: Option<u64>,
    sending_mta_ip: Option<String>,
    receiving_mx: Option<String>,
    receiving_ip: Option<String>,
    reason: Option<String>,
    cause: String,
    remedy: String,
}

/// Runs on the process's own streams.
pub fn execute(args: &ReportArgs) -> ExitCode {
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
pub fn run(args: &ReportArgs, streams: &mut Streams<'_>) -> u8 {
    let mut inputs = Vec::new();
    let mut seen = HashSet::new();
    let mut code = exit::CLEAN;
    for path in &args.files {
        let name = path.to_string_lossy().into_owned();
        let bytes = match lint::read(path, streams.stdin, REPORT_FILE_BYTES) {
            Ok(bytes) => bytes,
            Err(error) => {
                say(streams.stderr, &format!("{name}: {error}"));
                code = exit::USAGE;
                continue;
            }
        };
        let mut input = explain(&name, &bytes, &mut seen);
        shorten(&mut input, streams.stderr);
        if args.fail_on.is_met_by(&input.findings) {
            code = code.max(exit::FOUND);
        }
        inputs.push(input);
    }
    let colour = args.shown.colour.on(streams.terminal);
    let written = match args.shown.output {
        Format::Json => output::json(
            streams.stdout,
            &Document {
                schema: SCHEMA,
                inputs: &inputs,
            },
        ),
        Format::Text => text(streams.stdout, &inputs, colour),
    };
    match written.and_then(|()| streams.stdout.flush()) {
        Ok(()) => code,
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Err(error) => {
            say(streams.stderr, &format!("standard output: {error}"));
            exit::USAGE
        }
    }
}

/// Unpacks a file, reads the reports in it and says what they mean.
fn explain(name: &str, bytes: &[u8], seen: &mut HashSet<ReportIdentity>) -> Input {
    let unpacked = reports::unpack(name, bytes);
    let mut shown = Vec::new();
    let mut findings = Vec::new();
    let several = unpacked.documents.len() > 1;
    for document in &unpacked.documents {
        let reading = match Report::read(&document.bytes) {
            Ok(reading) => reading,
            Err(error) => {
                findings.push(refuse_report(&document.name, &error));
                continue;
            }
        };
        let about = explain_report(&reading).into_iter();
        findings.extend(about.map(|finding| match several {
            true => finding.with_subject_prefix(&format!("{}: ", document.name)),
            false => finding,
        }));
        if !seen.insert(reading.report.identity()) {
            let message = "the same report stands in this or an earlier file: count it once";
            findings.push(Finding::new(Code::ReportDuplicate, &document.name, message));
        }
        shown.push(ReportShown::of(reading.report));
    }
    let of_wrapping = unpacked.oddities.iter();
    findings.extend(of_wrapping.map(|(place, oddity)| oddity.finding(place)));
    findings.sort_by_key(|finding| finding.severity);
    Input {
        name: name.to_owned(),
        accepted: !shown.is_empty(),
        reports: shown,
        findings,
    }
}

/// Keeps the worst findings.
fn shorten(input: &mut Input, stderr: &mut dyn Write) {
    if input.findings.len() > FINDINGS_COUNT {
        let name = &input.name;
        let note = format!(
            "{name}: the first {FINDINGS_COUNT} of {} findings are shown",
            input.findings.len()
        );
        say(stderr, &note);
        input.findings.truncate(FINDINGS_COUNT);
    }
}

impl ReportShown {
    fn of(report: Report) -> Self {
        let policies = report.policies.iter();
        let policies = policies.map(|policy| PolicyShown::of(&report, policy));
        Self {
            policies: policies.collect(),
            organization: report.organization,
            report_id: report.id,
            begin: report.begin,
            end: report.end,
        }
    }
}

impl PolicyShown {
    fn of(report: &Report, policy: &ReportPolicy) -> Self {
        let failures = policy.failures.iter();
        Self {
            kind: policy.kind.clone(),
            domain: policy.domain.clone(),
            mx_hosts: policy.mx_hosts.clone(),
            policy_strings: policy.strings.clone(),
            successful: policy.successful,
            failed: policy.failed,
            results: failures
                .map(|failure| ResultShown::of(report, policy, failure))
                .collect(),
        }
    }
}

impl ResultShown {
    fn of(report: &Report, policy: &ReportPolicy, failure: &Failure) -> Self {
        let advice = advise(report, policy, failure);
        Self {
            known: failure.result.as_ref().is_some_and(ResultType::is_known),
            kind: failure.result.clone(),
            count: failure.count,
            sending_mta_ip: failure.sending_mta_ip.clone(),
            receiving_mx: failure.receiving_mx.clone(),
            receiving_ip: failure.receiving_ip.clone(),
            reason: failure.reason.clone(),
            cause: advice.cause,
            remedy: advice.remedy,
        }
    }
}

fn text(out: &mut dyn Write, inputs: &[Input], colour: bool) -> io::Result<()> {
    for input in inputs {
        let name = printable(&input.name);
        let read = match input.reports.len() {
            0 => "no report could be read".to_owned(),
            count => counted(count, "report"),
        };
        let findings = match input.findings.len() {
            0 => "nothing found".to_owned(),
            count => counted(count, "finding"),
        };
        writeln!(out, "{name}: {read}, {findings}")?;
        for report in &input.reports {
            header(out, report)?;
        }
        for finding in &input.findings {
            output::finding(out, finding, colour)?;
        }
    }
    Ok(())
}

/// Who reports what time, and a line for each policy.
fn header(out: &mut dyn Write, report: &ReportShown) -> io::Result<()> {
    let organization = report.organization.as_deref().unwrap_or("unnamed sender");
    let id = report.report_id.as_deref().unwrap_or("without an id");
    let at = |at: Option<Timestamp>| at.map_or_else(|| "unknown".to_owned(), time);
    let (begin, end) = (at(report.begin), at(report.end));
    let organization = printable(organization);
    writeln!(out, "{organization}  {begin} to {end}  {}", printable(id))?;
    for policy in &report.policies {
        let kind = policy.kind.as_ref().map_or("unknown", |kind| kind.as_str());
        let domain = policy.domain.as_deref().unwrap_or("unnamed domain");
        let sessions = |count: Option<u64>| {
            count.map_or_else(|| "an unknown number".to_owned(), |count| count.to_string())
        };
        writeln!(
            out,
            "  {}  {}  {} good, {} failed",
            printable(domain),
            printable(kind),
            sessions(policy.successful),
            sessions(policy.failed)
        )?;
    }
    Ok(())
}
