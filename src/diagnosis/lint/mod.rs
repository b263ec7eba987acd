//! The rules that need no network: a record, a policy body, the spec of an MtaStsPolicy.

mod policy;
mod record;
mod spec;
mod spec_hosting;
mod tlsrpt;

pub use policy::lint_policy;
pub use record::lint_record;
pub use spec::lint_spec;
pub use tlsrpt::lint_tlsrpt_record;
