//! The invariants of ARCHITECTURE.md that the sources themselves can show.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Heavy dependencies and the one crate that may have each.
const OWNERS: &[(&str, &str)] = &[
    ("quinn", "crates/link"),
    ("rustls", "crates/link"),
    ("rcgen", "crates/link"),
    ("redb", "crates/store"),
    ("sled", "crates/store"),
    ("age", "crates/store"),
    ("hpke", "crates/message"),
    ("raptorq", "crates/message"),
    ("rten-onnx", "crates/compiler"),
    ("wasm-encoder", "crates/compiler"),
    ("wasmtime", "provider"),
    ("wasmparser", "provider"),
    ("curve25519-dalek", "crates/sphinx"),
    ("lioness-rs", "crates/sphinx"),
    ("chacha20poly1305", "crates/wire"),
    ("clap", "."),
    ("indicatif", "."),
    ("metrics-exporter-prometheus", "."),
];

/// Words that betray a file for doing what only one crate may do, and who may.
const RESERVED: &[(&str, &[&str])] = &[
    ("UdpSocket", &["crates/link", "src"]),
    ("TcpStream", &["src"]),
    ("TcpListener", &["src"]),
    ("std::fs", &["crates/store", "src"]),
    ("fs::write", &["crates/store", "src"]),
    ("OpenOptions", &["crates/store", "src"]),
    ("SystemTime::now", &["src"]),
    // A link's transport timers are tokio's; no protocol state follows them.
    ("Instant::now", &["crates/link", "src"]),
    ("SysRng", &["src"]),
    ("thread_rng", &[]),
    ("process::Command", &["src"]),
    ("env::var", &["src"]),
    // An instrument of tests and the demo: no node has a bad path of its own.
    ("FaultProxy", &["crates/link", "src/demo"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn manifest(folder: &str) -> toml::Table {
    let path = root().join(folder).join("Cargo.toml");
    fs::read_to_string(&path).unwrap().parse().unwrap()
}

fn members() -> Vec<String> {
    let workspace = &manifest(".")["workspace"];
    let members = workspace["members"].as_array().unwrap();
    members
        .iter()
        .map(|m| m.as_str().unwrap().to_owned())
        .collect()
}

fn dependencies(folder: &str) -> Vec<String> {
    let manifest = manifest(folder);
    manifest
        .get("dependencies")
        .and_then(toml::Value::as_table)
        .map_or_else(Vec::new, |table| table.keys().cloned().collect())
}

/// The `.rs` files below `folder` that are neither tests nor benches.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name().into_string().unwrap();
        if path.is_dir() {
            if !["target", ".git", "tests", "benches", "examples", "fuzz"].contains(&name.as_str())
            {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// A file's text before its unit tests.
fn shipped(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]")
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn dependencies_run_strictly_downward() {
    let members = members();
    let place: BTreeMap<&str, usize> = members
        .iter()
        .enumerate()
        .map(|(place, folder)| (folder.rsplit('/').next().unwrap(), place))
        .collect();
    for (own_place, folder) in members.iter().enumerate() {
        for dependency in dependencies(folder) {
            if let Some(place) = place.get(dependency.as_str()) {
                assert!(
                    *place < own_place,
                    "{folder} uses {dependency}, which stands below it"
                );
            }
        }
    }
}

#[test]
fn a_heavy_dependency_has_one_owner() {
    let folders = members().into_iter().chain([".".to_owned()]);
    for folder in folders {
        for dependency in dependencies(&folder) {
            let owner = OWNERS.iter().find(|(name, _)| *name == dependency);
            if let Some((name, owner)) = owner {
                assert_eq!(*owner, folder, "{name} belongs to {owner}");
            }
        }
    }
}

#[test]
fn network_disk_clock_and_entropy_have_their_one_place() {
    let mut files = Vec::new();
    sources(root(), &mut files);
    assert!(files.len() > 100, "the search found the sources");
    for path in files {
        let relative = path
            .strip_prefix(root())
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let text = shipped(&path);
        for (word, allowed) in RESERVED {
            let here = allowed.iter().any(|place| relative.starts_with(place));
            let uses = text
                .lines()
                .any(|line| !line.trim_start().starts_with("//") && line.contains(word));
            assert!(here || !uses, "{relative} uses {word}");
        }
    }
}

#[test]
fn the_wall_clock_is_read_once_so_that_setting_it_moves_no_delay() {
    let text = shipped(&root().join("src/clock.rs"));
    let (new, rest) = text
        .split_once("impl Default")
        .expect("the clock is made first");
    assert_eq!(new.matches("SystemTime::now").count(), 1);
    assert!(
        !rest.contains("SystemTime"),
        "a clock that goes on by itself"
    );
    assert!(rest.contains("monotonic.elapsed()"));
}

#[test]
fn files_stay_readable_and_tests_run() {
    let mut files = Vec::new();
    sources(root(), &mut files);
    for folder in members().iter().map(String::as_str).chain(["."]) {
        for part in ["tests", "benches", "examples"] {
            let path = root().join(folder).join(part);
            if path.is_dir() {
                sources(&path, &mut files);
            }
        }
    }
    let ignored = concat!("#[", "ignore");
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.lines().count() <= 800,
            "{} is over 800 lines",
            path.display()
        );
        assert!(!text.contains(ignored), "{} ignores a test", path.display());
    }
}
