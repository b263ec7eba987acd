//! The parser of `_mta-sts` records: never panics, and what it accepts survives being rendered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mta_sts_operator::diagnosis::lint_record;
use mta_sts_operator::protocol::StsRecord;

fuzz_target!(|data: &[u8]| {
    let texts: Vec<Vec<u8>> = data
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    let findings = lint_record(&texts, None);
    match StsRecord::parse_rrset(&texts) {
        Ok(record) => {
            let rendered = StsRecord::render(&record.id);
            assert_eq!(StsRecord::parse(rendered.as_bytes()), Ok(record));
        }
        Err(_) => assert!(!findings.is_empty(), "a refused record without a finding"),
    }
});
