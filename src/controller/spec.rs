//! The specs of our objects, judged by the rules and parsed. (pure)

use jiff::SignedDuration;
use kube::ResourceExt as _;

use super::accept::Rejected;
use super::service::{Credentials, own_blocks};
use crate::api;
use crate::api::condition::Reason;
use crate::api::{
    AuthoritativeSpec, ClusterDnsProviderSpec, DeletionPolicy, DnsProviderSpec, DnsServiceSpec,
    GatewayParentRef, IngressSpec, IssuerKind, MtaStsPolicy, MtaStsPolicySpec, ProviderKind,
    Rfc2136Spec, RolloutSpec, RolloutStrategy, SecretKeyRef, StageSpec, TsigSpec,
};
use crate::diagnosis::{
    ApiFields, CredentialFields, Finding, ProviderFields, Rfc2136Fields, SecretKeyFields,
    ServiceFields, Severity, SpecAddress, SpecFields, SpecHosting, SpecIngress, SpecIssuer,
    SpecParentRef, SpecProvider, SpecRollout, SpecStage, SpecTls, lint_provider, lint_spec,
};
use crate::lifecycle::desired::{AddressWish, Desired};
use crate::lifecycle::guard::Enforcement;
use crate::lifecycle::observation::printable;
use crate::lifecycle::rollout::{OnFailure, Rollout, Stage};
use crate::protocol::{Domain, HostName, MaxAge, Mode, MxPattern, Rua, TlsRptRecord};

/// Annotation: what a lost record is taken to have said at worst, in seconds.
const ASSUME_MAX_AGE: &str = "mta-sts.dev/assume-max-age-seconds";

/// The parsed spec, with the warnings that it deserves.
pub(super) fn desired(policy: &MtaStsPolicy) -> Result<(Desired, Vec<Finding>), Rejected> {
    let findings = lint(&policy.spec);
    if let Some((fault, more)) = worst(&findings) {
        let more = match more {
            0 => String::new(),
            n => format!(" (and {n} more, see status.findings)"),
        };
        return Err(Rejected {
            reason: Reason::InvalidSpec,
            message: format!("{fault}{more}"),
            findings,
        });
    }
    match parse_spec(policy) {
        Some(desired) => Ok((desired, findings)),
        // The rules above are meant to leave nothing over; if they do, nothing is published.
        None => Err(Rejected::new(
            Reason::InvalidSpec,
            "the spec has a value that cannot be read: compare it with kubectl explain mtastspolicy.spec",
        )),
    }
}

/// The first error as a sentence, and how many more there are.
fn worst(findings: &[Finding]) -> Option<(String, usize)> {
    let mut errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error);
    let first = errors.next()?;
    let remedy = first.remedy.as_deref().unwrap_or_default();
    let fault = format!("{}: {}. {remedy}", first.subject, first.message);
    Some((fault, errors.count()))
}

/// What the API library says about an object that is not of its kind's shape, fit to be shown.
pub(super) fn unreadable(error: &str) -> String {
    format!("the object cannot be read: {}", printable(error.as_bytes()))
}

/// The rules that the schema of a `DnsProvider` also has. Gives the first breach.
pub(super) fn lint_provider_spec(spec: &DnsProviderSpec) -> Result<(), String> {
    let DnsProviderSpec { dns, zones } = spec;
    first_fault(&ProviderFields {
        zones,
        services: services(dns),
        ..ProviderFields::default()
    })
}

/// The rules that the schema of a `ClusterDnsProvider` also has. Gives the first breach.
pub(super) fn lint_cluster_spec(spec: &ClusterDnsProviderSpec) -> Result<(), String> {
    let ClusterDnsProviderSpec {
        dns,
        zones,
        allowed_namespaces,
    } = spec;
    let expressions = allowed_namespaces.match_expressions.iter();
    first_fault(&ProviderFields {
        cluster: true,
        zones,
        allowed_namespaces: Some(
            expressions
                .map(|expression| (expression.operator.as_str(), expression.values.len()))
                .collect(),
        ),
        services: services(dns),
    })
}

fn services(spec: &DnsServiceSpec) -> Vec<ServiceFields<'_>> {
    let rfc2136 = spec.rfc2136.as_ref().map(rfc2136_fields);
    let blocks = own_blocks(spec).into_iter().map(|service| {
        ServiceFields::Api(ApiFields {
            block: service.description.block.unwrap_or_default(),
            config: service.config,
            secrets: match service.credentials {
                Credentials::Each(references) => references.into_iter().map(credential).collect(),
                Credentials::Secret(_) => Vec::new(),
            },
            ..ApiFields::default()
        })
    });
    let other = spec.service.as_ref().map(|other| {
        let config = other.config.iter();
        ServiceFields::Api(ApiFields {
            block: "service",
            name: &other.name,
            config: config.map(|(k, v)| (k.clone(), v.clone())).collect(),
            secret_name: Some(&other.credentials_secret_ref.name),
            ..ApiFields::default()
        })
    });
    let rfc2136 = rfc2136.into_iter().map(ServiceFields::Rfc2136);
    let webhook = spec
        .webhook
        .iter()
        .map(|webhook| ServiceFields::Webhook(&webhook.url));
    let endpoint = spec.dns_endpoint.iter().map(|_| ServiceFields::DnsEndpoint);
    let own = spec.authoritative.iter().map(|own| {
        let AuthoritativeSpec { zone, name_servers } = own;
        ServiceFields::Authoritative {
            zone,
            name_servers: name_servers.clone(),
        }
    });
    let named = rfc2136.chain(blocks).chain(other).chain(webhook);
    named.chain(endpoint).chain(own).collect()
}

fn credential((credential, reference): (String, SecretKeyRef)) -> CredentialFields {
    let SecretKeyRef { name, key } = reference;
    CredentialFields {
        credential,
        name,
        key,
    }
}

fn rfc2136_fields(spec: &Rfc2136Spec) -> Rfc2136Fields<'_> {
    let Rfc2136Spec { server, zone, tsig } = spec;
    let TsigSpec {
        key_name,
        algorithm: _, // an enum already
        secret_ref,
    } = tsig;
    Rfc2136Fields {
        server,
        zone: zone.as_deref(),
        key_name,
        algorithm: None,
        secret: SecretKeyFields {
            name: &secret_ref.name,
            key: &secret_ref.key,
        },
    }
}

fn first_fault(fields: &ProviderFields<'_>) -> Result<(), String> {
    match worst(&lint_provider(fields)) {
        None => Ok(()),
        Some((fault, _)) => Err(fault),
    }
}

/// The rules that the schema also has: for objects that were stored before a rule existed.
fn lint(spec: &MtaStsPolicySpec) -> Vec<Finding> {
    let names: Vec<String> = spec
        .mx_presets
        .iter()
        .map(|p| p.name().to_owned())
        .collect();
    let hosting = &spec.hosting;
    lint_spec(&SpecFields {
        domain: &spec.domain,
        mode: spec.mode.map(Mode::as_str),
        mx: &spec.mx,
        mx_presets: &names,
        max_age_seconds: spec.max_age_seconds,
        provider: spec
            .dns
            .provider_ref
            .as_ref()
            .map(|reference| SpecProvider {
                kind: Some(match reference.kind {
                    ProviderKind::DnsProvider => "DnsProvider",
                    ProviderKind::ClusterDnsProvider => "ClusterDnsProvider",
                }),
                name: &reference.name,
            }),
        ttl_seconds: Some(spec.dns.ttl_seconds),
        rollout: spec.rollout.as_ref().map(|rollout| SpecRollout {
            strategy: Some(rollout.strategy.as_str()),
            approval: Some(rollout.approval.as_str()),
            on_failure: Some(rollout.on_failure.as_str()),
            stages: rollout.stages.iter().map(stage_fields).collect(),
        }),
        rua: spec.tls_reporting.as_ref().map(|it| it.rua.as_slice()),
        enforcement: spec.enforcement.map(api::Enforcement::as_str),
        deletion_policy: spec.deletion_policy.map(DeletionPolicy::as_str),
        hosting: Some(SpecHosting {
            ingress: hosting.ingress.as_ref().map(ingress_fields),
            gateway: hosting
                .gateway
                .as_ref()
                .map(|gateway| gateway.parent_refs.iter().map(parent_fields).collect()),
            external: hosting.external.is_some(),
            address: hosting.address.as_ref().map(|address| SpecAddress {
                cname: address.cname.as_deref(),
                ipv4: &address.ipv4,
                ipv6: &address.ipv6,
                none: address.none.is_some(),
            }),
        }),
    })
}

fn parent_fields(parent: &GatewayParentRef) -> SpecParentRef<'_> {
    SpecParentRef {
        namespace: &parent.namespace,
        name: &parent.name,
        section_name: parent.section_name.as_deref(),
        port: parent.port.map(i64::from),
    }
}

fn stage_fields(stage: &StageSpec) -> SpecStage<'_> {
    let StageSpec {
        name,
        mode,
        max_age_seconds,
        min_duration_seconds,
    } = stage;
    SpecStage {
        name,
        mode: Some(mode.as_str()),
        max_age_seconds: Some(*max_age_seconds),
        min_duration_seconds: Some(*min_duration_seconds),
    }
}

fn ingress_fields(ingress: &IngressSpec) -> SpecIngress<'_> {
    SpecIngress {
        class_name: ingress.class_name.as_deref(),
        annotations: ingress
            .annotations
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect(),
        tls: ingress.tls.as_ref().map(|tls| SpecTls {
            secret_name: tls.secret_name.as_deref(),
            issuer: tls.issuer_ref.as_ref().map(|issuer| SpecIssuer {
                kind: Some(match issuer.kind {
                    IssuerKind::Issuer => "Issuer",
                    IssuerKind::ClusterIssuer => "ClusterIssuer",
                }),
                name: &issuer.name,
            }),
        }),
    }
}

/// What a valid spec asks for; `None` where a value cannot be read.
pub fn parse_spec(policy: &MtaStsPolicy) -> Option<Desired> {
    let spec = &policy.spec;
    let own = spec.mx.iter().map(|text| MxPattern::parse(text).ok());
    let mut mx: Vec<MxPattern> = own.collect::<Option<_>>()?;
    mx.extend(spec.mx_presets.iter().flat_map(|preset| preset.patterns()));
    mx.sort_by_key(ToString::to_string);
    mx.dedup();
    let max_age = match spec.max_age_seconds {
        Some(seconds) => Some(MaxAge::from_seconds(u32::try_from(seconds).ok()?).ok()?),
        None => None,
    };
    Some(Desired {
        domain: Domain::parse(&spec.domain).ok()?,
        mode: spec.mode,
        mx,
        max_age,
        rollout: match &spec.rollout {
            Some(rollout) if rollout.strategy == RolloutStrategy::Progressive => {
                Some(ladder(rollout)?)
            }
            _ => None,
        },
        enforcement: match spec.enforcement.unwrap_or_default() {
            api::Enforcement::Guarded => Enforcement::Guarded,
            api::Enforcement::Unconditional => Enforcement::Unconditional,
        },
        tls_rpt: match &spec.tls_reporting {
            Some(reporting) => Some(TlsRptRecord {
                rua: reporting
                    .rua
                    .iter()
                    .map(|text| Rua::parse(text).ok())
                    .collect::<Option<_>>()?,
            }),
            None => None,
        },
        ttl: u32::try_from(spec.dns.ttl_seconds).ok()?,
        adopt: spec.dns.adopt,
        external: spec.hosting.external.is_some(),
        address: address(policy)?,
        suspend: spec.suspend,
    })
}

fn ladder(spec: &RolloutSpec) -> Option<Rollout> {
    let stage = |written: &StageSpec| {
        Some(Stage {
            name: written.name.clone(),
            mode: written.mode,
            max_age: MaxAge::from_seconds(u32::try_from(written.max_age_seconds).ok()?).ok()?,
            min_duration: SignedDuration::from_secs(written.min_duration_seconds),
        })
    };
    let stages: Vec<Stage> = spec.stages.iter().map(stage).collect::<Option<_>>()?;
    Some(Rollout {
        stages: match stages.is_empty() {
            true => Rollout::default_stages(),
            false => stages,
        },
        manual: spec.approval == api::Approval::Manual,
        on_failure: match spec.on_failure {
            api::OnFailure::Freeze => OnFailure::Freeze,
            api::OnFailure::Rollback => OnFailure::Rollback,
        },
    })
}

fn address(policy: &MtaStsPolicy) -> Option<AddressWish> {
    let hosting = &policy.spec.hosting;
    let Some(address) = &hosting.address else {
        // Who serves the policy elsewhere has its address as well.
        return Some(if hosting.external.is_some() {
            AddressWish::LeaveAlone
        } else {
            AddressWish::FromIngress
        });
    };
    if address.none.is_some() {
        return Some(AddressWish::LeaveAlone);
    }
    if let Some(cname) = &address.cname {
        return Some(AddressWish::Cname(HostName::parse(cname).ok()?));
    }
    let v4 = address.ipv4.iter().map(|a| a.parse().ok());
    let v6 = address.ipv6.iter().map(|a| a.parse().ok());
    Some(AddressWish::Addresses(
        v4.collect::<Option<_>>()?,
        v6.collect::<Option<_>>()?,
    ))
}

/// What a lost record is taken to have said at worst.
pub(super) fn assume_max_age(policy: &MtaStsPolicy) -> Result<MaxAge, Rejected> {
    match policy.annotations().get(ASSUME_MAX_AGE) {
        None => Ok(MaxAge::MAX),
        Some(text) => text.parse().map_err(|error| {
            Rejected::new(
                Reason::InvalidSpec,
                format!("the annotation {ASSUME_MAX_AGE} is {text:?}: {error}"),
            )
        }),
    }
}
