//! `mta-sts retirements`: the domains on their way out, what each waits for, and until when.

use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::ListParams;
use serde::Serialize;

use super::cluster::{self, Cluster, ClusterArgs, ClusterError};
use super::exit;
use super::output::{self, Format, OutputArgs, Streams, say};
use super::status::pages;
use super::words::{time, time_and_distance};
use crate::clock;
use crate::config::DEFAULT_NAMESPACE;
use crate::diagnosis::printable;
use crate::lifecycle::record::{PUBLICATION_KEY, RECORD_ROLE, ROLE_LABEL};
use crate::lifecycle::retirement::{self, Stage};
use crate::lifecycle::{DeletionPolicy, Publication};
use crate::limits::RETIREMENT_DELAY_SECONDS;

/// The domains on their way out: what each waits for, and when it will be gone.
#[derive(Args, Clone, Debug)]
pub struct RetirementsArgs {
    /// Namespace of the operator; default: found by its installation id, else mta-sts-system
    #[arg(short, long)]
    pub namespace: Option<String>,

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
    retirements: Vec<Retirement>,
}

/// One domain on its way out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Retirement {
    domain: String,
    deletion_policy: DeletionPolicy,
    /// The object that was deleted.
    object: String,
    since: Timestamp,
    waits_for: String,
    /// Until when a sender may hold a policy that is not `none`.
    held_until: Option<Timestamp>,
    /// When it will be gone, if nothing comes in between.
    gone_about: Option<Timestamp>,
}

/// Runs on the process's own streams.
pub fn execute(args: &RetirementsArgs) -> ExitCode {
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

/// Runs, and returns the exit code.
pub async fn run(args: &RetirementsArgs, streams: &mut Streams<'_>) -> u8 {
    match look(args).await {
        Ok(document) => match show(args, &document, streams.stdout) {
            Ok(()) => exit::CLEAN,
            Err(_) => exit::USAGE,
        },
        Err(error) => {
            say(streams.stderr, &error.to_string());
            error.code()
        }
    }
}

async fn look(args: &RetirementsArgs) -> Result<Document, ClusterError> {
    let cluster = args.cluster.connect().await?;
    let namespace = match &args.namespace {
        Some(namespace) => namespace.clone(),
        None => only_installation(&cluster).await?,
    };
    let now = clock::now();
    let records = records(&cluster, &namespace).await?;
    let mut retirements: Vec<Retirement> = records
        .iter()
        .filter_map(|record| Retirement::of(record, now))
        .collect();
    retirements.sort_by(|a, b| (a.gone_about, &a.domain).cmp(&(b.gone_about, &b.domain)));
    Ok(Document {
        schema: "mta-sts.retirements/1",
        retirements,
    })
}

async fn only_installation(cluster: &Cluster) -> Result<String, ClusterError> {
    match cluster.installations().await.as_deref() {
        Ok([only]) => Ok(only.clone()),
        Ok([_, ..]) => Err(ClusterError::Unclear(
            "the operator is installed in several namespaces: say with -n which one is meant"
                .to_owned(),
        )),
        Ok([]) | Err(_) => Ok(DEFAULT_NAMESPACE.to_owned()),
    }
}

/// What can be read of the records in the operator's namespace.
pub(super) async fn records(
    cluster: &Cluster,
    namespace: &str,
) -> Result<Vec<Publication>, ClusterError> {
    let api = Api::<ConfigMap>::namespaced(cluster.client.clone(), namespace);
    let params = ListParams::default().labels(&format!("{ROLE_LABEL}={RECORD_ROLE}"));
    let found = pages(&api, &params).await;
    let found = found.map_err(ClusterError::api(format!(
        "the records in {namespace} cannot be listed"
    )))?;
    let read = |record: &ConfigMap| {
        let text = record.data.as_ref()?.get(PUBLICATION_KEY)?;
        serde_json::from_str(text).ok()
    };
    Ok(found.iter().filter_map(read).collect())
}

impl Retirement {
    fn of(record: &Publication, now: Timestamp) -> Option<Self> {
        let retiring = record.retiring.as_ref()?;
        Some(Self {
            domain: record.domain.to_string(),
            deletion_policy: retiring.policy,
            object: format!("{}/{}", record.owner.namespace, record.owner.name),
            since: retiring.since,
            waits_for: waits_for(record, now),
            held_until: retirement::held_until(record, now),
            gone_about: gone_about(record, now),
        })
    }
}

/// The delay as it is by default: what an operator is set to is not known here.
const DELAY: SignedDuration = SignedDuration::from_secs(RETIREMENT_DELAY_SECONDS as i64);

/// When a domain on its way out will be gone, if nothing comes in between.
pub(super) fn gone_about(record: &Publication, now: Timestamp) -> Option<Timestamp> {
    retirement::ends(record, DELAY, now)
}

/// Whether time alone is waited for.
pub(super) fn is_only_waiting(record: &Publication, now: Timestamp) -> bool {
    match retirement::stage(record, DELAY, now) {
        Some(Stage::Grace(_) | Stage::None { .. }) => true,
        Some(Stage::TakeAway) => gone_about(record, now).is_some_and(|gone| {
            let retiring = record.retiring.as_ref();
            retiring.is_some_and(|r| r.txt_gone_at.is_some()) && gone > now
        }),
        _ => false,
    }
}

/// What a domain on its way out waits for.
pub(super) fn waits_for(record: &Publication, now: Timestamp) -> String {
    let gone_at = record.retiring.as_ref().and_then(|r| r.txt_gone_at);
    match retirement::stage(record, DELAY, now) {
        None | Some(Stage::Retained) => {
            "nothing: it is kept as it is, until a new MtaStsPolicy takes it back".to_owned()
        }
        Some(Stage::Grace(until)) => format!(
            "another object that may take it over, until {}; then mode none is published",
            time(until)
        ),
        Some(Stage::DecideNone) => "mode none, which is about to be published".to_owned(),
        Some(Stage::None { .. }) => match record.announced.as_ref() {
            Some(announced) if announced.id == record.current.id => {
                "senders that hold the policy from before mode none".to_owned()
            }
            _ => "mode none, whose body is being published".to_owned(),
        },
        Some(Stage::CompareClocks) => "a second clock, before anything is taken away".to_owned(),
        Some(Stage::TakeAway) => match gone_at {
            None => "its TXT record, which is being removed".to_owned(),
            Some(_) => "resolvers that remember its TXT record, which is gone".to_owned(),
        },
    }
}

fn show(args: &RetirementsArgs, document: &Document, out: &mut dyn Write) -> io::Result<()> {
    if args.shown.output == Format::Json {
        return output::json(out, document);
    }
    if document.retirements.is_empty() {
        return writeln!(out, "No domain is on its way out.");
    }
    let now = clock::now();
    for retirement in &document.retirements {
        let Retirement {
            domain,
            deletion_policy,
            object,
            since,
            waits_for,
            held_until,
            gone_about,
        } = retirement;
        let object = printable(object);
        writeln!(
            out,
            "{domain}  ({object}, deletionPolicy {deletion_policy:?})"
        )?;
        writeln!(out, "  deleted     {}", time_and_distance(*since, now))?;
        writeln!(out, "  waits for   {waits_for}")?;
        if let Some(until) = held_until {
            writeln!(out, "  held until  {}", time_and_distance(*until, now))?;
        }
        if let Some(gone) = gone_about {
            writeln!(out, "  gone about  {}", time_and_distance(*gone, now))?;
        }
    }
    Ok(())
}
