//! How findings are shown: text for people, JSON for scripts.

use std::fmt::Write as _;
use std::io::{self, Read, Write};

use clap::Args;
use serde::Serialize;

use crate::diagnosis::{Finding, Severity, printable};

/// Where a command reads and writes. Data goes to `stdout`, messages to `stderr`.
pub struct Streams<'a> {
    /// What `-` reads.
    pub stdin: &'a mut dyn Read,
    /// For the data.
    pub stdout: &'a mut dyn Write,
    /// For messages.
    pub stderr: &'a mut dyn Write,
    /// Whether `stdout` is a terminal, so that colour is welcome there.
    pub terminal: bool,
}

/// How findings are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For scripts; the shape is stable.
    Json,
}

/// How the answer of a command is shown.
#[derive(Args, Clone, Debug)]
pub struct OutputArgs {
    /// How it is written.
    #[arg(long, value_enum, default_value_t)]
    pub output: Format,

    /// Whether text is coloured.
    #[command(flatten)]
    pub colour: ColourArgs,
}

/// Whether text is coloured.
#[derive(Args, Clone, Debug)]
pub struct ColourArgs {
    /// No colour, even on a terminal.
    #[arg(
        long,
        env = "NO_COLOR",
        value_name = "ANY",
        hide_env = true,
        require_equals = true
    )]
    #[arg(num_args = 0..=1, default_missing_value = "1")]
    pub no_color: Option<String>,
}

impl ColourArgs {
    /// Whether text is coloured, where standard output is a `terminal` or not.
    pub fn on(&self, terminal: bool) -> bool {
        terminal && self.no_color.as_deref().unwrap_or_default().is_empty()
    }
}

/// A message on standard error; if even that cannot be written there is nobody to tell.
pub fn say(stderr: &mut dyn Write, message: &str) {
    let _ = writeln!(stderr, "{}", printable(message));
}

/// Writes a document as JSON, with what could steer a terminal escaped.
///
/// # Errors
/// The stream refuses.
pub fn json(out: &mut dyn Write, document: &impl Serialize) -> io::Result<()> {
    writeln!(out, "{}", safe(&serde_json::to_string_pretty(document)?))
}

/// The same on one line, for a document that others follow.
///
/// # Errors
/// The stream refuses.
pub fn json_line(out: &mut dyn Write, document: &impl Serialize) -> io::Result<()> {
    writeln!(out, "{}", safe(&serde_json::to_string(document)?))
}

/// Empties a terminal and goes to its upper left corner.
///
/// # Errors
/// The stream refuses.
pub fn clear(out: &mut dyn Write) -> io::Result<()> {
    write!(out, "\u{1b}[2J\u{1b}[H")
}

fn safe(text: &str) -> String {
    // JSON needs only the C0 characters escaped; the others can stand inside strings alone, where
    // the escape means the same.
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || printable(c.encode_utf8(&mut [0; 4])).starts_with(c) {
            safe.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        }
    }
    safe
}

/// Writes one finding as text: code and subject, what was seen, the fix, the reference.
///
/// # Errors
/// The stream refuses.
pub fn finding(out: &mut dyn Write, finding: &Finding, colour: bool) -> io::Result<()> {
    let severity = finding.severity.as_str();
    let severity = painted(severity, finding.severity, colour);
    let subject = printable(&finding.subject);
    writeln!(out, "{severity} {}  {subject}", finding.code)?;
    writeln!(out, "  {}", printable(&finding.message))?;
    if let Some(evidence) = &finding.evidence {
        writeln!(out, "  seen: {}", printable(evidence))?;
    }
    if let Some(remedy) = &finding.remedy {
        writeln!(out, "  fix: {}", printable(remedy))?;
    }
    if let Some(reference) = finding.reference {
        writeln!(out, "  {reference}")?;
    }
    Ok(())
}

/// A word in the colour of a severity.
pub fn painted(word: &str, severity: Severity, colour: bool) -> String {
    if colour {
        format!("{}{word}\u{1b}[0m", paint(severity))
    } else {
        word.to_owned()
    }
}

fn paint(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "\u{1b}[1;31m",
        Severity::Warning => "\u{1b}[1;33m",
        Severity::Unknown => "\u{1b}[1;35m",
        Severity::Info => "\u{1b}[1;36m",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::Code;

    #[test]
    fn json_stays_the_same_value_and_steers_no_terminal() {
        let document = serde_json::json!({"a": "x\u{1b}\u{9b}\u{7f}\u{202e}\u{e0041}é\ny"});
        let mut out = Vec::new();
        json(&mut out, &document).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.chars().all(|c| c == '\n' || !c.is_control()),
            "{text:?}"
        );
        assert!(!text.contains(['\u{202e}', '\u{e0041}']), "{text:?}");
        let back: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back, document);
    }

    #[test]
    fn a_finding_reads_from_what_to_why_to_fix() {
        let found = Finding::new(Code::PolicyMode, "line 2", "the mode is \"enforced\"")
            .with_remedy("write: mode: enforce");
        let shown = |colour| {
            let mut out = Vec::new();
            finding(&mut out, &found, colour).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            shown(false),
            "error policy-mode  line 2\n  the mode is \"enforced\"\n  fix: write: mode: enforce\n  RFC 8461 §3.2\n"
        );
        assert!(shown(true).starts_with("\u{1b}[1;31merror\u{1b}[0m policy-mode"));
    }
}
