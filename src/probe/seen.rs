//! What the probes saw, in the words of the diagnosis.

use super::tls::{TlsProblem, TlsVerdict};
use crate::diagnosis::live::{TlsFault, TlsSeen};

impl From<&TlsVerdict> for TlsSeen {
    fn from(verdict: &TlsVerdict) -> Self {
        let mut faults: Vec<TlsFault> = verdict.problems.iter().map(TlsFault::from).collect();
        faults.dedup();
        let certificate = verdict.certificate.as_ref();
        Self {
            faults,
            validity: certificate.map(|it| (it.not_before, it.not_after)),
        }
    }
}

impl From<&TlsProblem> for TlsFault {
    fn from(problem: &TlsProblem) -> Self {
        match problem {
            TlsProblem::Expired | TlsProblem::NotYetValid => Self::Expired,
            TlsProblem::NameMismatch { names } => Self::NameMismatch(names.clone()),
            TlsProblem::SelfSigned | TlsProblem::Untrusted(_) => Self::Untrusted,
            TlsProblem::IncompleteChain { issuer } => Self::IncompleteChain(issuer.clone()),
            TlsProblem::VersionTooOld => Self::Version,
            TlsProblem::Handshake(why) => Self::Handshake(why.to_string()),
        }
    }
}
