//! `mta-sts plan`: what applying a manifest would do. It asks, and touches nothing.

mod now;
mod text;

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize as _, Serialize};

use self::now::Now;
use super::cluster::{self, ClusterArgs};
use super::dns_args::DnsArgs;
use super::output::{self, Format, OutputArgs, Streams, say};
use super::{exit, lint, manifest};
use crate::api::MtaStsPolicy;
use crate::clock;
use crate::controller::parse_spec;
use crate::diagnosis::Severity;
use crate::lifecycle::decide::{Decided, Input, decide, wanted};
use crate::lifecycle::desired::Desired;
use crate::lifecycle::guard::{Held, LiveMx};
use crate::lifecycle::{Owner, Publication, ledger};
use crate::limits::LINT_INPUT_BYTES;
use crate::protocol::{HostName, InstallationId, MaxAge, Mode, Policy};

/// Name and version of the JSON document.
const SCHEMA: &str = "mta-sts.plan/1";

/// Say what applying a manifest would do: the body, the id, the steps, and how long until senders follow.
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    /// A manifest with MtaStsPolicy objects; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,

    /// Namespace of the operator, where the records are; default: found by its installation id, else
    /// mta-sts-system
    #[arg(long, value_name = "NAMESPACE")]
    pub operator_namespace: Option<String>,

    /// Whom to ask.
    #[command(flatten)]
    pub dns: DnsArgs,

    /// How it is shown.
    #[command(flatten)]
    pub shown: OutputArgs,

    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    plans: Vec<Plan>,
}

/// What applying one object would do.
#[derive(Serialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Plan {
    pub(super) domain: String,
    pub(super) name: String,
    pub(super) change: Change,
    /// Where what is published now was learnt.
    pub(super) known_from: String,
    /// The policy that is published now; null where none is known.
    pub(super) before: Option<PolicyShown>,
    /// The policy that would be published first.
    pub(super) after: PolicyShown,
    /// The body, line by line, as a diff.
    pub(super) body: Vec<String>,
    /// How the new id ends, after the time of the decision: of the body, and of the installation.
    pub(super) id_ends: Option<String>,
    /// Why the policy that is written would wait.
    pub(super) held: Option<String>,
    /// What would be done, in order.
    pub(super) steps: Vec<String>,
    /// Seconds after the last name server shows the id until senders that follow RFC 8461 use it.
    pub(super) conforming_senders_after_seconds: u32,
    /// Until when a sender may go by what was published before, were it replaced now.
    pub(super) all_senders_by: Option<Timestamp>,
    /// The earliest date of mode enforce; null where it is not asked for.
    pub(super) enforce_not_before: Option<Timestamp>,
}

/// How much would change.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub(super) enum Change {
    /// Nothing that senders see.
    Nothing,
    /// A first policy.
    First,
    /// Another policy.
    Policy,
}

/// A policy.
#[derive(Serialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicyShown {
    pub(super) mode: Mode,
    pub(super) max_age_seconds: u32,
    pub(super) mx: Vec<String>,
}

impl PolicyShown {
    fn of(policy: &Policy) -> Self {
        Self {
            mode: policy.mode,
            max_age_seconds: policy.max_age.seconds(),
            mx: policy.mx.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Runs on the process's own streams.
pub fn execute(args: &PlanArgs) -> ExitCode {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let terminal = stdout.is_terminal();
    let mut streams = Streams {
        stdin: &mut stdin.lock(),
        stdout: &mut stdout.lock(),
        stderr: &mut stderr.lock(),
        terminal,
    };
    cluster::run(run(args, &mut streams))
}

/// Runs, and returns the exit code: 0, 1 where the manifest has errors, 2 for wrong usage or unreadable
/// input, 3 where the DNS could not be asked.
pub async fn run(args: &PlanArgs, streams: &mut Streams<'_>) -> u8 {
    let objects = match objects(args, streams) {
        Ok(objects) => objects,
        Err((code, error)) => {
            say(streams.stderr, &error);
            return code;
        }
    };
    let look = match now::Look::new(args).await {
        Ok(look) => look,
        Err(error) => {
            say(streams.stderr, &error);
            return exit::USAGE;
        }
    };
    let mut plans = Vec::new();
    let mut code = exit::CLEAN;
    for (name, desired) in &objects {
        let now = look.at(desired).await;
        if matches!(now.live, LiveMx::Unknown(_)) {
            code = exit::UNDETERMINED;
        }
        plans.push(plan(name, desired, &now, clock::now()));
    }
    let written = match args.shown.output {
        Format::Json => output::json(
            streams.stdout,
            &Document {
                schema: SCHEMA,
                plans,
            },
        ),
        Format::Text => text::write(streams.stdout, &plans, clock::now()),
    };
    match written {
        Ok(()) => code,
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Err(error) => {
            say(streams.stderr, &format!("standard output: {error}"));
            exit::USAGE
        }
    }
}

/// The policies of the manifest, by `namespace/name`.
fn objects(
    args: &PlanArgs,
    streams: &mut Streams<'_>,
) -> Result<Vec<(String, Desired)>, (u8, String)> {
    let name = args.file.to_string_lossy().into_owned();
    let usage = |error: String| (exit::USAGE, format!("{name}: {error}"));
    let bytes = lint::read(&args.file, streams.stdin, LINT_INPUT_BYTES);
    let bytes = bytes.map_err(|error| usage(error.to_string()))?;
    let found = manifest::lint(&bytes).findings;
    let error = found.iter().find(|it| it.severity == Severity::Error);
    if let Some(error) = error {
        let told = format!(
            "{name}: {}: {} (mta-sts lint has all of it)",
            error.subject, error.message
        );
        return Err((exit::FOUND, told));
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(&text) {
        let value = serde_yaml::Value::deserialize(document);
        let value = value.map_err(|error| usage(error.to_string()))?;
        if value.get("kind").and_then(serde_yaml::Value::as_str) != Some("MtaStsPolicy") {
            continue;
        }
        let policy: MtaStsPolicy =
            serde_yaml::from_value(value).map_err(|error| usage(error.to_string()))?;
        let namespace = policy.metadata.namespace.as_deref().unwrap_or("default");
        let object = policy.metadata.name.as_deref().unwrap_or_default();
        let desired = parse_spec(&policy).ok_or_else(|| {
            usage(format!(
                "{object} has a value that cannot be read: mta-sts lint"
            ))
        })?;
        objects.push((format!("{namespace}/{object}"), desired));
    }
    match objects.is_empty() {
        true => Err(usage("there is no MtaStsPolicy in it".to_owned())),
        false => Ok(objects),
    }
}

/// What applying one object would do. (pure)
fn plan(name: &str, desired: &Desired, now: &Now, time: Timestamp) -> Plan {
    let owner = Owner {
        namespace: String::new(),
        name: String::new(),
        uid: String::new(),
    };
    let installation = now.installation.clone();
    let installation = installation.unwrap_or_else(|| InstallationId::from_random([0; 3]));
    let input = Input {
        desired,
        owner: &owner,
        provider: None,
        installation: &installation,
        record: now.record.as_ref(),
        edited: None,
        txt: None,
        adopted: None,
        assume_max_age: MaxAge::MAX,
        live: &now.live,
        now: time,
    };
    let guarded = wanted(&input);
    let decided = match decide(&input) {
        // What is suspended is left as it is.
        Decided::New(record, _) if !desired.suspend => Some(record),
        Decided::New(..) | Decided::Keep | Decided::Update(_) => None,
    };
    let before = now.policy();
    let change = match (&decided, &before) {
        (None, _) => Change::Nothing,
        (Some(_), None) => Change::First,
        (Some(_), Some(_)) => Change::Policy,
    };
    let publication = decided.as_ref().map(|record| &record.publication);
    let old = before.as_ref().map(Policy::render).unwrap_or_default();
    Plan {
        domain: desired.domain.to_string(),
        name: name.to_owned(),
        change,
        known_from: now.from.clone(),
        after: PolicyShown::of(&guarded.policy),
        body: diff(&old, &guarded.policy.render()),
        before: before.as_ref().map(PolicyShown::of),
        id_ends: publication.map(|p| id_ends(p, now.installation.is_some())),
        held: guarded.held.as_ref().map(held),
        steps: steps(change, desired),
        conforming_senders_after_seconds: now.ttl.unwrap_or(desired.ttl),
        all_senders_by: publication
            .and_then(|p| ledger::all_senders_by(&p.ledger, &p.current.id, time)),
        enforce_not_before: enforce_not_before(desired, now, &guarded.policy, time),
    }
}

/// The end of the id: eight digits of the body, and six of the installation where it is known.
fn id_ends(publication: &Publication, installation: bool) -> String {
    let id = publication.current.id.as_str();
    let end = id.get(14..).unwrap_or_default();
    match installation {
        true => end.to_owned(),
        false => end.get(..8).unwrap_or_default().to_owned(),
    }
}

fn held(held: &Held) -> String {
    match held {
        Held::MxUnknown(why) => format!("the MX records could not be looked up: {why}"),
        Held::Uncovered(hosts) => {
            let hosts: Vec<&str> = hosts.iter().map(HostName::as_str).collect();
            let hosts = hosts.join(", ");
            format!("no pattern matches the live MX {hosts}: add it to spec.mx")
        }
        Held::TlsFails(host, why) => format!("the live MX {host}: {why}"),
    }
}

fn steps(change: Change, desired: &Desired) -> Vec<String> {
    let host = desired.domain.policy_host();
    let record = desired.domain.sts_record_name();
    let steps: &[String] = &match change {
        Change::Nothing => Vec::new(),
        Change::First | Change::Policy => vec![
            "decide body and id, in one write".to_owned(),
            format!("wait until every policy server and every address of {host} serves the body"),
            format!("write the id into {record}"),
            "wait until every authoritative server shows it".to_owned(),
        ],
    };
    let first = (change == Change::First && !desired.external).then(|| {
        format!("make the way in: Ingress or HTTPRoute, certificate, and the address of {host}")
    });
    let reports = desired.tls_rpt.is_some().then(|| {
        format!(
            "publish {}, if it is not",
            desired.domain.tlsrpt_record_name()
        )
    });
    first
        .into_iter()
        .chain(steps.iter().cloned())
        .chain(reports)
        .collect()
}

/// The earliest date of mode enforce.
fn enforce_not_before(
    desired: &Desired,
    now: &Now,
    first: &Policy,
    time: Timestamp,
) -> Option<Timestamp> {
    if desired.mode != Some(Mode::Enforce) {
        return None;
    }
    let (Some(rollout), Mode::Testing) = (&desired.rollout, first.mode) else {
        return Some(time);
    };
    let on = now
        .record
        .as_ref()
        .and_then(|r| r.publication.rollout.as_ref());
    let stages = rollout.stages.iter();
    let ahead = stages.skip_while(|stage| on.is_some_and(|on| on.name != stage.name));
    let lasts = ahead
        .take_while(|stage| stage.mode != Mode::Enforce)
        .fold(SignedDuration::ZERO, |sum, stage| sum + stage.min_duration);
    let passed = on.and_then(|on| on.clean_since);
    let passed = passed.map_or(SignedDuration::ZERO, |since| time.duration_since(since));
    time.checked_add((lasts - passed).max(SignedDuration::ZERO))
        .ok()
}

/// The lines of both, those that are the same once. Bodies are short and sorted, so that this is enough.
fn diff(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let gone = old.iter().filter(|line| !new.contains(line));
    let gone = gone.map(|line| format!("-{line}"));
    let stays = new.iter().map(|line| match old.contains(line) {
        true => format!(" {line}"),
        false => format!("+{line}"),
    });
    gone.chain(stays).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_has_what_goes_and_what_comes() {
        let found = diff(
            "mode: testing\r\nmx: a\r\n",
            "mode: enforce\r\nmx: a\r\nmx: b\r\n",
        );
        assert_eq!(
            found,
            ["-mode: testing", "+mode: enforce", " mx: a", "+mx: b"]
        );
    }
}
