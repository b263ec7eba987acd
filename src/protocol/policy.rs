//! The policy body (RFC 8461 §3.2): its one rendering, and the strict reading of a body.

use super::{MaxAge, Mode, MxPattern};

/// A policy, as a sender understands it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// What senders do on failure.
    pub mode: Mode,
    /// How long senders may keep it.
    pub max_age: MaxAge,
    /// Patterns of the MX hosts that may receive; in mode `none` it may be empty.
    pub mx: Vec<MxPattern>,
}

impl Policy {
    /// The canonical body, which every known reader accepts: `version`, `mode`, the sorted `mx`
    /// lines, `max_age`, CRLF at every end of line.
    pub fn render(&self) -> String {
        let mut mx: Vec<String> = self.mx.iter().map(ToString::to_string).collect();
        mx.sort();
        mx.dedup();
        let mut body = format!("version: STSv1\r\nmode: {}\r\n", self.mode);
        for pattern in mx {
            body.push_str(&format!("mx: {pattern}\r\n"));
        }
        body.push_str(&format!("max_age: {}\r\n", self.max_age));
        body
    }
}
