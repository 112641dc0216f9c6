//! docs/security/threats.md names tests, and they exist.

use super::{Material, TextFile};

const THREATS: &str = "docs/security/threats.md";
const DEFENDED: &str = "## Defended";
/// Columns of a row: threat, answer, tests.
const COLUMNS: usize = 3;

/// A test function, or a whole file of them.
struct Named {
    text: String,
    file: String,
    function: Option<String>,
}

/// Rows of defended threats without a test that can be found.
pub(super) fn threats(material: &Material) -> Vec<String> {
    let text = material.files.iter().find(|file| file.path == THREATS).map_or("", |file| &file.text);
    let defended = (1..).zip(text.lines()).skip_while(|(_, line)| *line != DEFENDED).skip(1);
    let rows = defended.take_while(|(_, line)| !line.starts_with("## ")).filter(|(_, line)| is_row(line));
    let mut findings = Vec::new();
    let mut count = 0;
    for (number, line) in rows {
        count += 1;
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        let names = if cells.len() == COLUMNS { named(cells[COLUMNS - 1]) } else { Vec::new() };
        if names.is_empty() {
            findings.push(format!("{THREATS}:{number}: a row without a test"));
        }
        for name in names.iter().filter(|name| !exists(material, name)) {
            findings.push(format!("{THREATS}:{number}: no test `{}` in {}", name.text, name.file));
        }
    }
    if count == 0 {
        findings.push(format!("{THREATS} has no row below `{DEFENDED}`"));
    }
    findings
}

fn is_row(line: &str) -> bool {
    line.starts_with("| ") && !line.starts_with("| Threat |")
}

/// What a cell names: crate, module and function. What a name leaves out is that of the one before.
fn named(cell: &str) -> Vec<Named> {
    let (mut place, mut module) = (String::new(), String::new());
    let mut names = Vec::new();
    for text in cell.split('`').skip(1).step_by(2) {
        let path = text.rsplit(' ').next().unwrap_or_default();
        if let Some((before, _)) = text.rsplit_once(' ') {
            before.clone_into(&mut place);
        }
        let whole = path == "tests" || path.ends_with("::tests") || place.ends_with(" test");
        let (found, function) = match path.rsplit_once("::") {
            _ if whole => (path, None),
            Some((found, function)) => (found, Some(function)),
            None => (module.as_str(), Some(path)),
        };
        // `conformance::{sqlite,postgres}` are made by a macro in one file.
        module = found.split("::{").next().unwrap_or_default().to_owned();
        let file = format!("{}{}.rs", folder(&place), module.replace("::", "/"));
        names.push(Named { text: text.to_owned(), file, function: function.map(str::to_owned) });
    }
    names
}

/// Where the tests of `it`, `CRATE it`, `CRATE cluster`, `CRATE test` or `CRATE` are.
fn folder(place: &str) -> String {
    match place.split_once(' ') {
        None if place == "it" => "crates/lineal/tests/it/".to_owned(),
        None if place == "xtask" => "xtask/src/".to_owned(),
        None => format!("crates/{place}/src/"),
        Some((name, target @ ("it" | "cluster"))) => format!("crates/{name}/tests/{target}/"),
        Some((name, _)) => format!("crates/{name}/tests/"),
    }
}

fn exists(material: &Material, name: &Named) -> bool {
    let holds = |file: &TextFile| match &name.function {
        None => file.text.contains("#[test]") || file.text.contains("#[tokio::test]"),
        Some(function) => {
            file.text.contains(&format!("fn {function}(")) || file.text.contains(&format!("fn {function}<"))
        }
    };
    material.files.iter().any(|file| file.path == name.file && holds(file))
}
