//! TLS reports as they arrive: packed, in a mail, forwarded, mislabelled. What comes out is the
//! JSON of each report, for `protocol` to read.
//!
//! What a file is shows in its bytes; its label (a name, a media type) is only compared with them.

mod mail;
mod oddity;
mod packed;

pub use oddity::Oddity;

use crate::limits::{REPORT_MEMBERS, REPORT_UNPACKED_BYTES, REPORT_WRAPPINGS};

/// The JSON of one report, not read yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    /// Where in the file it was found, as in `report.eml > example.json.gz`.
    pub name: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What was found in a file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Unpacked {
    /// What may be a report.
    pub documents: Vec<Document>,
    /// What is odd about the wrappings, each with the place where it was seen.
    pub oddities: Vec<(String, Oddity)>,
}

/// Unpacks a file. It takes no more memory or time than the budgets in `limits` allow, whatever
/// the bytes are.
pub fn unpack(name: &str, bytes: &[u8]) -> Unpacked {
    let mut unpacker = Unpacker {
        found: Unpacked::default(),
        bytes_left: REPORT_UNPACKED_BYTES,
        members_left: REPORT_MEMBERS,
    };
    let whole = Piece {
        name: name.to_owned(),
        label: Label::of_name(name),
        depth: 0,
        is_named: true,
    };
    unpacker.piece(&whole, bytes);
    let mut found = unpacker.found;
    if found.documents.is_empty() && !found.oddities.iter().any(|(_, it)| it.is_error()) {
        found.oddities.push((name.to_owned(), Oddity::NoReport));
    }
    found
}

/// What a label says that bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Label {
    Json,
    Gzip,
    Zip,
    /// It says nothing: `application/tlsrpt`, `application/octet-stream`, no extension.
    Nothing,
    /// It is the text of a mail, for people.
    Prose,
}

impl Label {
    fn of_name(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("json") => Self::Json,
            Some("gz" | "gzip") => Self::Gzip,
            Some("zip") => Self::Zip,
            _ => Self::Nothing,
        }
    }
}

/// Bytes with their name and label.
struct Piece {
    name: String,
    label: Label,
    /// Wrappings around it.
    depth: usize,
    /// Somebody gave it as a report, or as a part of one: if it is none that is worth a word.
    is_named: bool,
}

impl Piece {
    /// A piece within this one.
    fn inner(&self, name: &str, label: Label, is_named: bool) -> Self {
        let name = match name {
            "" => self.name.clone(),
            name => format!("{} > {name}", self.name),
        };
        Self {
            name,
            label,
            depth: self.depth + 1,
            is_named,
        }
    }
}

struct Unpacker {
    found: Unpacked,
    /// Bytes that may still be unpacked.
    bytes_left: usize,
    /// Members that may still be looked at.
    members_left: usize,
}

impl Unpacker {
    fn note(&mut self, piece: &Piece, oddity: Oddity) {
        let at = (piece.name.clone(), oddity);
        if !self.found.oddities.contains(&at) {
            self.found.oddities.push(at);
        }
    }

    /// Takes bytes for what they are.
    fn piece(&mut self, piece: &Piece, bytes: &[u8]) {
        if piece.depth > REPORT_WRAPPINGS {
            let limit = REPORT_WRAPPINGS;
            return self.note(piece, Oddity::TooNested { limit });
        }
        match sniff(bytes) {
            Kind::Gzip => {
                self.compare(piece, Label::Gzip);
                self.gzip(piece, bytes);
            }
            Kind::Zip => {
                self.compare(piece, Label::Zip);
                self.zip(piece, bytes);
            }
            Kind::Json => {
                self.compare(piece, Label::Json);
                self.document(piece, bytes);
            }
            Kind::Base64 if piece.label != Label::Prose || is_packed_base64(bytes) => {
                self.note(piece, Oddity::Base64);
                let decoded = mail::loose_base64(bytes);
                if self.spend(piece, decoded.len()) {
                    self.piece(&piece.inner("", Label::Nothing, piece.is_named), &decoded);
                }
            }
            Kind::Mail if piece.label != Label::Prose => self.mail(piece, bytes),
            _ if piece.label == Label::Prose => {}
            Kind::Empty => self.note(piece, Oddity::Empty),
            _ if piece.is_named => self.document(piece, bytes),
            _ => self.note(piece, Oddity::Skipped),
        }
    }

    fn document(&mut self, piece: &Piece, bytes: &[u8]) {
        let found = &mut self.found.documents;
        // The same report packed and unpacked in one mail is one.
        if found.iter().any(|document| document.bytes == bytes) {
            return self.note(piece, Oddity::Again);
        }
        found.push(Document {
            name: piece.name.clone(),
            bytes: bytes.to_vec(),
        });
    }

    /// Notes a label that says something else than the bytes are.
    fn compare(&mut self, piece: &Piece, is: Label) {
        let is_wrong = !matches!(piece.label, Label::Nothing | Label::Prose) && piece.label != is;
        if is_wrong {
            let (label, is) = (word(piece.label), word(is));
            self.note(piece, Oddity::Mislabelled { label, is });
        }
    }

    /// Takes bytes off the budget; tells whether there were enough.
    fn spend(&mut self, piece: &Piece, bytes: usize) -> bool {
        match self.bytes_left.checked_sub(bytes) {
            Some(left) => {
                self.bytes_left = left;
                true
            }
            None => {
                self.note(piece, Oddity::TOO_LARGE);
                false
            }
        }
    }

    /// Takes a member off the budget; tells whether there was one.
    fn member(&mut self, piece: &Piece) -> bool {
        match self.members_left.checked_sub(1) {
            Some(left) => {
                self.members_left = left;
                true
            }
            None => {
                let limit = REPORT_MEMBERS;
                self.note(piece, Oddity::TooMany { limit });
                false
            }
        }
    }
}

fn word(label: Label) -> &'static str {
    match label {
        Label::Json => "JSON",
        Label::Gzip => "gzip",
        Label::Zip => "a zip archive",
        Label::Nothing | Label::Prose => "nothing",
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Empty,
    Gzip,
    Zip,
    Json,
    Base64,
    Mail,
    Other,
}

/// What bytes are.
fn sniff(bytes: &[u8]) -> Kind {
    if bytes.starts_with(b"\x1f\x8b") {
        return Kind::Gzip;
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        return Kind::Zip;
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = text.trim_ascii_start();
    match text.first() {
        None => Kind::Empty,
        Some(b'{' | b'[') => Kind::Json,
        Some(_) if is_base64(text) => Kind::Base64,
        Some(_) if mail::is_mail(text) => Kind::Mail,
        Some(_) => Kind::Other,
    }
}

/// Nothing but the letters of base64 and line ends, and enough of them to be no word.
fn is_base64(text: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_= \t\r\n".contains(byte);
    text.len() >= 16 && text.iter().all(is_letter) && is_packed_base64(text)
}

/// Whether base64 begins as gzip, a zip archive or a JSON object does.
fn is_packed_base64(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    [&b"H4sI"[..], b"UEsDB", b"eyJ", b"ewo", b"ew0K", b"eyA"]
        .iter()
        .any(|start| text.starts_with(start))
}
