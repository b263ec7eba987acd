//! Mail that lives from a wildcard (RFC 4592): a record below such a domain makes the domain
//! exist, the wildcard answers for it no longer, and its mail stops.

use super::{DnsProbe, Existence, LookupError, MxHost, RecordType};

/// Where the MX of a domain comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WildcardGuard {
    /// The domain owns records itself, or has no MX: nothing to lose.
    Own,
    /// Its MX is made up from a wildcard: nothing may be written below it until the MX stands
    /// there explicitly.
    Synthesised {
        /// The MX that would be lost.
        mx: Vec<MxHost>,
    },
}

impl DnsProbe {
    /// Whether `domain` has its MX from a wildcard only.
    ///
    /// It has if a random name beside it and a random name below it both get the same MX: beside
    /// proves that there is a wildcard, below proves that the domain itself does not exist, since
    /// an existing name keeps the wildcard from what is below it (RFC 4592 §3.3.1). A zone's apex
    /// always exists.
    pub async fn wildcard_guard(&self, domain: &str) -> Result<WildcardGuard, LookupError> {
        let mx = self.mx(domain).await?;
        let Some((_, parent)) = domain.trim_end_matches('.').split_once('.') else {
            return Ok(WildcardGuard::Own);
        };
        if mx.hosts.is_empty() || self.is_apex(domain).await? {
            return Ok(WildcardGuard::Own);
        }
        for neighbour in [parent, domain] {
            let other = self.mx(&format!("{}.{neighbour}", random_label()?)).await?;
            if other.hosts != mx.hosts {
                return Ok(WildcardGuard::Own);
            }
        }
        Ok(WildcardGuard::Synthesised { mx: mx.hosts })
    }

    async fn is_apex(&self, name: &str) -> Result<bool, LookupError> {
        let soa = self.resolve(name, RecordType::Soa).await?;
        Ok(soa.existence == Existence::Found && soa.chain.is_empty())
    }
}

/// A label that nobody has.
pub(super) fn random_label() -> Result<String, LookupError> {
    let mut octets = [0; 10];
    aws_lc_rs::rand::fill(&mut octets).map_err(|_| LookupError::NoRandom)?;
    Ok(format!("x{}", data_encoding::HEXLOWER.encode(&octets)))
}
