//! The alerts and the dashboard of the chart: about metrics that are there, and each alert tried.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mta_sts_operator::controller::metrics;
use mta_sts_operator::protocol::{Domain, PolicyId, Sha256Digest};
use serde_json::{Value, json};
use support::keeper;
use support::kube::ApiServer;
use support::ports::{free_port, loopback};
use support::process::Process;
use support::{http, world};

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(file(path)).expect(path)
}

fn rules() -> Vec<Value> {
    let text = read("charts/mta-sts-operator/files/alerts.yaml");
    let groups: Value = serde_yaml::from_str(&text).unwrap();
    let groups = groups["groups"].as_array().unwrap();
    groups
        .iter()
        .flat_map(|g| g["rules"].as_array().unwrap().clone())
        .collect()
}

fn panels() -> Vec<Value> {
    let text = read("charts/mta-sts-operator/files/dashboard.json");
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    dashboard["panels"].as_array().unwrap().clone()
}

/// All expressions, each with where it stands.
fn expressions() -> Vec<(String, String)> {
    let of_rule = |rule: &Value| {
        (
            rule["alert"].to_string(),
            rule["expr"].as_str().unwrap().to_owned(),
        )
    };
    let mut all: Vec<_> = rules().iter().map(of_rule).collect();
    for panel in panels() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            all.push((
                panel["title"].to_string(),
                target["expr"].as_str().unwrap().to_owned(),
            ));
        }
    }
    all
}

/// Names of metrics → their labels, of a text in the form of OpenMetrics.
fn metrics_in(text: &str, into: &mut BTreeMap<String, BTreeSet<String>>) {
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let series = line.split(' ').next().unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.trim_end_matches('}').split(',');
        let names = labels
            .filter_map(|label| label.split_once('='))
            .map(|(name, _)| name.to_owned());
        into.entry(name.to_owned()).or_default().extend(names);
    }
}

/// What the controller and a policy server expose.
async fn exposed() -> BTreeMap<String, BTreeSet<String>> {
    let mut known = BTreeMap::new();
    let domain = Domain::parse("example.org").unwrap();
    let (digest, installation) = (Sha256Digest::of(b""), "00c0de".parse().unwrap());
    let id = PolicyId::issue(jiff::Timestamp::UNIX_EPOCH, &digest, &installation, None);
    let mut text = String::new();
    let sample = metrics::sample(&domain, &id);
    prometheus_client::encoding::text::encode(&mut text, &sample).unwrap();
    metrics_in(&text, &mut known);

    let api = ApiServer::shared().await;
    let namespace = api.namespace("alerts").await;
    let folder = keeper::folder("alerts");
    let (listen, admin) = (loopback(free_port()), loopback(free_port()));
    let arguments = [
        "serve",
        &format!("--namespace={namespace}"),
        &format!("--listen={listen}"),
        &format!("--admin-listen={admin}"),
    ];
    let server = Process::mta_sts("serve", folder.path(), Some(&api.kubeconfig()), &arguments);
    world::ready(&server, admin).await;
    http::get(listen, "mta-sts.example.org", "/").await.unwrap();
    let text = http::get(admin, "localhost", "/metrics")
        .await
        .unwrap()
        .text();
    metrics_in(&text, &mut known);
    known
}

/// The metrics of an expression, each with the labels that it selects by.
fn selectors(expression: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for (start, _) in expression.match_indices("mta_sts_") {
        let rest = &expression[start..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
        let labels = after
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'));
        let labels = labels.map_or("", |(labels, _)| labels).split(',');
        let label = |text: &str| {
            let name = text.split(['=', '!', '~']).next().unwrap_or_default();
            (!name.is_empty()).then(|| name.to_owned())
        };
        found.push((name.to_owned(), labels.filter_map(label).collect()));
    }
    found
}

#[tokio::test]
async fn alerts_and_dashboard_are_about_metrics_that_are_there() {
    let known = exposed().await;
    // These come from the scrape itself.
    let scraped = ["namespace", "pod", "instance"];
    for (place, expression) in expressions() {
        let used = selectors(&expression);
        assert!(!used.is_empty(), "{place}: {expression}");
        for (name, labels) in used {
            let has = known.get(&name);
            let has = has.unwrap_or_else(|| panic!("{place}: there is no metric {name}"));
            for label in labels {
                let there = has.contains(&label) || scraped.contains(&label.as_str());
                assert!(there, "{place}: {name} has no label {label}");
            }
        }
    }
}

fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool")
        .args(arguments)
        .output()
        .expect("promtool: tools/debian-packages.sh test installs it");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn each_alert_fires_when_it_should_and_not_when_it_should_not() {
    let alerts = file("charts/mta-sts-operator/files/alerts.yaml");
    promtool(&["check", "rules", alerts.to_str().unwrap()]);
    let mut tested = Vec::new();
    for rule in rules() {
        let alert = rule["alert"].as_str().unwrap();
        let path = file(&format!("tests/fixtures/alerts/{alert}.yaml"));
        let case: Value = serde_yaml::from_str(&fs::read_to_string(&path).expect(alert)).unwrap();
        // A case that expects the alert, and one that expects none.
        let expects = |case: &Value| {
            case["promql_expr_test"][0]["exp_samples"]
                .as_array()
                .unwrap()
                .len()
        };
        let cases: Vec<usize> = case["tests"]
            .as_array()
            .unwrap()
            .iter()
            .map(expects)
            .collect();
        assert_eq!(cases, [1, 0], "{alert}");
        tested.push(path.to_str().unwrap().to_owned());
    }
    let mut arguments = vec!["test", "rules"];
    arguments.extend(tested.iter().map(String::as_str));
    promtool(&arguments);
}

#[test]
fn each_alert_says_what_to_do() {
    let runbooks = read("docs/runbooks.md");
    let sections: BTreeSet<&str> = runbooks
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    let mut alerts = BTreeSet::new();
    for rule in rules() {
        let alert = rule["alert"].as_str().unwrap().to_owned();
        let severity = rule["labels"]["severity"].as_str().unwrap();
        let section = runbooks
            .split(&format!("\n## {alert}\n"))
            .nth(1)
            .unwrap_or_default();
        assert!(section.starts_with(&format!("**{severity}.**")), "{alert}");
        let anchor = format!("docs/runbooks.md#{}", alert.to_lowercase());
        let annotations = &rule["annotations"];
        assert!(
            annotations["runbook_url"]
                .as_str()
                .unwrap()
                .ends_with(&anchor),
            "{alert}"
        );
        for text in ["summary", "description"] {
            assert!(annotations[text].is_string(), "{alert}: {text}");
        }
        alerts.insert(alert);
    }
    let alerts: BTreeSet<&str> = alerts.iter().map(String::as_str).collect();
    assert_eq!(alerts, sections);
}

#[test]
fn the_dashboard_is_whole() {
    let panels = panels();
    let ids: BTreeSet<i64> = panels
        .iter()
        .map(|panel| panel["id"].as_i64().unwrap())
        .collect();
    assert_eq!(ids.len(), panels.len(), "two panels have one id");
    for panel in &panels {
        for text in ["title", "description"] {
            assert!(
                !panel[text].as_str().unwrap_or_default().is_empty(),
                "{panel}"
            );
        }
    }
    // promtool reads rules, so each expression becomes one. Grafana fills in the variables.
    let rule = |(number, (_, expression)): (usize, (String, String))| json!({"record": format!("panel:{number}"), "expr": expression.replace("$namespace", ".*")});
    let rules: Vec<Value> = expressions().into_iter().enumerate().map(rule).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    let groups = json!({"groups": [{"name": "panels", "rules": rules}]});
    fs::write(&path, groups.to_string()).unwrap();
    promtool(&["check", "rules", path.to_str().unwrap()]);
}
