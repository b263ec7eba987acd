//! What external-dns makes of a DNSEndpoint, judged by what the authoritative servers show. Its
//! faults were seen in 0.21; docs/providers/dns-endpoint.md has them in full.

use super::text::printable;

/// What is known of a record that external-dns is to write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExternalDns<'a> {
    /// `NAMESPACE/NAME` of the DNSEndpoint.
    pub object: &'a str,
    /// What is waited for, as the start of a sentence: "the TXT record".
    pub what: &'a str,
    /// Whether external-dns says that it has read the object as it is.
    pub read: bool,
    /// Whether TXT values stand between quotes in the object.
    pub quoted: bool,
    /// The text that is to be shown; none for an address.
    pub wanted: Option<&'a str>,
    /// The texts that the authoritative servers show at its name.
    pub shown: &'a [Vec<u8>],
}

/// Why the authoritative servers do not show what the DNSEndpoint says, and what to do.
pub fn external_dns(seen: &ExternalDns<'_>) -> String {
    let ExternalDns { object, what, .. } = seen;
    if let Some(fault) = fault_of_value(seen) {
        return format!("{what} is not what the DNSEndpoint {object} says: {fault}");
    }
    let start = format!("{what} is handed over as the DNSEndpoint {object}, ");
    if !seen.read {
        return start
            + "which external-dns has not read yet: run it with --source=crd, without a --namespace, \
               --label-filter or --annotation-filter that leaves the object out, and let it write \
               the object's status";
    }
    let types = match seen.wanted {
        Some(_) => "TXT",
        None => "A, AAAA and CNAME",
    };
    let old = seen.shown.iter().any(|text| is_sts(text));
    match old {
        true => {
            start
                + "which external-dns has read, and the servers still show the record before it: if \
                   that lasts, look for --registry=txt (0.21 never changes a TXT record with it; use \
                   --registry=noop or dynamodb) and for errors in its log"
        }
        false => {
            start
                + &format!(
                    "which external-dns has read, and the servers do not show it yet: if that lasts, \
                     give it --managed-record-types for {types}, a --domain-filter with the zone, \
                     and look for errors in its log"
                )
        }
    }
}

/// What is wrong with a value that is there.
fn fault_of_value(seen: &ExternalDns<'_>) -> Option<String> {
    let wanted = seen.wanted?.as_bytes();
    let sts: Vec<&Vec<u8>> = seen.shown.iter().filter(|text| is_sts(text)).collect();
    let cut = sts.iter().any(|text| {
        !text.contains(&b';') && wanted.starts_with(text.as_slice()) && text.as_slice() != wanted
    });
    if cut {
        let remedy = match seen.quoted {
            true => "",
            false => ", or set dnsEndpoint.quoteTxt back to true",
        };
        return Some(format!(
            "its value was cut at the first semicolon, which external-dns does with its provider \
             rfc2136; use this operator's own provider rfc2136 instead{remedy}"
        ));
    }
    if seen.shown.iter().any(|text| is_quoted_sts(text)) {
        return Some(
            "the quotes became part of the record; set dnsEndpoint.quoteTxt: false".to_owned(),
        );
    }
    let right = sts.iter().any(|text| text.as_slice() == wanted);
    if right && sts.len() > 1 {
        let other = sts.iter().find(|text| text.as_slice() != wanted);
        let other = other.map(|text| String::from_utf8_lossy(text).into_owned());
        return Some(format!(
            "the record before it is still there as well (\"{}\"), which is no policy at all; \
             external-dns leaves it so with its provider rfc2136: remove it by hand, and use this \
             operator's own provider rfc2136 instead",
            printable(&other.unwrap_or_default())
        ));
    }
    None
}

fn is_sts(text: &[u8]) -> bool {
    text.starts_with(b"v=STSv1")
}

fn is_quoted_sts(text: &[u8]) -> bool {
    text.first() == Some(&b'"') && text.get(1..).is_some_and(is_sts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: &str = "v=STSv1; id=2;";

    fn told(read: bool, quoted: bool, shown: &[&str]) -> String {
        let shown: Vec<Vec<u8>> = shown.iter().map(|text| text.as_bytes().to_vec()).collect();
        external_dns(&ExternalDns {
            object: "mail/dns-example-org",
            what: "the TXT record",
            read,
            quoted,
            wanted: Some(WANTED),
            shown: &shown,
        })
    }

    #[test]
    fn each_fault_is_told_apart_with_what_to_do() {
        for (case, read, quoted, shown, says) in [
            ("not read", false, true, &[][..], "--source=crd"),
            (
                "not read, an old one",
                false,
                true,
                &["v=STSv1; id=1;"][..],
                "--source=crd",
            ),
            (
                "read, nothing there",
                true,
                true,
                &[][..],
                "--managed-record-types for TXT",
            ),
            (
                "only others",
                true,
                true,
                &["v=spf1 -all"][..],
                "--managed-record-types for TXT",
            ),
            (
                "read, the old one",
                true,
                true,
                &["v=STSv1; id=1;"][..],
                "--registry=txt",
            ),
            (
                "cut, bare",
                true,
                false,
                &["v=STSv1"][..],
                "quoteTxt back to true",
            ),
            (
                "cut, quoted",
                true,
                true,
                &["v=STSv1"][..],
                "own provider rfc2136",
            ),
            (
                "quotes within",
                true,
                true,
                &["\"v=STSv1; id=2;\""][..],
                "quoteTxt: false",
            ),
            (
                "two",
                true,
                true,
                &["v=STSv1; id=1;", WANTED][..],
                "(\"v=STSv1; id=1;\")",
            ),
            (
                "cut, not noted as read",
                false,
                true,
                &["v=STSv1"][..],
                "cut at the first semicolon",
            ),
        ] {
            let told = told(read, quoted, shown);
            assert!(told.contains(says), "{case}: {told}");
            assert!(told.contains("mail/dns-example-org"), "{case}: {told}");
        }
    }

    #[test]
    fn an_address_is_told_with_its_types() {
        let told = external_dns(&ExternalDns {
            object: "mail/dns-mta-sts-example-org",
            what: "the address record",
            read: true,
            quoted: true,
            wanted: None,
            shown: &[],
        });
        assert!(told.contains("A, AAAA and CNAME"), "{told}");
    }
}
