//! The words of RFC 8460 for kinds of policies and kinds of results.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
            /// Any other, as it is written.
            Other(String),
        }

        impl $name {
            /// Those that the RFC has, in its order.
            pub const KNOWN: &'static [Self] = &[$(Self::$variant,)*];

            /// Reads a word in any case.
            pub fn parse(text: &str) -> Self {
                match text.to_ascii_lowercase().as_str() {
                    $($word => Self::$variant,)*
                    _ => Self::Other(text.to_owned()),
                }
            }

            /// The word.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Other(text) => text,
                }
            }

            /// Whether the RFC has it.
            pub const fn is_known(&self) -> bool {
                !matches!(self, Self::Other(_))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

words! {
    /// A kind of policy (RFC 8460 §4.4).
    ReportPolicyType {
        /// MTA-STS.
        Sts "sts",
        /// DANE.
        Tlsa "tlsa",
        /// Neither.
        NoPolicyFound "no-policy-found",
    }
}

words! {
    /// What failed (RFC 8460 §4.3).
    ResultType {
        /// The MX offers no STARTTLS.
        StarttlsNotSupported "starttls-not-supported",
        /// The MX's certificate has another name.
        CertificateHostMismatch "certificate-host-mismatch",
        /// The MX's certificate is past its date.
        CertificateExpired "certificate-expired",
        /// The MX's certificate leads to no trusted root.
        CertificateNotTrusted "certificate-not-trusted",
        /// Anything else about the session.
        ValidationFailure "validation-failure",
        /// The TLSA records do not match, or cannot be used.
        TlsaInvalid "tlsa-invalid",
        /// DNSSEC does not validate.
        DnssecInvalid "dnssec-invalid",
        /// The sender demands DANE and finds no TLSA record.
        DaneRequired "dane-required",
        /// The MTA-STS policy cannot be fetched.
        StsPolicyFetchError "sts-policy-fetch-error",
        /// The MTA-STS policy cannot be read.
        StsPolicyInvalid "sts-policy-invalid",
        /// The policy host's certificate is not valid.
        StsWebpkiInvalid "sts-webpki-invalid",
    }
}
