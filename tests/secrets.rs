//! A canary in the place of a TSIG secret is seen nowhere: not in a log of any level, an Event, a
//! status, a record or a metric, whatever goes wrong with it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::net::SocketAddr;

use data_encoding::{BASE64, HEXLOWER};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Secret};
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use mta_sts_operator::api::DnsProvider;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use support::api_proxy::{ApiProxy, Lie};
use support::bind::{Bind, Key};
use support::http;
use support::ports::{free_port, loopback};
use support::process::Process;
use support::wait::{ensure, eventually};
use support::world::{KEY, MAIL, SOON, SYSTEM, World, find, merge, name, shown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// The octets of the secret.
const CANARY: &str = "canary-7f3a9c51-sings";
/// As it stands in the configuration of a name server, and in the Secret.
const IN_BASE64: &str = "Y2FuYXJ5LTdmM2E5YzUxLXNpbmdz";
const CANARY_KEY: Key = Key {
    name: "canary",
    algorithm: "hmac-sha256",
    secret: IN_BASE64,
};

/// Every form in which the secret could be written out. What begins within a group of three octets
/// has another base64, so both ends are cut.
fn forms() -> Vec<String> {
    let mut forms = Vec::new();
    for text in [CANARY, IN_BASE64] {
        let octets = text.as_bytes();
        let decimal: Vec<String> = octets.iter().map(u8::to_string).collect();
        let hex = HEXLOWER.encode(octets);
        forms.extend([text.to_owned(), hex.to_uppercase(), hex]);
        forms.extend([", ", ","].map(|comma| decimal.join(comma)));
        for shift in 0..3 {
            let shifted = BASE64.encode(&octets[shift..octets.len() - 2]);
            forms.push(shifted.trim_end_matches('=').to_owned());
        }
    }
    forms
}

/// A way to go wrong (or right) with the canary.
struct Case {
    name: &'static str,
    /// What the Secret holds, as octets.
    data: Vec<(&'static str, Vec<u8>)>,
    label: &'static str,
    /// What the provider's `rfc2136` has over a good one.
    rfc2136: Value,
    /// Reason of the provider's condition; none if it is ready.
    reason: Option<&'static str>,
}

fn case(name: &'static str, value: &str, reason: Option<&'static str>) -> Case {
    Case {
        name,
        data: vec![("key", value.as_bytes().to_vec())],
        label: "true",
        rfc2136: json!({}),
        reason,
    }
}

fn cases(down: SocketAddr, garbage: SocketAddr) -> Vec<Case> {
    let invalid = Some("CredentialsInvalid");
    let with = |name, rfc2136: Value, reason| Case {
        rfc2136,
        ..case(name, IN_BASE64, reason)
    };
    let mut not_text = IN_BASE64.as_bytes().to_vec();
    not_text.push(0xff);
    vec![
        case("good", IN_BASE64, None),
        case("newline", &format!("{IN_BASE64}\n"), None),
        Case {
            data: vec![("other", IN_BASE64.into())],
            ..case("wrong-key", "", invalid)
        },
        case("malformed", &format!("{IN_BASE64}!"), invalid),
        case("cut", &IN_BASE64[..IN_BASE64.len() - 1], invalid),
        case("raw", CANARY, invalid),
        case("control", &format!("\u{1}{IN_BASE64}"), invalid),
        case("two-lines", &format!("{IN_BASE64}\n{IN_BASE64}"), invalid),
        Case {
            data: vec![("key", not_text)],
            ..case("not-text", "", invalid)
        },
        Case {
            label: "no",
            ..case("unlabelled", IN_BASE64, invalid)
        },
        with("key-name", json!({"tsig": {"keyName": "nobody"}}), invalid),
        with(
            "algorithm",
            json!({"tsig": {"algorithm": "hmac-sha512"}}),
            invalid,
        ),
        with("wrong", json!({"tsig": {"keyName": KEY.name}}), invalid),
        with(
            "down",
            json!({"server": down.to_string()}),
            Some("ProviderUnreachable"),
        ),
        with(
            "garbage",
            json!({"server": garbage.to_string()}),
            Some("ProviderError"),
        ),
        // The API server's answer about this one is spoilt on the way.
        with("spoilt", json!({}), Some("ProviderError")),
    ]
}

impl Case {
    async fn write(&self, world: &World, bind: SocketAddr) {
        let data: serde_json::Map<String, Value> = self
            .data
            .iter()
            .map(|(key, octets)| ((*key).to_owned(), json!(BASE64.encode(octets))))
            .collect();
        world
            .apply::<Secret>(
                Some(MAIL),
                json!({"apiVersion": "v1", "kind": "Secret", "data": data, "metadata":
                    {"name": self.name, "labels": {"mta-sts.dev/credentials": self.label}}}),
            )
            .await;
        let mut rfc2136 = json!({"server": bind.to_string(), "tsig": {"keyName": CANARY_KEY.name,
            "secretRef": {"name": self.name, "key": "key"}}});
        merge(&mut rfc2136, self.rfc2136.clone());
        world
            .apply::<DnsProvider>(
                Some(MAIL),
                json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "DnsProvider",
                    "metadata": {"name": self.name}, "spec": {"rfc2136": rfc2136}}),
            )
            .await;
        let reference = json!({"dns": {"providerRef": {"kind": "DnsProvider", "name": self.name}}});
        world.policy(&self.domain(), reference).await;
    }

    fn domain(&self) -> String {
        format!("{}.test", self.name)
    }

    async fn is_seen(&self, world: &World) {
        let api = Api::<DnsProvider>::namespaced(world.client.clone(), MAIL);
        let (expected, reason) = match self.reason {
            Some(reason) => ("False", reason),
            None => ("True", "Accepted"),
        };
        eventually(self.name, SOON, async || {
            let provider = api
                .get(self.name)
                .await
                .map_err(|error| error.to_string())?;
            let conditions = provider.status.unwrap_or_default().conditions;
            let found = conditions.first().ok_or("no condition")?;
            let fits = found.status.to_string() == expected && found.reason == reason;
            ensure(fits, format!("{found:?}"))?;
            let policy = world.policies(MAIL).get(&name(&self.domain())).await;
            let status = policy
                .map_err(|error| error.to_string())?
                .status
                .unwrap_or_default();
            let ready = find(&status, "Ready").ok_or("no condition")?;
            let fits = match self.reason {
                Some(reason) => ready.reason == reason,
                None => ready.status.to_string() == "True",
            };
            ensure(fits, shown(&status))
        })
        .await;
    }
}

/// A name server that answers anything with what was sent to it, and then more.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut octets = vec![0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut octets).await {
                    if stream.write_all(&octets[..length]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

async fn texts<K>(world: &World) -> String
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + DeserializeOwned
        + serde::Serialize
        + std::fmt::Debug,
{
    let all = Api::<K>::all(world.client.clone());
    let all = all.list(&Default::default()).await.unwrap();
    serde_json::to_string(&all.items).unwrap()
}

/// Everything that can be read without the right to read Secrets.
async fn readable(
    world: &World,
    admin: SocketAddr,
    processes: &[&Process],
) -> Vec<(String, String)> {
    let mut readable = vec![
        ("the Events".to_owned(), texts::<Event>(world).await),
        ("the ConfigMaps".to_owned(), texts::<ConfigMap>(world).await),
        ("the Ingresses".to_owned(), texts::<Ingress>(world).await),
    ];
    for kind in ["MtaStsPolicy", "DnsProvider", "ClusterDnsProvider"] {
        let all = world
            .dynamic(MAIL, kind)
            .list(&Default::default())
            .await
            .unwrap();
        readable.push((
            format!("the {kind} objects"),
            serde_json::to_string(&all).unwrap(),
        ));
    }
    for path in ["/metrics", "/readyz", "/healthz"] {
        let answer = http::get(admin, "localhost", path).await.unwrap();
        readable.push((path.to_owned(), answer.text()));
    }
    for process in processes {
        let log = process.log();
        assert!(log.contains("TRACE"), "everything is logged");
        readable.push(("a log".to_owned(), log));
    }
    readable
}

#[tokio::test]
async fn a_secret_is_seen_nowhere() {
    let down = loopback(free_port());
    let cases = cases(down, echo().await);
    let domains: Vec<String> = cases.iter().map(Case::domain).collect();
    let domains: Vec<&str> = domains.iter().map(String::as_str).collect();
    let world = World::start(&domains).await;
    // The world's own BIND has one key only.
    let zones: Vec<_> = domains
        .iter()
        .map(|domain| support::world::zone(domain))
        .collect();
    let bind = Bind::start(&zones, &[KEY, CANARY_KEY]);

    let (listen, serve_admin) = (loopback(free_port()), loopback(free_port()));
    let serve_args = |address: SocketAddr| address.to_string();
    let server = Process::mta_sts(
        "serve",
        world.folder.path(),
        Some(&world.api.kubeconfig()),
        &[
            "serve",
            "--namespace",
            SYSTEM,
            "--listen",
            &serve_args(listen),
            "--admin-listen",
            &serve_args(serve_admin),
            "MTA_STS_LOG=trace,mta_sts_operator=trace",
        ],
    );
    support::world::ready(&server, serve_admin).await;
    world.route(&domains, listen).await;

    let api = ApiProxy::start(&world.api).await;
    let spoilt = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "spoilt"},
        "data": IN_BASE64});
    let about_spoilt = |head: &::http::request::Parts| head.uri.path().ends_with("/secrets/spoilt");
    api.lies.tell(about_spoilt, Lie::Answer(200, spoilt));
    let admin = loopback(free_port());
    let mut settings = world.settings("controller", &[listen]);
    settings.kubeconfig = api.kubeconfig(&world.api, world.api.admin_token());
    settings.flags = vec!["MTA_STS_LOG=trace,mta_sts_operator=trace".to_owned()];
    // The later one of a zone counts.
    settings.flags.extend(
        domains
            .iter()
            .map(|zone| format!("--authoritative={zone}={}", bind.address())),
    );
    let controller = world.controller_with_admin(&settings, admin);

    for case in &cases {
        case.write(&world, bind.address()).await;
    }
    for case in &cases {
        case.is_seen(&world).await;
    }
    assert!(api.lies.all_told());

    let forms = forms();
    let token = world.api.admin_token().to_owned();
    for (place, text) in readable(&world, admin, &[&controller, &server]).await {
        for form in forms.iter().chain([&token]) {
            let found = text.find(form.as_str());
            let near = found.map(|at| &text[at.saturating_sub(200)..at]);
            assert_eq!(near, None, "{place} has {form}");
        }
    }
}
