//! Who depends on whom.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::Package;

use super::{Material, TextFile};

/// Every crate and the crates of ours that it may use.
const DIRECTION: &[(&str, &[&str])] = &[
    ("lineal-facts", &[]),
    ("lineal-sandbox", &[]),
    ("lineal-blob", &["lineal-facts"]),
    ("lineal-data", &["lineal-facts"]),
    ("lineal-engine", &["lineal-facts"]),
    ("lineal-proof", &["lineal-facts"]),
    ("lineal-step", &["lineal-blob", "lineal-facts", "lineal-sandbox"]),
    ("lineal-store", &["lineal-blob", "lineal-facts", "lineal-proof"]),
    (
        "lineal-app",
        &[
            "lineal-blob",
            "lineal-data",
            "lineal-engine",
            "lineal-facts",
            "lineal-proof",
            "lineal-sandbox",
            "lineal-step",
            "lineal-store",
        ],
    ),
    ("lineal-gateway", &["lineal-engine", "lineal-facts", "lineal-proof"]),
    ("lineal-http", &["lineal-app", "lineal-engine", "lineal-facts", "lineal-proof", "lineal-step"]),
    (
        "lineal-kube",
        &[
            "lineal-app",
            "lineal-blob",
            "lineal-data",
            "lineal-engine",
            "lineal-facts",
            "lineal-proof",
            "lineal-step",
            "lineal-store",
        ],
    ),
    (
        "lineal",
        &[
            "lineal-app",
            "lineal-blob",
            "lineal-data",
            "lineal-engine",
            "lineal-facts",
            "lineal-gateway",
            "lineal-http",
            "lineal-kube",
            "lineal-proof",
            "lineal-sandbox",
            "lineal-step",
            "lineal-store",
        ],
    ),
    ("xtask", &[]),
];

/// Dependencies, by the beginning of their name, that only one crate may use directly.
const FENCES: &[(&str, Option<&str>)] = &[
    ("sqlx", Some("lineal-store")),
    ("object_store", Some("lineal-store")),
    ("axum", Some("lineal-http")),
    ("pingora", Some("lineal-gateway")),
    ("arrow", Some("lineal-data")),
    ("parquet", Some("lineal-data")),
    ("cel", Some("lineal-engine")),
    ("kube", Some("lineal-kube")),
    ("k8s-openapi", Some("lineal-kube")),
    ("schemars", Some("lineal-kube")),
    ("openssl", None),
    ("native-tls", None),
];

/// Crates that cost so much that two versions of one are a mistake.
const HEAVY: &[&str] = &[
    "aws-lc-rs",
    "aws-lc-sys",
    "axum",
    "cel",
    "clap",
    "hyper",
    "k8s-openapi",
    "kube",
    "libsqlite3-sys",
    "pingora",
    "pingora-core",
    "proptest",
    "reqwest",
    "rustls",
    "schemars",
    "serde_json",
    "sqlx",
    "tokio",
    "tower-http",
    "utoipa",
];

/// Every crate of ours is in the table and uses only what the table allows, in tests too.
pub(super) fn direction(material: &Material) -> Vec<String> {
    let ours: BTreeSet<&str> =
        material.metadata.workspace_packages().iter().map(|p| p.name.as_str()).collect();
    let mut findings = Vec::new();
    for package in material.metadata.workspace_packages() {
        let Some((_, allowed)) = DIRECTION.iter().find(|(name, _)| package.name.as_str() == *name) else {
            findings.push(format!("{} is not in the table of xtask/src/tidy/graph.rs", package.name));
            continue;
        };
        for used in package.dependencies.iter().map(|d| d.name.as_str()).filter(|name| ours.contains(name)) {
            if !allowed.contains(&used) {
                findings.push(format!("{} must not know {used}", package.name));
            }
        }
    }
    findings
}

/// A fenced dependency is used directly only by its owner.
pub(super) fn fences(material: &Material) -> Vec<String> {
    let mut findings = Vec::new();
    for package in material.metadata.workspace_packages() {
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let fence = FENCES.iter().find(|(start, _)| name == *start || is_part(name, start));
            if let Some((_, owner)) = fence
                && *owner != Some(package.name.as_str())
            {
                let owner = owner.map_or("nobody may".to_owned(), |owner| format!("only {owner} may"));
                findings.push(format!("{} uses {name}; {owner}", package.name));
            }
        }
    }
    findings
}

/// `sqlx-core` is part of `sqlx`.
fn is_part(name: &str, start: &str) -> bool {
    name.strip_prefix(start).is_some_and(|rest| rest.starts_with(['-', '_']))
}

/// One version of each heavy crate.
pub(super) fn duplicates(material: &Material) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for Package { name, version, .. } in &material.metadata.packages {
        versions.entry(name.as_str()).or_default().insert(version.to_string());
    }
    let twice = |name: &&&str| versions.get(**name).is_some_and(|found| found.len() > 1);
    HEAVY
        .iter()
        .filter(twice)
        .map(|name| {
            format!("{name} in versions {}", versions[name].iter().cloned().collect::<Vec<_>>().join(", "))
        })
        .collect()
}

/// The WebAssembly module must export names, and the attribute for that counts as unsafe. It holds no block.
const EXPORTS_NAMES: &str = "tools/wasm/";

/// Every crate but the sandbox forbids `unsafe`: by the workspace's lints, or by its own.
pub(super) fn unsafe_code(material: &Material) -> Vec<String> {
    let forbids = |text: &str| {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        lines.contains(&"unsafe_code = \"forbid\"")
            || lines.windows(2).any(|pair| pair == ["[lints]", "workspace = true"])
    };
    let blocks = |file: &&TextFile| {
        file.path.starts_with(EXPORTS_NAMES) && file.path.ends_with(".rs") && file.text.contains("unsafe {")
    };
    let block = |file: &TextFile| format!("{} has an unsafe block", file.path);
    let mut findings: Vec<String> = material.files.iter().filter(blocks).map(block).collect();
    for file in material.files.iter().filter(|f| f.path.ends_with("/Cargo.toml")) {
        let excepted = file.path.contains("lineal-sandbox/") || file.path.starts_with(EXPORTS_NAMES);
        if !excepted && !forbids(&file.text) {
            findings
                .push(format!("{} takes neither the workspace's lints nor forbids unsafe_code", file.path));
        }
    }
    findings
}
