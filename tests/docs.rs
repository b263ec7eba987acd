//! The pages say what the code says: tables made from it, flags, links, examples.
//!
//! `UPDATE_DOCS=1 cargo test --test docs` writes the tables again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args as _;
use jiff::Timestamp;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::pinned_kind;
use mta_sts_operator::api::condition::Reason;
use mta_sts_operator::cli::check::CheckArgs;
use mta_sts_operator::cli::doctor::DoctorArgs;
use mta_sts_operator::cli::generate::GenerateArgs;
use mta_sts_operator::cli::lint::LintArgs;
use mta_sts_operator::cli::pages::{CompletionsArgs, ManArgs};
use mta_sts_operator::cli::plan::PlanArgs;
use mta_sts_operator::cli::report::ReportArgs;
use mta_sts_operator::cli::retirements::RetirementsArgs;
use mta_sts_operator::cli::status::StatusArgs;
use mta_sts_operator::cli::uninstall::UninstallArgs;
use mta_sts_operator::config::ControllerArgs;
use mta_sts_operator::controller::metrics;
use mta_sts_operator::diagnosis::{ResultMeaning, Severities};
use mta_sts_operator::dns_services::{Key, SERVICES};
use mta_sts_operator::protocol::{Domain, PolicyId, ResultType, Sha256Digest};
use mta_sts_operator::serve::ServeArgs;
use support::kube::ApiServer;
use support::ports::{free_port, loopback};
use support::process::Process;
use support::{http, keeper, world};

// Tables that are made from the code.

#[test]
fn every_reason_is_on_its_page() {
    let mut table = "| reason | meaning |\n|---|---|\n".to_owned();
    for reason in Reason::ALL {
        let _ = writeln!(table, "| `{reason}` | {} |", reason.meaning());
    }
    hold("docs/conditions.md", "reasons", &table);
}

#[test]
fn every_reason_stands_under_the_conditions_that_have_it() {
    let page = read("docs/conditions.md");
    let by_hand = page.split("## Every reason").next().unwrap();
    let cells = by_hand.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ").skip(1);
        cells.next().filter(|cell| cell.starts_with('`'))
    });
    let named: BTreeSet<&str> = cells.flat_map(code_spans).collect();
    // Healthy carries the code of a finding in its place.
    let known: BTreeSet<&str> = Reason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .filter(|reason| *reason != "Unhealthy" && *reason != "Progressing")
        .collect();
    assert_eq!(named, known);
    assert!(by_hand.contains("`Progressing`"));
}

#[test]
fn every_reason_leads_somewhere_when_something_is_wrong() {
    let page = read("docs/troubleshooting.md");
    let (_, section) = page.split_once("## By the reason\n").unwrap();
    let rows = section.lines().filter_map(|line| {
        let cell = line.strip_prefix("| ")?.split(" | ").next()?;
        cell.starts_with('`').then_some(cell)
    });
    let mut named: Vec<&str> = rows.flat_map(code_spans).collect();
    named.sort_unstable();
    let mut known: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    known.sort_unstable();
    assert_eq!(named, known, "each of them once");
}

#[test]
fn every_metric_of_the_controller_is_on_its_page() {
    let domain = Domain::parse("example.org").unwrap();
    let installation = "00c0de".parse().unwrap();
    let digest = Sha256Digest::of(b"");
    let id = PolicyId::issue(Timestamp::UNIX_EPOCH, &digest, &installation, None);
    let mut text = String::new();
    let sample = metrics::sample(&domain, &id);
    prometheus_client::encoding::text::encode(&mut text, &sample).unwrap();
    let rows = metrics_in(&text);

    let source = read("src/controller/metrics.rs");
    let registered = source.matches("r.register").count();
    assert_eq!(rows.len(), registered, "a metric is not in the sample");
    let mut table = "| metric | type | meaning |\n|---|---|---|\n".to_owned();
    for (name, (kind, help)) in rows {
        let _ = writeln!(table, "| `{name}` | {kind} | {help} |");
    }
    hold("docs/metrics.md", "metrics", &table);
}

#[test]
fn every_dns_service_is_on_the_page() {
    let mut table =
        "| `name` | service | `config` | keys of the Secret |\n|---|---|---|---|\n".to_owned();
    let keys = |keys: &[Key]| {
        let told = keys.iter().map(|key| match key.required {
            true => format!("`{}`: {}", key.name, key.meaning),
            false => format!("optional `{}`: {}", key.name, key.meaning),
        });
        told.collect::<Vec<_>>().join("; ")
    };
    for service in SERVICES {
        if let Some(block) = service.block {
            let page = read(&format!("docs/providers/{}.md", service.name));
            let said = format!("# Provider `{block}`: ");
            assert!(page.starts_with(&said), "{}", service.name);
            for key in service.config.iter().filter(|key| key.required) {
                assert!(page.contains(key.name), "{}: {}", service.name, key.name);
            }
        }
        let (config, credentials) = (keys(service.config), keys(service.credentials));
        let _ = writeln!(
            table,
            "| `{}` | {} | {config} | {credentials} |",
            service.name, service.title
        );
    }
    hold("docs/providers/README.md", "services", &table);
}

#[tokio::test]
async fn every_metric_of_the_policy_server_is_on_its_page() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("docs").await;
    let folder = keeper::folder("docs");
    let (listen, admin) = (loopback(free_port()), loopback(free_port()));
    let server = Process::mta_sts(
        "serve",
        folder.path(),
        Some(&api.kubeconfig()),
        &[
            "serve",
            &format!("--namespace={namespace}"),
            &format!("--listen={listen}"),
            &format!("--admin-listen={admin}"),
            &format!("--dns-listen={}", loopback(free_port())),
        ],
    );
    world::ready(&server, admin).await;
    http::get(listen, "mta-sts.example.org", "/").await.unwrap();
    let text = http::get(admin, "localhost", "/metrics")
        .await
        .unwrap()
        .text();

    let page = read("docs/policy-server.md");
    let of_page: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `mta_sts_server_"))
        .filter_map(|rest| rest.split(['`', '{']).next())
        .collect();
    let served = metrics_in(&text);
    let served: BTreeSet<&str> = served
        .keys()
        .filter_map(|name| name.strip_prefix("mta_sts_server_"))
        .map(|name| name.split('{').next().unwrap())
        .collect();
    assert_eq!(of_page, served);
}

/// Name with labels → type and help, of a text in the form of OpenMetrics.
fn metrics_in(text: &str) -> BTreeMap<String, (String, String)> {
    let comment = |name: &str, what: &str| {
        let start = format!("# {what} {name} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_default().trim_end_matches('.').to_owned()
    };
    let names = text.lines().filter_map(|line| {
        let mut words = line.strip_prefix("# TYPE ")?.split(' ');
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    });
    names
        .map(|(name, kind)| {
            let suffix = if kind == "counter" { "_total" } else { "" };
            let series = text
                .lines()
                .find(|line| !line.starts_with('#') && line.starts_with(&name));
            let labels: Vec<_> = series
                .and_then(|line| line.split_once('{')?.1.split_once('}'))
                .iter()
                .flat_map(|(labels, _)| labels.split(','))
                .filter_map(|label| label.split('=').next())
                .filter(|label| *label != "le")
                .collect();
            let labels = match labels.as_slice() {
                [] => String::new(),
                some => format!("{{{}}}", some.join(",")),
            };
            let help = comment(&name, "HELP");
            (format!("{name}{suffix}{labels}"), (kind, help))
        })
        .collect()
}

#[test]
fn the_table_of_results_is_the_one_that_reports_are_explained_by() {
    let mut table =
        "| result | severity | usual cause | what to do |\n|---|---|---|---|\n".to_owned();
    for result in ResultType::KNOWN {
        let meaning = ResultMeaning::of(result);
        let Severities { enforce, testing } = meaning.code.severities();
        let severity = match enforce == testing {
            true => enforce.as_str().to_owned(),
            false => format!("{} / {}", enforce.as_str(), testing.as_str()),
        };
        let (cause, remedy) = (meaning.cause, meaning.remedy);
        writeln!(table, "| `{result}` | {severity} | {cause} | {remedy} |").unwrap();
    }
    hold("docs/report.md", "results", &table);
}

// What is written by hand and compared.

/// Commands that a person types, each with its own help.
const WITHOUT_SETTINGS: [&str; 12] = [
    "plan",
    "check",
    "completions",
    "man",
    "generate",
    "lint",
    "report",
    "status",
    "retirements",
    "doctor",
    "uninstall",
    "crds",
];

#[test]
fn settings_are_those_of_the_commands() {
    let page = read("docs/settings.md");
    for command in commands() {
        let heading = format!("## mta-sts {}\n", command.get_name());
        let Some((_, section)) = page.split_once(&heading) else {
            assert!(WITHOUT_SETTINGS.contains(&command.get_name()), "{heading}");
            continue;
        };
        let section = section.split("\n## ").next().unwrap();
        let mut rows: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
        for line in section.lines().filter(|line| line.starts_with("| `--")) {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            rows.insert(
                cells[0].trim_matches('`'),
                (cells[1].trim_matches('`'), cells[2]),
            );
        }
        for arg in command.get_arguments() {
            let flag = format!("--{}", arg.get_long().unwrap());
            let (env, default) = rows
                .remove(flag.as_str())
                .unwrap_or_else(|| panic!("{flag} of {} has no row", command.get_name()));
            assert_eq!(arg.get_env().unwrap().to_str(), Some(env), "{flag}");
            if let [value] = arg.get_default_values() {
                let switch = !arg.get_action().takes_values();
                let expected = format!("`{}`", value.to_str().unwrap());
                assert!(
                    switch || default == expected,
                    "{flag}: {default}, not {expected}"
                );
            } else {
                assert!(
                    !default.starts_with('`') || default == "`/etc/resolv.conf`",
                    "{flag}"
                );
            }
        }
        assert!(rows.is_empty(), "no such flags: {rows:?}");
    }
}

#[test]
fn every_dependency_is_explained() {
    // The binary's, and those of the program that fills the image.
    let manifest = read("Cargo.toml") + &read("tools/ca-bundle/Cargo.toml");
    let page = read("docs/dependencies.md");
    let of_page: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|rest| rest.split('`').next())
        .collect();
    let mut section = "";
    let mut of_manifest = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if ["[dependencies]", "[dev-dependencies]"].contains(&section) {
            of_manifest.extend(line.split_once(" = ").map(|(name, _)| name));
        }
    }
    assert_eq!(of_page, of_manifest);
}

#[test]
fn flags_that_pages_name_are_there() {
    let commands = commands();
    let flags_of = |name: &str| -> BTreeSet<String> {
        let command = commands.iter().find(|command| command.get_name() == name);
        let command = command.unwrap_or_else(|| panic!("there is no command `mta-sts {name}`"));
        let long = command.get_arguments().filter_map(|arg| arg.get_long());
        long.map(|long| format!("--{long}")).collect()
    };
    let all: BTreeSet<String> = commands
        .iter()
        .flat_map(|c| flags_of(c.get_name()))
        .collect();
    let mut wrong = Vec::new();
    for (path, page) in pages() {
        for line in page.lines() {
            // Lines and spans that are a command as one would type it.
            let typed = code_spans(line).chain([line.trim().trim_start_matches("$ ")]);
            for call in typed.filter_map(|text| {
                text.split("mta-sts ")
                    .nth(1)
                    .filter(|_| text.starts_with("mta-sts ") || text.contains("| mta-sts "))
            }) {
                let mut words = call.split_whitespace();
                let name = words.next().unwrap_or_default();
                if name.starts_with(|c: char| !c.is_ascii_lowercase()) {
                    continue;
                }
                let flags = flags_of(name);
                let unknown = words.filter(|word| word.starts_with("--"));
                let unknown =
                    unknown.filter(|word| !flags.contains(word.split('=').next().unwrap()));
                wrong.extend(unknown.map(|flag| format!("{path}: mta-sts {name} {flag}")));
            }
            // A flag by itself.
            let alone = code_spans(line).filter(|span| span.starts_with("--"));
            let names = alone.map(|span| span.split([' ', '=']).next().unwrap());
            let unknown = names.filter(|flag| !all.contains(*flag) && !OF_OTHERS.contains(flag));
            wrong.extend(unknown.map(|flag| format!("{path}: {flag}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Flags of other programs.
const OF_OTHERS: &[&str] = &[
    "--wait",
    "--replicas",
    // external-dns
    "--source",
    "--namespace",
    "--policy",
    "--registry",
    "--managed-record-types",
    "--domain-filter",
    "--label-filter",
    "--annotation-filter",
];

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for (path, page) in pages() {
        let folder = root().join(&path).parent().unwrap().to_owned();
        for link in links(&page) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                root().join(&path)
            } else {
                folder.join(file)
            };
            if !target.exists() {
                wrong.push(format!("{path}: {link}"));
            } else if !anchor.is_empty()
                && !anchors(&fs::read_to_string(&target).unwrap()).contains(anchor)
            {
                wrong.push(format!("{path}: {link}: no such heading"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_readme_leads_to_every_page() {
    let readme = read("README.md");
    let of_readme: BTreeSet<&str> = links(&readme).into_iter().collect();
    let lacking: Vec<String> = pages()
        .into_iter()
        .map(|(path, _)| path)
        // A provider's page is named by the page of all of them.
        .filter(|path| path != "README.md" && !path.starts_with("docs/providers/"))
        .filter(|path| !of_readme.contains(path.as_str()))
        .collect();
    assert!(lacking.is_empty(), "{lacking:?}");
    let providers = read("docs/providers/README.md");
    let lacking: Vec<PathBuf> = files(&root().join("docs/providers"), "md")
        .into_iter()
        .filter(|path| !path.ends_with("README.md"))
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            !links(&providers).contains(&name)
        })
        .collect();
    assert!(lacking.is_empty(), "{lacking:?}");
}

#[test]
fn source_files_that_pages_name_are_there() {
    let mut wrong = Vec::new();
    for (path, page) in pages() {
        for span in page.lines().flat_map(code_spans) {
            let is_path = span.ends_with(".rs") || span.ends_with(".sh") || span.ends_with(".toml");
            if !is_path || span.contains(['*', '<', ' ']) {
                continue;
            }
            let places = [
                "",
                "src",
                "src/controller",
                "src/controller/status",
                "tests",
            ];
            if !places
                .iter()
                .any(|place| root().join(place).join(span).exists())
            {
                wrong.push(format!("{path}: {span}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// Examples.

#[test]
fn the_smallest_object_passes_the_linter() {
    let readme = read("README.md");
    let smallest = yaml_blocks(&readme).into_iter().next().unwrap();
    let folder = keeper::folder("readme");
    let file = folder.path().join("policy.yaml");
    fs::write(&file, smallest).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mta-sts"))
        .args(["lint", "--fail-on", "warning"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("manifest, valid, nothing found"), "{said}");
}

#[tokio::test]
async fn the_api_server_takes_every_example() {
    let api = ApiServer::shared().await;
    let client = api.client().await;
    let namespace = api.namespace("docs").await;
    let mut applied = 0;
    let examples = files(&root().join("examples"), "yaml");
    let texts = examples.iter().map(|path| {
        (
            path.display().to_string(),
            vec![fs::read_to_string(path).unwrap()],
        )
    });
    let blocks = pages()
        .into_iter()
        .map(|(path, page)| (path, yaml_blocks(&page)));
    for (path, blocks) in texts.chain(blocks) {
        for document in blocks.iter().flat_map(|block| block.split("---\n")) {
            let Ok(object) = serde_yaml::from_str::<DynamicObject>(document) else {
                continue;
            };
            let Some(types) = object.types.clone() else {
                continue;
            };
            let (group, version) = types
                .api_version
                .split_once('/')
                .unwrap_or(("", &types.api_version));
            if ELSEWHERE.iter().any(|known| group.ends_with(known)) {
                continue;
            }
            let kind = GroupVersionKind::gvk(group, version, &types.kind);
            let (resource, capabilities) = pinned_kind(&client, &kind).await.unwrap();
            let namespaced = capabilities.scope == kube::discovery::Scope::Namespaced;
            let mut value = serde_json::to_value(&object).unwrap();
            if namespaced {
                value["metadata"]["namespace"] = namespace.clone().into();
            }
            let objects = match namespaced {
                true => {
                    Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &resource)
                }
                false => Api::<DynamicObject>::all_with(client.clone(), &resource),
            };
            let params = PatchParams {
                field_validation: Some(kube::api::ValidationDirective::Strict),
                ..PatchParams::apply("docs").force().dry_run()
            };
            let name = value["metadata"]["name"].as_str().unwrap().to_owned();
            let outcome = objects.patch(&name, &params, &Patch::Apply(&value)).await;
            assert!(outcome.is_ok(), "{path}: {document}\n{outcome:?}");
            applied += 1;
        }
    }
    assert!(applied > 15, "only {applied} examples were found");
}

/// Groups that are not installed here: `tests/gateway.rs` and `tests/gitops.rs` look at theirs.
const ELSEWHERE: [&str; 4] = [
    "gateway.networking.k8s.io",
    "argoproj.io",
    "toolkit.fluxcd.io",
    "kustomize.config.k8s.io",
];

// What the tests above read with.

/// Compares what stands between two marks of a page, or writes it.
fn hold(path: &str, mark: &str, table: &str) {
    let page = read(path);
    let (start, end) = (
        format!("<!-- {mark} -->\n"),
        format!("<!-- end of the {mark} -->"),
    );
    let (before, rest) = page.split_once(&start).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    let fresh = format!("{before}{start}{table}{end}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root().join(path), &fresh).unwrap();
    } else {
        assert_eq!(page, fresh, "run UPDATE_DOCS=1 cargo test --test docs");
    }
}

fn commands() -> Vec<clap::Command> {
    vec![
        ControllerArgs::augment_args(clap::Command::new("controller")),
        ServeArgs::augment_args(clap::Command::new("serve")),
        CheckArgs::augment_args(clap::Command::new("check")),
        GenerateArgs::augment_args(clap::Command::new("generate")),
        LintArgs::augment_args(clap::Command::new("lint")),
        StatusArgs::augment_args(clap::Command::new("status")),
        DoctorArgs::augment_args(clap::Command::new("doctor")),
        RetirementsArgs::augment_args(clap::Command::new("retirements")),
        UninstallArgs::augment_args(clap::Command::new("uninstall")),
        ReportArgs::augment_args(clap::Command::new("report")),
        clap::Command::new("crds"),
        CompletionsArgs::augment_args(clap::Command::new("completions")),
        PlanArgs::augment_args(clap::Command::new("plan")),
        ManArgs::augment_args(clap::Command::new("man")),
    ]
}

/// All pages, with their paths from the root.
fn pages() -> Vec<(String, String)> {
    let mut paths = files(&root().join("docs"), "md");
    let top = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    paths.extend(top.filter(|path| path.extension().is_some_and(|e| e == "md")));
    let pages: Vec<_> = paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(pages.len() > 10, "the pages are elsewhere");
    pages
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The blocks of YAML in a page.
fn yaml_blocks(page: &str) -> Vec<String> {
    let blocks = page.split("```yaml\n").skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// Every second piece between backticks of a line.
fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    let fence = line.trim_start().starts_with("```");
    line.split('`').skip(1).step_by(2).filter(move |_| !fence)
}

fn links(page: &str) -> Vec<&str> {
    let starts = page.split("](").skip(1);
    starts.filter_map(|rest| rest.split(')').next()).collect()
}

/// The anchors that a page's headings have on GitHub.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let text = line.trim_start_matches('#').trim().to_lowercase();
            let kept = text
                .chars()
                .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
