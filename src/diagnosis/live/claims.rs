//! Names that somebody else can take: behind an alias of the policy host, in a pattern of the policy.

use super::around::Around;
use super::{AddressSeen, DomainSeen, HostSeen, Outcome};
use crate::diagnosis::{Code, Finding};
use crate::protocol::Policy;

/// Services under whose domain anybody can take a name that is free.
const SERVICES: &[&str] = &[
    "azurewebsites.net",
    "azureedge.net",
    "azurefd.net",
    "blob.core.windows.net",
    "cloudapp.azure.com",
    "cloudapp.net",
    "elasticbeanstalk.com",
    "fly.dev",
    "github.io",
    "gitlab.io",
    "herokuapp.com",
    "herokudns.com",
    "netlify.app",
    "onrender.com",
    "pages.dev",
    "s3.amazonaws.com",
    "surge.sh",
    "trafficmanager.net",
    "vercel.app",
    "web.app",
    "workers.dev",
];

/// The pages by which services say that nobody holds a name there.
const FREE: &[(&str, &str)] = &[
    ("There isn't a GitHub Pages site here.", "GitHub Pages"),
    ("<Code>NoSuchBucket</Code>", "Amazon S3"),
    ("<title>No such app</title>", "Heroku"),
    ("Fastly error: unknown domain", "Fastly"),
    ("project not found", "Surge"),
    ("404 Web Site not found", "Azure"),
];

pub(super) fn dangling(seen: &DomainSeen) -> Option<Finding> {
    let host = seen.domain.policy_host();
    let alias = seen.around.host_alias.as_ref()?;
    let target = &alias.target;
    let under = |service: &&&str| {
        let rest = target.strip_suffix(**service);
        rest.is_some_and(|rest| rest.ends_with('.'))
    };
    let service = SERVICES.iter().find(under);
    let why = match (alias.registered, service, alias.exists) {
        (Some(false), ..) => "its domain is not registered: anybody can do that".to_owned(),
        (_, Some(service), false) => {
            format!("it does not exist, and anybody can take it at {service}")
        }
        _ => format!("{} says that nobody holds it", free(&seen.host)?),
    };
    let message = "the policy host is an alias to a name that nobody holds any more: whoever takes it can plant a policy for your mail";
    Some(
        Finding::new(Code::HostDangling, host.as_str(), message)
            .with_evidence(&format!("{host} leads to {target}; {why}"))
            .with_remedy(&format!(
                "take the CNAME at {host} away, or take {target} yourself"
            )),
    )
}

/// The service whose page says so, on every address that answers.
fn free(host: &HostSeen) -> Option<&'static str> {
    let HostSeen::Addresses(addresses) = host else {
        return None;
    };
    let of = |it: &AddressSeen| match &it.outcome {
        Outcome::Response {
            status: 400..,
            body: Ok(body),
            ..
        } => {
            let text = String::from_utf8_lossy(body);
            FREE.iter().find(|(mark, _)| text.contains(mark))
        }
        _ => None,
    };
    addresses.iter().find_map(of).map(|(_, service)| *service)
}

pub(super) fn lapsed(around: &Around, policy: Option<&Policy>) -> Vec<Finding> {
    let patterns = policy.map_or(&[][..], |policy| policy.mx.as_slice());
    let findings = patterns.iter().filter_map(|pattern| {
        let host = pattern.host().as_str();
        let is_below = |domain: &&String| {
            host == domain.as_str() || host.strip_suffix(domain.as_str()).is_some_and(|it| it.ends_with('.'))
        };
        let domain = around.lapsed.iter().find(is_below)?;
        let message = "the domain of this pattern is not registered: whoever does that is trusted with your mail";
        Some(
            Finding::new(Code::MxPatternLapsed, &pattern.to_string(), message)
                .with_evidence(&format!("{domain} does not exist"))
                .with_remedy("take the pattern out of the policy, and change its id"),
        )
    });
    findings.collect()
}
