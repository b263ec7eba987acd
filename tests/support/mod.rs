//! The real parts that tests run against, each started on a free loopback port, in a folder of its
//! own, and gone when the test is.
//!
//! | part | what it is |
//! |---|---|
//! | [`kube::ApiServer`] | etcd and kube-apiserver, with RBAC |
//! | [`helm::Helm`] | Helm, for our chart |
//! | [`manifests`] | the roles that administrators apply, right by right |
//! | [`bind::Bind`] | BIND, authoritative, with dynamic updates |
//! | [`knot::Knot`], [`powerdns::PowerDns`] | two more, each of another mind |
//! | [`moto::Moto`] | the wire format of Amazon Route 53 |
//! | [`external_dns::ExternalDns`] | external-dns, as a webhook provider or for DNSEndpoints |
//! | [`cloud::Cloud`] | strict doubles of DNS services that are somebody's cloud |
//! | [`front::Front`] | nginx as the public HTTPS front, with a test CA |
//! | [`api_proxy::ApiProxy`] | stands before the API server; counts writes, and interferes with one |
//! | [`dns_proxy::DnsProxy`] | the same before a DNS server, for dynamic updates |
//! | [`process::Process`] | any program, our own too: its log, its signals |
//! | [`run::mta_sts`] | our own binary as a command, run to its end |
//! | [`chronicle::Chronicle`] | keeps every version of every record |
//! | [`contour::Contour`] | Contour and Envoy, for Ingresses and the Gateway API |
//! | [`kubelet::Kubelet`] | starts a program again whenever it has ended |
//! | [`lab::Lab`] | domains with one thing wrong each, for `mta-sts check` |
//! | [`outputs`] | what others read of findings: the schema of SARIF, an XML parser for JUnit |
//! | [`netns`] | a network of the test's own, with ports 25, 53 and 443 |
//! | [`peers`] | MTA-STS readers that others wrote, as judges |
//! | [`postfix::Postfix`] | Postfix, as a domain's MX and as a sender |
//! | [`smtp::MailServer`] | a mail exchanger whose TLS can be broken and mended while it runs |
//! | [`slow::Slow`] | a way to a server on which its answers take a while |
//! | [`place::Place`] | all of it together, with a proxy before each server |
//! | [`wait`] | waiting for a condition, never for a fixed time |
//!
//! A test file says `mod support;` and takes what it needs.

// Every test binary compiles this module and uses its own part of it.
#![allow(dead_code, unreachable_pub, unused_imports)]
// A helper that can't do its work fails the test that called it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

pub mod api_proxy;
pub mod audit;
pub mod bind;
pub mod chronicle;
pub mod cloud;
pub mod contour;
pub mod dns_proxy;
pub mod dns_txt;
pub mod external_dns;
pub mod front;
pub mod helm;
pub mod http;
pub mod interfere;
pub mod keeper;
pub mod knot;
pub mod kube;
pub mod kubelet;
pub mod lab;
pub mod manifests;
pub mod moto;
pub mod netns;
pub mod outputs;
pub mod peers;
pub mod place;
pub mod ports;
pub mod postfix;
pub mod powerdns;
pub mod process;
pub mod rbac;
pub mod relay;
pub mod run;
pub mod slow;
pub mod smtp;
pub mod tls;
pub mod wait;
pub mod world;
