use std::sync::OnceLock;

use super::*;

fn material() -> &'static Material {
    static MATERIAL: OnceLock<Material> = OnceLock::new();
    MATERIAL.get_or_init(|| Material::read(&Workspace::find().unwrap()).unwrap())
}

/// One test a rule, so that a breach is named by the rule.
macro_rules! rules {
    ($($test:ident = $name:literal;)*) => {
        $(
            #[test]
            fn $test() {
                let check = CHECKS.iter().find(|check| check.name == $name).unwrap();
                let findings = (check.find)(material());
                assert!(findings.is_empty(), "{}:\n{}", check.name, findings.join("\n"));
            }
        )*

        #[test]
        fn every_rule_has_a_test() {
            let tested = [$($name),*];
            assert_eq!(CHECKS.iter().map(|check| check.name).collect::<Vec<_>>(), tested);
        }
    };
}

rules! {
    direction = "crates depend in one direction";
    fences = "heavy dependencies are fenced";
    duplicates = "heavy dependencies have one version";
    unsafe_code = "only the sandbox may be unsafe";
    licences = "licences are allowed";
    length = "files are short";
    inline_tests = "tests are in files of their own";
    vague_names = "modules are named after their subject";
    purity = "pure crates are pure";
    places = "no registry hosts or machine paths";
    leftovers = "nothing is left to do";
    npm_locks = "npm locks name no registry";
    last_line = "files end with a newline";
    threats = "threats name tests that exist";
}

fn with(path: &str, text: &str) -> Material {
    let files = vec![TextFile { path: path.to_owned(), text: text.to_owned() }];
    Material { metadata: material().metadata.clone(), files }
}

#[test]
fn breaches_are_found() {
    let host = ["https://files.python", "hosted.org/x\n"].concat();
    let folder = ["/ro", "ot/x\n"].concat();
    let note = ["// TO", "DO: later\n"].concat();
    type Breach<'a> = (fn(&Material) -> Vec<String>, &'a str, &'a str);
    let breaches: [Breach; 10] = [
        (text::length, "crates/a/src/b.rs", &"\n".repeat(601)),
        (text::inline_tests, "crates/a/src/b.rs", "#[cfg(test)]\nmod tests {\n}\n"),
        (text::vague_names, "crates/a/src/utils.rs", "\n"),
        (text::purity, "crates/lineal-facts/src/a.rs", "use std::fs::File;\n"),
        (text::places, "README.md", &host),
        (text::places, "README.md", &folder),
        (text::leftovers, "crates/a/src/b.rs", &note),
        (text::npm_locks, "web/package-lock.json", "{\"resolved\": \"\"}\n"),
        (text::last_line, "README.md", "x"),
        (graph::unsafe_code, "crates/a/Cargo.toml", "[package]\n"),
    ];
    for (find, path, text) in breaches {
        assert_eq!(find(&with(path, text)).len(), 1, "{path}: {text}");
    }
    assert!(text::purity(&with("crates/lineal-facts/src/a/tests.rs", "use std::fs;\n")).is_empty());
    assert!(text::last_line(&with("fuzz/corpus/json/a", "1")).is_empty());
    assert!(text::length(&with("crates/a/tests/b.rs", &"\n".repeat(2000))).is_empty());
}

#[test]
fn words_have_ends() {
    assert!(text::has_word("let x = rand::random();", "rand::"));
    assert!(!text::has_word("let x = operand::new();", "rand::"));
    assert!(!text::has_word("Instantly", "Instant"));
}

#[test]
fn licence_expressions_are_evaluated() {
    assert!(licences::allows("MIT OR GPL-3.0"));
    assert!(licences::allows("MIT/Apache-2.0"));
    assert!(licences::allows("(MIT OR GPL-3.0) AND Unicode-3.0"));
    assert!(licences::allows("Apache-2.0 WITH LLVM-exception"));
    assert!(!licences::allows("MIT AND GPL-3.0"));
    assert!(!licences::allows("MIT OR"));
    assert!(!licences::allows(""));
}

#[test]
fn threats_without_a_test_are_found() {
    let path = "docs/security/threats.md";
    let find = |rows: &str| {
        let mut material =
            with(path, &format!("## Defended\n\n| Threat | Answer | Test |\n{rows}\n## Open\n| x | y |\n"));
        let tests = "#[test]\nfn one() {}\nfn another<T>() {}\n";
        for place in [
            "crates/a/src/b/tests.rs",
            "crates/lineal/tests/it/c.rs",
            "crates/a/tests/it/d.rs",
            "crates/a/tests/e.rs",
        ] {
            material.files.push(TextFile { path: place.to_owned(), text: tests.to_owned() });
        }
        threats::threats(&material).len()
    };
    assert_eq!(
        find(
            "| x | y | `a b::tests::one`, `another`; `b::tests`; `it c::one`; `a it d::{p,q}::one`; `a test e` |"
        ),
        0
    );
    assert_eq!(find("| x | y | `it c::one` |\n| x | y | none |\n"), 1);
    for wrong in ["it c::two", "it x::one", "a b::tests::two", "b b::tests", "a test f", "one"] {
        assert_eq!(find(&format!("| x | y | `{wrong}` |")), 1, "{wrong}");
    }
    assert_eq!(find(""), 1);
}
