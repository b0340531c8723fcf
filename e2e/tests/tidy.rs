//! The house rules that a machine can check: dependency arrows, pure crates, file budgets, module docs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Lines a source file may have.
const LINES_MAX: usize = 800;

/// Crates without I/O, clock, randomness or async, and what they may not depend on.
const PURE: &[&str] = &[
    "apiserver-json",
    "apiserver-meta",
    "apiserver-cel",
    "apiserver-schema",
    "controllers-ingress-model",
    "controllers-quota-model",
    "ccm-mock-aws-api",
    "ccm-mock-alb-routing",
    "proxy-agent-ruleset",
    "hopyard-trace",
];
const IMPURE: &[&str] = &["tokio", "hyper", "kube", "sled", "rand", "axum"];

/// Who may use which rooms of the API server: nobody outside, but the binary and the tests.
const API_SERVER: &[(&str, &[&str])] = &[
    ("apiserver-json", &[]),
    ("apiserver-meta", &["apiserver-json"]),
    ("apiserver-storage", &["apiserver-meta"]),
    ("apiserver-watchcache", &["apiserver-json", "apiserver-meta", "apiserver-storage"]),
    ("apiserver-schema", &["apiserver-json", "apiserver-meta"]),
    ("apiserver-cel", &["apiserver-json", "apiserver-meta"]),
    (
        "apiserver-registry",
        &[
            "apiserver-cel",
            "apiserver-json",
            "apiserver-meta",
            "apiserver-schema",
            "apiserver-storage",
            "apiserver-watchcache",
        ],
    ),
    (
        "apiserver-server",
        &[
            "apiserver-json",
            "apiserver-meta",
            "apiserver-registry",
            "apiserver-schema",
            "apiserver-storage",
            "apiserver-watchcache",
        ],
    ),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a readable directory").flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            sources(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

/// Dependencies of each crate, by name, without those of its tests.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let mut crates = BTreeMap::new();
    let root = e2e::root();
    let mut manifests = vec![root.join("hopyard/Cargo.toml"), root.join("trace/Cargo.toml")];
    for area in ["apiserver", "controllers", "ccm-mock", "proxy-agent", "dataplane"] {
        for entry in std::fs::read_dir(root.join(area)).expect("an area").flatten() {
            manifests.push(entry.path().join("Cargo.toml"));
        }
    }
    for manifest in manifests.into_iter().filter(|manifest| manifest.exists()) {
        let text = std::fs::read_to_string(&manifest).expect("a manifest");
        let name = text
            .lines()
            .find_map(|line| line.strip_prefix("name = \""))
            .expect("a name")
            .trim_end_matches('"')
            .to_owned();
        let section = text.split("[dependencies]").nth(1).unwrap_or("").split("\n[").next().unwrap_or("");
        let names = section
            .lines()
            .filter_map(|line| line.split(['.', ' ', '=']).next())
            .filter(|name| !name.is_empty() && !name.starts_with('#'));
        crates.insert(name, names.map(str::to_owned).collect());
    }
    crates
}

#[test]
fn arrows_point_one_way() {
    let crates = dependencies();
    for (name, allowed) in API_SERVER {
        let used = crates[*name].iter().filter(|other| other.starts_with("apiserver-"));
        let wrong: Vec<&String> = used.filter(|other| !allowed.contains(&other.as_str())).collect();
        assert!(wrong.is_empty(), "{name} may not use {wrong:?}");
    }
    let outside = crates.iter().filter(|(name, _)| !name.starts_with("apiserver-") && *name != "hopyard");
    for (name, used) in outside {
        let wrong: Vec<&String> = used.iter().filter(|other| other.starts_with("apiserver-")).collect();
        assert!(wrong.is_empty(), "{name} meets the API server over HTTP only, not through {wrong:?}");
    }
}

#[test]
fn pure_crates_stay_pure() {
    let crates = dependencies();
    for name in PURE {
        let wrong: Vec<&String> =
            crates[*name].iter().filter(|other| IMPURE.contains(&other.as_str())).collect();
        assert!(wrong.is_empty(), "{name} is pure and may not use {wrong:?}");
    }
}

#[test]
fn files_are_small_and_say_what_they_are_for() {
    let mut found = Vec::new();
    sources(&e2e::root(), &mut found);
    assert!(found.len() > 50);
    for path in found {
        let text = std::fs::read_to_string(&path).expect("a source file");
        let place = path.display();
        assert!(text.starts_with("//!"), "{place} opens without saying what it is for");
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{place} has {lines} lines; {LINES_MAX} is the limit");
    }
}
