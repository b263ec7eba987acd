//! Signature Version 4, as the server sees it.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html>

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aws_lc_rs::{digest, hmac};
use data_encoding::HEXLOWER;

use super::{Ask, KEY_ID};

/// Looks at the signature of a request; code and message of the refusal. `secret` is the one of
/// [`KEY_ID`].
pub(super) fn verify(ask: &Ask, secret: &str, region: &str) -> Result<(), (u16, &'static str)> {
    let rest = ask.authorization.strip_prefix("AWS4-HMAC-SHA256 ");
    let fields: BTreeMap<&str, &str> = rest
        .ok_or((403, "MissingAuthenticationToken"))?
        .split(',')
        .filter_map(|field| field.trim().split_once('='))
        .collect();
    let field = |name| {
        fields
            .get(name)
            .copied()
            .ok_or((400, "IncompleteSignature"))
    };
    let (credential, signed, signature) = (
        field("Credential")?,
        field("SignedHeaders")?,
        field("Signature")?,
    );
    let at = header(ask, "x-amz-date");
    let day = at.get(..8).ok_or((400, "IncompleteSignature"))?;
    let scope = format!("{day}/{region}/route53/aws4_request");
    match credential.split_once('/') {
        Some((KEY_ID, of)) if of == scope => {}
        Some((KEY_ID, _)) => return Err((403, "SignatureDoesNotMatch")),
        _ => return Err((403, "InvalidClientTokenId")),
    }
    // What is not signed may be changed on the way.
    let names: Vec<&str> = signed.split(';').collect();
    if !names.contains(&"host") || !names.contains(&"x-amz-date") || !names.is_sorted() {
        return Err((403, "SignatureDoesNotMatch"));
    }
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{at}\n{scope}\n{}",
        hash(&canonical(ask, &names, signed))
    );
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [day, region, "route53", "aws4_request"] {
        key = hmac(&key, part);
    }
    match HEXLOWER.encode(&hmac(&key, &to_sign)) == signature {
        true => Ok(()),
        false => Err((403, "SignatureDoesNotMatch")),
    }
}

fn canonical(ask: &Ask, names: &[&str], signed: &str) -> String {
    let pairs = ask.query.iter();
    let query: Vec<String> = pairs
        .map(|(key, value)| format!("{}={}", encoded(key), encoded(value)))
        .collect();
    let mut text = format!("{}\n{}\n{}\n", ask.method, ask.path, query.join("&"));
    for name in names {
        writeln!(text, "{name}:{}", header(ask, name).trim()).unwrap();
    }
    format!("{text}\n{signed}\n{}", hash(&ask.text))
}

fn header<'a>(ask: &'a Ask, name: &str) -> &'a str {
    let value = ask.headers.get(name);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn hash(text: &str) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

/// Everything but what RFC 3986 calls unreserved.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for octet in text.bytes() {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(octet));
            }
            other => write!(encoded, "%{other:02X}").unwrap(),
        }
    }
    encoded
}
