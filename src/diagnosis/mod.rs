//! From what was read or seen to findings: what is wrong, why it matters, what to do. Pure.

mod advice;
mod catalogue;
mod external_dns;
mod finding;
pub mod lint;
pub mod live;
mod readers;
mod recognise;
mod report;
mod spec;
mod text;

pub use advice::near_miss;
pub use catalogue::{Code, Section, Severities};
pub use external_dns::{ExternalDns, external_dns};
pub use finding::{Finding, Severity};
pub use lint::{lint_policy, lint_provider, lint_record, lint_spec, lint_tlsrpt_record};
pub use readers::{Quirk, Reader};
pub use report::{ResultAdvice, ResultMeaning, advise, explain_report, refuse_report};
pub use spec::{
    ApiFields, CredentialFields, ProviderFields, ProviderSelector, Rfc2136Fields, SecretKeyFields,
    ServiceFields, SpecAddress, SpecFields, SpecHosting, SpecIngress, SpecIssuer, SpecParentRef,
    SpecProvider, SpecRollout, SpecStage, SpecTls,
};
pub use text::printable;
