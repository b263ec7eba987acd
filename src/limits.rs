//! Every budget for what comes from outside (bytes, counts, time), each with its reason.

use std::time::Duration;

/// Largest policy body that is read or published (RFC 8461 §3.3 suggests 64 KiB to senders).
pub const POLICY_BODY_BYTES: usize = 64 * 1024;

/// Largest body that the operator writes: some readers stop near 10 KB, so it stays below.
pub const CANONICAL_BODY_BYTES: usize = 8 * 1024;

// The policy server.

/// Connections that a listener holds at once. Each costs a file and up to
/// [`REQUEST_HEAD_BYTES`]; beyond it new ones wait in the kernel's queue.
pub const SERVER_CONNECTIONS: usize = 8192;

/// Request line and headers: fronts pass on cookies of the parent domain, nothing is larger.
pub const REQUEST_HEAD_BYTES: usize = 16 * 1024;

/// Header fields of one request.
pub const REQUEST_HEADERS: usize = 100;

/// A new connection must have sent its first request within this time.
pub const FIRST_REQUEST_TIME: Duration = Duration::from_secs(10);

/// How long a connection may stay without a new request. Above the hour that Envoy keeps its
/// idle ones (nginx and Traefik keep theirs for less), so that it is the front that closes
/// first: closing under a request just sent would be a 502 for some sender.
pub const KEEP_ALIVE_TIME: Duration = Duration::from_secs(65 * 60);

/// Instead of the two above while most of the connections are taken, so that somebody who
/// opens thousands of silent ones does not keep the others out.
pub const PRESSED_TIME: Duration = Duration::from_secs(2);

/// How long requests in flight may take to end once the listener is closed.
pub const FINISH_TIME: Duration = Duration::from_secs(5);

/// One page of a list from the API server.
pub const LIST_PAGE: u32 = 500;

/// One request to the API server, or the opening of a watch.
pub const API_REQUEST_TIME: Duration = Duration::from_secs(30);

/// How long one watch lasts. It is short because a connection that died without a word is
/// noticed only when its watch is overdue, and a publication waits for every server.
pub const WATCH_TIME: Duration = Duration::from_secs(60);

/// How much later than [`WATCH_TIME`] the API server may end a watch.
pub const WATCH_MARGIN: Duration = Duration::from_secs(5);

/// A watch that has brought no error for this long goes on: the API server tells at once, in the
/// first event, that it cannot continue from a version.
pub const WATCH_PROOF_TIME: Duration = Duration::from_millis(300);

/// Longest wait between two tries to reach the API server.
pub const WATCH_BACKOFF: Duration = Duration::from_secs(30);

// Probes of policy hosts and policy servers.

/// Response line and headers of a probe, also the field count below: far above any honest front.
pub const RESPONSE_HEAD_BYTES: usize = 32 * 1024;

/// Header fields of one response.
pub const RESPONSE_HEADERS: usize = 100;

/// Longest header value that is kept for the report.
pub const HEADER_VALUE_BYTES: usize = 512;

/// Opening a connection to a policy host: three SYNs.
pub const CONNECT_TIME: Duration = Duration::from_secs(5);

/// One fetch from a policy host, from the connection to the last byte. Senders give up after
/// 4 s to a minute (RFC 8461 §3.3); the wait is long enough to tell slow from dead.
pub const POLICY_FETCH_TIME: Duration = Duration::from_secs(15);

/// One fetch from a policy server in the cluster: it answers from memory.
pub const ENDPOINT_FETCH_TIME: Duration = Duration::from_secs(5);

/// Names of a certificate that are kept for the report.
pub const CERTIFICATE_NAMES: usize = 16;

/// Certificates of a chain that are looked at; real ones have up to four.
pub const CHAIN_CERTIFICATES: usize = 10;

/// File of additional trusted certificates: all public roots together take 250 kB.
pub const CA_FILE_BYTES: u64 = 4 * 1024 * 1024;

// Leader election, in the proportions of client-go: lease > renew deadline > retry period.

/// How long others leave a lease alone that they do not see change.
pub const LEASE_TIME: Duration = Duration::from_secs(15);

/// The leader's right to write ends this long after the start of its last good renewal. The
/// difference to [`LEASE_TIME`] is the margin for clocks that run at different speeds.
pub const LEASE_RENEW_TIME: Duration = Duration::from_secs(10);

/// Time between two tries.
pub const LEASE_RETRY_TIME: Duration = Duration::from_secs(2);

/// One request for the lease: two can fail before [`LEASE_RENEW_TIME`] is over.
pub const LEASE_REQUEST_TIME: Duration = Duration::from_secs(3);
/// What is offered by EDNS for an answer over UDP: it fits every path without fragments
/// (DNS flag day 2020). Longer answers come over TCP.
pub const DNS_UDP_BYTES: u16 = 1232;

/// Records in all sections of an answer. A referral from the root has about 40; nothing that is
/// asked for here has more than a few dozen.
pub const DNS_MESSAGE_RECORDS: usize = 256;

/// Records of one set that are taken in: no sane domain has as many MX, TXT or addresses.
pub const DNS_SET_RECORDS: usize = 64;

/// Datagrams that are not the answer (wrong id, wrong question) and are passed over while waiting
/// for it. More mean that somebody is guessing ids.
pub const DNS_STRAY_DATAGRAMS: usize = 16;

/// Wait for one datagram before it is sent once more: most answers come within 100 ms.
pub const DNS_UDP_TRY: Duration = Duration::from_millis(1500);

/// One question to one server, both tries and TCP together.
pub const DNS_QUERY_TIME: Duration = Duration::from_secs(5);

/// One lookup with all its questions (aliases, other servers, the walk from the root): long enough
/// for two dead servers, short enough for a reconcile.
pub const DNS_LOOKUP_TIME: Duration = Duration::from_secs(15);

/// Servers of a set that are tried one after the other before a lookup fails.
pub const DNS_SERVER_TRIES: usize = 4;

/// Aliases followed from one name; resolvers stop between 8 and 16.
pub const DNS_CHAIN: usize = 8;

/// Addresses of one zone's name servers that are asked and shown (13 name servers are the most
/// that the DNS itself ever used).
pub const DNS_SERVERS: usize = 16;

/// Questions of one walk from the root, nested walks for name servers without glue included.
pub const DNS_WALK_QUERIES: usize = 64;

/// Referrals of one walk from the root to a zone; real names need two to five.
pub const DNS_WALK_DEPTH: usize = 16;

/// Walks within a walk, for a name server's name that lies in yet another zone.
pub const DNS_WALK_NESTING: usize = 3;

/// How long the way to a zone is remembered: a run of probes asks the root once, and a moved zone
/// is seen within a minute.
pub const DNS_CUT_TIME: Duration = Duration::from_secs(60);

/// Zone cuts remembered at once; each is about 1 KiB.
pub const DNS_CUTS: usize = 1024;

// The controller.

/// One call to a DNS provider: below what is left of the lease, above a slow cloud.
pub const PROVIDER_CALL_TIME: Duration = Duration::from_secs(8);

/// Calls to one DNS service with the same credentials at once. Most services allow a few a second,
/// and a call takes some tenths of one.
pub const SERVICE_CALLS_AT_ONCE: usize = 4;

/// How long a DNS service is left alone that has answered "too many requests"; each time twice as
/// long, up to [`SERVICE_LONGEST_REST`]. Most count by the minute, Cloudflare by five.
pub const SERVICE_REST: Duration = Duration::from_secs(15);
/// See [`SERVICE_REST`].
pub const SERVICE_LONGEST_REST: Duration = Duration::from_secs(300);

/// Records of one name and type that are taken in from a DNS service.
pub const SERVICE_RECORDS: usize = 200;

/// Longest answer of a webhook in bytes: it lists all records that it has, and ten thousand of
/// them take about two million.
pub const WEBHOOK_BYTES: usize = 8 * 1024 * 1024;

/// Characters of what a DNS service says about an error that are told on.
pub const SERVICE_WORDS: usize = 300;

/// The first pause before a DNS service is asked again whether it shows what was written; each is
/// twice as long as the one before, within the time of the call.
pub const SERVICE_READ_BACK_PAUSE: Duration = Duration::from_millis(100);

/// How long it is remembered what stands at a provider's names: a publication looks at them ten times
/// within a few seconds. Whoever writes compares with what stands there then.
pub const PROVIDER_MEMORY_TIME: Duration = Duration::from_secs(10);
/// How long after that it is enough to ask whether it still does, where that is one question: it does
/// not tell a TTL that somebody has changed.
pub const PROVIDER_CONFIRM_TIME: Duration = Duration::from_secs(60);
/// Names of one provider that are remembered, and zones of one in which somebody waits for his turn:
/// some hundred bytes each.
pub const PROVIDER_MEMORY_NAMES: usize = 4096;

/// How old the list of a webhook may be for a look: it lists all records of all its zones, and many
/// policies that are looked at share one.
pub const WEBHOOK_LIST_TIME: Duration = Duration::from_secs(2);

/// Writes of one zone that go out together: as many as there are reconciles. A policy is some three
/// record sets, and an update of RFC 2136 then stays far below the size of a message.
pub const WRITES_TOGETHER: usize = 32;
/// Batches that go out of one zone without waiting: a policy that is alone writes three times at most.
pub const BATCHES_AT_ONCE: u32 = 4;
/// After those a batch goes out so often, with all that came until then.
pub const BATCH_TIME: Duration = Duration::from_millis(500);
/// A write that has less time left than this is not taken into a batch: all of it would have to hurry.
pub const LEAST_BATCH_TIME: Duration = Duration::from_millis(500);

/// An outside write is not begun with less of the lease left than this.
pub const LEAST_WRITE_TIME: Duration = Duration::from_secs(2);

/// Passes of one reconcile before it lets others have their turn.
pub const RECONCILE_PASSES: usize = 12;

/// Reconciles at once: each is a few small lookups, and a slow domain must delay nobody.
pub const RECONCILES: u16 = 32;

/// How long a retiring domain waits for another object that claims it: a reconcile takes a
/// second, and a busy API server a few.
pub const TAKEOVER_TIME: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

/// Policy-server endpoints that are asked: far above any sensible number of replicas.
pub const ENDPOINTS: usize = 64;

/// Addresses of a policy host that are asked.
pub const POLICY_HOST_ADDRESSES: usize = 16;

/// Findings in a status.
pub const STATUS_FINDINGS: usize = 20;

/// Longest text from outside within a condition's message or a finding.
pub const SHOWN_TEXT: usize = 512;
/// Largest file that `lint` reads: a Kubernetes object has at most 1.5 MiB, and a manifest of
/// many policies still fits.
pub const LINT_INPUT_BYTES: u64 = 4 * 1024 * 1024;

/// Most addresses of `spec.tlsReporting.rua`: senders need not try more than a few.
pub const SPEC_RUA_COUNT: usize = 10;
/// Longest address in it, in bytes.
pub const SPEC_RUA_BYTES: usize = 512;
/// Most entries of `spec.rollout.stages`.
pub const SPEC_STAGE_COUNT: usize = 10;
/// Longest a stage may have to last, in seconds: a year.
pub const STAGE_SECONDS: i64 = 31_557_600;
/// Most entries of `spec.mx`: the largest known mail setups have some dozen MX hosts.
pub const SPEC_MX_COUNT: usize = 100;

/// Most bytes of all `spec.mx` together, so that the body stays below [`CANONICAL_BODY_BYTES`]
/// with keys, line ends and every preset added.
pub const SPEC_MX_BYTES: usize = 6 * 1024;

/// Most Ingress annotations of a policy.
pub const SPEC_LIST_COUNT: usize = 32;

/// How long a reconcile waits until the Gateway API has been looked at.
pub const GATEWAY_LOOK_TIME: Duration = Duration::from_secs(3);

/// Gateways that a policy may name.
pub const GATEWAY_PARENTS: usize = 4;

/// Longest value of an Ingress annotation in bytes: a host, a list of addresses, a class.
pub const SPEC_ANNOTATION_BYTES: usize = 1024;

/// Longest setting of a DNS service in bytes: the URL of an API is the longest.
pub const SERVICE_SETTING_BYTES: usize = 1024;

/// Most zones of a provider object; who has more writes `*`.
pub const PROVIDER_ZONES: usize = 100;

/// Objects of which it is remembered that something was told about them. They are rare; beyond
/// that one Event too many does no harm.
pub const TOLD_OBJECTS: usize = 1024;

/// Longest text of a finding: what is wrong, with a name or two within it, fits several times.
pub const FINDING_TEXT_CHARACTERS: usize = 1024;

/// Longest text of one field in the log: a chain of causes with names of 253 characters fits.
pub const LOG_FIELD_CHARACTERS: usize = 2048;

/// TTL of a record set that is removed: it is never seen, but a change carries one.
pub const RETIRED_TTL: u32 = 300;

/// How long between two looks at a DNS provider that works, and at one that does not.
pub const PROVIDER_CHECK_TIME: Duration = Duration::from_secs(600);
/// See [`PROVIDER_CHECK_TIME`]. Secrets are not watched, so a mended one is found by looking.
pub const PROVIDER_RECHECK_TIME: Duration = Duration::from_secs(15);

/// How long a mail exchanger may take from the first packet to the end of the TLS handshake. RFC 5321
/// §4.5.3.2 allows five minutes for a banner alone; who waits for a diagnosis does not.
pub const SMTP_TIME: Duration = Duration::from_secs(20);
/// Longest line of an SMTP reply in bytes: RFC 5321 §4.5.3.1.5 has 512.
pub const SMTP_LINE_BYTES: usize = 2048;
/// Most lines of an SMTP reply: servers have about twenty extensions.
pub const SMTP_REPLY_LINES: usize = 100;
/// MX hosts that the operator asks on port 25 at once, for all domains together.
pub const MX_LOOKS: usize = 32;
/// MX hosts of which is remembered what they showed: as many as ten thousand domains have.
pub const MX_LOOKS_KEPT: usize = 20_000;
/// MX hosts of one domain that are remembered for their TTL: a zone that shows others at every look must
/// not fill the memory.
pub const MX_REMEMBERED: usize = 200;
/// After how long an MX host that failed is asked again, if not sooner.
pub const MX_LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Addresses of an MX host that are asked, and MX hosts of a domain.
pub const CHECK_ADDRESSES: usize = 4;
/// See [`CHECK_ADDRESSES`].
pub const CHECK_MX_HOSTS: usize = 20;
/// How long the first walk from the root may take before `mta-sts check` goes by the resolvers alone.
pub const DNS_ROOT_TIME: Duration = Duration::from_secs(3);
/// Domains of a policy's patterns that are looked at whether they are registered.
pub const CHECK_PATTERN_DOMAINS: usize = 20;
/// Names above the policy host at which CAA is looked for.
pub const CAA_CLIMB: usize = 10;
/// Domains of one run of `mta-sts check`.
pub const CHECK_DOMAINS: usize = 100_000;
/// Longest list of domains, in bytes.
pub const CHECK_LIST_BYTES: u64 = 32 * 1024 * 1024;

/// The clocks of this node and of the API server may be so far apart before anything is given up
/// because of the time.
pub const CLOCK_SKEW: jiff::SignedDuration = jiff::SignedDuration::from_mins(5);

/// Seconds that the domain of a deleted policy is left as it is, unless set otherwise: long enough
/// to move an object between namespaces by hand.
pub const RETIREMENT_DELAY_SECONDS: u32 = 600;

/// Zones in a provider's status.
pub const STATUS_ZONES: usize = 100;

/// Connections of the admin listener: kubelet, Prometheus, a person.
pub const ADMIN_CONNECTIONS: usize = 64;
/// Most findings that are kept of one input, and most issues of one body or record: more helps
/// nobody, and a hostile file of nothing but line ends would fill the memory with them.
pub const FINDINGS_COUNT: usize = 1000;

/// Largest record file that `lint` reads: a DNS answer has at most 65535 bytes.
pub const RECORD_FILE_BYTES: usize = 64 * 1024;

/// How often each address of a policy host is asked before an id is announced: several servers
/// may stand behind it, and one of six with the wrong certificate is found with two in three.
pub const LOOKS_BEFORE_ANNOUNCING: usize = 6;

/// Further looks at an address that showed a bad certificate, once its policy is published.
pub const SECOND_LOOKS: usize = 2;

/// Largest tenancy file: a ConfigMap, from which it is usually mounted, has at most 1 MiB.
pub const TENANCY_FILE_BYTES: u64 = 1024 * 1024;

/// How often it is looked at whether the tenancy file has changed: a ConfigMap's mount follows
/// its change within a minute or two, and reading a small file costs nothing.
pub const TENANCY_CHECK_TIME: Duration = Duration::from_secs(2);

/// Granted domains that a refusal lists: a message is for a person.
pub const GRANTS_SHOWN: usize = 10;

/// How often the labels of a watched namespace are looked at where namespaces are read one by one:
/// a label that is taken away counts within this time.
pub const NAMESPACE_CHECK_TIME: Duration = Duration::from_secs(5);

/// How soon a namespace that could not be read at the start is tried again: nothing goes on before.
pub const NAMESPACE_RETRY_TIME: Duration = Duration::from_secs(1);

// The operator's own name servers.

/// Zones that the operator answers for itself: one is enough for all domains, a few serve a move.
pub const OWN_ZONES: usize = 64;

/// Name servers of such a zone: no zone has more than the root.
pub const OWN_NAME_SERVERS: usize = 13;

/// Longest query that is read: a question with options takes some hundred bytes.
pub const DNS_QUERY_BYTES: usize = 4096;

/// Records beside the question in a query: an OPT and a signature are all that makes sense.
pub const DNS_QUERY_RECORDS: u16 = 2;

/// Connections of the DNS listener at once. Resolvers come by TCP only for what is cut off.
pub const DNS_CONNECTIONS: usize = 1024;

/// How long a TCP client may take for its next query, and for reading an answer (RFC 7766 §6.2.3
/// asks for some seconds).
pub const DNS_IDLE_TIME: Duration = Duration::from_secs(10);

/// Queries of one TCP connection: after that the client opens another one, and others get in.
pub const DNS_CONNECTION_QUERIES: usize = 1000;

/// Tasks that read the UDP socket: one has enough to do with 50,000 queries a second.
pub const DNS_UDP_TASKS: usize = 4;

/// Equal answers a second over UDP to one network (/24 or /56). A resolver asks once a TTL, a
/// farm of them a few times; a forged source asks thousands of times.
pub const DNS_EQUAL_ANSWERS: u32 = 20;

/// Errors, and names that do not exist, a second to one network: they are all alike whatever is
/// asked.
pub const DNS_DENIALS: u32 = 50;

/// All answers a second to one network: somebody who forges its address and asks for another name
/// each time gets no more.
pub const DNS_ALL_ANSWERS: u32 = 1000;

/// Networks and answers that are counted at once; more share a count. Each takes 32 bytes.
pub const DNS_RATE_SLOTS: usize = 16 * 1024;
/// The same of networks alone.
pub const DNS_RATE_NETWORKS: usize = 4 * 1024;

/// Largest file of a DNSSEC key: one takes 241 bytes.
pub const DNS_KEY_BYTES: u64 = 16 * 1024;

/// How long a signature is valid. It is made when it is asked for and nobody keeps an answer for
/// longer than its TTL, of at most a day: three days bear clocks that are wrong by two.
pub const SIGNATURE_SECONDS: i64 = 3 * 86_400;

/// How long before now a signature begins, for resolvers whose clock is behind.
pub const SIGNATURE_SKEW_SECONDS: i64 = 3 * 3600;

// TLS reports (RFC 8460): anybody may send one.

/// Largest file that holds a report, packed or within a mail: reports of the largest senders take
/// some 100 kB, and mail servers take mails of 10 to 50 MB.
pub const REPORT_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Largest report once it is unpacked: some 50 000 failures.
pub const REPORT_JSON_BYTES: usize = 16 * 1024 * 1024;

/// What may be unpacked of one file, all wrappings together: a mail with a packed report is
/// unpacked twice.
pub const REPORT_UNPACKED_BYTES: usize = 48 * 1024 * 1024;

/// Parts of a mail, members of an archive or of a gzip file that are looked at in one file.
pub const REPORT_MEMBERS: usize = 64;

/// Header of a mail with a report, or of one of its parts: mails that came a long way have 20 kB.
pub const REPORT_HEAD_BYTES: usize = 64 * 1024;

/// Wrappings one within the other: a packed report in a mail that was forwarded in a mail that was
/// put into an archive takes five.
pub const REPORT_WRAPPINGS: usize = 8;

/// Values in the JSON of a report; each takes up to 100 bytes of memory, and a failure has nine.
pub const REPORT_VALUES: usize = 300_000;

/// Lists and objects one within the other in the JSON of a report; the schema has five.
pub const REPORT_NESTING: usize = 32;

/// Policies that are kept of one report: a sender has one or two for each domain.
pub const REPORT_POLICIES: usize = 1000;

/// Failures that are kept of one report, all policies together.
pub const REPORT_FAILURES: usize = 10_000;

/// MX hosts, and lines of the policy, that are kept of one policy in a report.
pub const REPORT_LINES: usize = 200;

/// Characters that are kept of a text in a report: a host name has 253, and an explanation of a
/// few sentences still fits.
pub const REPORT_TEXT_CHARACTERS: usize = 1024;

/// Kinds of oddities that are kept of one report: there are some dozen, and a hostile report may
/// have as many unknown keys as it likes.
pub const REPORT_ISSUES: usize = 100;
