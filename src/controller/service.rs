//! The DNS service of a provider object: its settings, its credentials, its client. (io)

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
use serde_json::Value;

use super::context::Context;
use super::dns::Access;
use super::error::ProviderError;
use crate::api::{CREDENTIALS_LABEL, DnsServiceSpec, SecretKeyRef};
use crate::dns::Shared;
use crate::dns::service::{self, FindZone, Pace, Service, Settings, Values};
use crate::dns::webhook::{self, Listed, Webhook};
use crate::dns_services::{Key, Service as Description};
use crate::lifecycle::ProviderKey;
use crate::probe::dns::DnsProbe;

/// A service with an API, as the spec has it.
#[derive(Clone, Debug)]
pub(super) struct ApiService {
    pub(super) description: &'static Description,
    pub(super) config: Vec<(String, String)>,
    pub(super) credentials: Credentials,
}

/// Where the credentials of a service are.
#[derive(Clone, Debug)]
pub(super) enum Credentials {
    /// Each has its own reference.
    Each(Vec<(String, SecretKeyRef)>),
    /// All in one Secret, each under its own name.
    Secret(String),
}

/// The services that were opened, with what they were opened with: connections, access tokens and
/// the pace of calls outlive a reconcile.
#[derive(Default)]
pub(super) struct Services {
    opened: Mutex<HashMap<ProviderKey, OpenService>>,
    shared: Mutex<HashMap<ProviderKey, Known>>,
}

/// What the policies of a provider share as long as its spec is this.
struct Known {
    spec: DnsServiceSpec,
    shared: Arc<Shared>,
    listed: Arc<Listed>,
}

/// A service that is open, and what it was opened with.
struct OpenService {
    description: &'static Description,
    values: Values,
    pace: Arc<Pace>,
    service: Service,
}

/// The services with an API among those that the spec names.
pub(super) fn api_services(spec: &DnsServiceSpec) -> Vec<ApiService> {
    let mut services = own_blocks(spec);
    if let Some(other) = &spec.service
        && let Some(description) = Description::named(&other.name)
    {
        services.push(ApiService {
            description,
            config: other.config.clone().into_iter().collect(),
            credentials: Credentials::Secret(other.credentials_secret_ref.name.clone()),
        });
    }
    services
}

/// The services that have a block of their own.
pub(super) fn own_blocks(spec: &DnsServiceSpec) -> Vec<ApiService> {
    let blocks = serde_json::to_value(spec).unwrap_or_default();
    let blocks = blocks.as_object().into_iter().flatten();
    blocks
        .filter_map(|(block, fields)| of_block(Description::of_block(block)?, fields))
        .collect()
}

/// A block of its own has each setting under its name, and each credential as `<name>SecretRef`.
fn of_block(description: &'static Description, fields: &Value) -> Option<ApiService> {
    let fields = fields.as_object()?;
    let mut config = Vec::new();
    let mut secrets = Vec::new();
    for (name, value) in fields {
        match name.strip_suffix("SecretRef") {
            Some(credential) => {
                let reference = serde_json::from_value(value.clone()).ok()?;
                secrets.push((credential.to_owned(), reference));
            }
            None => config.push((name.clone(), value.as_str()?.to_owned())),
        }
    }
    Some(ApiService {
        description,
        config,
        credentials: Credentials::Each(secrets),
    })
}

/// Opens the service: the same one again where nothing has changed.
pub(super) async fn open(
    context: &Context,
    access: &Access,
    spec: &ApiService,
) -> Result<Service, ProviderError> {
    check_hosts(context, access, spec).await?;
    let values = values(context, access, spec).await?;
    let mut opened = context.services.locked();
    let known = opened.get(&access.key);
    let pace = known.map(|open| Arc::clone(&open.pace)).unwrap_or_default();
    let same =
        |open: &&OpenService| *open.description == *spec.description && open.values == values;
    if let Some(open) = known.filter(same) {
        return Ok(open.service.clone());
    }
    let service = Service::new(Settings {
        description: spec.description,
        values: values.clone(),
        zones: Arc::new(Zones(context.dns.clone())),
        pace: Arc::clone(&pace),
    })?;
    let open = OpenService {
        description: spec.description,
        values,
        pace,
        service: service.clone(),
    };
    opened.insert(access.key.clone(), open);
    Ok(service)
}

/// Opens a webhook: nothing of it is kept.
pub(super) async fn open_webhook(
    context: &Context,
    access: &Access,
) -> Result<Webhook, ProviderError> {
    let url = access
        .spec
        .webhook
        .as_ref()
        .map_or("", |webhook| &webhook.url);
    let (scheme, rest) = url.split_once("://").ok_or(ProviderError::NoService)?;
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, format!("/{}", path.trim_end_matches('/'))),
        None => (rest, String::new()),
    };
    let (port, tls) = match scheme {
        "https" => (
            443,
            Some(context.trust.client_config().map_err(ProviderError::Tls)?),
        ),
        _ => (80, None),
    };
    Ok(Webhook::new(webhook::Settings {
        tls,
        authority: authority.to_owned(),
        address: super::dns::chosen_address(context, access, authority, port).await?,
        path: path.trim_end_matches('/').to_owned(),
        zones: Arc::new(Zones(context.dns.clone())),
        listed: context.services.known(access).1,
    }))
}

impl Services {
    /// What all policies of a provider share.
    pub(super) fn shared(&self, access: &Access) -> Arc<Shared> {
        self.known(access).0
    }

    fn known(&self, access: &Access) -> (Arc<Shared>, Arc<Listed>) {
        let mut known = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let anew = || Known {
            spec: access.spec.clone(),
            shared: Arc::default(),
            listed: Arc::default(),
        };
        let known = known.entry(access.key.clone()).or_insert_with(anew);
        if known.spec != access.spec {
            *known = anew();
        }
        (Arc::clone(&known.shared), Arc::clone(&known.listed))
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<ProviderKey, OpenService>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A tenant's provider may not have the operator call hosts within the cluster's network.
///
/// The crate looks the name up once more when it calls. That it is led elsewhere then does no
/// harm: without the certificate of that name nothing is sent, so only https is taken.
async fn check_hosts(
    context: &Context,
    access: &Access,
    spec: &ApiService,
) -> Result<(), ProviderError> {
    let of_tenant = access.key.namespace.is_some() && !context.settings.allow_private_providers;
    if !of_tenant {
        return Ok(());
    }
    let host_keys: Vec<&str> = spec.description.host_keys().map(|key| key.name).collect();
    for (name, text) in &spec.config {
        if !host_keys.contains(&name.as_str()) {
            continue;
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
        if scheme != "https" {
            return Err(ProviderError::ServerInsecure {
                server: text.clone(),
            });
        }
        let authority = rest.split('/').next().unwrap_or(rest);
        super::dns::public_address(context, authority, 443).await?;
    }
    Ok(())
}

async fn values(
    context: &Context,
    access: &Access,
    spec: &ApiService,
) -> Result<Values, ProviderError> {
    let mut values = Values::default();
    for (name, value) in &spec.config {
        values.put(name, value);
    }
    match &spec.credentials {
        Credentials::Each(references) => {
            for (name, reference) in references {
                let secret = secret(context, access, &reference.name).await?;
                let value = text(&secret, &reference.key)?;
                values.put_secret(name, service::Secret::new(&value));
            }
        }
        Credentials::Secret(name) => {
            let secret = secret(context, access, name).await?;
            for key in spec.description.credentials {
                match text(&secret, key.name) {
                    Ok(value) => values.put_secret(key.name, service::Secret::new(&value)),
                    Err(ProviderError::SecretKeyMissing { .. }) if !key.required => {}
                    Err(ProviderError::SecretKeyMissing {
                        namespace, name, ..
                    }) => {
                        let keys = missing(spec.description.credentials, &secret);
                        return Err(ProviderError::SecretKeysMissing {
                            namespace,
                            name,
                            keys,
                        });
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(values)
}

/// The keys that the Secret lacks, each with what it is to hold.
fn missing(keys: &[Key], secret: &FoundSecret) -> String {
    let lacking = keys
        .iter()
        .filter(|key| key.required && text(secret, key.name).is_err());
    let told: Vec<String> = lacking
        .map(|key| format!("{} ({})", key.name, key.meaning))
        .collect();
    told.join(", ")
}

/// A Secret that may be used.
pub(super) struct FoundSecret {
    namespace: String,
    name: String,
    secret: Secret,
}

/// The Secret, if it may be used: only one that its owner has marked for this is.
pub(super) async fn secret(
    context: &Context,
    access: &Access,
    name: &str,
) -> Result<FoundSecret, ProviderError> {
    let namespace = access
        .key
        .namespace
        .clone()
        .unwrap_or_else(|| context.namespace.clone());
    let name = name.to_owned();
    let api = Api::<Secret>::namespaced(context.client.clone(), &namespace);
    let secret = match api.get_opt(&name).await {
        Ok(secret) => secret,
        Err(kube::Error::SerdeError(_) | kube::Error::FromUtf8(_)) => {
            return Err(ProviderError::SecretUnreadable { namespace, name });
        }
        Err(error) => return Err(ProviderError::Api(Box::new(error))),
    };
    let Some(secret) = secret else {
        return Err(ProviderError::SecretMissing { namespace, name });
    };
    if secret.labels().get(CREDENTIALS_LABEL).map(String::as_str) != Some("true") {
        return Err(ProviderError::SecretUnlabelled { namespace, name });
    }
    Ok(FoundSecret {
        namespace,
        name,
        secret,
    })
}

/// The text under a key: without the final line break that editors add.
pub(super) fn text(found: &FoundSecret, key: &str) -> Result<String, ProviderError> {
    let data = found.secret.data.as_ref();
    let Some(value) = data.and_then(|data| data.get(key)) else {
        return Err(ProviderError::SecretKeyMissing {
            namespace: found.namespace.clone(),
            name: found.name.clone(),
            key: key.to_owned(),
        });
    };
    let text = std::str::from_utf8(&value.0).map_err(|_| found.malformed(key, "is not text"))?;
    let text = text.trim_end_matches(['\n', '\r']);
    // A key file has lines; whatever goes into a header has none.
    let is_file = text.starts_with('{') || text.starts_with("-----BEGIN ");
    let line_end = |c: char| matches!(c, '\n' | '\r' | '\t');
    if text
        .chars()
        .any(|c| c.is_control() && !(is_file && line_end(c)))
    {
        let why = "has line breaks or control characters within it";
        return Err(found.malformed(key, why));
    }
    if text.is_empty() {
        return Err(found.malformed(key, "is empty"));
    }
    Ok(text.to_owned())
}

impl FoundSecret {
    /// The error for a value that is not what it should be. Never says the value.
    pub(super) fn malformed(&self, key: &str, why: &str) -> ProviderError {
        ProviderError::SecretMalformed {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            key: key.to_owned(),
            why: why.to_owned(),
        }
    }
}

/// Zones as the world is led to them.
pub(super) struct Zones(pub(super) DnsProbe);

impl FindZone for Zones {
    fn zone_of<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<String, String>> {
        Box::pin(async move {
            let cut = self.0.authorities(name).await;
            cut.map(|cut| cut.zone.clone())
                .map_err(|error| error.to_string())
        })
    }
}
