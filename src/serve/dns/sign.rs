//! DNSSEC: answers are signed when they are asked for, with one key for all our zones, and denials
//! are as small as RFC 9824 has them: the name that was asked for exists, with nothing at it.

use std::path::Path;

use hickory_proto::dnssec::crypto::EcdsaSigningKey;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, NSEC, RRSIG, SigInput};
use hickory_proto::dnssec::{Algorithm, SigningKey, TBS};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, SerialNumber};
use jiff::Timestamp;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use crate::limits;

/// Zone key and entry point at once (RFC 4034 §2.1.1): one key signs itself and everything else.
const FLAGS: u16 = 257;
/// A name that does not exist (RFC 9824 §3.1).
const NXNAME: u16 = 128;

/// Signs answers.
pub struct Signer {
    key: EcdsaSigningKey,
    dnskey: DNSKEY,
    tag: u16,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// The file is larger than any key.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    /// There is no such key in it. What is there is not told.
    #[error(
        "it has no ECDSA P-256 key in PKCS #8, as openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 makes it"
    )]
    NoKey,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("tag", &self.tag).finish()
    }
}

impl Signer {
    /// Reads the key from a file.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        if std::fs::metadata(path)?.len() > limits::DNS_KEY_BYTES {
            return Err(KeyError::TooLarge(limits::DNS_KEY_BYTES));
        }
        let text = zeroize::Zeroizing::new(std::fs::read(path)?);
        Self::from_pem(&text)
    }

    /// Reads the key from its PEM text.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let der = PrivateKeyDer::from_pem_slice(text).map_err(|_| KeyError::NoKey)?;
        let key = EcdsaSigningKey::from_key_der(&der, Algorithm::ECDSAP256SHA256)
            .map_err(|_| KeyError::NoKey)?;
        let public = key.to_public_key().map_err(|_| KeyError::NoKey)?;
        let dnskey = DNSKEY::with_flags(FLAGS, public);
        let tag = dnskey.calculate_key_tag().map_err(|_| KeyError::NoKey)?;
        Ok(Self { key, dnskey, tag })
    }

    /// The public key.
    pub fn dnskey(&self) -> &DNSKEY {
        &self.dnskey
    }

    /// Which key it is.
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// Signs an answer of `zone`. `present` are the types at the name that was asked for: a denial
    /// tells them.
    pub(super) fn sign(
        &self,
        response: &mut Message,
        zone: &Name,
        present: &[RecordType],
        now: Timestamp,
    ) {
        if response.answers.is_empty() {
            self.deny(response, present);
        }
        for section in [&mut response.answers, &mut response.authorities] {
            let signatures = self.signatures(section, zone, now);
            section.extend(signatures);
        }
    }

    /// Says by an NSEC record what is not there. A name that does not exist is said to have
    /// nothing, so that nobody has to know its neighbours.
    fn deny(&self, response: &mut Message, present: &[RecordType]) {
        let Some(query) = response.queries.first() else {
            return;
        };
        let Ok(next) = Name::from_labels([&b"\0"[..]]).and_then(|l| l.append_name(&query.name))
        else {
            return;
        };
        let missing = response.metadata.response_code == ResponseCode::NXDomain;
        let mut types = present.to_vec();
        if missing {
            types.push(RecordType::from(NXNAME));
            response.metadata.response_code = ResponseCode::NoError;
        }
        let ttl = response.authorities.first().map_or(0, |soa| soa.ttl);
        let nsec = NSEC::new_cover_self(next, types);
        let data = RData::DNSSEC(DNSSECRData::NSEC(nsec));
        let record = Record::from_rdata(query.name.clone(), ttl, data);
        response.authorities.push(record);
    }

    /// A signature for each record set of a section.
    fn signatures(&self, section: &[Record], zone: &Name, now: Timestamp) -> Vec<Record> {
        let mut kinds: Vec<(&Name, RecordType)> = Vec::new();
        for record in section {
            let kind = (&record.name, record.record_type());
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        let of_kind = |(name, record_type): (&Name, RecordType)| {
            let set: Vec<&Record> = section
                .iter()
                .filter(|r| r.name == *name && r.record_type() == record_type)
                .collect();
            self.signature(&set, zone, now)
        };
        kinds.into_iter().filter_map(of_kind).collect()
    }

    fn signature(&self, set: &[&Record], zone: &Name, now: Timestamp) -> Option<Record> {
        let first = set.first()?;
        let at = |seconds: i64| {
            // Serial arithmetic (RFC 4034 §3.1.5): the low 32 bits are what counts.
            let seconds = now.as_second().saturating_add(seconds).rem_euclid(1 << 32);
            SerialNumber::new(u32::try_from(seconds).unwrap_or_default())
        };
        let input = SigInput {
            type_covered: first.record_type(),
            algorithm: Algorithm::ECDSAP256SHA256,
            num_labels: first.name.num_labels(),
            original_ttl: first.ttl,
            sig_expiration: at(limits::SIGNATURE_SECONDS),
            sig_inception: at(-limits::SIGNATURE_SKEW_SECONDS),
            key_tag: self.tag,
            signer_name: zone.clone(),
        };
        let records = set.iter().copied();
        let tbs = TBS::from_input(&first.name, DNSClass::IN, &input, records).ok()?;
        let signature = self.key.sign(&tbs).ok()?;
        let data = RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, signature)));
        Some(Record::from_rdata(first.name.clone(), first.ttl, data))
    }
}
