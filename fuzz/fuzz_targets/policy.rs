//! The policy parser: never panics, agrees with its own lenient reading, and what it accepts
//! survives being rendered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mta_sts_operator::diagnosis::lint_policy;
use mta_sts_operator::protocol::Policy;

fuzz_target!(|body: &[u8]| {
    let findings = lint_policy(body, None);
    match Policy::parse(body) {
        Ok(policy) => assert!(
            policy.mx.is_empty() || Policy::parse(policy.render().as_bytes()).is_ok(),
            "an accepted policy is refused once rendered"
        ),
        Err(_) => assert!(!findings.is_empty(), "a refused body without a finding"),
    }
});
