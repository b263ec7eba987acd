//! The Ingress of a policy host, in the operator's namespace. (io)

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule,
    IngressServiceBackend, IngressSpec, IngressTLS, ServiceBackendPort,
};
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};

use super::accept::ChosenIngress;
use super::caches::ingress_hosts;
use super::context::Context;
use super::error::Error;
use super::records::object_labels;
use crate::api::{FIELD_MANAGER, IssuerKind};
use crate::config::ControllerArgs;
use crate::lifecycle::Address;
use crate::lifecycle::names::{object_name, tls_secret_name};
use crate::lifecycle::record::DOMAIN_ANNOTATION;
use crate::protocol::Domain;

/// Value of the role label on an Ingress.
const ROLE: &str = "policy-host";

/// The Ingress as it is to be. (pure)
fn desired(domain: &Domain, chosen: &ChosenIngress, settings: &ControllerArgs) -> Ingress {
    let name = object_name(domain);
    let host = domain.policy_host().to_string();
    let tls = chosen.tls.as_ref();
    let secret_name = tls
        .and_then(|tls| tls.secret_name.clone())
        .unwrap_or_else(|| tls_secret_name(domain));
    let mut annotations = chosen.annotations.clone();
    annotations.insert(DOMAIN_ANNOTATION.to_owned(), domain.to_string());
    if let Some(issuer) = tls.and_then(|tls| tls.issuer_ref.as_ref()) {
        let key = match issuer.kind {
            IssuerKind::Issuer => "cert-manager.io/issuer",
            IssuerKind::ClusterIssuer => "cert-manager.io/cluster-issuer",
        };
        annotations.insert(key.to_owned(), issuer.name.clone());
    }
    let port = match settings.policy_port.parse() {
        Ok(number) => ServiceBackendPort {
            number: Some(number),
            name: None,
        },
        Err(_) => ServiceBackendPort {
            number: None,
            name: Some(settings.policy_port.clone()),
        },
    };
    // `/` and Prefix: some admission rules refuse a dot in the path. The host is ours alone, and
    // the policy server answers 404 for everything but the policy.
    let path = HTTPIngressPath {
        path: Some("/".to_owned()),
        path_type: "Prefix".to_owned(),
        backend: IngressBackend {
            service: Some(IngressServiceBackend {
                name: settings.policy_service.clone(),
                port: Some(port),
            }),
            resource: None,
        },
    };
    Ingress {
        metadata: ObjectMeta {
            name: Some(name),
            labels: Some(object_labels(ROLE)),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(IngressSpec {
            ingress_class_name: Some(chosen.class_name.clone()),
            rules: Some(vec![IngressRule {
                host: Some(host.clone()),
                http: Some(HTTPIngressRuleValue { paths: vec![path] }),
            }]),
            tls: Some(vec![IngressTLS {
                hosts: Some(vec![host]),
                secret_name: Some(secret_name),
            }]),
            default_backend: None,
        }),
        status: None,
    }
}

/// Whether what is there is what is wanted; labels and annotations of others do not count.
fn matches(present: &Ingress, wanted: &Ingress) -> bool {
    let has_all = |has: &BTreeMap<String, String>, wants: &BTreeMap<String, String>| {
        wants.iter().all(|(key, value)| has.get(key) == Some(value))
    };
    present.spec == wanted.spec
        && has_all(present.labels(), wanted.labels())
        && has_all(present.annotations(), wanted.annotations())
}

/// Makes the Ingress, or mends it. The inner error is a refusal, with the refuser's sentence.
pub(super) async fn ensure(
    context: &Context,
    domain: &Domain,
    chosen: &ChosenIngress,
) -> Result<Result<(), String>, Error> {
    let wanted = desired(domain, chosen, &context.settings);
    if cached(context, domain).is_some_and(|present| matches(&present, &wanted)) {
        return Ok(Ok(()));
    }
    let api = Api::<Ingress>::namespaced(context.client.clone(), &context.namespace);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match api
        .patch(&wanted.name_any(), &params, &Patch::Apply(&wanted))
        .await
    {
        Ok(_) => Ok(Ok(())),
        Err(kube::Error::Api(status))
            if (400..500).contains(&status.code) && status.code != 409 =>
        {
            Ok(Err(status.message.clone()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes the Ingress.
pub(super) async fn remove(context: &Context, domain: &Domain) -> Result<(), Error> {
    let api = Api::<Ingress>::namespaced(context.client.clone(), &context.namespace);
    match api
        .delete(&object_name(domain), &kube::api::DeleteParams::default())
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn cached(context: &Context, domain: &Domain) -> Option<std::sync::Arc<Ingress>> {
    let key = ObjectRef::new(&object_name(domain)).within(&context.namespace);
    context.caches.ingresses.get(&key)
}

/// Whether there is one of ours.
pub(super) fn is_there(context: &Context, domain: &Domain) -> bool {
    cached(context, domain).is_some()
}

/// What the Ingress's controller reports as its address. A name wins over addresses: a record
/// set cannot hold both.
pub(super) fn reported_address(context: &Context, domain: &Domain) -> Vec<Address> {
    let Some(ingress) = cached(context, domain) else {
        return Vec::new();
    };
    let entries: Vec<_> = ingress
        .status
        .iter()
        .filter_map(|status| status.load_balancer.as_ref())
        .flat_map(|balancer| balancer.ingress.iter().flatten())
        .collect();
    let name = entries.iter().find_map(|entry| entry.hostname.as_deref());
    if let Some(name) = name
        .and_then(|name| crate::protocol::HostName::parse_any_case(name.trim_end_matches('.')).ok())
    {
        return vec![Address::Cname(name.to_string())];
    }
    entries
        .iter()
        .filter_map(|entry| entry.ip.as_deref()?.parse().ok())
        .map(|address| match address {
            std::net::IpAddr::V4(address) => Address::A(address),
            std::net::IpAddr::V6(address) => Address::Aaaa(address),
        })
        .collect()
}

/// Another Ingress that has the policy host.
pub(super) fn rival(context: &Context, domain: &Domain) -> Option<String> {
    let host = domain.policy_host().to_string();
    let own = (Some(context.namespace.clone()), object_name(domain));
    context
        .caches
        .ingresses
        .state()
        .iter()
        .filter(|ingress| (ingress.namespace(), ingress.name_any()) != own)
        .find(|ingress| ingress_hosts(ingress).any(|claimed| claimed == host))
        .map(|ingress| {
            format!(
                "Ingress {}/{}",
                ingress.namespace().unwrap_or_default(),
                ingress.name_any()
            )
        })
}
