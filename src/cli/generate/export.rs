//! The texts that `mta-sts generate` writes. (pure)

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::Timestamp;

use super::Format;
use crate::protocol::{Domain, HostName, MaxAge, Mode, MxPattern, MxPreset, POLICY_PATH, Policy};

/// What is to be written.
pub(super) struct Wish {
    pub(super) domain: Domain,
    pub(super) mode: Mode,
    /// None: what fits the mode.
    pub(super) max_age: Option<MaxAge>,
    /// The live MX hosts; at least one.
    pub(super) hosts: Vec<HostName>,
    pub(super) now: Timestamp,
}

impl Wish {
    /// The policy body: for each host the pattern of its provider that covers it, or the host.
    pub(super) fn body(&self) -> String {
        let pattern = |host: &HostName| {
            let mut of_providers = MxPreset::all().flat_map(MxPreset::patterns);
            let known = of_providers.find(|pattern| pattern.matches(host));
            known.or_else(|| host.as_str().parse().ok())
        };
        let mut mx: Vec<MxPattern> = self.hosts.iter().filter_map(pattern).collect();
        mx.sort_by_key(ToString::to_string);
        mx.dedup();
        Policy {
            mode: self.mode,
            max_age: self.max_age(),
            mx,
        }
        .render()
    }

    fn max_age(&self) -> MaxAge {
        self.max_age.unwrap_or(match self.mode {
            Mode::Enforce => MaxAge::WEEK,
            Mode::Testing | Mode::None => MaxAge::DAY,
        })
    }

    /// The id of a policy that was made now: whoever changes the policy writes a greater one.
    fn id(&self) -> String {
        self.now.strftime("%Y%m%d%H%M%S").to_string()
    }

    pub(super) fn export(&self, format: Format) -> String {
        match format {
            Format::Manifest => self.manifest(),
            Format::Policy => self.body(),
            Format::Zone => self.zone(),
            Format::Nginx => self.nginx(),
            Format::Caddy => self.caddy(),
            Format::Worker => self.worker(),
            Format::Pages => self.pages(),
        }
    }

    fn manifest(&self) -> String {
        let covers = |preset: MxPreset, host: &HostName| {
            preset
                .patterns()
                .iter()
                .any(|pattern| pattern.matches(host))
        };
        let is_used = |preset: &MxPreset| self.hosts.iter().any(|host| covers(*preset, host));
        let presets: Vec<MxPreset> = MxPreset::all().filter(is_used).collect();
        let own = self
            .hosts
            .iter()
            .filter(|host| !presets.iter().any(|it| covers(*it, host)));
        let own: BTreeSet<&str> = own.map(HostName::as_str).collect();
        let name = self.domain.as_str().replace('.', "-");
        let (domain, mode) = (&self.domain, self.mode);
        let hosts: Vec<&str> = self.hosts.iter().map(HostName::as_str).collect();
        let mut text = format!(
            "# The MX of {domain} as they were on {}: {}\n\
             apiVersion: mta-sts.dev/v1alpha1\nkind: MtaStsPolicy\nmetadata:\n  name: {name}\n\
             spec:\n  domain: {domain}\n  mode: {mode}\n",
            self.now.strftime("%Y-%m-%d"),
            hosts.join(", ")
        );
        let list = |text: &mut String, key: &str, items: &[&str]| {
            if !items.is_empty() {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "  {key}:");
                items.iter().for_each(|item| {
                    let _ = writeln!(text, "    - {item}");
                });
            }
        };
        let presets: Vec<&str> = presets.into_iter().map(MxPreset::name).collect();
        list(&mut text, "mxPresets", &presets);
        list(&mut text, "mx", &own.into_iter().collect::<Vec<_>>());
        if let Some(max_age) = self.max_age {
            let _ = writeln!(text, "  maxAgeSeconds: {}", max_age.seconds());
        }
        text
    }

    fn zone(&self) -> String {
        let (host, record, reports) = (
            self.domain.policy_host(),
            self.domain.sts_record_name(),
            self.domain.tlsrpt_record_name(),
        );
        format!(
            "; The address of the host that serves https://{host}{POLICY_PATH}\n\
             {host}. 300 IN CNAME where-it-is-served.example.net.\n\
             ; Only after the policy is served. A greater id with each change of the policy, after it.\n\
             {record}. 300 IN TXT \"v=STSv1; id={};\"\n\
             ; Where senders report what fails; an address of another domain is better.\n\
             {reports}. 3600 IN TXT \"v=TLSRPTv1; rua=mailto:tls-reports@{}\"\n",
            self.id(),
            self.domain
        )
    }

    fn nginx(&self) -> String {
        let host = self.domain.policy_host();
        // nginx reads \r and \n within quotes.
        let body = self.body().replace('\r', "\\r").replace('\n', "\\n");
        format!(
            "server {{\n    listen 443 ssl;\n    listen [::]:443 ssl;\n    server_name {host};\n    \
             ssl_certificate /etc/letsencrypt/live/{host}/fullchain.pem;\n    \
             ssl_certificate_key /etc/letsencrypt/live/{host}/privkey.pem;\n    \
             location = {POLICY_PATH} {{\n        default_type \"text/plain; charset=utf-8\";\n        \
             add_header Cache-Control no-store;\n        return 200 \"{body}\";\n    }}\n}}\n"
        )
    }

    fn caddy(&self) -> String {
        let host = self.domain.policy_host();
        // A policy may end its lines with LF alone, and Caddy's own texts do.
        let body = self.body().replace('\r', "");
        format!(
            "{host} {{\n\theader {POLICY_PATH} Content-Type \"text/plain; charset=utf-8\"\n\t\
             header {POLICY_PATH} Cache-Control no-store\n\trespond {POLICY_PATH} <<POLICY\n{}\n\tPOLICY 200\n}}\n",
            indented(body.trim_end())
        )
    }

    fn worker(&self) -> String {
        let body = self.body().replace('\r', "\\r").replace('\n', "\\n");
        format!(
            "// For the custom domain {} of the Worker.\nconst policy = \"{body}\";\n\n\
             export default {{\n  fetch(request) {{\n    \
             if (new URL(request.url).pathname !== \"{POLICY_PATH}\") {{\n      \
             return new Response(\"not found\\n\", {{ status: 404 }});\n    }}\n    \
             return new Response(policy, {{\n      headers: {{\n        \
             \"Content-Type\": \"text/plain; charset=utf-8\",\n        \"Cache-Control\": \"no-store\",\n      \
             }},\n    }});\n  }},\n}};\n",
            self.domain.policy_host()
        )
    }

    fn pages(&self) -> String {
        let host = self.domain.policy_host();
        let body = self.body().replace('\r', "");
        format!(
            "#!/bin/sh\n# Run it in the folder of the site that is served at {host}.\nset -eu\n\
             mkdir -p .well-known\ncat > .well-known/mta-sts.txt <<'POLICY'\n{body}POLICY\n\
             # GitHub Pages: serve the folder that begins with a dot, under this name.\n\
             touch .nojekyll\necho {host} > CNAME\n\
             # Cloudflare Pages: the media type.\n\
             cat > _headers <<'HEADERS'\n{POLICY_PATH}\n  Content-Type: text/plain; charset=utf-8\n  Cache-Control: no-store\nHEADERS\n"
        )
    }
}

fn indented(text: &str) -> String {
    let lines = text.lines().map(|line| format!("\t{line}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(hosts: &[&str]) -> Wish {
        Wish {
            domain: Domain::parse("example.org").unwrap(),
            mode: Mode::Testing,
            max_age: None,
            hosts: hosts
                .iter()
                .map(|host| HostName::parse(host).unwrap())
                .collect(),
            now: "2026-11-26T22:10:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn providers_are_recognised_and_others_stand_by_themselves() {
        for (case, hosts, manifest, body) in [
            (
                "own",
                &["mx1.example.org", "mx2.example.org"][..],
                &["mx:", "- mx1.example.org", "- mx2.example.org"][..],
                &["mx: mx1.example.org", "mx: mx2.example.org"][..],
            ),
            (
                "Google",
                &["aspmx.l.google.com", "alt1.aspmx.l.google.com"],
                &["- google-workspace"],
                &["mx: aspmx.l.google.com", "mx: *.aspmx.l.google.com"],
            ),
            (
                "Microsoft",
                &["example-org.mail.protection.outlook.com"],
                &["- microsoft-365"],
                &["mx: *.mail.protection.outlook.com"],
            ),
            (
                "both",
                &["smtp.google.com", "backup.example.net"],
                &["- google-workspace", "- backup.example.net"],
                &["mx: smtp.google.com", "mx: backup.example.net"],
            ),
        ] {
            let wish = wish(hosts);
            let written = wish.export(Format::Manifest);
            assert!(
                manifest.iter().all(|line| written.contains(line)),
                "{case}: {written}"
            );
            let policy = wish.body();
            assert!(
                body.iter().all(|line| policy.contains(line)),
                "{case}: {policy}"
            );
            let parsed = Policy::parse(policy.as_bytes()).unwrap();
            for host in &wish.hosts {
                assert!(
                    parsed.mx.iter().any(|pattern| pattern.matches(host)),
                    "{case}: {host}"
                );
            }
            // No more than what is needed: a policy of 27 patterns helps nobody to read it.
            assert!(parsed.mx.len() <= hosts.len(), "{case}: {policy}");
        }
    }

    #[test]
    fn every_form_holds_the_policy_or_its_record() {
        let wish = wish(&["mx.example.org"]);
        for format in [Format::Nginx, Format::Caddy, Format::Worker, Format::Pages] {
            let text = wish.export(format);
            assert!(text.contains("mx: mx.example.org"), "{format:?}: {text}");
            assert!(text.contains("mta-sts.example.org"), "{format:?}: {text}");
            assert!(text.contains("text/plain"), "{format:?}: {text}");
        }
        let zone = wish.export(Format::Zone);
        assert!(zone.contains("\"v=STSv1; id=20261126221000;\""), "{zone}");
    }
}
