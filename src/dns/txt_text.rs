//! TXT values in presentation format (RFC 1035 §5.1): character-strings between quotes.

/// The character-strings, each between quotes, with what needs it escaped.
pub(super) fn quoted(strings: &[Vec<u8>]) -> String {
    let mut text = String::new();
    for string in strings {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push('"');
        for &octet in string {
            match octet {
                b'"' | b'\\' => {
                    text.push('\\');
                    text.push(char::from(octet));
                }
                b' '..=b'~' => text.push(char::from(octet)),
                other => text.push_str(&format!("\\{other:03}")),
            }
        }
        text.push('"');
    }
    text
}

/// The character-strings of a text that is quoted; one that is not is taken as it stands, in pieces
/// of 255 octets. Strings are joined and cut anew: where one ends means nothing.
pub(super) fn unquoted(text: &str) -> Vec<Vec<u8>> {
    let octets = match text.starts_with('"') {
        true => octets(text),
        false => text.as_bytes().to_vec(),
    };
    if octets.is_empty() {
        return vec![Vec::new()];
    }
    octets.chunks(255).map(<[u8]>::to_vec).collect()
}

fn octets(text: &str) -> Vec<u8> {
    let (mut octets, mut inside, mut rest) = (Vec::new(), false, text.bytes().peekable());
    while let Some(octet) = rest.next() {
        match octet {
            b'"' => inside = !inside,
            b'\\' if inside => octets.extend(escape(&mut rest)),
            octet if inside => octets.push(octet),
            _ => {}
        }
    }
    octets
}

/// What follows a backslash: three decimal digits, or any one octet.
fn escape(rest: &mut std::iter::Peekable<std::str::Bytes<'_>>) -> Option<u8> {
    let first = rest.next()?;
    if !first.is_ascii_digit() {
        return Some(first);
    }
    let mut number = u32::from(first - b'0');
    for _ in 0..2 {
        match rest.next_if(u8::is_ascii_digit) {
            Some(digit) => number = number * 10 + u32::from(digit - b'0'),
            None => break,
        }
    }
    u8::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_octets_come_back() {
        let all: Vec<u8> = (0..=255).collect();
        for octets in [
            b"v=STSv1; id=1;".to_vec(),
            b"say \"hi\" \\".to_vec(),
            all,
            Vec::new(),
        ] {
            let strings: Vec<Vec<u8>> = match octets.is_empty() {
                true => vec![Vec::new()],
                false => octets.chunks(255).map(<[u8]>::to_vec).collect(),
            };
            assert_eq!(unquoted(&quoted(&strings)), strings);
        }
    }

    #[test]
    fn a_text_is_read_as_servers_write_it() {
        for (text, expected) in [
            ("\"v=STSv1; id=1;\"", "v=STSv1; id=1;"),
            ("v=STSv1; id=1;", "v=STSv1; id=1;"),
            ("\"one \" \"and two\"", "one and two"),
            ("\"\\065\\\"\"", "A\""),
            ("\"never closed", "never closed"),
            ("\"\\", ""),
        ] {
            assert_eq!(unquoted(text).concat(), expected.as_bytes(), "{text}");
        }
    }
}
