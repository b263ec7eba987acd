//! What a file looks like that is no policy at all, and how it came about.

/// Something that is served or written where a policy should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Impostor {
    /// What it looks like.
    pub(super) looks_like: &'static str,
    /// How that comes about, and what to do.
    pub(super) remedy: &'static str,
}

/// Tells what a body looks like, where it is plainly no policy.
pub(super) fn impostor(body: &[u8]) -> Option<Impostor> {
    CHECKS
        .iter()
        .find(|(check, _)| check(body))
        .map(|(_, impostor)| *impostor)
}

type Check = fn(&[u8]) -> bool;

/// The order counts: RTF starts with the brace of JSON.
const CHECKS: &[(Check, Impostor)] = &[
    (
        is_utf_16,
        Impostor {
            looks_like: "UTF-16 text",
            remedy: "some editors and shells of Windows save so: save it as ASCII or UTF-8 without a byte order mark",
        },
    ),
    (
        |body| body.starts_with(b"\x1f\x8b"),
        Impostor {
            looks_like: "gzip data",
            remedy: "serve the file itself; it is too small to be worth compressing",
        },
    ),
    (
        |body| starts_with(body, &["{\\rtf"]),
        Impostor {
            looks_like: "RTF",
            remedy: "a word processor wrote it: save it as plain text",
        },
    ),
    (
        |body| starts_with(body, &["<"]),
        Impostor {
            looks_like: "HTML or XML",
            remedy: "a web server's own page is served in place of the file (an error page, a single-page application, a login or bot wall): serve the text file at /.well-known/mta-sts.txt",
        },
    ),
    (
        |body| starts_with(body, &["{", "[", "\"{", "\"version"]),
        Impostor {
            looks_like: "JSON",
            remedy: "a program put the policy into JSON: serve the bare lines, without quotes or braces",
        },
    ),
    (
        |body| starts_with(body, &["---", "+++", "```"]),
        Impostor {
            looks_like: "front matter or a Markdown block",
            remedy: "a site generator or a copied example left its fence: delete the fence lines, keep the key: value lines",
        },
    ),
    (
        |body| starts_with(body, &["v=sts", "\"v=sts"]),
        Impostor {
            looks_like: "the TXT record",
            remedy: "this text belongs in the TXT record at _mta-sts; the policy file starts with the line version: STSv1",
        },
    ),
    (
        has_literal_line_ends,
        Impostor {
            looks_like: "one line with a literal backslash-n in place of each line end",
            remedy: "a program wrote \\n as two characters (a quoted string in a configuration, echo without -e): write real line ends",
        },
    ),
];

/// A UTF-16 byte order mark, or every other byte of the start is NUL.
fn is_utf_16(body: &[u8]) -> bool {
    let head = body.get(..8).unwrap_or(body);
    let nul_at = |odd: usize| head.iter().skip(odd).step_by(2).all(|b| *b == 0);
    body.starts_with(b"\xff\xfe")
        || body.starts_with(b"\xfe\xff")
        || (head.len() >= 4 && (nul_at(0) != nul_at(1)))
}

fn starts_with(body: &[u8], starts: &[&str]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let body = body.trim_ascii_start();
    starts.iter().any(|start| {
        body.get(..start.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
    })
}

fn has_literal_line_ends(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body.get(..1024).unwrap_or(body)).to_ascii_lowercase();
    ["mode", "mx", "max_age", "version"]
        .iter()
        .any(|key| text.contains(&format!("\\n{key}:")) || text.contains(&format!("\\n{key} :")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_in_place_of_a_policy_is_told() {
        let utf_16: Vec<u8> = "version: STSv1"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let utf_16_bom = [b"\xff\xfe".as_slice(), &utf_16].concat();
        for (body, expected) in [
            (b"<!DOCTYPE html>".as_slice(), Some("HTML or XML")),
            (b"\xef\xbb\xbf\n <html>", Some("HTML or XML")),
            (&utf_16, Some("UTF-16 text")),
            (&utf_16_bom, Some("UTF-16 text")),
            (b"{\\rtf1\\ansi version: STSv1}", Some("RTF")),
            (b"{\"version\": \"STSv1\"}", Some("JSON")),
            (b"\"version: STSv1\\nmode: none\"", Some("JSON")),
            (
                b"---\nversion: STSv1\n",
                Some("front matter or a Markdown block"),
            ),
            (b"v=STSv1; id=1;", Some("the TXT record")),
            (
                b"version: STSv1\\nmode: none\\nmax_age: 1",
                Some("one line with a literal backslash-n in place of each line end"),
            ),
            (b"version: STSv1\nmode: none\n", None),
            (b"", None),
            (b"\n\n", None),
            (b"\0\0\0\0", None),
            (b"hello", None),
        ] {
            assert_eq!(
                impostor(body).map(|found| found.looks_like),
                expected,
                "{body:?}"
            );
        }
    }
}
