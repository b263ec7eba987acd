//! TLS as a probe sees it: the handshake goes on whatever the certificate is, and the verdict on
//! the certificate is given apart, with everything that is wrong at once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature,
    verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, PeerIncompatible,
    RootCertStore, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};

use crate::limits;
use crate::protocol::HostName;

/// Makes aws-lc-rs the cryptography of every rustls user in the process. Calling it again, or
/// after somebody else chose, changes nothing.
pub fn install_crypto_provider() {
    let _ = aws_lc_rs::default_provider().install_default();
}

/// The certificates that a chain may end in.
#[derive(Clone, Debug)]
pub struct TrustStore {
    roots: Arc<RootCertStore>,
}

/// Why there is nothing to check certificates with.
#[derive(Debug, thiserror::Error)]
pub enum TrustStoreError {
    /// The file cannot be read.
    #[error("the CA file {path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file has more than [`limits::CA_FILE_BYTES`].
    #[error("the CA file {path} has more than {limit} bytes", limit = limits::CA_FILE_BYTES)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not PEM, or has no certificate that can be used.
    #[error("the CA file {path} has no certificate in PEM form")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// No system certificates and no file.
    #[error(
        "no trusted certificates: install the system's (ca-certificates), set SSL_CERT_FILE or give a CA file"
    )]
    Empty,
}

impl TrustStore {
    /// The configuration of a TLS client that trusts these.
    ///
    /// # Errors
    /// If the cryptography has no protocol version, which it always has.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        Ok(Arc::new(config))
    }

    /// The certificates that the system trusts, and those in `ca_file` (PEM).
    pub fn load(ca_file: Option<&Path>) -> Result<Self, TrustStoreError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = ca_file {
            let (added, _) = roots.add_parsable_certificates(read_ca_file(path)?);
            if added == 0 {
                return Err(TrustStoreError::NoCertificate {
                    path: path.to_owned(),
                });
            }
        }
        Self::of(roots)
    }

    /// Exactly these certificates, and not the system's.
    pub fn from_certificates<'a>(
        certificates: impl IntoIterator<Item = CertificateDer<'a>>,
    ) -> Result<Self, TrustStoreError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates);
        Self::of(roots)
    }

    fn of(roots: RootCertStore) -> Result<Self, TrustStoreError> {
        if roots.is_empty() {
            return Err(TrustStoreError::Empty);
        }
        Ok(Self {
            roots: Arc::new(roots),
        })
    }
}

fn read_ca_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustStoreError> {
    let read = |source| TrustStoreError::Read {
        path: path.to_owned(),
        source,
    };
    if std::fs::metadata(path).map_err(read)?.len() > limits::CA_FILE_BYTES {
        return Err(TrustStoreError::TooLarge {
            path: path.to_owned(),
        });
    }
    let pem = std::fs::read(path).map_err(read)?;
    CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| TrustStoreError::NoCertificate {
            path: path.to_owned(),
        })
}

/// What a TLS handshake showed.
#[derive(Clone, PartialEq, Debug)]
pub struct TlsVerdict {
    /// Everything that is wrong; empty if a sender would go on.
    pub problems: Vec<TlsProblem>,
    /// The server's certificate, as far as it came and can be read.
    pub certificate: Option<Certificate>,
}

/// The facts of a certificate that a report needs. Texts are cut and free of control characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// Start of its validity.
    pub not_before: Timestamp,
    /// End of its validity.
    pub not_after: Timestamp,
    /// Who issued it, as a distinguished name.
    pub issuer: String,
    /// Its DNS names (SAN), at most [`limits::CERTIFICATE_NAMES`] of them.
    pub names: Vec<String>,
    /// How many DNS names there are.
    pub names_total: usize,
}

/// One thing that is wrong with a server's TLS (RFC 8461 §3.3, §4.2).
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum TlsProblem {
    /// The certificate, or one above it, is past its end.
    #[error("the certificate, or one above it, has expired")]
    Expired,
    /// The certificate, or one above it, is not yet valid.
    #[error("the certificate, or one above it, is not yet valid")]
    NotYetValid,
    /// No SAN for the host. A subject CN never counts.
    #[error("the certificate has no SAN for the host, it has: {}", .names.join(", "))]
    NameMismatch {
        /// The names that it has, as in [`Certificate::names`].
        names: Vec<String>,
    },
    /// It was issued by itself.
    #[error("the certificate is self-signed")]
    SelfSigned,
    /// The server sent its certificate alone, and who issued it is not a trusted root.
    #[error(
        "the certificate came alone and its issuer is no trusted root: send the intermediate of {issuer} with it"
    )]
    IncompleteChain {
        /// Who issued it.
        issuer: String,
    },
    /// The chain does not lead to a trusted root.
    #[error("the chain does not lead to a trusted root: {0}")]
    Untrusted(CertificateError),
    /// No TLS 1.2 or later (RFC 8461 §7).
    #[error("the server does not speak TLS 1.2 or later")]
    VersionTooOld,
    /// Anything else that stopped the handshake.
    #[error("the TLS handshake failed: {0}")]
    Handshake(HandshakeFailure),
}

/// What stopped a handshake.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum HandshakeFailure {
    /// The protocol was not kept, or the server sent an alert.
    #[error("{0}")]
    Tls(rustls::Error),
    /// The connection broke.
    #[error("the connection broke ({0})")]
    Io(io::ErrorKind),
    /// No end in time.
    #[error("no end in time")]
    Timeout,
}

/// Shakes hands for `host` on `stream`. The connection is there for use even when the verdict
/// is bad, so that all that is wrong can be told at once; nothing secret may be sent on it.
pub(crate) async fn handshake<S>(
    stream: S,
    host: &HostName,
    alpn: &[&[u8]],
    trust: &TrustStore,
    now: Timestamp,
    deadline: Instant,
) -> (Option<TlsStream<S>>, TlsVerdict)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let shaken = shake(stream, host, alpn, true, deadline).await;
    let (stream, result, chain) = shaken;
    let mut verdict = match &chain {
        Some(chain) => judge(chain, host, trust, now),
        None => TlsVerdict {
            problems: Vec::new(),
            certificate: None,
        },
    };
    verdict.problems.extend(result);
    (stream, verdict)
}

/// What a handshake left: the connection, what went wrong, and the chain that the server showed.
pub(super) type Shaken<S> = (
    Option<TlsStream<S>>,
    Option<TlsProblem>,
    Option<Vec<CertificateDer<'static>>>,
);

/// Shakes hands, and says which host is wanted or does not.
pub(super) async fn shake<S>(
    stream: S,
    host: &HostName,
    alpn: &[&[u8]],
    sni: bool,
    deadline: Instant,
) -> Shaken<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let provider = Arc::new(aws_lc_rs::default_provider());
    let recorder = Arc::new(Recorder::new(&provider));
    let result = match client(provider, recorder.clone(), host, alpn, sni) {
        Ok((connector, name)) => {
            match timeout_at(deadline, connector.connect(name, stream)).await {
                Ok(result) => result.map_err(problem_of),
                Err(_) => Err(TlsProblem::Handshake(HandshakeFailure::Timeout)),
            }
        }
        Err(error) => Err(TlsProblem::Handshake(HandshakeFailure::Tls(error))),
    };
    let chain = recorder.chain.get().cloned();
    match result {
        Ok(stream) => (Some(stream), None, chain),
        Err(problem) => (None, Some(problem), chain),
    }
}

fn client(
    provider: Arc<CryptoProvider>,
    recorder: Arc<Recorder>,
    host: &HostName,
    alpn: &[&[u8]],
    sni: bool,
) -> Result<(TlsConnector, ServerName<'static>), rustls::Error> {
    let name = ServerName::try_from(host.as_str().to_owned())
        .map_err(|_| rustls::Error::General("the host is no server name".to_owned()))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(recorder)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.enable_sni = sni;
    // A resumed session would show no certificate.
    config.resumption = Resumption::disabled();
    Ok((TlsConnector::from(Arc::new(config)), name))
}

fn problem_of(error: io::Error) -> TlsProblem {
    let kind = error.kind();
    let inner = error
        .into_inner()
        .and_then(|inner| inner.downcast::<rustls::Error>().ok());
    match inner.map(|inner| *inner) {
        Some(
            rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
            | rustls::Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ),
        ) => TlsProblem::VersionTooOld,
        Some(error) => TlsProblem::Handshake(HandshakeFailure::Tls(error)),
        None => TlsProblem::Handshake(HandshakeFailure::Io(kind)),
    }
}

/// The verdict on a chain as the server sent it, its own certificate first.
pub(super) fn judge(
    chain: &[CertificateDer<'_>],
    host: &HostName,
    trust: &TrustStore,
    now: Timestamp,
) -> TlsVerdict {
    let bad_encoding = || TlsVerdict {
        problems: vec![TlsProblem::Untrusted(CertificateError::BadEncoding)],
        certificate: None,
    };
    let Some((leaf, above)) = chain.split_first() else {
        return bad_encoding();
    };
    let (Ok((_, x509)), Ok(parsed)) = (
        X509Certificate::from_der(leaf),
        ParsedCertificate::try_from(leaf),
    ) else {
        return bad_encoding();
    };
    let Some(certificate) = facts(&x509) else {
        return bad_encoding();
    };
    let mut problems = Vec::new();
    let above = above
        .get(..limits::CHAIN_CERTIFICATES.min(above.len()))
        .unwrap_or_default();
    let path = |at: Timestamp| path_error(&parsed, above, trust, at);
    let valid = certificate.not_before + Duration::from_secs(1);
    if now > certificate.not_after {
        problems.push(TlsProblem::Expired);
    } else if now < certificate.not_before {
        problems.push(TlsProblem::NotYetValid);
    }
    // A date that is wrong hides an unknown issuer: then the path is looked at again at a time
    // when the certificate was valid.
    let mut error = path(if problems.is_empty() { now } else { valid });
    if problems.is_empty()
        && let Some(problem) = error.as_ref().and_then(date_problem)
    {
        problems.push(problem);
        error = path(valid);
    }
    if let Some(error) = error.filter(|error| date_problem(error).is_none()) {
        problems.push(untrusted(error, &x509, above));
    }
    let matches = ServerName::try_from(host.as_str())
        .is_ok_and(|name| verify_server_name(&parsed, &name).is_ok());
    if !matches {
        problems.push(TlsProblem::NameMismatch {
            names: certificate.names.clone(),
        });
    }
    TlsVerdict {
        problems,
        certificate: Some(certificate),
    }
}

/// Why there is no path from the certificate to a trusted root at a time.
fn path_error(
    leaf: &ParsedCertificate<'_>,
    above: &[CertificateDer<'_>],
    trust: &TrustStore,
    at: Timestamp,
) -> Option<CertificateError> {
    let at = Duration::from_secs(u64::try_from(at.as_second()).unwrap_or_default());
    let result = verify_server_cert_signed_by_trust_anchor(
        leaf,
        &trust.roots,
        above,
        UnixTime::since_unix_epoch(at),
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .all,
    );
    match result {
        Ok(()) => None,
        Err(rustls::Error::InvalidCertificate(error)) => Some(error),
        Err(_) => Some(CertificateError::ApplicationVerificationFailure),
    }
}

fn date_problem(error: &CertificateError) -> Option<TlsProblem> {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Some(TlsProblem::Expired)
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Some(TlsProblem::NotYetValid)
        }
        _ => None,
    }
}

fn untrusted(
    error: CertificateError,
    leaf: &X509Certificate<'_>,
    above: &[CertificateDer<'_>],
) -> TlsProblem {
    if leaf.subject().as_raw() == leaf.issuer().as_raw() {
        return TlsProblem::SelfSigned;
    }
    let issuer_was_sent = above.iter().any(|der| {
        X509Certificate::from_der(der)
            .is_ok_and(|(_, above)| above.subject().as_raw() == leaf.issuer().as_raw())
    });
    if error == CertificateError::UnknownIssuer && !issuer_was_sent {
        return TlsProblem::IncompleteChain {
            issuer: name_text(leaf.issuer()),
        };
    }
    TlsProblem::Untrusted(error)
}

fn facts(x509: &X509Certificate<'_>) -> Option<Certificate> {
    let validity = x509.validity();
    let names = x509.subject_alternative_name().ok().flatten();
    let names = || {
        names
            .iter()
            .flat_map(|san| &san.value.general_names)
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(*name),
                _ => None,
            })
    };
    Some(Certificate {
        not_before: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
        not_after: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
        issuer: name_text(x509.issuer()),
        names: names().take(limits::CERTIFICATE_NAMES).map(clean).collect(),
        names_total: names().count(),
    })
}

fn name_text(name: &X509Name<'_>) -> String {
    clean(&name.to_string())
}

/// A text of somebody else's making, fit for a terminal and a status: cut, without controls.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(limits::HEADER_VALUE_BYTES)
        .collect()
}

/// Takes down the chain and accepts it. That the server has the certificate's key is checked.
#[derive(Debug)]
struct Recorder {
    algorithms: WebPkiSupportedAlgorithms,
    chain: OnceLock<Vec<CertificateDer<'static>>>,
}

impl Recorder {
    fn new(provider: &CryptoProvider) -> Self {
        Self {
            algorithms: provider.signature_verification_algorithms,
            chain: OnceLock::new(),
        }
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let above = intermediates.iter().take(limits::CHAIN_CERTIFICATES);
        let chain = std::iter::once(end_entity).chain(above);
        let _ = self
            .chain
            .set(chain.map(|der| der.clone().into_owned()).collect());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
