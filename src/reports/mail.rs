//! Reports in mails (RFC 8460 §5.3), also forwarded ones.
//!
//! mail-parser reads the headers of each part and decodes its body. The parts themselves are
//! told apart here: the crate's own walk has no limit to the depth of mails within mails.

use std::borrow::Cow;

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{HeaderName, HeaderValue, Message, MessageParser, MimeHeaders as _};

use super::packed::NAME_CHARACTERS;
use super::{Kind, Label, Oddity, Piece, Unpacker, sniff};
use crate::limits::{REPORT_HEAD_BYTES, REPORT_WRAPPINGS};

/// The mail that a part belongs to.
#[derive(Clone, Copy)]
struct Within {
    is_signed: bool,
    is_forwarded: bool,
}

impl Unpacker {
    /// A mail as a file, or as a member of an archive.
    pub(super) fn mail(&mut self, piece: &Piece, bytes: &[u8]) {
        // A mailbox file has a line before the first header.
        let bytes = match bytes.starts_with(b"From ") {
            true => after_line(bytes),
            false => bytes.trim_ascii_start(),
        };
        self.message(piece, bytes, false);
    }

    fn message(&mut self, piece: &Piece, bytes: &[u8], is_forwarded: bool) {
        let (head, body) = split_head(bytes);
        let head = headers(head);
        let is_signature = |name: &str| name.eq_ignore_ascii_case("dkim-signature");
        let is_signed = head.headers().iter().any(|it| is_signature(it.name()));
        let within = Within {
            is_signed,
            is_forwarded,
        };
        self.part(piece, &head, body, within);
    }

    /// A part with its headers: a body, or parts of its own.
    fn part(&mut self, piece: &Piece, head: &Message<'_>, body: &[u8], within: Within) {
        if piece.depth > REPORT_WRAPPINGS {
            let limit = REPORT_WRAPPINGS;
            return self.note(piece, Oddity::TooNested { limit });
        }
        let part = Part::of(head);
        if let Some(boundary) = &part.boundary {
            for bytes in parts(body, boundary) {
                if !self.member(piece) {
                    return;
                }
                let (head, body) = split_head(bytes);
                let head = headers(head);
                self.part(&piece.inner("", Label::Nothing, false), &head, body, within);
            }
            return;
        }
        let body = self.decoded(piece, &part, body);
        if part.is("message/rfc822") || part.is("message/global") {
            let name = if part.name.is_empty() {
                "mail"
            } else {
                &part.name
            };
            let inner = piece.inner(name, Label::Nothing, false);
            return self.message(&inner, body.trim_ascii_start(), true);
        }
        self.leaf(piece, &part, &body, within);
    }

    fn leaf(&mut self, piece: &Piece, part: &Part, body: &[u8], within: Within) {
        let label = part.label();
        let is_meant = part.media_type.starts_with("application/tlsrpt");
        let is_named = is_meant || !matches!(label, Label::Nothing | Label::Prose);
        let leaf = piece.inner(&part.name, label, is_named);
        let documents = self.found.documents.len();
        self.piece(&leaf, body);
        let has_report = self.found.documents.len() > documents;
        if !has_report {
            return;
        }
        if !(part.is("application/tlsrpt+gzip") || part.is("application/tlsrpt+json")) {
            let written = part.media_type.chars().take(NAME_CHARACTERS).collect();
            self.note(&leaf, Oddity::MediaType { written });
        }
        if within.is_forwarded {
            self.note(piece, Oddity::Forwarded);
        }
        if !within.is_signed {
            self.note(piece, Oddity::Unsigned);
        }
    }

    /// The body without its transfer encoding.
    fn decoded<'a>(&mut self, piece: &Piece, part: &Part, body: &'a [u8]) -> Cow<'a, [u8]> {
        let decoded = match part.encoding.as_str() {
            // Some say base64 and send the bytes themselves.
            "base64" if !matches!(sniff(body), Kind::Gzip | Kind::Zip | Kind::Json) => {
                base64_decode(body).unwrap_or_else(|| {
                    self.note(piece, Oddity::Base64);
                    loose_base64(body)
                })
            }
            "quoted-printable" => match quoted_printable_decode(body) {
                Some(decoded) => decoded,
                None => {
                    self.note(piece, Oddity::Damaged { bytes: body.len() });
                    return Cow::Borrowed(body);
                }
            },
            _ => return Cow::Borrowed(body),
        };
        match self.spend(piece, decoded.len()) {
            true => Cow::Owned(decoded),
            false => Cow::Borrowed(&[]),
        }
    }
}

/// The headers of a mail or of a part. One without any is plain text (RFC 2045 §5.2): the crate
/// gives a message without a single part for it, which its own methods cannot bear.
fn headers(bytes: &[u8]) -> Message<'_> {
    let read = parser().parse_headers(bytes);
    let read = read.filter(|message| !message.parts.is_empty());
    read.or_else(|| parser().parse_headers(&b"Content-Type: text/plain\r\n\r\n"[..]))
        .unwrap_or_default()
}

/// What the headers of a part say.
struct Part {
    /// In lower case; `text/plain` if there is none.
    media_type: String,
    /// Of a multipart.
    boundary: Option<String>,
    /// In lower case.
    encoding: String,
    /// File name, empty if there is none.
    name: String,
}

impl Part {
    fn of(head: &Message<'_>) -> Self {
        let content_type = head.header(HeaderName::ContentType);
        let content_type = content_type.and_then(HeaderValue::as_content_type);
        let media_type = content_type.map_or_else(
            || "text/plain".to_owned(),
            |it| format!("{}/{}", it.ctype(), it.subtype().unwrap_or_default()),
        );
        let encoding = head.header(HeaderName::ContentTransferEncoding);
        let encoding = encoding.and_then(HeaderValue::as_text).unwrap_or_default();
        let name = head.parts.first().and_then(|part| part.attachment_name());
        let boundary = content_type.and_then(|it| it.attribute("boundary"));
        let media_type = media_type.to_ascii_lowercase();
        Self {
            boundary: boundary
                .filter(|boundary| media_type.starts_with("multipart/") && !boundary.is_empty())
                .map(str::to_owned),
            encoding: encoding.trim().to_ascii_lowercase(),
            name: name
                .unwrap_or_default()
                .chars()
                .take(NAME_CHARACTERS)
                .collect(),
            media_type,
        }
    }

    fn is(&self, media_type: &str) -> bool {
        self.media_type == media_type
    }

    fn label(&self) -> Label {
        match self.media_type.as_str() {
            "application/tlsrpt+gzip" | "application/gzip" | "application/x-gzip" => Label::Gzip,
            "application/tlsrpt+json" | "application/json" => Label::Json,
            "application/zip" | "application/x-zip-compressed" => Label::Zip,
            other => match Label::of_name(&self.name) {
                Label::Nothing if other.starts_with("text/") => Label::Prose,
                label => label,
            },
        }
    }
}

fn parser() -> MessageParser {
    MessageParser::new().with_mime_headers()
}

/// Whether a text begins as a mail does: with a header field, and with those that a mail has.
pub(super) fn is_mail(text: &[u8]) -> bool {
    let text = text.get(..REPORT_HEAD_BYTES).unwrap_or(text);
    let text = match text.starts_with(b"From ") {
        true => after_line(text),
        false => text,
    };
    let (head, _) = split_head(text);
    let name = head.split(|byte| *byte == b':').next().unwrap_or_default();
    let is_name = !name.is_empty() && name.len() < head.len();
    let has_field = |field: &str| {
        let lines = head.split(|byte| *byte == b'\n');
        let starts = |line: &[u8]| line.get(..field.len()).map(<[u8]>::to_ascii_lowercase);
        lines
            .into_iter()
            .any(|line| starts(line).as_deref() == Some(field.as_bytes()))
    };
    let is_name = is_name && name.iter().all(u8::is_ascii_graphic);
    is_name
        && ["content-type:", "mime-version:", "from:"]
            .iter()
            .any(|it| has_field(it))
}

/// Base64 of which some signs are not base64, or whose end is missing.
pub(super) fn loose_base64(bytes: &[u8]) -> Vec<u8> {
    let letters: Vec<u8> = bytes
        .iter()
        .filter_map(|byte| match byte {
            b'-' => Some(b'+'),
            b'_' => Some(b'/'),
            b'+' | b'/' => Some(*byte),
            letter => letter.is_ascii_alphanumeric().then_some(*letter),
        })
        .collect();
    base64_decode(&letters).unwrap_or_default()
}

/// Header fields with their last line end, and what follows the empty line after them.
fn split_head(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (line, after) = first_line(rest);
        if line.trim_ascii().is_empty() {
            break;
        }
        rest = after;
    }
    let head = before(bytes, rest);
    let head = head.get(..REPORT_HEAD_BYTES).unwrap_or(head);
    (head, after_line(rest))
}

/// The first line with its end, and the rest.
fn first_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let end = end.map_or(bytes.len(), |end| end + 1);
    bytes.split_at_checked(end).unwrap_or((bytes, &[]))
}

fn after_line(bytes: &[u8]) -> &[u8] {
    first_line(bytes).1
}

/// What stands before the rest of a text.
fn before<'a>(bytes: &'a [u8], rest: &[u8]) -> &'a [u8] {
    let end = bytes.len().saturating_sub(rest.len());
    bytes.get(..end).unwrap_or(bytes)
}

/// The bodies between the boundaries of a multipart (RFC 2046 §5.1.1), one by one.
fn parts<'a>(body: &'a [u8], boundary: &str) -> impl Iterator<Item = &'a [u8]> {
    let delimiter = format!("--{boundary}");
    let mut rest = Some(body);
    let mut is_preamble = true;
    std::iter::from_fn(move || {
        loop {
            let (part, after) = until(rest?, delimiter.as_bytes());
            rest = after;
            let is_part = !std::mem::replace(&mut is_preamble, false);
            if is_part {
                return Some(part);
            }
        }
    })
}

/// What stands before the next line that is the delimiter, and what follows that line; nothing
/// follows the last one.
fn until<'a>(body: &'a [u8], delimiter: &[u8]) -> (&'a [u8], Option<&'a [u8]>) {
    let mut rest = body;
    while !rest.is_empty() {
        let (line, after) = first_line(rest);
        let tail = line.strip_prefix(delimiter).map(<[u8]>::trim_ascii_end);
        if let Some(tail @ (b"" | b"--")) = tail {
            let part = before(body, rest);
            // The line end before a delimiter belongs to it.
            let part = part.strip_suffix(b"\n").unwrap_or(part);
            let part = part.strip_suffix(b"\r").unwrap_or(part);
            return (part, tail.is_empty().then_some(after));
        }
        rest = after;
    }
    (body, None)
}
