//! The parser of `_smtp._tls` records: never panics, and what it accepts survives being rendered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mta_sts_operator::diagnosis::lint_tlsrpt_record;
use mta_sts_operator::protocol::TlsRptRecord;

fuzz_target!(|data: &[u8]| {
    let texts: Vec<Vec<u8>> = data
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    let findings = lint_tlsrpt_record(&texts, None);
    match TlsRptRecord::parse_rrset(&texts) {
        Ok(record) => {
            let rendered = record.render();
            assert_eq!(TlsRptRecord::parse(rendered.as_bytes()), Ok(record));
        }
        Err(_) => assert!(!findings.is_empty(), "a refused record without a finding"),
    }
});
