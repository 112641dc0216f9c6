//! What files say and how long they are.
//!
//! Strings that must not occur are put together here, so that this file does not hold them.

use super::{Material, TextFile};

/// Longest file without its tests.
const LENGTH_LIMIT: usize = 600;
/// Longest file with a reason.
const HARD_LENGTH_LIMIT: usize = 800;
/// Files that may be longer than [`LENGTH_LIMIT`], and why.
const LONG_FILES: &[(&str, &str)] = &[];

/// Crates without clock, randomness, files, environment, threads and runtime.
const PURE: [&str; 3] = ["crates/lineal-facts/src/", "crates/lineal-proof/src/", "crates/lineal-engine/src/"];
const IMPURE: [&str; 12] = [
    "std::fs",
    "std::env",
    "std::thread",
    "std::process",
    "SystemTime",
    "Instant",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "tokio",
    "rand::",
    "getrandom",
];

/// Files of which every byte counts, the last one too.
const EXACT: [&str; 2] = ["fuzz/corpus/", "docs/formats/audit-example/"];

const VAGUE: [&str; 7] = ["common", "helper", "helpers", "misc", "types", "util", "utils"];

/// Files that are written by people, and how a comment begins there.
const CODE: [(&str, &str); 4] = [(".rs", "//"), (".py", "#"), (".ts", "//"), (".svelte", "//")];

impl TextFile {
    fn is_code(&self) -> bool {
        CODE.iter().any(|(end, _)| self.path.ends_with(end))
    }

    fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        self.path.split('/').any(|part| part == "tests") || name == "tests.rs" || name.starts_with("test_")
    }

    /// Numbered lines of code, comments left out.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let comment =
            CODE.iter().find(|(end, _)| self.path.ends_with(end)).map_or("//", |(_, comment)| comment);
        (1..).zip(self.text.lines()).filter(move |(_, line)| !line.trim_start().starts_with(comment))
    }
}

/// Too long, or longer than it should be without a reason.
pub(super) fn length(material: &Material) -> Vec<String> {
    let mut findings = Vec::new();
    for file in material.files.iter().filter(|f| f.is_code() && !f.is_test()) {
        let lines = file.text.lines().count();
        let excused = LONG_FILES.iter().any(|(path, _)| *path == file.path);
        if lines > HARD_LENGTH_LIMIT || lines > LENGTH_LIMIT && !excused {
            findings.push(format!("{} has {lines} lines; it holds a second subject", file.path));
        }
    }
    for (path, _) in LONG_FILES {
        let needed = material.files.iter().any(|f| f.path == *path && f.text.lines().count() > LENGTH_LIMIT);
        if !needed {
            findings.push(format!("{path} needs no exception from the length limit"));
        }
    }
    findings
}

/// `mod tests { ... }` inside a file.
pub(super) fn inline_tests(material: &Material) -> Vec<String> {
    let mut findings = Vec::new();
    for file in material.files.iter().filter(|f| f.path.ends_with(".rs")) {
        let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
        let inline =
            |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].contains("mod ") && pair[1].ends_with('{');
        if lines.windows(2).any(inline) {
            findings.push(format!("{}: move the tests to a sibling `tests.rs`", file.path));
        }
    }
    findings
}

/// Folders and files that are named after no subject.
pub(super) fn vague_names(material: &Material) -> Vec<String> {
    let vague = |part: &str| {
        let stem = part.split('.').next().unwrap_or_default();
        VAGUE.contains(&stem) || VAGUE.iter().any(|word| part == format!("lineal-{word}"))
    };
    let files = material.files.iter().filter(|f| f.is_code() || f.path.ends_with("Cargo.toml"));
    files
        .filter(|f| f.path.split('/').any(vague))
        .map(|f| format!("{}: name it after its subject", f.path))
        .collect()
}

/// Effects in crates that decide.
pub(super) fn purity(material: &Material) -> Vec<String> {
    let mut findings = Vec::new();
    let pure = |f: &&TextFile| PURE.iter().any(|start| f.path.starts_with(start)) && !f.is_test();
    for file in material.files.iter().filter(pure) {
        for (number, line) in file.code() {
            for word in IMPURE.iter().filter(|word| has_word(line, word)) {
                findings.push(format!("{}:{number}: `{word}` in a pure crate", file.path));
            }
        }
    }
    findings
}

/// Hosts of package registries and folders of one machine.
pub(super) fn places(material: &Material) -> Vec<String> {
    let hosts = [
        ["pypi.", "org"],
        ["pythonhosted.", "org"],
        ["registry.npmjs.", "org"],
        ["registry.yarnpkg.", "com"],
        ["index.crates.", "io"],
        ["static.crates.", "io"],
        ["proxy.golang.", "org"],
    ];
    let hosts = hosts.map(|halves| (halves.concat(), "a registry host"));
    let folders = ["root", "home", "Users"].map(|name| (format!("/{name}/"), "a path of one machine"));
    let banned: Vec<_> = hosts.into_iter().chain(folders).collect();
    let mut findings = Vec::new();
    for file in &material.files {
        for (number, line) in (1..).zip(file.text.lines()) {
            for (_, what) in banned.iter().filter(|(text, _)| line.contains(text.as_str())) {
                findings.push(format!("{}:{number}: {what}", file.path));
            }
        }
    }
    findings
}

/// Notes to oneself.
pub(super) fn leftovers(material: &Material) -> Vec<String> {
    let words = [["TO", "DO"], ["FIX", "ME"], ["X", "XX"], ["dbg", "!("]].map(|halves| halves.concat());
    let mut findings = Vec::new();
    for file in &material.files {
        for (number, line) in (1..).zip(file.text.lines()) {
            for word in words.iter().filter(|word| has_word(line, word)) {
                findings.push(format!("{}:{number}: {word}", file.path));
            }
        }
    }
    findings
}

/// A lock with addresses in it works only where those can be reached.
pub(super) fn npm_locks(material: &Material) -> Vec<String> {
    let locks = material.files.iter().filter(|f| f.path.ends_with("package-lock.json"));
    locks
        .filter(|f| f.text.contains("\"resolved\""))
        .map(|f| format!("{}: remove `resolved`", f.path))
        .collect()
}

/// Files that stop in the middle of a line.
pub(super) fn last_line(material: &Material) -> Vec<String> {
    let unfinished = |f: &&TextFile| !f.text.is_empty() && !f.text.ends_with('\n');
    let written = material.files.iter().filter(|f| !EXACT.iter().any(|start| f.path.starts_with(start)));
    written.filter(unfinished).map(|f| f.path.clone()).collect()
}

/// Whether `word` occurs with no letter, digit or `_` right before or behind it.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(is_part);
        let behind = line[at + word.len()..].chars().next().is_some_and(is_part);
        let open = word.ends_with(|c: char| !is_part(c));
        !before && (open || !behind)
    })
}
