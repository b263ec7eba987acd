//! Gzip and zip, unpacked within the budget.

use std::io::{self, Cursor, Read};

use flate2::bufread::GzDecoder;
use zip::ZipArchive;
use zip::read::ZipFile;
use zip::result::ZipError;

use super::{Label, Oddity, Piece, Unpacker};
use crate::limits::REPORT_JSON_BYTES;

/// What came of unpacking one stream.
struct Stream {
    bytes: Vec<u8>,
    /// It ended in the middle, or its checksum is wrong.
    is_damaged: bool,
    /// There is more than the limit.
    is_too_large: bool,
}

impl Unpacker {
    /// Gzip data: every member (RFC 1952 §2.2), as one stream.
    pub(super) fn gzip(&mut self, piece: &Piece, bytes: &[u8]) {
        let mut rest = bytes;
        let mut whole = Vec::new();
        let mut members = 0;
        while rest.starts_with(b"\x1f\x8b") {
            if !self.member(piece) {
                break;
            }
            members += 1;
            let mut decoder = GzDecoder::new(rest);
            let stream = read(&mut decoder, self.limit());
            rest = decoder.into_inner();
            self.bytes_left = self.bytes_left.saturating_sub(stream.bytes.len());
            whole.extend(stream.bytes);
            if stream.is_too_large || whole.len() > REPORT_JSON_BYTES {
                return self.note(piece, Oddity::TOO_LARGE);
            }
            if stream.is_damaged {
                let bytes = whole.len();
                self.note(piece, Oddity::Damaged { bytes });
                rest = &[];
            }
        }
        if members > 1 {
            self.note(piece, Oddity::SeveralMembers);
        }
        if !rest.is_empty() {
            let count = rest.len();
            self.note(piece, Oddity::Trailing { count });
        }
        if !whole.is_empty() {
            self.piece(&piece.inner("", Label::Nothing, piece.is_named), &whole);
        }
    }

    /// A zip archive: each member for itself.
    pub(super) fn zip(&mut self, piece: &Piece, bytes: &[u8]) {
        self.note(piece, Oddity::Zip);
        let Ok(mut archive) = ZipArchive::new(Cursor::new(bytes)) else {
            return self.note(piece, Oddity::Damaged { bytes: 0 });
        };
        for index in 0..archive.len() {
            if !self.member(piece) {
                return;
            }
            match archive.by_index(index) {
                Ok(file) if file.is_dir() => {}
                Ok(file) => self.zipped(piece, file),
                Err(error) => self.note(piece, why(&error)),
            }
        }
    }

    fn zipped(&mut self, archive: &Piece, mut file: ZipFile<'_, Cursor<&[u8]>>) {
        let name = String::from_utf8_lossy(file.name_raw()).into_owned();
        let name: String = name.chars().take(NAME_CHARACTERS).collect();
        let label = Label::of_name(&name);
        // What systems put into archives beside what was meant.
        let is_named = label != Label::Nothing && !name.starts_with("__MACOSX");
        let piece = archive.inner(&name, label, is_named);
        let stream = read(&mut file, self.limit());
        self.bytes_left = self.bytes_left.saturating_sub(stream.bytes.len());
        if stream.is_too_large {
            return self.note(&piece, Oddity::TOO_LARGE);
        }
        if stream.is_damaged {
            let bytes = stream.bytes.len();
            self.note(&piece, Oddity::Damaged { bytes });
        }
        if !stream.is_damaged || !stream.bytes.is_empty() {
            self.piece(&piece, &stream.bytes);
        }
    }

    /// Bytes that one stream may have.
    fn limit(&self) -> usize {
        self.bytes_left.min(REPORT_JSON_BYTES)
    }
}

/// Characters of a name in an archive or a mail that are kept.
pub(super) const NAME_CHARACTERS: usize = 128;

fn read(source: &mut dyn Read, limit: usize) -> Stream {
    let mut bytes = Vec::new();
    // One more tells whether there is more.
    let outcome = source
        .take((limit as u64).saturating_add(1))
        .read_to_end(&mut bytes);
    let is_too_large = bytes.len() > limit;
    bytes.truncate(limit);
    Stream {
        bytes,
        is_damaged: matches!(outcome, Err(ref error) if error.kind() != io::ErrorKind::Interrupted),
        is_too_large,
    }
}

fn why(error: &ZipError) -> Oddity {
    match error {
        ZipError::UnsupportedArchive(message) if *message == ZipError::PASSWORD_REQUIRED => {
            let why = "it needs a password";
            Oddity::Locked { why }
        }
        ZipError::InvalidPassword => Oddity::Locked {
            why: "it needs a password",
        },
        ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_) => {
            let why = "it is packed in a way that is not known here";
            Oddity::Locked { why }
        }
        _ => Oddity::Damaged { bytes: 0 },
    }
}
