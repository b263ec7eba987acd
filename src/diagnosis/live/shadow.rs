//! Mail that came from a wildcard until a record below the domain hid it (RFC 4592 §2.2.1).

use super::{DomainSeen, MxSeen, has_no_address, is_missing};
use crate::diagnosis::{Code, Finding};

pub(super) fn finding(seen: &DomainSeen) -> Option<Finding> {
    let mx = &seen.around.wildcard_mx;
    if seen.mx != MxSeen::None || mx.is_empty() {
        return None;
    }
    let hides = match (is_missing(&seen.record), has_no_address(&seen.host)) {
        (false, _) => seen.domain.sts_record_name(),
        (true, false) => seen.domain.policy_host().to_string(),
        (true, true) => return None,
    };
    let message = "the domain has no MX: a record below it hides the wildcard that names beside it have theirs from, and its mail stops";
    let evidence = format!(
        "{hides} exists; beside the domain the MX is {}",
        mx.join(", ")
    );
    Some(
        Finding::new(Code::MxWildcardShadowed, seen.domain.as_str(), message)
            .with_evidence(&evidence)
            .with_remedy("write the MX records at the domain itself"),
    )
}
