//! Zones of the operator's own, and where the names of a domain are below them.
//!
//! `sts.example.net` is delegated once to the operator's name servers; then the names of
//! `example.org` are `_mta-sts.example.org.sts.example.net`,
//! `_smtp._tls.example.org.sts.example.net` and
//! `mta-sts.example.org.sts.example.net`, and the customer sets an alias of each (RFC 8461 §8.2).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::protocol::{Domain, HostName};

/// Value of the role label on the ConfigMap that holds the zones.
pub const ZONES_ROLE: &str = "zones";
/// Name of that ConfigMap.
pub const ZONES_NAME: &str = "mta-sts-zones";
/// Key of the zones in its `data`.
pub const ZONES_KEY: &str = "zones.json";

/// A zone that the operator answers for itself.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnZone {
    /// The zone.
    pub zone: HostName,
    /// Its name servers, as the zone above names them.
    pub name_servers: Vec<HostName>,
}

/// Why the zones cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ZonesError {
    /// The key is missing.
    #[error("the ConfigMap has no {ZONES_KEY}")]
    Missing,
    /// The text is not what this version writes.
    #[error("{ZONES_KEY} cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// Reads the `data` of the ConfigMap that holds the zones.
pub fn read_zones(data: &BTreeMap<String, String>) -> Result<Vec<OwnZone>, ZonesError> {
    let text = data.get(ZONES_KEY).ok_or(ZonesError::Missing)?;
    let mut zones: Vec<OwnZone> = serde_json::from_str(text)?;
    zones.truncate(limits::OWN_ZONES);
    Ok(zones)
}

/// The `data` of that ConfigMap.
pub fn write_zones(zones: &[OwnZone]) -> Result<BTreeMap<String, String>, ZonesError> {
    let text = serde_json::to_string_pretty(zones)?;
    Ok(BTreeMap::from([(ZONES_KEY.to_owned(), text)]))
}

/// Where the TXT record of `domain` is below `zone`.
pub fn txt_name(domain: &Domain, zone: &HostName) -> String {
    format!("{}.{zone}", domain.sts_record_name())
}

/// Where the record that asks for reports about `domain` is below `zone`.
pub fn tls_rpt_name(domain: &Domain, zone: &HostName) -> String {
    format!("{}.{zone}", domain.tlsrpt_record_name())
}

/// Where the address of the policy host of `domain` is below `zone`.
pub fn host_name(domain: &Domain, zone: &HostName) -> String {
    format!("{}.{zone}", domain.policy_host())
}

/// Whether the names of `domain` below `zone` are no longer than the DNS allows.
pub fn fits(domain: &Domain, zone: &HostName) -> bool {
    txt_name(domain, zone).len() <= HostName::MAX_LENGTH
}

/// The first of `others` that is in the way of `zone`: the same with other name servers, or one
/// above or below it, whose names would hide each other.
pub fn in_the_way<'a>(zone: &OwnZone, others: &'a [OwnZone]) -> Option<&'a OwnZone> {
    others.iter().find(|other| {
        let nested = zone.zone.is_below(&other.zone) || other.zone.is_below(&zone.zone);
        nested || (zone.zone == other.zone && zone.name_servers != other.name_servers)
    })
}

/// The zones that are answered of those that provider objects ask for, the first one first: one
/// that is in the way of an earlier one is not.
pub fn granted(wanted: impl IntoIterator<Item = OwnZone>) -> Vec<OwnZone> {
    let mut granted: Vec<OwnZone> = Vec::new();
    for zone in wanted {
        let has_room = granted.len() < limits::OWN_ZONES;
        if has_room && !granted.contains(&zone) && in_the_way(&zone, &granted).is_none() {
            granted.push(zone);
        }
    }
    granted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str, servers: &[&str]) -> OwnZone {
        OwnZone {
            zone: name.parse().unwrap(),
            name_servers: servers.iter().map(|s| s.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn the_names_of_a_domain_are_below_the_zone() {
        let domain = Domain::parse("shop.example.org").unwrap();
        let own: HostName = "sts.example.net".parse().unwrap();
        assert_eq!(
            txt_name(&domain, &own),
            "_mta-sts.shop.example.org.sts.example.net"
        );
        assert_eq!(
            host_name(&domain, &own),
            "mta-sts.shop.example.org.sts.example.net"
        );
        assert_eq!(
            tls_rpt_name(&domain, &own),
            "_smtp._tls.shop.example.org.sts.example.net"
        );
        let long = format!("{}.example.org", vec!["a".repeat(55); 4].join("."));
        assert!(fits(&domain, &own));
        assert!(!fits(&Domain::parse(&long).unwrap(), &own));
    }

    #[test]
    fn the_first_who_asks_for_a_zone_has_it() {
        let own = zone("sts.example.net", &["ns1.example.net"]);
        for (case, wanted, expected) in [
            ("alone", vec![own.clone()], 1),
            ("the same again", vec![own.clone(), own.clone()], 1),
            (
                "beside",
                vec![own.clone(), zone("sts.example.com", &["ns1.example.net"])],
                2,
            ),
            (
                "other name servers",
                vec![own.clone(), zone("sts.example.net", &["evil.example.com"])],
                1,
            ),
            (
                "below",
                vec![
                    own.clone(),
                    zone("example.org.sts.example.net", &["ns1.example.net"]),
                ],
                1,
            ),
            (
                "above",
                vec![own.clone(), zone("example.net", &["ns1.example.net"])],
                1,
            ),
            (
                "only alike",
                vec![own.clone(), zone("asts.example.net", &["ns1.example.net"])],
                2,
            ),
        ] {
            let granted = granted(wanted);
            assert_eq!(granted.len(), expected, "{case}");
            assert_eq!(granted[0], own, "{case}");
        }
    }

    #[test]
    fn zones_are_read_as_they_were_written() {
        let zones = vec![zone("sts.example.net", &["ns1.example.net"])];
        let data = write_zones(&zones).unwrap();
        assert_eq!(read_zones(&data).unwrap(), zones);
        assert!(read_zones(&BTreeMap::new()).is_err());
    }
}
