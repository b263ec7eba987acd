//! What is published now: by the operator's record where a cluster has one, else by what the world sees.
//! (io)

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;

use super::PlanArgs;
use crate::cli::cluster::{Cluster, said};
use crate::config::DEFAULT_NAMESPACE;
use crate::lifecycle::Record;
use crate::lifecycle::desired::Desired;
use crate::lifecycle::guard::{LiveMx, MxHost, MxTls};
use crate::lifecycle::names::object_name;
use crate::probe::dns::{DnsProbe, RecordData, RecordType};
use crate::protocol::{HostName, InstallationId, Policy, StsRecord};

/// What is published now.
pub(super) struct Now {
    /// Where that was learnt.
    pub(super) from: String,
    pub(super) record: Option<Record>,
    pub(super) installation: Option<InstallationId>,
    /// TTL of the TXT record that is there.
    pub(super) ttl: Option<u32>,
    pub(super) live: LiveMx,
}

impl Now {
    /// The policy that is published.
    pub(super) fn policy(&self) -> Option<Policy> {
        let current = &self.record.as_ref()?.publication.current;
        Some(Policy {
            mode: current.mode,
            max_age: current.max_age,
            mx: current.mx.clone(),
        })
    }
}

/// How it is looked at.
pub(super) struct Look {
    /// The cluster with the operator's namespace, or why there is none.
    cluster: Result<(Cluster, String), String>,
    dns: DnsProbe,
}

impl Look {
    /// Prepares; a flag may be wrong.
    pub(super) async fn new(args: &PlanArgs) -> Result<Self, String> {
        let dns = args.dns.probe()?;
        let cluster = match args.cluster.connect().await {
            Ok(cluster) => {
                let namespace = namespace(args, &cluster).await;
                Ok((cluster, namespace))
            }
            Err(error) => Err(error.to_string()),
        };
        Ok(Self { cluster, dns })
    }

    /// What is published for a domain.
    pub(super) async fn at(&self, desired: &Desired) -> Now {
        let (record, from) = self.record(desired).await;
        let name = desired.domain.sts_record_name();
        let answer = self.dns.resolve(&name, RecordType::Txt).await.ok();
        let ttl = answer
            .as_ref()
            .map(|answer| match answer.records.is_empty() {
                true => answer.negative_ttl.unwrap_or(0),
                false => answer.ttl,
            });
        let texts = answer.iter().flat_map(|answer| &answer.records);
        let texts: Vec<Vec<u8>> = texts.filter_map(RecordData::txt_octets).collect();
        let foreign = record.is_none() && StsRecord::parse_rrset(&texts).is_ok();
        let from = match foreign {
            true => format!(
                "{from}; {name} has a record of somebody else, which spec.dns.adopt takes over"
            ),
            false => from,
        };
        let installation = record.as_ref().and_then(|record| {
            let id = record.publication.current.id.as_str();
            id.get(id.len().saturating_sub(6)..)?.parse().ok()
        });
        Now {
            from,
            record,
            installation,
            ttl,
            live: self.live(desired).await,
        }
    }

    async fn record(&self, desired: &Desired) -> (Option<Record>, String) {
        let (cluster, namespace) = match &self.cluster {
            Ok(cluster) => cluster,
            Err(error) => return (None, format!("no cluster ({error})")),
        };
        let api = Api::<ConfigMap>::namespaced(cluster.client.clone(), namespace);
        let name = object_name(&desired.domain);
        let place = format!("the record {namespace}/{name}");
        match api.get_opt(&name).await {
            Ok(Some(object)) => match Record::from_data(&object.data.unwrap_or_default()) {
                Ok(record) => (Some(record), place),
                Err(error) => (None, format!("{place}, which cannot be read: {error}")),
            },
            Ok(None) => (None, format!("{place}, which is not there")),
            Err(error) => (
                None,
                format!("{place}, which cannot be read: {}", said(&error)),
            ),
        }
    }

    /// The live MX hosts. Their TLS is not asked: `mta-sts check` does that.
    async fn live(&self, desired: &Desired) -> LiveMx {
        let host = |name: &str| {
            let host = HostName::parse_any_case(name).ok()?;
            Some(MxHost {
                host,
                tls: MxTls::Unknown,
            })
        };
        match self.dns.mx(desired.domain.as_str()).await {
            Err(error) => LiveMx::Unknown(error.to_string()),
            Ok(set) if set.hosts.is_empty() => LiveMx::Hosts(Vec::new()),
            Ok(set) => {
                let hosts = set.hosts.iter().filter_map(|mx| host(&mx.exchange));
                LiveMx::Hosts(hosts.collect())
            }
        }
    }
}

async fn namespace(args: &PlanArgs, cluster: &Cluster) -> String {
    if let Some(given) = &args.operator_namespace {
        return given.clone();
    }
    match cluster.installations().await.as_deref() {
        Ok([only]) => only.clone(),
        _ => DEFAULT_NAMESPACE.to_owned(),
    }
}
