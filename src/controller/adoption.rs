//! What is known of a live policy that is to be taken over. (io)

use super::accept::Accepted;
use super::context::Context;
use super::observe::{self, DnsSeen};
use super::records::Stored;
use crate::lifecycle::Publication;
use crate::lifecycle::decide::Adopted;
use crate::lifecycle::txt::TxtSet;
use crate::protocol::StsRecord;

/// What is known of the policy that stands in the place of ours, where it is to be taken over.
pub(super) enum Adoption {
    /// There is none, or it is known already.
    Nothing,
    /// This one.
    Found(Adopted),
    /// It could not be looked at, and senders may hold it.
    Unknown(String),
}

/// Looks at the policy that stands in the place of ours, where it is to be taken over.
pub(super) async fn adoption(
    context: &Context,
    accepted: &Accepted,
    stored: Option<&Stored>,
    dns: &DnsSeen,
) -> Adoption {
    let txt = dns.txt(context);
    let publication = stored.and_then(Stored::publication);
    let begun = publication.is_some_and(|p| p.announced.is_some());
    if !accepted.desired.adopt || begun || txt.foreign().is_empty() {
        return Adoption::Nothing;
    }
    match observe::adopted(context, &accepted.desired.domain, &txt).await {
        // Our own, once the policy host is ours.
        Ok(Some(live)) if publication.is_some_and(|p| p.current.sha256 == live.sha256) => {
            Adoption::Nothing
        }
        Ok(Some(live)) => Adoption::Found(live),
        Ok(None) => Adoption::Nothing,
        Err(_) if publication.is_some_and(|p| knows_all(p, &txt)) => Adoption::Nothing,
        Err(why) => Adoption::Unknown(why),
    }
}

/// Whether every foreign record's policy is in the ledger.
fn knows_all(publication: &Publication, txt: &TxtSet) -> bool {
    txt.foreign().iter().all(|text| {
        let id = StsRecord::parse(text).ok().map(|record| record.id);
        id.is_some_and(|id| publication.knows(&id))
    })
}
