//! Transaction signatures (TSIG, RFC 8945) of one shared key.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use data_encoding::BASE64;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::tsig::{TSIG, TsigAlgorithm as Wire, TsigError};
use hickory_proto::rr::{TSigVerifier, TSigner};
use zeroize::Zeroizing;

use super::DnsError;
use crate::dns_wire::{self, Reply};

/// Seconds that two clocks may be apart (RFC 8945 §10 recommends 300).
const FUDGE_SECONDS: u16 = 300;

/// A key that is shared with a name server.
#[derive(Clone, Debug)]
pub struct TsigKey {
    /// Its name, as the server knows it.
    pub name: String,
    /// Its algorithm, as the server knows it.
    pub algorithm: TsigAlgorithm,
    /// Its secret.
    pub secret: TsigSecret,
}

/// The signature algorithms that are offered (RFC 8945 §6).
///
/// MD5 must not be used any more and SHA-1 is not recommended; SHA-224 gives nothing over SHA-256,
/// and the library that signs does none of the three.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TsigAlgorithm {
    /// `hmac-sha256`, which every server has.
    #[default]
    HmacSha256,
    /// `hmac-sha384`.
    HmacSha384,
    /// `hmac-sha512`.
    HmacSha512,
}

/// Why a text is no [`TsigAlgorithm`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is not an algorithm that is offered: write hmac-sha256, hmac-sha384 or hmac-sha512")]
pub struct TsigAlgorithmError(String);

impl TsigAlgorithm {
    /// The name in RFC 8945.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }

    fn wire(self) -> Wire {
        match self {
            Self::HmacSha256 => Wire::HmacSha256,
            Self::HmacSha384 => Wire::HmacSha384,
            Self::HmacSha512 => Wire::HmacSha512,
        }
    }
}

impl FromStr for TsigAlgorithm {
    type Err = TsigAlgorithmError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::HmacSha256, Self::HmacSha384, Self::HmacSha512]
            .into_iter()
            .find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| TsigAlgorithmError(text.to_owned()))
    }
}

/// The octets of a shared secret: never shown, and overwritten when dropped.
#[derive(Clone)]
pub struct TsigSecret(Zeroizing<Vec<u8>>);

/// Why a text is no [`TsigSecret`]. Says nothing about the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TsigSecretError {
    /// Nothing was written.
    #[error("is empty")]
    Empty,
    /// Not base64.
    #[error("is not base64: write the secret as it stands in the server's configuration")]
    NotBase64,
}

impl TsigSecret {
    /// A secret from its octets.
    pub fn from_octets(octets: Vec<u8>) -> Result<Self, TsigSecretError> {
        if octets.is_empty() {
            return Err(TsigSecretError::Empty);
        }
        Ok(Self(Zeroizing::new(octets)))
    }

    /// A secret as it is written in the configuration of name servers.
    pub fn from_base64(text: &str) -> Result<Self, TsigSecretError> {
        let octets = BASE64
            .decode(text.as_bytes())
            .map_err(|_| TsigSecretError::NotBase64)?;
        Self::from_octets(octets)
    }
}

impl fmt::Debug for TsigSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TsigSecret(…)")
    }
}

/// Signs requests and judges answers.
#[derive(Clone)]
pub(super) struct Signer {
    signer: TSigner,
    key: String,
    algorithm: TsigAlgorithm,
}

impl Signer {
    pub(super) fn new(key: TsigKey) -> Result<Self, DnsError> {
        let bad_name = || DnsError::BadName {
            name: key.name.clone(),
        };
        let name = dns_wire::name(&key.name).ok_or_else(bad_name)?;
        // The library keeps its own copy, for as long as the provider lives.
        let secret = key.secret.0.to_vec();
        let signer = TSigner::new(secret, key.algorithm.wire(), name, FUDGE_SECONDS)
            .map_err(|_| bad_name())?;
        Ok(Self {
            signer,
            key: key.name,
            algorithm: key.algorithm,
        })
    }

    /// Name of the key.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Signs `message` at `now` (seconds since 1970). Gives what its answer is verified with.
    pub(super) fn sign(&self, message: &mut Message, now: u64) -> Option<TSigVerifier> {
        message.finalize(&self.signer, now).ok().flatten()
    }

    /// Whether the answer about `zone` is to be believed. `now` is the time that the request was
    /// signed with.
    pub(super) fn judge(
        &self,
        server: SocketAddr,
        zone: &str,
        reply: &Reply,
        mut verifier: TSigVerifier,
        now: u64,
    ) -> Result<(), DnsError> {
        let key = || self.key.clone();
        let Some(signature) = reply.message.signature() else {
            // Unsigned refusals are told apart for the reader's sake; none of them is a success.
            let zone = zone.to_owned();
            return Err(match reply.message.metadata.response_code {
                ResponseCode::Refused => DnsError::RefusedUnsigned { server, key: key() },
                ResponseCode::NotAuth => DnsError::NotAuth { server, zone },
                ResponseCode::ServFail => DnsError::ServFail { server, zone },
                _ => DnsError::UnsignedAnswer { server },
            });
        };
        match signature.data.error {
            None => verifier
                .verify(&reply.octets)
                .map(drop)
                .map_err(|_| DnsError::UnverifiedAnswer { server, key: key() }),
            // These three are not, or need not be, signed. Whoever forges them gains a retry.
            Some(TsigError::BadKey) => Err(DnsError::BadKey {
                server,
                key: key(),
                algorithm: self.algorithm.as_str(),
            }),
            Some(TsigError::BadSig | TsigError::BadTrunc) => {
                Err(DnsError::BadSignature { server, key: key() })
            }
            Some(TsigError::BadTime) => Err(DnsError::BadTime {
                server,
                skew_seconds: skew_seconds(&signature.data, now),
            }),
            Some(TsigError::Unknown(_)) => Err(DnsError::UnverifiedAnswer { server, key: key() }),
        }
    }
}

/// The server's clock minus ours: with BADTIME it stands in Other Data as 48 bits (RFC 8945
/// §5.2.3).
fn skew_seconds(signature: &TSIG, now: u64) -> Option<i64> {
    if signature.other.len() != 6 {
        return None;
    }
    let theirs = signature
        .other
        .iter()
        .fold(0, |sum: i64, &octet| (sum << 8) | i64::from(octet));
    theirs.checked_sub(i64::try_from(now).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_are_read_or_refused() {
        for (text, good) in [
            ("hmac-sha256", true),
            ("HMAC-SHA512", true),
            ("hmac-md5", false),
            ("hmac-sha1", false),
            ("hmac-sha224", false),
            ("", false),
        ] {
            assert_eq!(text.parse::<TsigAlgorithm>().is_ok(), good, "{text}");
        }
    }

    #[test]
    fn secrets_are_read_or_refused_and_never_shown() {
        let secret = TsigSecret::from_base64("Y2FuYXJ5IGJpcmQ=").unwrap();
        assert!(!format!("{secret:?}").contains("canary"));
        for (text, error) in [
            ("", TsigSecretError::Empty),
            ("Y2FuYXJ5\n", TsigSecretError::NotBase64),
            ("not base64!", TsigSecretError::NotBase64),
        ] {
            assert_eq!(
                TsigSecret::from_base64(text).unwrap_err(),
                error,
                "{text:?}"
            );
        }
    }

    #[test]
    fn the_servers_clock_is_read_from_other_data() {
        let signature = |other: &[u8]| {
            let algorithm = Wire::HmacSha256;
            let error = Some(TsigError::BadTime);
            TSIG::new(algorithm, 1000, 300, Vec::new(), 1, error, other.to_vec())
        };
        for (case, other, skew) in [
            ("ahead", &[0, 0, 0, 0, 0x07, 0xd0][..], Some(1000)),
            ("behind", &[0, 0, 0, 0, 0, 0], Some(-1000)),
            ("absent", &[], None),
            ("too long", &[0; 7], None),
        ] {
            assert_eq!(skew_seconds(&signature(other), 1000), skew, "{case}");
        }
    }
}
