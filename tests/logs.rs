//! The log of a whole publication: a machine finds all lines of a domain and of a pass.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::wait::{ensure, eventually};
use support::world::{SOON, World};

#[tokio::test]
async fn every_line_of_a_pass_has_its_domain_and_its_number() {
    let world = World::start(&["example.org", "example.net"]).await;
    let (_server, address) = world.serve("serve").await;
    world.route(&["example.org", "example.net"], address).await;
    world.provider(world.dns()).await;
    let mut settings = world.settings("controller", &[address]);
    settings.flags = vec![
        "MTA_STS_LOG_FORMAT=json".to_owned(),
        "MTA_STS_LOG=debug".to_owned(),
    ];
    let controller = world.controller(&settings);
    for domain in ["example.org", "example.net"] {
        world.policy(domain, json!({})).await;
        world.ready(domain).await;
        world.delete(domain).await;
    }
    for domain in ["example.org", "example.net"] {
        eventually("it is retired", SOON, async || {
            ensure(world.record(domain).await.is_none(), "its record is there")
        })
        .await;
    }

    let log = controller.log();
    let parse = |line: &str| {
        serde_json::from_str::<Value>(line).unwrap_or_else(|why| panic!("{why}: {line}"))
    };
    let lines: Vec<Value> = log.lines().map(parse).collect();
    let mut passes = BTreeMap::new();
    for domain in ["example.org", "example.net"] {
        // As jq 'select(.domain == "example.org")' finds them.
        let of_domain: Vec<&Value> = lines
            .iter()
            .filter(|line| line["domain"] == domain)
            .collect();
        for told in ["decided a policy", "published", "retired"] {
            let line = of_domain.iter().find(|line| line["message"] == told);
            let line = line.unwrap_or_else(|| panic!("{told} of {domain}: {log}"));
            assert_eq!(line["level"], "INFO", "{line}");
            assert!(
                line["timestamp"].is_string() && line["target"].is_string(),
                "{line}"
            );
            assert!(line["reconcile_id"].is_u64(), "{line}");
        }
    }
    for line in &lines {
        // What libraries say at debug is not asked for by a level alone.
        let target = line["target"].as_str().unwrap();
        let ours = target.starts_with("mta_sts");
        assert!(ours || line["level"] != "DEBUG", "{line}");
        // A number is of one pass, so of one domain.
        if let Some(number) = line["reconcile_id"].as_u64() {
            let domain = line["domain"].as_str().unwrap_or_else(|| panic!("{line}"));
            assert_eq!(passes.entry(number).or_insert(domain), &domain, "{line}");
        }
    }
    // Each domain is published in one pass and retired in another.
    assert!(passes.len() >= 4, "{passes:?}");
}
