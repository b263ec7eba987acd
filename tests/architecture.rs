//! The rooms of `ARCHITECTURE.md`, and who may enter them: held by looking at the source.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Each room (or shared file) with what it may use of ours besides itself. `controller`, `cli`,
/// `main` and `config` wire the others and may use them all.
const MAY_USE: &[(&str, &[&str])] = &[
    // Pure: total functions on plain data.
    ("protocol", &["limits"]),
    ("diagnosis", &["protocol", "dns_services", "limits"]),
    ("lifecycle", &["protocol", "limits"]),
    // The custom resources.
    ("api", &["protocol", "dns_services", "limits"]),
    // Io: never each other.
    (
        "dns",
        &[
            "protocol",
            "diagnosis",
            "lifecycle",
            "dns_services",
            "dns_wire",
            "limits",
            "clock",
        ],
    ),
    (
        "probe",
        &[
            "protocol",
            "diagnosis",
            "lifecycle",
            "dns_wire",
            "limits",
            "clock",
        ],
    ),
    (
        "serve",
        &[
            "protocol",
            "diagnosis",
            "lifecycle",
            "dns_wire",
            "limits",
            "clock",
        ],
    ),
    (
        "reports",
        &["protocol", "diagnosis", "lifecycle", "limits", "clock"],
    ),
    // What several of them share.
    ("dns_services", &[]),
    ("dns_wire", &["limits"]),
    ("limits", &[]),
    ("clock", &[]),
];

const PURE: &[&str] = &["protocol", "diagnosis", "lifecycle", "dns_services"];

/// Words that give away something that a pure room must not do or know.
const IMPURE: &[&str] = &[
    "async",
    "await",
    "tokio",
    "futures",
    "kube",
    "k8s_openapi",
    "hickory_net",
    "hickory_proto",
    "hickory_resolver",
    "axum",
    "hyper",
    "hyper_util",
    "rustls",
    "tokio_rustls",
    "tracing",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "SystemTime",
    "Instant",
];

/// The same, as parts of the standard library: their last names alone are too common.
const IMPURE_STD: &[&str] = &[
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::io",
    "std::os",
    "::now(",
    "http::",
    "axum::",
];

/// Lines of a file without its tests. Above the first number it is worth a look, above the second
/// it has to be taken apart.
const LONG: usize = 450;
const TOO_LONG: usize = 900;

#[test]
fn each_room_uses_only_the_rooms_it_may() {
    let mut wrong = Vec::new();
    for file in sources() {
        let Some((room, allowed)) = MAY_USE.iter().find(|(room, _)| *room == file.room) else {
            continue;
        };
        for (number, line) in file.code() {
            for used in rooms_named(line) {
                if used != *room && is_room(used) && !allowed.contains(&used) {
                    wrong.push(format!("{}:{number}: {room} uses {used}", file.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_rooms_know_no_io_and_no_clock() {
    let mut wrong = Vec::new();
    for file in sources()
        .into_iter()
        .filter(|file| PURE.contains(&file.room.as_str()))
    {
        for (number, line) in file.code() {
            let words = words(line).filter(|word| IMPURE.contains(word));
            let paths = IMPURE_STD
                .iter()
                .copied()
                .filter(|path| line.contains(path));
            wrong.extend(
                words
                    .chain(paths)
                    .map(|it| format!("{}:{number}: {it}", file.name)),
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "these do io or ask the time in a pure room:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn files_can_be_read_at_one_sitting() {
    let mut too_long = Vec::new();
    for file in sources() {
        let lines = file.tested.lines().count();
        if lines > TOO_LONG {
            too_long.push(format!("{}: {lines} lines without its tests", file.name));
        } else if lines > LONG {
            eprintln!(
                "worth a look: {} has {lines} lines without its tests",
                file.name
            );
        }
    }
    assert!(
        too_long.is_empty(),
        "take these apart:\n{}",
        too_long.join("\n")
    );
}

#[test]
fn unsafe_code_is_forbidden() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(
        manifest
            .lines()
            .any(|line| line == "unsafe_code = \"forbid\"")
    );
}

#[test]
fn nothing_refers_to_one_machine() {
    // In parts, since this file is searched too.
    let forbidden = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("../sha", "red"),
    ];
    let mut wrong = Vec::new();
    for path in files(&root()) {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(word) = forbidden.iter().find(|word| line.contains(*word)) {
                wrong.push(format!("{}:{number}: {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A file of `src/`.
struct Source {
    name: String,
    /// The folder below `src/`, or the name of a file that stands there.
    room: String,
    /// The text up to its own tests.
    tested: String,
}

impl Source {
    /// Numbered lines without their comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(
            self.tested
                .lines()
                .map(|line| line.split("//").next().unwrap_or_default()),
        )
    }
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let sources: Vec<_> = files(&src)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let below = path.strip_prefix(&src).unwrap();
            let first = below
                .components()
                .next()
                .unwrap()
                .as_os_str()
                .to_str()
                .unwrap();
            let text = fs::read_to_string(&path).unwrap();
            Source {
                name: format!("src/{}", below.display()),
                room: first.trim_end_matches(".rs").to_owned(),
                tested: text
                    .split("\n#[cfg(test)]")
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            }
        })
        .collect();
    assert!(sources.len() > 10, "the sources are elsewhere");
    sources
}

/// All files below a folder but those that are built, hidden or data of version control.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "target" && (!name.starts_with('.') || name == ".ci") {
            found.extend(files(&path));
        } else if path.is_file() && !name.starts_with('.') {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The rooms in `crate::room` and in the names of `use crate::{a, b::c}` on one line.
fn rooms_named(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for after in line.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            Some(list) => found.extend(list.split(',').filter_map(|item| words(item).next())),
            None => found.extend(words(after).next()),
        }
    }
    found
}

fn is_room(name: &str) -> bool {
    let src = root().join("src");
    src.join(name).is_dir() || src.join(format!("{name}.rs")).is_file()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

#[test]
fn the_search_itself_finds_what_it_should() {
    let cases: &[(&str, &[&str])] = &[
        ("use crate::dns::update;", &["dns"]),
        ("use crate::{clock, probe::tls};", &["clock", "probe"]),
        ("let id = crate::protocol::PolicyId::new();", &["protocol"]),
        ("use super::record;", &[]),
    ];
    for (line, rooms) in cases {
        assert_eq!(rooms_named(line), *rooms, "{line}");
    }
}
