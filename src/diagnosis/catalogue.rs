//! Every finding code, once, with its severity and meaning. `docs/findings.md` is made of it.
//!
//! Codes are stable: people alert on them. One may be added; none changes its meaning.

use std::fmt;

use serde::{Serialize, Serializer};

use super::finding::Severity;
use Severity::{Error, Info, Unknown, Warning};

/// The severity of a code while the policy enforces, and while it is tested.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Severities {
    /// In mode enforce.
    pub enforce: Severity,
    /// In mode testing (and none).
    pub testing: Severity,
}

impl Severities {
    const fn both(severity: Severity) -> Self {
        Self {
            enforce: severity,
            testing: severity,
        }
    }
}

const MAIL_STOPS: Severities = Severities {
    enforce: Error,
    testing: Warning,
};

/// What a code is about: a heading of the catalogue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Section {
    /// The record `_mta-sts.<domain>`.
    Record,
    /// The policy body.
    Policy,
    /// The policy host `mta-sts.<domain>`.
    Host,
    /// The MX hosts.
    Mx,
    /// The record `_smtp._tls.<domain>`.
    TlsReporting,
    /// TLS reports (RFC 8460): what senders saw, and how the report is written.
    Report,
    /// What the operator does over time.
    Lifecycle,
    /// The fields of an MtaStsPolicy.
    Spec,
}

/// Where a code can come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    /// Without the network, and live as well.
    Lint,
    /// Only by looking at the live domain or the cluster.
    Live,
    /// In a TLS report of a sender.
    Told,
}
use Seen::{Lint, Live, Told};

struct Entry {
    name: &'static str,
    section: Section,
    severities: Severities,
    seen: Seen,
    reference: Option<&'static str>,
    meaning: &'static str,
}

macro_rules! catalogue {
    ($($section:ident { $($code:ident $name:literal $severities:expr, $seen:expr, $reference:expr, $meaning:literal;)* })*) => {
        /// A finding code.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum Code {
            $($(#[doc = $meaning] $code,)*)*
        }

        impl Code {
            /// Every code, in the order of the catalogue.
            pub const ALL: &'static [Self] = &[$($(Self::$code,)*)*];

            const fn entry(self) -> Entry {
                match self {
                    $($(Self::$code => Entry {
                        name: $name,
                        section: Section::$section,
                        severities: $severities,
                        seen: $seen,
                        reference: $reference,
                        meaning: $meaning,
                    },)*)*
                }
            }
        }
    };
}

const fn both(severity: Severity) -> Severities {
    Severities::both(severity)
}

const RECORD: Option<&str> = Some("RFC 8461 §3.1");
const BODY: Option<&str> = Some("RFC 8461 §3.2");
const FETCH: Option<&str> = Some("RFC 8461 §3.3");
const MATCH: Option<&str> = Some("RFC 8461 §4.1");
const MX_TLS: Option<&str> = Some("RFC 8461 §4.2");
const ORDER: Option<&str> = Some("RFC 8461 §8.1");
const REMOVAL: Option<&str> = Some("RFC 8461 §8.3");
const RPT: Option<&str> = Some("RFC 8460 §3");
const RESULT: Option<&str> = Some("RFC 8460 §4.3");
const SCHEMA: Option<&str> = Some("RFC 8460 §4.4");
const WRAPPING: Option<&str> = Some("RFC 8460 §5");

catalogue! {
    Record {
        RecordMissing "record-missing" both(Error), Lint, RECORD, "There is no TXT record.";
        RecordNotSts "record-not-sts" both(Error), Lint, RECORD, "TXT records are there, and none of them is an MTA-STS record.";
        RecordFieldDuplicate "record-field-duplicate" both(Warning), Lint, Some("RFC 8461 §3.2"), "A field stands twice: the first counts by the RFC, not for every reader.";
        RecordReaderIncompatible "record-reader-incompatible" both(Warning), Lint, RECORD, "Valid by the RFC, refused or misread by the readers named.";
        RecordMultiple "record-multiple" both(Error), Lint, RECORD, "Several TXT records begin with v=STSv1;, which counts as none.";
        RecordVersion "record-version" both(Error), Lint, RECORD, "A TXT record that is meant as the record does not begin with exactly v=STSv1;.";
        RecordIdMissing "record-id-missing" both(Error), Lint, RECORD, "The record has no id.";
        RecordIdInvalid "record-id-invalid" both(Error), Lint, RECORD, "The id is not 1 to 32 letters and digits.";
        RecordSyntax "record-syntax" both(Error), Lint, RECORD, "Any other breach of the record's grammar.";
        RecordMisplaced "record-misplaced" both(Error), Live, RECORD, "The record stands at another name than _mta-sts.";
        RecordUnrelatedTxt "record-unrelated-txt" both(Info), Lint, RECORD, "Other TXT records stand beside it: senders discard them, some tools do not.";
        RecordWildcard "record-wildcard" both(Info), Live, RECORD, "The record comes from a wildcard: every subdomain inherits it.";
        RecordDelegationBroken "record-delegation-broken" both(Error), Live, Some("RFC 8461 §8.2"), "A CNAME at _mta-sts leads nowhere, or only half of the names are delegated.";
        RecordTtlLong "record-ttl-long" both(Warning), Live, RECORD, "The record's TTL is above one day.";
        RecordVantageDiffers "record-vantage-differs" both(Warning), Live, RECORD, "Authoritative servers disagree with each other or with a resolver.";
    }
    Policy {
        PolicyVersion "policy-version" both(Error), Lint, BODY, "The version is missing or not STSv1.";
        PolicyMode "policy-mode" both(Error), Lint, BODY, "The mode is missing or not one of enforce, testing, none.";
        PolicyMaxAgeMissing "policy-max-age-missing" both(Error), Lint, BODY, "max_age is missing.";
        PolicyMaxAgeInvalid "policy-max-age-invalid" both(Error), Lint, BODY, "max_age is not 1 to 10 digits, or above 31557600.";
        PolicyMaxAgeZero "policy-max-age-zero" both(Error), Lint, BODY, "max_age is 0: senders forget the policy at once.";
        PolicyMaxAgeShort "policy-max-age-short" both(Warning), Lint, Some("RFC 8461 §10.2"), "max_age is below one day, or below one week in mode enforce.";
        PolicyMxMissing "policy-mx-missing" both(Error), Lint, BODY, "No mx in mode enforce or testing.";
        PolicyMxNoneCompat "policy-mx-none-compat" both(Warning), Lint, BODY, "No mx in mode none: lawful, and refused by the readers named.";
        PolicyMxInvalid "policy-mx-invalid" both(Error), Lint, BODY, "An mx is no host name and no wildcard that could match an MX host.";
        PolicyMxTooBroad "policy-mx-too-broad" both(Warning), Lint, Some("RFC 8461 §10"), "A wildcard trusts every host of the policy domain's own registrable domain, or of a public suffix.";
        PolicyKeyUnknown "policy-key-unknown" both(Warning), Lint, BODY, "A key that the RFC does not define.";
        PolicyKeyDuplicate "policy-key-duplicate" both(Warning), Lint, BODY, "A key other than mx stands twice: readers disagree which counts.";
        PolicySyntax "policy-syntax" both(Error), Lint, BODY, "Any other breach of the policy's grammar.";
        PolicyBlankLine "policy-blank-line" both(Error), Lint, BODY, "A blank line, which the grammar does not have.";
        PolicyComment "policy-comment" both(Error), Lint, BODY, "A comment, which the grammar does not have.";
        PolicyBom "policy-bom" both(Error), Lint, BODY, "A byte order mark before the first line.";
        PolicyLineEnding "policy-line-ending" both(Error), Lint, BODY, "A line ends with a lone CR.";
        PolicyNotAPolicy "policy-not-a-policy" both(Error), Lint, BODY, "The body is something else: HTML, UTF-16, RTF, JSON, front matter, a literal backslash-n.";
        PolicyTooLarge "policy-too-large" both(Error), Lint, FETCH, "The body is above 64 KiB (a warning above 8 KiB).";
        PolicyReaderIncompatible "policy-reader-incompatible" both(Warning), Lint, BODY, "Valid by the RFC, refused or misread by the readers named.";
    }
    Host {
        HostUnresolved "host-unresolved" both(Error), Live, FETCH, "The policy host has no address.";
        HostUnreachable "host-unreachable" both(Error), Live, FETCH, "An address refuses the connection or does not answer in time.";
        HostAddressFamilyBroken "host-address-family-broken" both(Error), Live, FETCH, "Of IPv4 and IPv6 only one answers.";
        HostTlsExpired "host-tls-expired" both(Error), Live, FETCH, "The policy host's certificate is past its date.";
        HostTlsNameMismatch "host-tls-name-mismatch" both(Error), Live, FETCH, "The certificate has no SAN for the policy host; a common name does not count.";
        HostTlsUntrusted "host-tls-untrusted" both(Error), Live, FETCH, "The certificate is self-signed or its root is unknown.";
        HostTlsIncompleteChain "host-tls-incomplete-chain" both(Error), Live, FETCH, "An intermediate certificate is missing.";
        HostTlsVersion "host-tls-version" both(Error), Live, Some("RFC 8461 §7"), "The policy host offers no TLS 1.2 or later.";
        HostTlsHandshake "host-tls-handshake" both(Error), Live, FETCH, "The TLS handshake fails in any other way.";
        HostTlsExpiring "host-tls-expiring" both(Warning), Live, FETCH, "The certificate ends within 14 days, or within a third of its life.";
        HostRedirect "host-redirect" both(Error), Live, FETCH, "The policy host redirects; senders never follow.";
        HostStatus "host-status" both(Error), Live, FETCH, "The status is not 200.";
        HostBotWall "host-bot-wall" both(Error), Live, FETCH, "A challenge page, or a status that depends on the user agent.";
        HostContentType "host-content-type" both(Error), Live, Some("RFC 8461 §3.2"), "The content type is not text/plain.";
        HostSlow "host-slow" both(Warning), Live, FETCH, "The answer takes over 4 seconds; one reader gives up then.";
        HostCached "host-cached" both(Warning), Live, FETCH, "A cache in front answers: an old body can outlive its id.";
        HostPrivateAddress "host-private-address" both(Error), Live, FETCH, "An address of the policy host is private and is not dialled.";
        HostReplicasDiffer "host-replicas-differ" both(Error), Live, ORDER, "Addresses or replicas serve different bodies.";
        HostTlsInconsistent "host-tls-inconsistent" both(Error), Live, FETCH, "The certificate is wrong in some handshakes or on some addresses only.";
        HostDangling "host-dangling" both(Error), Live, Some("RFC 8461 §10.3"), "The policy host points at a name or service that nobody holds any more.";
        HostCaa "host-caa" both(Error), Live, Some("RFC 8659 §3"), "CAA forbids the issuer that is to issue for the policy host.";
    }
    Mx {
        MxNone "mx-none" both(Warning), Live, Some("RFC 5321 §5.1"), "The domain has no MX: its own address is the MX then.";
        MxNull "mx-null" both(Info), Live, Some("RFC 7505 §3"), "The domain has a null MX: it takes no mail.";
        MxUnresolved "mx-unresolved" both(Error), Live, Some("RFC 5321 §5.1"), "An MX host has no address.";
        MxPrivateAddress "mx-private-address" both(Error), Live, Some("RFC 5321 §5.1"), "An MX host has a private address and is not dialled.";
        MxUncovered "mx-uncovered" MAIL_STOPS, Live, MATCH, "A live MX matches no pattern of the policy.";
        MxAllUncovered "mx-all-uncovered" both(Error), Live, MATCH, "No live MX matches a pattern: enforce would stop all mail.";
        MxPatternUnused "mx-pattern-unused" both(Info), Live, MATCH, "A pattern that no live MX uses.";
        MxPatternLapsed "mx-pattern-lapsed" both(Error), Live, Some("RFC 8461 §10"), "A pattern's registrable domain does not exist: whoever registers it is trusted with the mail.";
        MxWildcardShadowed "mx-wildcard-shadowed" both(Error), Live, Some("RFC 4592 §2.2.1"), "A record below the domain hides the wildcard that its MX comes from: mail stops.";
        MxUnreachable "mx-unreachable" both(Unknown), Live, MX_TLS, "Port 25 does not answer, so nothing can be said.";
        MxStarttlsMissing "mx-starttls-missing" MAIL_STOPS, Live, MX_TLS, "An MX offers no STARTTLS, or its handshake fails.";
        MxTlsExpired "mx-tls-expired" MAIL_STOPS, Live, MX_TLS, "An MX's certificate is past its date.";
        MxTlsNameMismatch "mx-tls-name-mismatch" MAIL_STOPS, Live, MX_TLS, "An MX's certificate has no SAN for the MX host.";
        MxTlsUntrusted "mx-tls-untrusted" MAIL_STOPS, Live, MX_TLS, "An MX's certificate is self-signed or its root is unknown.";
        MxTlsIncompleteChain "mx-tls-incomplete-chain" MAIL_STOPS, Live, MX_TLS, "An MX sends no intermediate certificate.";
        MxTlsVersion "mx-tls-version" MAIL_STOPS, Live, Some("RFC 8461 §7"), "An MX offers no TLS 1.2 or later.";
        MxTlsExpiring "mx-tls-expiring" both(Warning), Live, MX_TLS, "An MX's certificate ends within 14 days, or within a third of its life.";
        MxTlsNeedsSni "mx-tls-needs-sni" both(Warning), Live, Some("RFC 8461 §7"), "An MX's certificate is good with SNI only.";
        MxDanePresent "mx-dane-present" both(Info), Live, Some("RFC 8461 §2"), "An MX has usable TLSA records with DNSSEC.";
        MxDaneBroken "mx-dane-broken" both(Error), Live, Some("RFC 8461 §2"), "An MX's TLSA records do not match its certificate.";
    }
    TlsReporting {
        TlsrptMissing "tlsrpt-missing" both(Warning), Lint, RPT, "There is no TLS-RPT record: failures stay unseen.";
        TlsrptMultiple "tlsrpt-multiple" both(Error), Lint, RPT, "Several TXT records begin with v=TLSRPTv1;, which counts as none.";
        TlsrptVersion "tlsrpt-version" both(Error), Lint, RPT, "A TXT record that is meant as the record does not begin with exactly v=TLSRPTv1;.";
        TlsrptRuaMissing "tlsrpt-rua-missing" both(Error), Lint, RPT, "The record has no rua.";
        TlsrptRuaInvalid "tlsrpt-rua-invalid" both(Error), Lint, RPT, "An rua is not mailto: or https:, or has a raw comma, exclamation mark or semicolon.";
        TlsrptSyntax "tlsrpt-syntax" both(Error), Lint, RPT, "Any other breach of the record's grammar.";
        TlsrptRuaSelf "tlsrpt-rua-self" both(Info), Lint, Some("RFC 8460 §3"), "Reports go only to mail inside the domain whose delivery they are about.";
    }
    Report {
        ReportStarttlsNotSupported "report-starttls-not-supported" both(Error), Told, RESULT, "Senders found no STARTTLS at an MX.";
        ReportCertificateHostMismatch "report-certificate-host-mismatch" both(Error), Told, RESULT, "Senders found a certificate without a SAN for the MX host.";
        ReportCertificateExpired "report-certificate-expired" both(Error), Told, RESULT, "Senders found a certificate past its date at an MX.";
        ReportCertificateNotTrusted "report-certificate-not-trusted" both(Error), Told, RESULT, "Senders found a certificate of an MX that leads to no root they trust.";
        ReportValidationFailure "report-validation-failure" both(Error), Told, RESULT, "Any other failure of a session; also an MX that the policy does not name.";
        ReportTlsaInvalid "report-tlsa-invalid" both(Error), Told, RESULT, "Senders found TLSA records that do not match the MX's certificate or cannot be used.";
        ReportDnssecInvalid "report-dnssec-invalid" both(Error), Told, RESULT, "Senders got no valid DNSSEC answer about an MX.";
        ReportDaneRequired "report-dane-required" both(Error), Told, RESULT, "A sender demands DANE, and found no usable TLSA record.";
        ReportStsPolicyFetchError "report-sts-policy-fetch-error" MAIL_STOPS, Told, RESULT, "Senders could not fetch the MTA-STS policy.";
        ReportStsPolicyInvalid "report-sts-policy-invalid" MAIL_STOPS, Told, RESULT, "Senders could not read the MTA-STS policy.";
        ReportStsWebpkiInvalid "report-sts-webpki-invalid" MAIL_STOPS, Told, RESULT, "Senders found no valid certificate at the policy host.";
        ReportResultUnknown "report-result-unknown" both(Warning), Told, RESULT, "Senders report a failure of a kind that the RFC does not have.";
        ReportMissing "report-missing" both(Error), Told, WRAPPING, "There is no report in the file.";
        ReportInvalid "report-invalid" both(Error), Told, SCHEMA, "What should be a report is no JSON, or JSON of something else.";
        ReportTooLarge "report-too-large" both(Error), Told, None, "A report or its wrapping is above a limit, and is not read.";
        ReportDamaged "report-damaged" both(Warning), Told, WRAPPING, "A wrapping is damaged; what could be unpacked is read.";
        ReportUnsigned "report-unsigned" both(Warning), Told, RPT, "The mail has no DKIM signature: a receiver is to ignore such a report.";
        ReportWrappingOdd "report-wrapping-odd" both(Info), Told, WRAPPING, "The report is wrapped in another way than its label says, or than the RFC has it.";
        ReportJsonOdd "report-json-odd" both(Warning), Told, SCHEMA, "The JSON breaks its own grammar where it could be read all the same.";
        ReportFieldInvalid "report-field-invalid" both(Warning), Told, SCHEMA, "A field has a value that it may not have: it is left out, or shown as it is.";
        ReportFieldMissing "report-field-missing" both(Warning), Told, SCHEMA, "A field that the schema wants is not there.";
        ReportFieldOdd "report-field-odd" both(Info), Told, SCHEMA, "A field is not written as the RFC has it, and is read.";
        ReportFieldUnknown "report-field-unknown" both(Info), Told, SCHEMA, "A field that the RFC does not have, and that is not read.";
        ReportPolicyTypeUnknown "report-policy-type-unknown" both(Info), Told, SCHEMA, "A kind of policy that the RFC does not have.";
        ReportPoliciesOverlap "report-policies-overlap" both(Info), Told, Some("RFC 8460 §4.2"), "Several policies of one kind, or several domains, stand in one report.";
        ReportCountsDiffer "report-counts-differ" both(Info), Told, SCHEMA, "The summary is not the sum of its details.";
        ReportCut "report-cut" both(Warning), Told, None, "A report has more of something than is kept.";
        ReportDuplicate "report-duplicate" both(Info), Told, None, "The same report was given before.";
    }
    Lifecycle {
        LifecycleIdStale "lifecycle-id-stale" both(Warning), Live, ORDER, "The body changed and the id did not.";
        LifecycleIdEarly "lifecycle-id-early" both(Error), Live, ORDER, "The id is out while an old body is still served.";
        LifecycleEnforceUnproved "lifecycle-enforce-unproved" both(Warning), Live, Some("RFC 8461 §5"), "Enforce without a testing stage or without TLS reports.";
        LifecycleTestingForever "lifecycle-testing-forever" both(Info), Live, Some("RFC 8461 §5"), "Testing for over 90 days.";
        LifecycleRemovedAbruptly "lifecycle-removed-abruptly" both(Error), Live, REMOVAL, "The record or the body is gone while senders can still hold enforce.";
        DnsConflict "dns-conflict" both(Error), Live, None, "A record that the operator did not write stands where its own belongs.";
        DomainConflict "domain-conflict" both(Error), Live, None, "Two objects claim one domain.";
    }
    Spec {
        SpecYamlInvalid "spec-yaml-invalid" both(Error), Lint, None, "The manifest is not YAML.";
        SpecFieldType "spec-field-type" both(Error), Lint, None, "A field has a value of the wrong type.";
        SpecFieldUnknown "spec-field-unknown" both(Warning), Lint, None, "A field that this version does not know.";
        SpecDomainInvalid "spec-domain-invalid" both(Error), Lint, Some("RFC 8461 §3.4"), "domain is missing or no domain in lower-case A-labels.";
        SpecModeInvalid "spec-mode-invalid" both(Error), Lint, Some("RFC 8461 §5"), "mode is not one of enforce, testing, none.";
        SpecMxMissing "spec-mx-missing" both(Error), Lint, BODY, "Neither mx nor mxPresets in mode enforce or testing.";
        SpecMxDuplicate "spec-mx-duplicate" both(Error), Lint, None, "An entry of mx or mxPresets stands twice.";
        SpecTooManyMx "spec-too-many-mx" both(Error), Lint, None, "mx has over 100 entries, or over 6 KiB altogether.";
        SpecMxPresetUnknown "spec-mx-preset-unknown" both(Error), Lint, None, "An entry of mxPresets is no known preset.";
        SpecMaxAgeInvalid "spec-max-age-invalid" both(Error), Lint, BODY, "maxAgeSeconds is not 1 to 31557600.";
        SpecTtlInvalid "spec-ttl-invalid" both(Error), Lint, None, "dns.ttlSeconds is not 30 to 86400.";
        SpecRolloutInvalid "spec-rollout-invalid" both(Error), Lint, None, "rollout has a word that it does not know, stages that do not lead from testing to enforce, or a value of a stage that may not be one.";
        SpecEnforcementInvalid "spec-enforcement-invalid" both(Error), Lint, None, "enforcement is not one of Guarded, Unconditional.";
        SpecDeletionPolicyInvalid "spec-deletion-policy-invalid" both(Error), Lint, Some("RFC 8461 §8.3"), "deletionPolicy is not one of Graceful, Immediate, Retain.";
        SpecProviderInvalid "spec-provider-invalid" both(Error), Lint, None, "dns.providerRef names no DnsProvider or ClusterDnsProvider.";
        SpecDnsProviderInvalid "spec-dns-provider-invalid" both(Error), Lint, None, "A field of a DnsProvider or ClusterDnsProvider is missing, or has a value that may not be one.";
        SpecHostingInvalid "spec-hosting-invalid" both(Error), Lint, None, "hosting has more than one of ingress, gateway and external, gateway names no Gateway, tls not exactly one of secretName and issuerRef, or a name that may not be one.";
        SpecAnnotationInvalid "spec-annotation-invalid" both(Error), Lint, None, "An Ingress annotation could carry configuration into the Ingress controller.";
        SpecAddressInvalid "spec-address-invalid" both(Error), Lint, None, "hosting.address is not exactly one of cname, ipv4/ipv6 and none, or a value in it may not be one.";
    }
}

impl Code {
    /// The code as it stands in JSON, metrics and conditions.
    pub const fn name(self) -> &'static str {
        self.entry().name
    }

    /// What it is about.
    pub const fn section(self) -> Section {
        self.entry().section
    }

    /// How bad it is.
    pub const fn severities(self) -> Severities {
        self.entry().severities
    }

    /// Whether it can be found without the network.
    pub const fn is_lint(self) -> bool {
        matches!(self.entry().seen, Lint)
    }

    /// The section of the RFC that it rests on.
    pub const fn reference(self) -> Option<&'static str> {
        self.entry().reference
    }

    /// What it means, in one sentence.
    pub const fn meaning(self) -> &'static str {
        self.entry().meaning
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_code_stands_once_in_kebab_case_named_for_its_variant() {
        let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            let variant = format!("{code:?}").to_lowercase();
            assert_eq!(variant, code.name().replace('-', ""), "{code}");
            assert!(code.meaning().ends_with('.'), "{code}: a sentence");
        }
    }
}
