//! How real senders and checkers differ from the RFC: who refuses or misreads what is lawful.
//!
//! Read in their source; lint, advice and documentation name them from this one table.

/// A program that reads MTA-STS records or policies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Reader {
    /// The mail server chasquid.
    Chasquid,
    /// postfix-mta-sts-resolver.
    PostfixMtaStsResolver,
    /// postfix-tlspol.
    PostfixTlspol,
    /// The mail server KumoMTA.
    KumoMta,
    /// The mail server Stalwart.
    Stalwart,
    /// The library go-mtasts, as used by maddy.
    GoMtasts,
    /// The library mailauth.
    Mailauth,
    /// The mail service Mimecast.
    Mimecast,
    /// The checker checkdmarc.
    Checkdmarc,
}

impl Reader {
    /// Its name as people know it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chasquid => "chasquid",
            Self::PostfixMtaStsResolver => "postfix-mta-sts-resolver",
            Self::PostfixTlspol => "postfix-tlspol",
            Self::KumoMta => "KumoMTA",
            Self::Stalwart => "Stalwart",
            Self::GoMtasts => "go-mtasts (maddy)",
            Self::Mailauth => "mailauth",
            Self::Mimecast => "Mimecast",
            Self::Checkdmarc => "checkdmarc",
        }
    }
}

/// Something in a record or policy that not every reader takes as the RFC does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Quirk {
    /// A blank line in the policy, which the RFC does not allow either.
    BlankLine,
    /// A body above about 10 KB.
    LargeBody,
    /// A repeated key whose last value is taken.
    LastDuplicateWins,
    /// A repeated key that makes the policy invalid.
    DuplicateRefused,
    /// A key that the RFC does not define.
    UnknownKey,
    /// A second colon on a line.
    SecondColon,
    /// A value outside ASCII.
    NotAscii,
    /// An mx that is an IP address.
    IpAddressMx,
    /// Mode none without an mx.
    NoneWithoutMx,
    /// A max_age of 0.
    MaxAgeZero,
    /// A max_age below 3600, which is taken for a day.
    MaxAgeBelowHour,
    /// A max_age below 86400.
    MaxAgeBelowDay,
    /// White space after the id in the record.
    SpaceAfterId,
    /// White space between the record's version and its `;`: dropped when another TXT is there.
    SpaceAfterVersion,
    /// A field in the record that the RFC does not define.
    UnknownField,
}

/// Where [`Quirk::LargeBody`] begins, in bytes.
pub(super) const LARGE_BODY_BYTES: usize = 10_000;

const TABLE: &[(Quirk, &[Reader])] = &[
    (Quirk::BlankLine, &[Reader::PostfixTlspol, Reader::GoMtasts]),
    (Quirk::LargeBody, &[Reader::Chasquid]),
    (
        Quirk::LastDuplicateWins,
        &[
            Reader::Chasquid,
            Reader::PostfixMtaStsResolver,
            Reader::GoMtasts,
        ],
    ),
    (
        Quirk::DuplicateRefused,
        &[Reader::KumoMta, Reader::Checkdmarc],
    ),
    (Quirk::UnknownKey, &[Reader::Checkdmarc]),
    (Quirk::SecondColon, &[Reader::GoMtasts]),
    (Quirk::NotAscii, &[Reader::PostfixMtaStsResolver]),
    (Quirk::IpAddressMx, &[Reader::PostfixTlspol]),
    (Quirk::NoneWithoutMx, &[Reader::Chasquid, Reader::Stalwart]),
    (Quirk::MaxAgeZero, &[Reader::Chasquid, Reader::Mimecast]),
    (Quirk::MaxAgeBelowHour, &[Reader::Stalwart]),
    (Quirk::MaxAgeBelowDay, &[Reader::Mimecast]),
    (Quirk::SpaceAfterId, &[Reader::PostfixTlspol]),
    // Every conforming reader drops it in company, so nobody is named.
    (Quirk::SpaceAfterVersion, &[]),
    (Quirk::UnknownField, &[Reader::Checkdmarc]),
];

impl Quirk {
    /// Who differs.
    pub fn readers(self) -> &'static [Reader] {
        TABLE
            .iter()
            .find(|(quirk, _)| *quirk == self)
            .map_or(&[], |(_, readers)| readers)
    }

    /// Their names, as a list in a sentence.
    pub fn names(self) -> String {
        let names: Vec<_> = self.readers().iter().map(|reader| reader.name()).collect();
        match names.as_slice() {
            [] => "some readers".to_owned(),
            [only] => (*only).to_owned(),
            [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_named_in_a_sentence() {
        assert_eq!(
            Quirk::LastDuplicateWins.names(),
            "chasquid, postfix-mta-sts-resolver and go-mtasts (maddy)"
        );
        assert_eq!(Quirk::UnknownKey.names(), "checkdmarc");
        assert_eq!(Quirk::SpaceAfterVersion.names(), "some readers");
    }
}
