//! Whether a chain is what TLSA records say (RFC 6698 §2.1, RFC 7672 §3).

use std::fmt;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::tls::{TrustStore, judge};
use crate::protocol::HostName;

const DANE_TA: u8 = 2;
const DANE_EE: u8 = 3;

/// One TLSA record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Tlsa {
    pub(super) usage: u8,
    pub(super) selector: u8,
    pub(super) matching: u8,
    pub(super) data: Vec<u8>,
}

impl Tlsa {
    /// Mail goes by usages 2 and 3 only (RFC 7672 §3.1.3).
    pub(super) fn is_usable(&self) -> bool {
        let length = match self.matching {
            0 => (!self.data.is_empty()).then_some(self.data.len()),
            1 => Some(32),
            2 => Some(64),
            _ => None,
        };
        matches!(self.usage, DANE_TA | DANE_EE)
            && self.selector <= 1
            && length == Some(self.data.len())
    }

    fn fits(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, x509)) = X509Certificate::from_der(certificate) else {
            return false;
        };
        let chosen: &[u8] = match self.selector {
            0 => certificate,
            _ => x509.public_key().raw,
        };
        match self.matching {
            0 => self.data == chosen,
            1 => self.data == digest(&SHA256, chosen).as_ref(),
            _ => self.data == digest(&SHA512, chosen).as_ref(),
        }
    }
}

impl fmt::Display for Tlsa {
    /// As in a zone file; a long one is cut.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = data_encoding::HEXLOWER.encode(self.data.get(..64).unwrap_or(&self.data));
        write!(
            f,
            "{} {} {} {data}",
            self.usage, self.selector, self.matching
        )
    }
}

/// Whether one of the usable records matches. With DANE-EE neither names nor dates count
/// (RFC 7672 §3.1.1); with DANE-TA the certificate has to lead to the one that is named, and to have
/// the name of the host.
pub(super) fn matches(
    records: &[Tlsa],
    chain: &[CertificateDer<'_>],
    host: &HostName,
    now: Timestamp,
) -> bool {
    records.iter().any(|record| match record.usage {
        DANE_EE => chain.first().is_some_and(|leaf| record.fits(leaf)),
        _ => chain.iter().skip(1).any(|anchor| {
            let trust = record
                .fits(anchor)
                .then(|| TrustStore::from_certificates([anchor.clone()]));
            trust.is_some_and(|trust| {
                trust.is_ok_and(|trust| judge(chain, host, &trust, now).problems.is_empty())
            })
        }),
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;

    fn chain(name: &str) -> Vec<CertificateDer<'static>> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let leaf = params
            .signed_by(&KeyPair::generate().unwrap(), &ca)
            .unwrap();
        vec![leaf.der().clone(), ca.der().clone()]
    }

    fn record(usage: u8, selector: u8, matching: u8, certificate: &CertificateDer<'_>) -> Tlsa {
        let (_, x509) = X509Certificate::from_der(certificate).unwrap();
        let chosen = match selector {
            0 => certificate.as_ref(),
            _ => x509.public_key().raw,
        };
        let data = match matching {
            0 => chosen.to_vec(),
            1 => digest(&SHA256, chosen).as_ref().to_vec(),
            _ => digest(&SHA512, chosen).as_ref().to_vec(),
        };
        Tlsa {
            usage,
            selector,
            matching,
            data,
        }
    }

    #[test]
    fn a_record_matches_what_it_was_made_of_and_nothing_else() {
        let host = HostName::parse("mx.example.org").unwrap();
        let (ours, other) = (chain("mx.example.org"), chain("mx.example.org"));
        let misnamed = chain("elsewhere.example.org");
        let now: Timestamp = "2026-06-15T12:00:00Z".parse().unwrap();
        let is = |record: Tlsa, chain: &[CertificateDer<'_>]| {
            assert!(record.is_usable(), "{record}");
            matches(&[record], chain, &host, now)
        };
        for (selector, matching) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
            let case = format!("{selector} {matching}");
            assert!(is(record(3, selector, matching, &ours[0]), &ours), "{case}");
            assert!(
                !is(record(3, selector, matching, &other[0]), &ours),
                "{case}"
            );
            assert!(
                !is(record(3, selector, matching, &ours[1]), &ours),
                "{case}"
            );
            assert!(is(record(2, selector, matching, &ours[1]), &ours), "{case}");
            assert!(
                !is(record(2, selector, matching, &other[1]), &ours),
                "{case}"
            );
        }
        assert!(
            is(record(3, 1, 1, &misnamed[0]), &misnamed),
            "EE has no name"
        );
        assert!(!is(record(2, 1, 1, &misnamed[1]), &misnamed), "TA has one");
        let after = "2999-01-01T00:00:00Z".parse().unwrap();
        assert!(matches(&[record(3, 1, 1, &ours[0])], &ours, &host, after));
        assert!(!matches(&[record(3, 1, 1, &ours[0])], &[], &host, now));
    }

    #[test]
    fn mail_goes_by_some_records_only() {
        let leaf = &chain("mx.example.org")[0];
        for (usage, usable) in [
            (0, false),
            (1, false),
            (2, true),
            (3, true),
            (4, false),
            (255, false),
        ] {
            assert_eq!(record(usage, 1, 1, leaf).is_usable(), usable, "{usage}");
        }
        let good = record(3, 1, 1, leaf);
        for bad in [
            Tlsa {
                selector: 2,
                ..good.clone()
            },
            Tlsa {
                matching: 3,
                ..good.clone()
            },
            Tlsa {
                matching: 2,
                ..good.clone()
            },
            Tlsa {
                data: Vec::new(),
                matching: 0,
                ..good.clone()
            },
        ] {
            assert!(!bad.is_usable(), "{bad}");
        }
    }
}
