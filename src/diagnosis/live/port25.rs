//! Port 25 as a run over several domains has seen it: whether any outside host answers there at all.

use super::mx::nowhere;
use super::{DomainSeen, Judged, MxHostSeen, MxSeen, SmtpSeen};
use crate::diagnosis::{Code, Finding};

/// Judges a run over several domains.
///
/// Where no MX host of any domain answers on port 25, it gives the one finding that says so, and takes
/// those of the domains away. Where one does, it is not this network that keeps the port shut: a domain
/// whose MX hosts are silent hears of it.
pub fn port_25(mut run: Vec<(&DomainSeen, &mut Judged)>) -> Option<Finding> {
    if run.len() < 2 {
        return None;
    }
    let hosts: Vec<&MxHostSeen> = run.iter().flat_map(|(seen, _)| asked(seen)).collect();
    match hosts.iter().find(|host| silence(host).is_none()) {
        Some(answers) => {
            for (seen, judged) in &mut run {
                point_elsewhere(seen, judged, &answers.host);
            }
            None
        }
        None => {
            let why = hosts.iter().find_map(|host| silence(host))?;
            for (_, judged) in &mut run {
                let others = |it: &Finding| it.code != Code::MxUnreachable;
                judged.findings.retain(others);
            }
            let cause = "most likely this network lets no outgoing mail through";
            let found = nowhere("port 25", hosts.len(), cause).with_evidence(why);
            Some(found.with_remedy("run this where port 25 is open, or with --smtp off"))
        }
    }
}

fn point_elsewhere(seen: &DomainSeen, judged: &mut Judged, answers: &str) {
    let domain = seen.domain.as_str();
    let is_whole = |it: &&mut Finding| it.code == Code::MxUnreachable && it.subject == domain;
    let Some(finding) = judged.findings.iter_mut().find(is_whole) else {
        return;
    };
    let cause = format!("this network lets mail out, since {answers} answers");
    let mut found = nowhere(domain, asked(seen).count(), &cause);
    found.evidence = finding.evidence.take();
    *finding = found.with_remedy("open port 25 of the MX hosts to the world");
}

/// The MX hosts whose port 25 was asked.
fn asked(seen: &DomainSeen) -> impl Iterator<Item = &MxHostSeen> {
    let hosts = match &seen.mx {
        MxSeen::Hosts(hosts) => hosts.as_slice(),
        MxSeen::Failed(_) | MxSeen::None | MxSeen::Null => &[],
    };
    let asked =
        |host: &&MxHostSeen| !matches!(host.smtp, SmtpSeen::NotAsked | SmtpSeen::Private(_));
    hosts.iter().filter(asked)
}

fn silence(host: &MxHostSeen) -> Option<&str> {
    match &host.smtp {
        SmtpSeen::Unreachable(why) => Some(why),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{good, good_tls, mx_host, now};
    use super::super::{SmtpSeen, judge};
    use super::*;
    use crate::diagnosis::Severity;

    /// Domains, each with these MX hosts, judged as a run: what each has of port 25, and what the run has.
    fn run(domains: &[&[SmtpSeen]]) -> (Vec<Vec<Finding>>, Option<Finding>) {
        let seen = domains.iter().map(|hosts| DomainSeen {
            mx: MxSeen::Hosts(hosts.iter().cloned().map(mx_host).collect()),
            ..good()
        });
        let mut all: Vec<(DomainSeen, Judged)> = seen
            .map(|seen| {
                let judged = judge(&seen, now());
                (seen, judged)
            })
            .collect();
        let found = port_25(
            all.iter_mut()
                .map(|(seen, judged)| (&*seen, judged))
                .collect(),
        );
        let of_port = |judged: Judged| {
            let all = judged.findings.into_iter();
            all.filter(|it| it.code == Code::MxUnreachable).collect()
        };
        (all.into_iter().map(|(_, it)| of_port(it)).collect(), found)
    }

    fn silent() -> SmtpSeen {
        SmtpSeen::Unreachable("192.0.2.25: timed out".to_owned())
    }

    #[test]
    fn a_port_that_no_host_answers_on_is_told_once() {
        let (domains, found) = run(&[&[silent(), silent()], &[silent()], &[SmtpSeen::NotAsked]]);
        assert_eq!(domains, [vec![], vec![], vec![]]);
        let found = found.unwrap();
        assert_eq!(found.code, Code::MxUnreachable);
        assert_eq!(found.severity, Severity::Unknown);
        assert!(found.message.contains("none of 3 MX hosts"), "{found:?}");
        assert_eq!(found.evidence.as_deref(), Some("192.0.2.25: timed out"));
    }

    #[test]
    fn where_one_host_answers_the_network_is_not_to_blame() {
        for answer in [
            SmtpSeen::Tls(good_tls()),
            SmtpSeen::NoStartTls("it greets with: 554 no".to_owned()),
        ] {
            let (domains, found) = run(&[&[silent()], &[silent(), answer]]);
            assert_eq!(found, None);
            let [first, second] = domains.as_slice() else {
                panic!("two domains: {domains:?}");
            };
            assert!(first[0].message.contains("lets mail out"), "{first:?}");
            assert_eq!(first[0].evidence.as_deref(), Some("192.0.2.25: timed out"));
            // Of one MX among others nothing changes.
            assert!(
                second[0].message.contains("does not answer there"),
                "{second:?}"
            );
        }
    }

    #[test]
    fn one_domain_and_none_that_was_asked_say_nothing_of_the_network() {
        let (domains, found) = run(&[&[silent()]]);
        assert_eq!((domains[0].len(), found), (1, None));
        let (_, found) = run(&[
            &[SmtpSeen::NotAsked],
            &[SmtpSeen::Private("private".to_owned())],
        ]);
        assert_eq!(found, None);
    }
}
