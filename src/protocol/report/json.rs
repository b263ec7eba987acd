//! JSON as report senders write it.
//!
//! A parser of our own, since one bad field must not lose a report: a strict one gives the whole
//! document up at a byte that is not UTF-8, half a surrogate pair, a raw control character or a
//! number that fits no type, and it takes as much memory as the document asks for.

use super::issue::{JsonError, ReportIssue};
use crate::limits::{REPORT_JSON_BYTES, REPORT_NESTING, REPORT_VALUES};

/// A value. Numbers stay as they are written, objects keep their order.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// What a value is called in a message.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// Reads a document, and what was tolerated in it: each kind once.
pub(super) fn parse(bytes: &[u8]) -> Result<(Json, Vec<ReportIssue>), JsonError> {
    if bytes.len() > REPORT_JSON_BYTES {
        return Err(JsonError::TooLarge {
            limit: REPORT_JSON_BYTES,
        });
    }
    let mut parser = Parser {
        bytes,
        at: 0,
        values: 0,
        issues: Vec::new(),
    };
    if bytes.starts_with(b"\xef\xbb\xbf") {
        parser.at = 3;
        parser.note(ReportIssue::ByteOrderMark);
    }
    parser.space();
    if parser.peek().is_none() {
        return Err(JsonError::Empty);
    }
    let value = parser.value(0)?;
    parser.space();
    if parser.peek().is_some() {
        let count = bytes.len() - parser.at;
        parser.note(ReportIssue::AfterTheEnd { count });
    }
    Ok((value, parser.issues))
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    values: usize,
    issues: Vec<ReportIssue>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn note(&mut self, issue: ReportIssue) {
        if !self.issues.contains(&issue) {
            self.issues.push(issue);
        }
    }

    /// What is wrong where the parser stands.
    fn wrong(&self) -> JsonError {
        match self.peek() {
            Some(_) => JsonError::Syntax { offset: self.at },
            None => JsonError::CutOff { offset: self.at },
        }
    }

    fn expect(&mut self, wanted: u8) -> Result<(), JsonError> {
        if self.peek() != Some(wanted) {
            return Err(self.wrong());
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Json, JsonError> {
        if depth > REPORT_NESTING {
            return Err(JsonError::TooDeep {
                limit: REPORT_NESTING,
            });
        }
        self.values += 1;
        if self.values > REPORT_VALUES {
            return Err(JsonError::TooManyValues {
                limit: REPORT_VALUES,
            });
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.text().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => Ok(self.number()),
            Some(b't') => self.word(b"true", Json::Bool(true)),
            Some(b'f') => self.word(b"false", Json::Bool(false)),
            Some(b'n') => self.word(b"null", Json::Null),
            _ => Err(self.wrong()),
        }
    }

    fn word(&mut self, word: &[u8], value: Json) -> Result<Json, JsonError> {
        for byte in word {
            self.expect(*byte)?;
        }
        Ok(value)
    }

    /// Whatever looks like a number. Whether it is one is asked where it is used.
    fn number(&mut self) -> Json {
        let start = self.at;
        while matches!(
            self.peek(),
            Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
        ) {
            self.at += 1;
        }
        let digits = self.bytes.get(start..self.at).unwrap_or_default();
        Json::Number(String::from_utf8_lossy(digits).into_owned())
    }

    fn list(&mut self, depth: usize) -> Result<Json, JsonError> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::List(items));
        }
        loop {
            self.space();
            items.push(self.value(depth + 1)?);
            self.space();
            if self.peek() != Some(b',') {
                self.expect(b']')?;
                return Ok(Json::List(items));
            }
            self.at += 1;
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, JsonError> {
        self.at += 1;
        let mut members = Vec::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.wrong());
            }
            let key = self.text()?;
            self.space();
            self.expect(b':')?;
            self.space();
            let value = self.value(depth + 1)?;
            members.push((key, value));
            self.space();
            if self.peek() != Some(b',') {
                self.expect(b'}')?;
                return Ok(Json::Object(members));
            }
            self.at += 1;
        }
    }

    /// A string, the quotes included.
    fn text(&mut self) -> Result<String, JsonError> {
        self.expect(b'"')?;
        let mut text = Vec::new();
        loop {
            match self.next() {
                None => return Err(self.wrong()),
                Some(b'"') => break,
                Some(b'\\') => self.escape(&mut text)?,
                Some(byte) => {
                    if byte < 0x20 {
                        self.note(ReportIssue::RawControl);
                    }
                    text.push(byte);
                }
            }
        }
        match String::from_utf8(text) {
            Ok(text) => Ok(text),
            Err(error) => {
                self.note(ReportIssue::NotUtf8);
                Ok(String::from_utf8_lossy(error.as_bytes()).into_owned())
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), JsonError> {
        let c = match self.next() {
            None => return Err(self.wrong()),
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'u') => self.unicode(),
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(byte) => {
                // Kept as it stands: a path in Windows style, most likely.
                self.note(ReportIssue::BadEscape);
                text.extend([b'\\', byte]);
                return Ok(());
            }
        };
        text.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    /// What follows `\u`: a character, or the replacement character for half of one.
    fn unicode(&mut self) -> char {
        let Some(first) = self.hex() else {
            self.note(ReportIssue::BadEscape);
            return char::REPLACEMENT_CHARACTER;
        };
        let mut units = vec![first];
        let pair = (0xd800..0xdc00).contains(&first)
            && self.bytes.get(self.at..self.at + 2) == Some(b"\\u");
        if pair {
            let before = self.at;
            self.at += 2;
            match self.hex() {
                Some(second @ 0xdc00..=0xdfff) => units.push(second),
                // It is a character of its own, and read again.
                _ => self.at = before,
            }
        }
        let c = char::decode_utf16(units).next().and_then(Result::ok);
        c.unwrap_or_else(|| {
            self.note(ReportIssue::BadEscape);
            char::REPLACEMENT_CHARACTER
        })
    }

    fn hex(&mut self) -> Option<u16> {
        let digits = self.bytes.get(self.at..self.at + 4)?;
        let mut value = 0;
        for digit in digits {
            value = value * 16 + char::from(*digit).to_digit(16)?;
        }
        self.at += 4;
        u16::try_from(value).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn same(json: &Json, value: &Value) -> bool {
        match (json, value) {
            (Json::Null, Value::Null) => true,
            (Json::Bool(a), Value::Bool(b)) => a == b,
            (Json::Number(a), Value::Number(b)) => {
                a.parse::<f64>().ok() == b.as_f64() && a.parse::<i64>().ok() == b.as_i64()
            }
            (Json::Text(a), Value::String(b)) => a == b,
            (Json::List(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
            }
            (Json::Object(a), Value::Object(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
            }
            _ => false,
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 60, 8, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                proptest::collection::hash_map(any::<String>(), inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_serde_json_writes_is_read_alike_and_without_a_note(value in any_value(), pretty: bool) {
            let text = match pretty {
                true => serde_json::to_string_pretty(&value),
                false => serde_json::to_string(&value),
            }
            .unwrap();
            let (json, issues) = parse(text.as_bytes()).unwrap();
            prop_assert!(same(&json, &value), "{}", text);
            prop_assert_eq!(issues, []);
        }

        #[test]
        fn what_serde_json_takes_is_taken_with_the_same_value(
            text in r#"([\[\]{}:,"0-9eE.+ -]|true|null|"a"|\\u[0-9a-dD]{4}|\\[bfnrt/"]){0,12}"#,
        ) {
            // Keys that stand twice are kept here, and the last one there.
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                let read = parse(text.as_bytes());
                prop_assert!(read.is_ok(), "{text}");
                prop_assert!(text.contains('{') || same(&read.unwrap().0, &value), "{text}");
            }
        }
    }

    #[test]
    fn what_a_strict_reader_refuses_is_read_and_noted() {
        let text = |text: &str| Json::Text(text.to_owned());
        for (case, bytes, value, issue) in [
            (
                "not UTF-8",
                &b"\"a\xffb\""[..],
                text("a\u{fffd}b"),
                ReportIssue::NotUtf8,
            ),
            (
                "control",
                b"\"a\x1bb\"",
                text("a\u{1b}b"),
                ReportIssue::RawControl,
            ),
            (
                "half a pair",
                br#""\ud83da""#,
                text("\u{fffd}a"),
                ReportIssue::BadEscape,
            ),
            (
                "two first halves",
                br#""\ud83d\ud83d\ude00""#,
                text("\u{fffd}\u{1f600}"),
                ReportIssue::BadEscape,
            ),
            (
                "escape",
                br#""C:\x""#,
                text("C:\\x"),
                ReportIssue::BadEscape,
            ),
            (
                "byte order mark",
                b"\xef\xbb\xbfnull",
                Json::Null,
                ReportIssue::ByteOrderMark,
            ),
            (
                "more",
                b"null}}",
                Json::Null,
                ReportIssue::AfterTheEnd { count: 2 },
            ),
        ] {
            assert_eq!(parse(bytes).unwrap(), (value, vec![issue]), "{case}");
        }
        let huge = parse(b"1e999").unwrap();
        assert_eq!(huge, (Json::Number("1e999".to_owned()), vec![]));
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        let deep = "[".repeat(10_000);
        let wide = format!("[{}0]", "0,".repeat(REPORT_VALUES));
        let large = " ".repeat(REPORT_JSON_BYTES + 1);
        for (case, text, error) in [
            ("nothing", " \n", JsonError::Empty),
            ("a page", "<html>", JsonError::Syntax { offset: 0 }),
            ("a comma", "[1,]", JsonError::Syntax { offset: 3 }),
            ("cut off", "{\"a\": [1, ", JsonError::CutOff { offset: 10 }),
            (
                "cut off in a text",
                "\"abc",
                JsonError::CutOff { offset: 4 },
            ),
            (
                "cut off in an escape",
                "\"\\u12",
                JsonError::CutOff { offset: 5 },
            ),
            (
                "deep",
                &deep,
                JsonError::TooDeep {
                    limit: REPORT_NESTING,
                },
            ),
            (
                "wide",
                &wide,
                JsonError::TooManyValues {
                    limit: REPORT_VALUES,
                },
            ),
            (
                "large",
                &large,
                JsonError::TooLarge {
                    limit: REPORT_JSON_BYTES,
                },
            ),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(error), "{case}");
        }
    }
}
