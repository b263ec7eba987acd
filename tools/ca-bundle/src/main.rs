//! Prints the public certificate authorities in PEM form: those of Mozilla's list, at the version
//! that Cargo.lock pins. The order is that of the list, so the same version gives the same bytes.

use std::io::{self, BufWriter, Write};

/// RFC 7468 wraps lines at 64 characters.
const LINE: usize = 64;

fn main() -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        writeln!(out, "-----BEGIN CERTIFICATE-----")?;
        let text = data_encoding::BASE64.encode(certificate);
        for line in text.as_bytes().chunks(LINE) {
            out.write_all(line)?;
            writeln!(out)?;
        }
        writeln!(out, "-----END CERTIFICATE-----")?;
    }
    out.flush()
}
