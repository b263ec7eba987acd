//! DNSEndpoint objects: an external-dns in the cluster carries out what they say.
//!
//! Writing one changes no record yet, so the authoritative servers have the last word as with every
//! provider. A record set is read from the object where it holds the name, since that is what will
//! stand there, and else from the servers: there may be a record that somebody else has written.
//! Where there is an object of a name, it says all that is to stand under that name.
//!
//! The promise is that of the API server for one name (its resource version), and none over several
//! names.

mod object;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use tokio::time::{Instant, timeout_at};

use self::object::{DNSEndpoint, DnsEndpointSpec, Endpoint};
use super::service::FindZone;
use super::{Change, DnsError, DnsProvider, RecordSet, RecordType, Swap};
use crate::lifecycle::names::endpoint_name;
use crate::lifecycle::record::RECORD_NAME_ANNOTATION;

const SERVICE: &str = "the API server (DNSEndpoint)";

/// Looks up what the world is told.
pub trait LookUp: FindZone {
    /// The record set that the authoritative servers show under this very name: neither what an
    /// alias leads to, nor what a wildcard answers in its place. Or why it is not known.
    fn record_set<'a>(
        &'a self,
        name: &'a str,
        record_type: RecordType,
    ) -> BoxFuture<'a, Result<Option<RecordSet>, String>>;
}

/// What is needed to write DNSEndpoints.
pub struct Settings {
    /// The cluster.
    pub client: Client,
    /// The namespace that they are written to.
    pub namespace: String,
    /// Labels that they get: external-dns may choose by them.
    pub labels: BTreeMap<String, String>,
    /// Whether TXT values stand between quotes.
    pub quote_txt: bool,
    /// Looks up names.
    pub servers: Arc<dyn LookUp>,
}

/// Writes DNSEndpoints. Cheap to clone.
#[derive(Clone)]
pub struct DnsEndpoints {
    api: Api<DNSEndpoint>,
    namespace: String,
    labels: BTreeMap<String, String>,
    quote_txt: bool,
    servers: Arc<dyn LookUp>,
}

/// How far external-dns has come with the object of a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HandedOver {
    /// `NAMESPACE/NAME` of the object.
    pub object: String,
    /// Whether external-dns says that it has read the object as it is now.
    pub read: bool,
    /// Whether TXT values are to stand between quotes in it.
    pub quoted: bool,
    /// Whether it stands there in the other way of quoting, so that it has to be written again.
    pub stale: bool,
}

impl DnsEndpoints {
    /// Takes the settings as they are.
    pub fn new(settings: Settings) -> Self {
        let Settings {
            client,
            namespace,
            labels,
            quote_txt,
            servers,
        } = settings;
        Self {
            api: Api::namespaced(client, &namespace),
            namespace,
            labels,
            quote_txt,
            servers,
        }
    }

    /// How far external-dns has come with `name`; `None` where there is no object for it.
    pub async fn handed_over(
        &self,
        name: &str,
        deadline: Duration,
    ) -> Result<Option<HandedOver>, DnsError> {
        let found = self.get(name, Instant::now() + deadline).await?;
        Ok(found.map(|object| HandedOver {
            object: format!("{}/{}", self.namespace, object.name_any()),
            read: object
                .status
                .as_ref()
                .map(|status| status.observed_generation)
                == object.metadata.generation,
            quoted: self.quote_txt,
            stale: object
                .spec
                .endpoints
                .iter()
                .any(|endpoint| !endpoint.is_quoted_as(self.quote_txt)),
        }))
    }

    /// The object of a name, if there is one.
    async fn get(&self, name: &str, until: Instant) -> Result<Option<DNSEndpoint>, DnsError> {
        let object_name = endpoint_name(name);
        match in_time(until, self.api.get(&object_name)).await? {
            Ok(object)
                if object
                    .annotations()
                    .get(RECORD_NAME_ANNOTATION)
                    .map(String::as_str)
                    == Some(name) =>
            {
                Ok(Some(object))
            }
            Ok(object) => Err(DnsError::DnsEndpointTaken {
                object: format!("{}/{}", self.namespace, object.name_any()),
            }),
            Err(kube::Error::Api(status)) if is_missing(&status, &object_name) => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    async fn shown(
        &self,
        object: Option<&DNSEndpoint>,
        name: &str,
        record_type: RecordType,
        until: Instant,
    ) -> Result<Option<RecordSet>, DnsError> {
        if let Some(object) = object {
            let mut endpoints = object.spec.endpoints.iter();
            let endpoint = endpoints.find(|endpoint| endpoint.is(name, record_type));
            return Ok(endpoint.and_then(|endpoint| endpoint.record_set(record_type)));
        }
        let looked_up = timeout_at(until, self.servers.record_set(name, record_type)).await;
        looked_up
            .map_err(|_| DnsError::ServiceTimeout { service: SERVICE })?
            .map_err(|why| DnsError::NameUnknown {
                name: name.to_owned(),
                why,
            })
    }

    /// All changes of one name, in one write.
    async fn swap_name(
        &self,
        name: &str,
        changes: &[&Change],
        until: Instant,
    ) -> Result<Swap, DnsError> {
        let object = self.get(name, until).await?;
        for change in changes {
            let present = self
                .shown(object.as_ref(), name, change.record_type, until)
                .await?;
            if present != change.expected {
                return Ok(Swap::Conflict);
            }
        }
        let before = object.as_ref().map(|object| object.spec.endpoints.clone());
        let mut endpoints = before.clone().unwrap_or_default();
        for change in changes {
            endpoints.retain(|endpoint| !endpoint.is(name, change.record_type));
            let desired = change.desired.as_ref();
            endpoints.extend(
                desired.map(|set| Endpoint::of(name, set, change.record_type, self.quote_txt)),
            );
        }
        if before.unwrap_or_default() == endpoints {
            return Ok(Swap::Done);
        }
        let written = timeout_at(until, self.write(name, object, endpoints)).await;
        match written.map_err(|_| DnsError::ServiceTimeout { service: SERVICE })? {
            Ok(()) => Ok(Swap::Done),
            // Somebody was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Swap::Conflict),
            Err(error) => Err(failure(error)),
        }
    }

    async fn write(
        &self,
        name: &str,
        object: Option<DNSEndpoint>,
        endpoints: Vec<Endpoint>,
    ) -> Result<(), kube::Error> {
        let params = PostParams::default();
        match object {
            Some(object) if endpoints.is_empty() => {
                let params = DeleteParams::default().preconditions(Preconditions {
                    uid: object.uid(),
                    resource_version: object.resource_version(),
                });
                self.api.delete(&object.name_any(), &params).await?;
            }
            Some(mut object) => {
                object.spec.endpoints = endpoints;
                let labels = object.metadata.labels.get_or_insert_default();
                labels.extend(self.labels.clone());
                self.api
                    .replace(&object.name_any(), &params, &object)
                    .await?;
            }
            None => {
                let annotation = (RECORD_NAME_ANNOTATION.to_owned(), name.to_owned());
                let object = DNSEndpoint {
                    metadata: ObjectMeta {
                        name: Some(endpoint_name(name)),
                        labels: Some(self.labels.clone()),
                        annotations: Some(BTreeMap::from([annotation])),
                        ..ObjectMeta::default()
                    },
                    spec: DnsEndpointSpec { endpoints },
                    status: None,
                };
                self.api.create(&params, &object).await?;
            }
        }
        Ok(())
    }
}

impl DnsProvider for DnsEndpoints {
    async fn zone_of(&self, name: &str, deadline: Duration) -> Result<String, DnsError> {
        let zone = tokio::time::timeout(deadline, self.servers.zone_of(name)).await;
        let zone = zone.map_err(|_| DnsError::ServiceTimeout { service: SERVICE })?;
        zone.map_err(|why| DnsError::ZoneUnknown {
            name: name.to_owned(),
            why,
        })
    }

    async fn read(
        &self,
        _: &str,
        name: &str,
        record_type: RecordType,
        deadline: Duration,
    ) -> Result<Option<RecordSet>, DnsError> {
        let until = Instant::now() + deadline;
        let object = self.get(name, until).await?;
        self.shown(object.as_ref(), name, record_type, until).await
    }

    async fn compare_and_swap(
        &self,
        _: &str,
        changes: &[Change],
        deadline: Duration,
    ) -> Result<Swap, DnsError> {
        let until = Instant::now() + deadline;
        let mut names: BTreeMap<&str, Vec<&Change>> = BTreeMap::new();
        for change in changes {
            names.entry(&change.name).or_default().push(change);
        }
        for (name, changes) in names {
            if self.swap_name(name, &changes, until).await? == Swap::Conflict {
                return Ok(Swap::Conflict);
            }
        }
        Ok(Swap::Done)
    }

    /// Asks for an object that is not there: that shows whether the kind is known, and whether it
    /// may be read.
    async fn check(&self, zones: &[String], deadline: Duration) -> Result<Vec<String>, DnsError> {
        self.get("check.invalid", Instant::now() + deadline).await?;
        Ok(zones.to_vec())
    }
}

async fn in_time<T>(
    until: Instant,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<kube::Result<T>, DnsError> {
    let result = timeout_at(until, call).await;
    result.map_err(|_| DnsError::ServiceTimeout { service: SERVICE })
}

/// Whether this very object is missing, and not its kind.
fn is_missing(status: &kube::core::Status, name: &str) -> bool {
    let names_it = status.details.as_ref().is_some_and(|d| d.name == name);
    status.code == 404 && names_it
}

fn failure(error: kube::Error) -> DnsError {
    match error {
        kube::Error::Api(status) if status.code == 404 => DnsError::DnsEndpointKindMissing,
        kube::Error::Api(status) if status.code == 403 => DnsError::DnsEndpointForbidden {
            said: status.message,
        },
        kube::Error::Api(status) => DnsError::ServiceFailed {
            service: SERVICE,
            said: status.message,
        },
        error => DnsError::ServiceUnreachable {
            service: SERVICE,
            said: error.to_string(),
        },
    }
}

impl fmt::Debug for DnsEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsEndpoints")
            .field("namespace", &self.namespace)
            .field("quote_txt", &self.quote_txt)
            .finish_non_exhaustive()
    }
}
