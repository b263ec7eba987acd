//! TLS reports in whatever wrapping: never panics, and nothing is passed over in silence.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mta_sts_operator::diagnosis::explain_report;
use mta_sts_operator::protocol::Report;
use mta_sts_operator::reports::unpack;

fuzz_target!(|bytes: &[u8]| {
    let unpacked = unpack("report.eml", bytes);
    assert!(
        !unpacked.documents.is_empty() || !unpacked.oddities.is_empty(),
        "bytes without a report and without a word about it"
    );
    for document in &unpacked.documents {
        if let Ok(reading) = Report::read(&document.bytes) {
            explain_report(&reading);
        }
    }
});
