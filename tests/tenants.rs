//! What people of one namespace cannot do to those of another, nor to the administrator.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::api::{Api, Patch, PatchParams};
use mta_sts_operator::api::{ClusterDnsProvider, DnsProvider, MtaStsPolicy};
use serde_json::{Value, json};
use support::dns_proxy::DnsProxy;
use support::manifests::{apply_all, documents};
use support::process::Process;
use support::wait::{always, ensure, eventually};
use support::world::{KEY, MAIL, PROVIDER, SOON, SYSTEM, World, find, policy, rfc2136, shown};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

/// A label of the namespaces that may use the provider.
const ALLOWED: (&str, &str) = ("mail", "yes");

#[tokio::test]
async fn a_cluster_provider_is_used_only_where_its_administrator_allows_it() {
    let domain = "example.org";
    let (world, _server, _controller) = World::running(&[domain]).await;
    change_provider(
        &world,
        json!({"allowedNamespaces": {"matchLabels": {ALLOWED.0: ALLOWED.1}}}),
    )
    .await;
    let before = serial(&world, domain);

    world.policy(domain, json!({})).await;
    refused(&world, domain, "NotAllowed", "spec.allowedNamespaces").await;
    assert_eq!(serial(&world, domain), before, "something was written");
    assert!(
        world.record(domain).await.is_none(),
        "something was decided"
    );

    // Once it is allowed it goes on by itself; once it no longer is, what is out stays as it is.
    world.namespace(MAIL, &[ALLOWED]).await;
    let id = world.ready(domain).await.policy.unwrap().id;
    world.namespace(MAIL, &[]).await;
    refused(&world, domain, "NotAllowed", "spec.allowedNamespaces").await;
    world.policy(domain, json!({"mode": "enforce"})).await;
    refused(&world, domain, "NotAllowed", "spec.allowedNamespaces").await;
    assert_eq!(world.txt_id(domain), Some(id));

    // The same for the zones.
    world.namespace(MAIL, &[ALLOWED]).await;
    world.ready(domain).await;
    change_provider(&world, json!({"zones": ["other.example"]})).await;
    refused(&world, domain, "NotAllowed", "other.example").await;
}

/// A world with the operator's least rights, in whose audit log its reads of Secrets stand.
async fn audited(zones: &[&str]) -> (World, [Process; 2], DnsProxy) {
    let world = World::start(zones).await;
    for file in ["server.yaml", "controller.yaml", "tenant-credentials.yaml"] {
        apply_all(&world.client, &documents(file)).await;
    }
    let (server, address) = world.serve("serve").await;
    world.route(zones, address).await;
    let name_server = DnsProxy::start(world.dns()).await;
    world.provider(name_server.address()).await;
    let token = world
        .api
        .service_account_token(SYSTEM, "mta-sts-operator")
        .await;
    let mut settings = world.settings("controller", &[address]);
    settings.kubeconfig = world.api.kubeconfig_for(&token);
    let controller = world.controller(&settings);
    (world, [server, controller], name_server)
}

/// Namespaces whose Secrets were asked for, in order.
fn secrets_read(world: &World) -> Vec<String> {
    let audited = world.api.audit().into_iter();
    let of_secrets = audited.filter(|audited| audited.resource == "secrets");
    of_secrets.map(|audited| audited.namespace).collect()
}

#[tokio::test]
async fn a_provider_that_is_not_allowed_hears_nothing_and_its_credential_is_not_read() {
    let domain = "example.org";
    let (world, _processes, name_server) = audited(&[domain]).await;
    change_provider(
        &world,
        json!({"allowedNamespaces": {"matchLabels": {ALLOWED.0: ALLOWED.1}}}),
    )
    .await;
    // The operator looks at the provider itself, once; the next look is ten minutes away.
    cluster_provider_is_ready(&world).await;
    let used = || (name_server.asked(), secrets_read(&world).len());
    let before = used();
    assert!(before.0 > 0 && before.1 > 0, "{before:?}");

    world.policy(domain, json!({})).await;
    refused(&world, domain, "NotAllowed", "spec.allowedNamespaces").await;
    world.policy(domain, json!({"mode": "enforce"})).await;
    refused(&world, domain, "NotAllowed", "spec.allowedNamespaces").await;
    assert_eq!(used(), before, "not allowed from the start");

    // The label comes and goes after admission.
    world.namespace(MAIL, &[ALLOWED]).await;
    world.ready(domain).await;
    assert!(used() > before);
    world.namespace(MAIL, &[]).await;
    refused(&world, domain, "NotAllowed", "spec.allowedNamespaces").await;
    let before = used();
    world.policy(domain, json!({"mode": "testing"})).await;
    refused(&world, domain, "NotAllowed", "spec.allowedNamespaces").await;
    always(
        "it is not used any more",
        Duration::from_secs(3),
        async || {
            let now = used();
            ensure(now == before, format!("{before:?}, then {now:?}"))
        },
    )
    .await;
}

#[tokio::test]
async fn a_provider_of_ones_own_reaches_no_secret_of_another_namespace() {
    let domain = "example.org";
    let (world, _processes, name_server) = audited(&[domain]).await;
    cluster_provider_is_ready(&world).await;
    let before = (name_server.asked(), secrets_read(&world).len());
    // Marked Secrets of that name are there: the administrator's, and another tenant's.
    world.namespace("other", &[]).await;
    world.secret("other", "tsig", KEY.secret).await;
    own_provider(&world, json!(name_server.address().to_string())).await;
    let message = not_ready(&world, "CredentialsInvalid").await;
    assert!(message.contains("mail/tsig does not exist"), "{message}");
    for path in [
        "other/tsig",
        "../other/secrets/tsig",
        "../../mta-sts-system/secrets/tsig",
    ] {
        let mut spec = rfc2136(world.dns());
        spec["tsig"]["secretRef"]["name"] = json!(path);
        let object = json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "DnsProvider",
            "metadata": {"name": "own"}, "spec": {"rfc2136": spec}});
        let refusal = world.try_apply::<DnsProvider>(Some(MAIL), object).await;
        assert!(refusal.is_err(), "{path} was taken");
    }
    let read = secrets_read(&world).split_off(before.1);
    assert!(
        !read.is_empty() && read.iter().all(|of| of == MAIL),
        "{read:?}"
    );
    assert_eq!(name_server.asked(), before.0, "the server was talked to");

    // Nor is somebody else's provider one's own.
    let theirs = json!({"dns": {"providerRef": {"kind": "DnsProvider", "name": "own"}}});
    let object = policy(domain, theirs);
    world.apply::<MtaStsPolicy>(Some("other"), object).await;
    let reason = Some("ProviderNotFound");
    let name = support::world::name(domain);
    world
        .condition_in("other", &name, "Accepted", "False", reason)
        .await;
}

async fn cluster_provider_is_ready(world: &World) {
    let providers = Api::<ClusterDnsProvider>::all(world.client.clone());
    eventually("the provider is ready", SOON, async || {
        let provider = providers.get(PROVIDER).await.map_err(|e| e.to_string())?;
        let status = provider.status.unwrap_or_default();
        let ready = status.conditions.first().ok_or("no condition yet")?;
        let fits = ready.status.to_string() == "True"
            && ready.observed_generation == provider.metadata.generation;
        ensure(fits, format!("{ready:?}"))
    })
    .await;
}

#[tokio::test]
async fn a_provider_of_ones_own_reaches_no_unmarked_secret_and_no_private_server() {
    let world = World::start(&["example.org"]).await;
    let _controller = world.controller(&world.settings("controller", &[]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let heard = listen(listener);

    // Somebody else's Secret, and the tenant's server (on loopback, which the test allows).
    world
        .apply::<k8s_openapi::api::core::v1::Secret>(
            Some(MAIL),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tsig"},
                "stringData": {"key": KEY.secret}}),
        )
        .await;
    own_provider(&world, json!(server.to_string())).await;
    let message = not_ready(&world, "CredentialsInvalid").await;
    assert!(
        message.contains("mta-sts.dev/credentials=true"),
        "{message}"
    );
    assert!(heard.lock().unwrap().is_empty(), "the server was talked to");

    // With its owner's mark it signs; it never goes out.
    world.secret(MAIL, "tsig", KEY.secret).await;
    eventually("the server is talked to", SOON, async || {
        ensure(!heard.lock().unwrap().is_empty(), "nothing was heard")
    })
    .await;
    let bytes = heard.lock().unwrap().clone();
    let secret = data_encoding::BASE64.decode(KEY.secret.as_bytes()).unwrap();
    for needle in [secret.as_slice(), KEY.secret.as_bytes()] {
        assert!(!bytes.windows(needle.len()).any(|window| window == needle));
    }

    for private in [
        "10.0.0.53",
        "169.254.169.254:53",
        "[fd00::53]:53",
        "[64:ff9b::a00:35]:53",
    ] {
        own_provider(&world, json!(private)).await;
        let message = not_ready(&world, "NotAllowed").await;
        assert!(message.contains("private address"), "{private}: {message}");
    }
}

#[tokio::test]
async fn a_domain_of_another_namespace_is_not_taken_nor_are_its_kin() {
    let domain = "example.org";
    let (world, _server, _controller) = World::running(&[domain]).await;
    world.policy(domain, json!({})).await;
    let id = world.ready(domain).await.policy.unwrap().id;
    let record = world.record(domain).await.unwrap().data;

    world.namespace("rival", &[]).await;
    for claimed in [domain, "shop.example.org", "deep.down.example.org"] {
        world
            .apply::<MtaStsPolicy>(Some("rival"), policy(claimed, json!({"mode": "enforce"})))
            .await;
        let name = support::world::name(claimed);
        let status = world
            .condition_in("rival", &name, "Accepted", "False", Some("DomainConflict"))
            .await;
        let message = &find(&status, "Accepted").unwrap().message;
        assert!(message.contains("mail/example-org"), "{message}");
        assert!(find(&status, "Stalled").is_some(), "{}", shown(&status));
        assert_eq!(world.txt(claimed).is_empty(), claimed != domain);
    }
    for spelling in [
        "EXAMPLE.org",
        "example.org.",
        "ex\u{e4}mple.org",
        "example.org ",
    ] {
        let mut object = policy("example.org", json!({"domain": spelling}));
        object["metadata"]["name"] = json!("spelling");
        let refusal = world.try_apply::<MtaStsPolicy>(Some("rival"), object).await;
        assert!(refusal.is_err(), "{spelling} was taken");
    }
    assert_eq!(world.record(domain).await.unwrap().data, record);
    assert_eq!(world.txt_id(domain), Some(id));
}

/// Waits until the policy of a domain is refused, and nothing else is known of it.
async fn refused(world: &World, domain: &str, reason: &str, because: &str) {
    let status = world
        .condition(domain, "Accepted", "False", Some(reason))
        .await;
    let message = &find(&status, "Accepted").unwrap().message;
    assert!(message.contains(because), "{message}");
    let ready = find(&status, "Ready").unwrap();
    assert_eq!(
        (ready.status.to_string().as_str(), ready.reason.as_str()),
        ("False", reason)
    );
}

fn serial(world: &World, zone: &str) -> u32 {
    world.bind.lock().unwrap().serial(zone)
}

async fn change_provider(world: &World, spec: Value) {
    let providers = Api::<ClusterDnsProvider>::all(world.client.clone());
    let patch = Patch::Merge(json!({"spec": spec}));
    providers
        .patch(PROVIDER, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// The tenant's DnsProvider with another server.
async fn own_provider(world: &World, server: Value) {
    let mut spec = rfc2136(world.dns());
    spec["server"] = server;
    world
        .apply::<DnsProvider>(
            Some(MAIL),
            json!({"apiVersion": "mta-sts.dev/v1alpha1", "kind": "DnsProvider",
                "metadata": {"name": "own"}, "spec": {"rfc2136": spec, "zones": ["example.org"]}}),
        )
        .await;
}

/// Waits until the tenant's provider is not ready for this reason, and gives the message.
async fn not_ready(world: &World, reason: &str) -> String {
    let providers = Api::<DnsProvider>::namespaced(world.client.clone(), MAIL);
    eventually(&format!("it is not ready: {reason}"), SOON, async || {
        let provider = providers.get("own").await.map_err(|e| e.to_string())?;
        let status = provider.status.unwrap_or_default();
        let ready = status.conditions.first().ok_or("no condition yet")?;
        let fits =
            ready.reason == reason && ready.observed_generation == provider.metadata.generation;
        ensure(fits, format!("{}: {}", ready.reason, ready.message))?;
        Ok::<_, String>(ready.message.clone())
    })
    .await
}

/// Keeps all that is sent to a listener.
fn listen(listener: TcpListener) -> Arc<Mutex<Vec<u8>>> {
    let heard = Arc::<Mutex<Vec<u8>>>::default();
    let keep = heard.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut buffer = vec![0; 4096];
            let read = tokio::time::timeout(Duration::from_secs(2), client.read(&mut buffer));
            if let Ok(Ok(length)) = read.await {
                keep.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        }
    });
    heard
}
