//! What a policy names of the cluster's, held against the operator's settings. (pure)

use std::collections::BTreeMap;

use super::accept::Rejected;
use crate::api::condition::Reason;
use crate::api::{GatewayParentRef, IngressTlsSpec, IssuerKind};
use crate::config::ControllerArgs;
use crate::lifecycle::allowed::{self, NotAllowed};
use crate::lifecycle::names::tls_secret_name;
use crate::protocol::Domain;

impl From<NotAllowed> for Rejected {
    fn from(refusal: NotAllowed) -> Self {
        Self::new(Reason::NotAllowed, refusal.to_string())
    }
}

/// Whether the annotations may be put on the Ingress.
pub(super) fn annotations(
    settings: &ControllerArgs,
    annotations: &BTreeMap<String, String>,
) -> Result<(), Rejected> {
    let prefixes = &settings.allow_annotations;
    for key in annotations.keys() {
        if let Some(field) = allowed::governed_by(key) {
            return Err(Rejected::new(
                Reason::AnnotationNotAllowed,
                format!("the annotation {key} is never taken from a policy: write {field}"),
            ));
        }
        if !prefixes.iter().any(|prefix| key.starts_with(prefix)) {
            let list = match prefixes.as_slice() {
                [] => "it is empty".to_owned(),
                some => some.join(", "),
            };
            return Err(Rejected::new(
                Reason::AnnotationNotAllowed,
                format!(
                    "the annotation {key} is not on the operator's allow-list (--allow-annotation): {list}"
                ),
            ));
        }
    }
    Ok(())
}

/// Whether the IngressClass may be named.
pub(super) fn class(
    settings: &ControllerArgs,
    default: Option<&str>,
    named: Option<&str>,
) -> Result<(), Rejected> {
    let Some(named) = named else { return Ok(()) };
    let defaults: Vec<&str> = default.into_iter().collect();
    let list = &settings.allow_ingress_classes;
    Ok(allowed::ingress_class(list, &defaults, named)?)
}

/// Whether the issuer or the Secret of the certificate may be named.
pub(super) fn certificate(
    settings: &ControllerArgs,
    namespace: &str,
    domain: &Domain,
    tls: Option<&IngressTlsSpec>,
) -> Result<(), Rejected> {
    let Some(tls) = tls else { return Ok(()) };
    if let Some(issuer) = &tls.issuer_ref {
        let kind = match issuer.kind {
            IssuerKind::Issuer => "Issuer",
            IssuerKind::ClusterIssuer => "ClusterIssuer",
        };
        allowed::issuer(&settings.allow_issuers, kind, &issuer.name)?;
    }
    if let Some(secret) = &tls.secret_name {
        let own = tls_secret_name(domain);
        allowed::tls_secret(&settings.allow_tls_secrets, &own, namespace, secret)?;
    }
    Ok(())
}

/// Whether the Gateways may be named.
pub(super) fn gateways(
    settings: &ControllerArgs,
    parents: &[GatewayParentRef],
) -> Result<(), Rejected> {
    let default = settings.default_gateway.as_ref();
    let default = default.map(|gateway| (gateway.namespace.as_str(), gateway.name.as_str()));
    for parent in parents {
        allowed::gateway(
            &settings.allow_gateways,
            default,
            &parent.namespace,
            &parent.name,
        )?;
    }
    Ok(())
}
