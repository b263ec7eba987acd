//! The rules that need no network: a record, a policy body, the specs of
//! our objects.

mod policy;
mod provider;
mod provider_api;
mod record;
mod spec;
mod spec_hosting;
mod spec_rollout;
mod tlsrpt;

pub use policy::lint_policy;
pub use provider::lint_provider;
pub use record::lint_record;
pub use spec::lint_spec;
pub use tlsrpt::lint_tlsrpt_record;
