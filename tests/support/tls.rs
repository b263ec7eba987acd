//! A certificate authority for tests, and TLS clients that trust it.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// When a certificate is valid.
#[derive(Clone, Copy, Debug)]
pub enum Validity {
    /// From 2020 to the end of 2049.
    Now,
    /// For the year 2020.
    Expired,
    /// For the year 2049.
    NotYet,
    /// For another five days; it was meant for ninety.
    Ending,
}

/// A root certificate with its key.
pub struct TestCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl TestCa {
    /// Makes one with a key of its own; `name` is its common name.
    pub fn new(name: &str) -> Self {
        let mut params = params(&[], Validity::Now);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).expect("a root certificate"),
        }
    }

    /// The root certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server certificate for DNS names and IP addresses, with its key, both as PEM.
    pub fn issue(&self, names: &[&str], validity: Validity) -> (String, String) {
        let mut params = params(names, validity);
        params.distinguished_name.push(DnType::CommonName, "test");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

fn params(names: &[&str], validity: Validity) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names that fit a certificate");
    params.distinguished_name = rcgen::DistinguishedName::new();
    let (first, last) = match validity {
        Validity::Now => (2020, 2049),
        Validity::Expired => (2020, 2020),
        Validity::NotYet => (2049, 2049),
        Validity::Ending => {
            // So many days from today.
            let day = |days: i64| {
                let at = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
                let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
                let part = |number: i8| u8::try_from(number).expect("a date");
                date_time_ymd(date.year().into(), part(date.month()), part(date.day()))
            };
            params.not_before = day(-85);
            params.not_after = day(5);
            return params;
        }
    };
    params.not_before = date_time_ymd(first, 1, 1);
    params.not_after = date_time_ymd(last, 12, 31);
    params
}

/// Connects to `address` and shakes hands for `name`, trusting `ca_pem` alone.
pub async fn connect(
    address: SocketAddr,
    name: &str,
    ca_pem: &str,
) -> Result<TlsStream<TcpStream>, String> {
    let name = ServerName::try_from(name.to_owned()).map_err(|why| why.to_string())?;
    let tcp = TcpStream::connect(address)
        .await
        .map_err(|why| format!("{address}: {why}"))?;
    let connector = TlsConnector::from(Arc::new(client_config(ca_pem)));
    connector
        .connect(name, tcp)
        .await
        .map_err(|why| format!("TLS with {address}: {why}"))
}

/// A TLS client that trusts `ca_pem` alone.
pub fn client_config(ca_pem: &str) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots
            .add(certificate.expect("PEM"))
            .expect("a root certificate");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider's own versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}
