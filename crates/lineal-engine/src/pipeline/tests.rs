use proptest::prelude::*;
use serde_json::json;

use super::*;

pub(crate) const FILE: &str = r#"
apiVersion: lineal.dev/v1alpha1
kind: Pipeline
metadata: {name: flights-delay}
seed: 42
params: {trees: 120, learning_rate: 0.1, unit: hours, month: 2013-02, late: true, depths: [4, 8]}
data: {flights: "dataset://flights@2013-01..02"}
envs: {train: {python: .venv/train}, serve: {python: .venv/serve/}}
code: [src/]
determinism: observe
steps:
  evaluate:
    run: [python, -m, src.evaluate]
    env: train
    in: {model: train.model, test: prepare.test}
    out: {report: {path: report.json, as: metrics}}
  prepare:
    run: [python, -m, src.prepare]
    env: train
    in: {flights: data.flights}
    params: [month]
    out: {train: train.csv, test: test.csv, sample: {path: sample.jsonl}}
    timeout: 10m
    determinism: strict
    probe: [entropy]
  train:
    run: [python, -m, src.train]
    env: train
    in: {train: prepare.train}
    params: [trees, learning_rate, unit]
    out: {model: model}
gates:
  data-contract: {contract: contract.yaml, on: data.flights}
  quality: {metrics: evaluate.report, expect: {auc: {min: 0.65}, "slices.carrier.*.auc": {min: 0.55, min_rows: 300}}}
  inference: {model: train.model, requests: prepare.sample, expect: {errors: {max: 0}, latency_p99_ms: {max: 500}}}
serve: {model: train.model, run: [python, serve.py], env: serve, output: late, ready_timeout: 30s}
"#;

fn parse(text: &str) -> Pipeline {
    Pipeline::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{e}"))
}

fn error(text: &str) -> String {
    Pipeline::parse(text.as_bytes()).expect_err(text).to_string()
}

fn set(overrides: &[&str]) -> Result<Pipeline, OverrideError> {
    let overrides: Vec<Override> = overrides.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    parse(FILE).with_overrides(&overrides)
}

#[test]
fn the_example_is_read_in_full() {
    let pipeline = parse(FILE);
    assert_eq!(pipeline.name.as_str(), "flights-delay");
    assert_eq!(pipeline.seed, 42);
    assert_eq!(pipeline.params["month"].value(), &json!("2013-02"));
    assert_eq!(pipeline.params["learning_rate"].canonical(), "0.1");
    assert_eq!(pipeline.params["depths"].canonical(), "[4,8]");
    assert_eq!(pipeline.data["flights"].to_string(), "flights@2013-01..02");
    assert_eq!(pipeline.envs["serve"], Env::Python(".venv/serve".to_owned()));
    assert_eq!(pipeline.code, ["src"]);
    let order: Vec<_> = pipeline.steps().iter().map(|s| s.name.as_str()).collect();
    assert_eq!(order, ["prepare", "train", "evaluate"]);

    let prepare = pipeline.step(&"prepare".parse().unwrap()).unwrap();
    assert_eq!(prepare.run, ["python", "-m", "src.prepare"]);
    assert_eq!(prepare.timeout_ms, 600_000);
    assert_eq!(prepare.determinism, Determinism::Strict);
    assert!(prepare.probes.contains(&Probe::Entropy));
    assert_eq!(prepare.inputs["flights"].to_string(), "data.flights");
    assert_eq!(prepare.outputs["sample"].kind, OutputKind::Artifact);
    let evaluate = pipeline.step(&"evaluate".parse().unwrap()).unwrap();
    assert_eq!(evaluate.determinism, Determinism::Observe);
    assert_eq!(evaluate.timeout_ms, DEFAULT_TIMEOUT_MS);
    assert_eq!(evaluate.outputs["report"].kind, OutputKind::Metrics);
    assert_eq!(evaluate.inputs["model"].to_string(), "train.model");

    let serve = pipeline.serve.as_ref().unwrap();
    assert_eq!((serve.output.as_str(), serve.ready_timeout_ms), ("late", 30_000));
    let gate: GateName = "inference".parse().unwrap();
    assert_eq!(
        serde_json::to_value(&pipeline.gates[&gate]).unwrap(),
        json!({
            "type": "inference", "model": "train.model", "requests": "prepare.sample",
            "expect": {"errors": {"max": 0.0}, "latency_p99_ms": {"max": 500.0}},
        })
    );
    assert_eq!(
        pipeline.warnings(),
        ["params.depths is declared, but nothing uses it", "params.late is declared, but nothing uses it",]
    );
}

/// `FILE` with one text replaced, which must be in it.
fn changed(from: &str, to: &str) -> String {
    assert!(FILE.contains(from), "{from}");
    FILE.replacen(from, to, 1)
}

/// A text of `FILE`, what is there instead, and what the error says.
const DAMAGE: &[(&str, &str, &[&str])] = &[
    ("v1alpha1", "v2", &["apiVersion is `lineal.dev/v2`", "expected `lineal.dev/v1alpha1`"]),
    ("kind: Pipeline", "kind: Policy", &["kind is `Policy`; expected `Pipeline`"]),
    ("seed: 42", "sead: 42", &["unknown field `sead`", "line 5"]),
    ("seed: 42", "seed: -1", &["seed", "line 5"]),
    ("seed: 42", "seed: 42\nseed: 43", &["key `seed` occurs twice", "line"]),
    ("  train:\n", "  prepare:\n", &["key `prepare` occurs twice", "line"]),
    ("trees: 120", "trees: null", &["params", "null", "cannot be a parameter"]),
    ("trees: 120", "trees: .nan", &["cannot be a parameter"]),
    ("trees: 120", "trees: {a: 1}", &["map cannot be a parameter"]),
    ("trees: 120", "trees: [[1]]", &["a list within a list"]),
    ("trees: 120", "trees: 9007199254740993", &["too many digits"]),
    ("trees: 120", "seed: 120", &["`seed` is not a param name"]),
    ("trees: 120", "tr.ees: 120", &["`tr.ees` is not a param name"]),
    ("\"dataset://flights@2013-01..02\"", "flights@1", &["expected `dataset://NAME@TAG`", "line 7"]),
    ("dataset://flights@2013-01..02", "dataset://flights", &["not a snapshot"]),
    (".venv/train", "/venv", &["envs.train.python: `/venv` must be relative"]),
    (".venv/train", "../venv", &["envs.train.python", "without `.`, `..`"]),
    ("{python: .venv/train}", "{}", &["envs.train: an environment is exactly one of"]),
    ("{python: .venv/train}", "{python: a, image: b}", &["envs.train: an environment is exactly one of"]),
    ("{python: .venv/train}", "{imago: b}", &["envs.train", "unknown field `imago`"]),
    (
        "{python: .venv/train}",
        "{image: \"a:1\"}",
        &["envs.train.image: `a:1` has no digest", "lineal image import"],
    ),
    ("code: [src/]", "code: [.]", &["code: `.` must be relative"]),
    ("code: [src/]", "code: [src, src/a]", &["code: `src` and `src/a` overlap"]),
    ("determinism: observe", "determinism: maybe", &["unknown variant `maybe`", "line 10"]),
    ("run: [python, -m, src.train]", "run: []", &["steps.train.run: the command is empty"]),
    ("run: [python, -m, src.train]", "run: [\"\"]", &["steps.train.run: the command is empty"]),
    ("run: [python, -m, src.train]", "run: [\"a\\0\"]", &["steps.train.run", "NUL"]),
    ("run: [python, -m, src.train]", "run: python", &["steps.train.run", "expected a sequence", "line"]),
    ("run: [python, -m, src.train]", "ruin: [a]", &["steps.train", "unknown field `ruin`"]),
    ("env: train", "env: trian", &["steps.evaluate.env: env `trian` is not declared; did you mean `train`?"]),
    (
        "data.flights}",
        "data.fligts}",
        &["steps.prepare.in.flights: data `fligts`", "did you mean `flights`?"],
    ),
    ("train: prepare.train}", "train: prepair.train}", &["step `prepair`", "did you mean `prepare`?"]),
    ("train: prepare.train}", "train: prepare.x}", &["output `prepare.x`", "declared: sample, test, train"]),
    ("train: prepare.train}", "train: prepare}", &["not a reference; write `data.NAME` or `STEP.OUTPUT`"]),
    ("params: [month]", "params: [mnth]", &["steps.prepare.params: param `mnth`", "did you mean `month`?"]),
    ("params: [month]", "params: [month, month]", &["`month` is listed twice"]),
    ("test: test.csv", "test: train.csv", &["steps.prepare.out: `test` and `train` are the same path"]),
    ("test: test.csv", "test: train.csv/x", &["steps.prepare.out", "one is inside the other"]),
    ("test: test.csv", "test: ../x", &["steps.prepare.out.test", "`../x`"]),
    ("test: test.csv", "test: /x", &["steps.prepare.out.test"]),
    ("test: test.csv", "Test: x", &["`Test` is not a output name", "line"]),
    ("test: test.csv", "test: {path: x, as: table}", &["unknown variant `table`"]),
    ("test: test.csv", "test: [x]", &["a path, or a map of `path` and `as`"]),
    (
        "out: {report: {path: report.json, as: metrics}}",
        "out: {}",
        &["steps.evaluate.out: a step needs at least one"],
    ),
    ("timeout: 10m", "timeout: 10", &["`10` is not a duration", "line"]),
    ("timeout: 10m", "timeout: 10d", &["`10d` is not a duration"]),
    ("timeout: 10m", "timeout: 0s", &["`0s` is not a duration"]),
    ("timeout: 10m", "timeout: 169h", &["at most 168h"]),
    ("determinism: strict", "determinism: off", &["steps.prepare.probe: a probe needs"]),
    ("probe: [entropy]", "probe: [clock]", &["unknown variant `clock`"]),
    ("  evaluate:\n", "  data:\n", &["a step cannot be called `data`"]),
    ("  prepare:\n", "  Prepare:\n", &["`Prepare` is not a step name"]),
    ("on: data.flights", "on: data.x", &["gates.data-contract.on: data `x`"]),
    ("contract: contract.yaml", "contract: /c", &["gates.data-contract.contract"]),
    (", on: data.flights}", "}", &["gates.data-contract: a gate is exactly one of"]),
    (", on: data.flights}", ", on: data.flights, model: train.model}", &["a gate is exactly one of"]),
    ("metrics: evaluate.report", "metrics: train.model", &["gates.quality.metrics", "`as: metrics`"]),
    ("{min: 0.65}", "{mim: 0.65}", &["unknown field `mim`"]),
    ("{min: 0.65}", "{min: .nan}", &["finite"]),
    ("expect: {errors: {max: 0}, latency_p99_ms: {max: 500}}", "expect: {}", &["gates.inference.expect"]),
    ("serve: {model: train.model", "serve: {model: data.flights", &["serve.model: step `data`"]),
    ("env: serve, output: late", "output: ''", &["serve.output"]),
    ("run: [python, serve.py]", "run: []", &["serve.run: the command is empty"]),
    ("ready_timeout: 30s", "ready_timeout: soon", &["`soon` is not a duration"]),
    ("metadata: {name: flights-delay}", "metadata: {name: Flights}", &["`Flights` is not a pipeline name"]),
    ("seed: 42", "seed: !tag 42", &["invalid type"]),
];

#[test]
fn bad_files_are_refused_with_place_and_remedy() {
    for (from, to, expected) in DAMAGE {
        let error = error(&changed(from, to));
        for fragment in *expected {
            assert!(error.contains(fragment), "{from} -> {to}: {error} (expected {fragment})");
        }
    }
    assert!(error("").starts_with("the file is empty"));
    assert!(error("# nothing").starts_with("the file is empty"));
    assert!(error(&changed("seed: 42", "seed: [42")).contains("line"));
    assert!(error(&changed("steps:\n", "steps: {}\nx:\n")).contains("unknown field `x`"));
}

#[test]
fn cycles_are_named_as_a_path() {
    let file = |steps: &str| {
        format!("apiVersion: lineal.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: p}}\nsteps:\n{steps}")
    };
    let step =
        |name: &str, from: &str| format!("  {name}: {{run: [x], in: {{i: {from}.o}}, out: {{o: o}}}}\n");
    let cycle = [step("a", "b"), step("b", "c"), step("c", "d"), step("d", "b")].concat();
    assert!(error(&file(&cycle)).contains("steps: b -> c -> d -> b (each reads from the next one)"));
    assert!(error(&file(&step("a", "a"))).contains("steps: a -> a "));
}

#[test]
fn steps_that_do_not_depend_keep_the_order_of_the_file() {
    let steps = ["z", "m", "a"].map(|n| format!("  {n}: {{run: [x], out: {{o: o}}}}\n")).concat();
    let text =
        format!("apiVersion: lineal.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: p}}\nsteps:\n{steps}");
    let pipeline = parse(&text);
    let order: Vec<_> = pipeline.steps().iter().map(|s| s.name.as_str()).collect();
    assert_eq!(order, ["z", "m", "a"]);
    assert_eq!(pipeline.seed, 0);
    assert_eq!(pipeline.steps()[0].determinism, Determinism::Observe);
}

#[test]
fn overrides_replace_values_of_the_same_type() {
    let pipeline = set(&[
        "trees=200",
        "unit=7",
        "late=false",
        "depths=[1]",
        "seed=7",
        "data.flights=flights@2013-01..04",
        "determinism=strict",
    ])
    .unwrap();
    assert_eq!(pipeline.params["trees"].canonical(), "200");
    assert_eq!(pipeline.params["unit"].canonical(), "\"7\"");
    assert_eq!(pipeline.params["late"].canonical(), "false");
    assert_eq!(pipeline.params["depths"].canonical(), "[1]");
    assert_eq!(pipeline.seed, 7);
    assert_eq!(pipeline.data["flights"].to_string(), "flights@2013-01..04");
    assert!(pipeline.steps().iter().all(|s| s.determinism == Determinism::Strict));
    assert_eq!(
        set(&["data.flights=dataset://flights@x", "month=a=b"]).unwrap().params["month"].value(),
        "a=b"
    );
}

#[test]
fn bad_overrides_are_refused() {
    for (text, expected) in [
        ("trees", "write KEY=VALUE"),
        ("=1", "write KEY=VALUE"),
        ("tree=1", "did you mean `trees`?"),
        ("data.flight=a@b", "did you mean `data.flights`?"),
        ("sed=1", "did you mean `seed`?"),
        ("trees=many", "`trees` is a number in the pipeline, but `many` is a string"),
        ("trees=true", "`trees` is a number in the pipeline, but `true` is a bool"),
        ("late=1", "`late` is a bool in the pipeline, but `1` is a number"),
        ("depths=4", "`depths` is a list in the pipeline, but `4` is a number"),
        ("depths=[[1]]", "a list within a list"),
        ("trees=9007199254740993", "too many digits"),
        ("seed=-1", "whole number from 0"),
        ("data.flights=flights", "not a snapshot"),
        ("determinism=always", "expected off, observe or strict"),
        ("determinism=off", "step `prepare` has a probe"),
    ] {
        let error = set(&[text]).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    assert!(set(&["trees=1", "trees=2"]).unwrap_err().to_string().contains("set twice"));
}

#[test]
fn files_are_bounded() {
    let large = format!("{FILE}# {}", "x".repeat(FILE_LIMIT_BYTES));
    assert!(error(&large).contains("at most 1048576"));
    assert!(error(&"[".repeat(1 << 20)).contains("brackets"));
    assert!(error(&format!("a: {}1{}", "[".repeat(40), "]".repeat(40))).contains("nested deeper"));
    let deep = error(&"- ".repeat(500_000));
    assert!(deep.len() < 1000 && deep.contains("nested deeper"), "{deep}");
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..20 {
        let below = level - 1;
        bomb += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{below}"); 10].join(", "));
    }
    let refused = error(&bomb);
    assert!(refused.contains("repetition limit") || refused.contains("more than"), "{refused}");
    let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 500].join(", "));
    assert!(error(&text).contains("bytes of text"), "{}", error(&text));
    let numbers = format!("a: &a [{}]\nb: [{}]\n", vec!["1"; 10_000].join(","), vec!["*a"; 200].join(","));
    assert!(error(&numbers).contains("values"), "{}", error(&numbers));
}

#[test]
fn an_alias_within_the_limits_is_fine() {
    let text = changed("run: [python, -m, src.train]\n    env: train", "run: &r [python]\n    env: train");
    parse(&text.replace("run: [python, serve.py]", "run: *r"));
}

proptest! {
    #[test]
    fn any_text_never_panics(text in "\\PC{0,200}") {
        let _ = Pipeline::parse(text.as_bytes());
    }

    #[test]
    fn any_damage_never_panics(start in 0_usize..FILE.len(), length in 0_usize..30, with in "\\PC{0,6}") {
        let mut bytes = FILE.as_bytes().to_vec();
        let end = (start + length).min(bytes.len());
        bytes.splice(start..end, with.bytes());
        let _ = Pipeline::parse(&bytes);
    }

    #[test]
    fn durations_are_read_back(number in 1_u64..10_000) {
        prop_assert_eq!(parse_ms(&format!("{number}s")).unwrap(), number * 1000);
        prop_assert_eq!(parse_ms(&format!("{number}m")).unwrap(), number * 60_000);
    }
}

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Before the `@`.
const IMAGE_NAMES: &[&str] = &[
    "a",
    "0",
    "train",
    "team/train",
    "library/python",
    "python:3.13",
    "python:_3.13-slim",
    "a.b",
    "a_b",
    "a__b",
    "a---b",
    "a-b.c_d/e",
    "localhost/a",
    "localhost:5000/a",
    "localhost:5000/a:1",
    "Registry.Example/a",
    "registry.example:443/team/sub/train:v1.0_x-y",
    "10.0.0.1:5000/a",
    "[::1]:5000/a",
    "[::1]/a",
    "a:5000",
];

const NO_IMAGE_NAMES: &[&str] = &[
    "",
    "A",
    "Team",
    "/a",
    "a/",
    "a//b",
    "-a",
    "a-",
    ".a",
    "a.",
    "_a",
    "a_",
    "a..b",
    "a___b",
    "a._b",
    "a.-b",
    "a b",
    "a\u{e9}",
    "a:",
    "a:-1",
    "a:.1",
    "a:1:2",
    "a:\u{e9}",
    "a.b-/c",
    "-a.b/C",
    "reg:port/a",
    "reg:/a",
    "reg:1:2/a",
    "[::1/a",
    "[]/a",
    "[::g]/a",
    "[::1]x/a",
    "http://a/b",
    "a/B",
    "a_b:1/c",
    "a\n",
];

#[test]
fn names_of_images_are_those_of_the_grammar() {
    let long = "a".repeat(IMAGE_NAME_LIMIT_BYTES);
    for name in IMAGE_NAMES.iter().copied().chain([long.as_str()]) {
        let reference: ImageReference =
            format!("{name}@sha256:{HEX}").parse().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((reference.name(), reference.digest().to_string()), (name, format!("sha256:{HEX}")));
        assert_eq!(reference.to_string(), format!("{name}@sha256:{HEX}"));
    }
    let longer = "a".repeat(IMAGE_NAME_LIMIT_BYTES + 1);
    let tag = format!("a:{}", "t".repeat(129));
    for name in NO_IMAGE_NAMES.iter().copied().chain([longer.as_str(), tag.as_str()]) {
        let error = format!("{name}@sha256:{HEX}").parse::<ImageReference>().expect_err(name);
        assert!(matches!(error, ImageReferenceError::Name(_)), "{name:?}: {error}");
    }
}

#[test]
fn an_image_without_a_good_digest_is_refused_with_what_to_do() {
    let error = |text: &str| text.parse::<ImageReference>().expect_err(text);
    for text in ["a", "a:1", "localhost:5000/a", "a:latest"] {
        let error = error(text);
        assert!(matches!(error, ImageReferenceError::NoDigest(_)), "{text}: {error}");
        assert!(error.to_string().contains("`lineal image import FILE` prints"), "{error}");
    }
    let upper = HEX.to_uppercase();
    for digest in [
        "",
        "sha256",
        "sha256:",
        &HEX[1..],
        HEX,
        "sha512:00",
        &format!("sha256:{upper}"),
        &format!("sha256:{HEX}0"),
    ] {
        let error = error(&format!("a@{digest}"));
        assert!(matches!(error, ImageReferenceError::Digest(_)), "{digest}: {error}");
    }
    assert!(matches!(error(&format!("a@sha256:{HEX}@sha256:{HEX}")), ImageReferenceError::Digest(_)));
    assert!(error(&"x".repeat(100_000)).to_string().len() < 500, "an error does not repeat everything");
}

proptest! {
    #[test]
    fn references_to_images_are_written_as_they_were_read(text in "[-a-bA.:/@_\\[\\]0]{0,12}(@sha256:[0-9a]{64})?") {
        if let Ok(reference) = text.parse::<ImageReference>() {
            prop_assert_eq!(reference.to_string(), text);
        }
    }
}

#[test]
fn what_nodes_have_is_written_as_kubernetes_writes_it() {
    for good in ["1", "500m", "0.5", "2Gi", "1.25T", "999999999999k"] {
        assert!(good.parse::<Quantity>().is_ok(), "{good}");
    }
    for bad in ["", "0", "0.0", "-1", "1e3", "1GB", "Gi", "1.", ".5", "1.2345", "1 Gi", "1000000000000"] {
        assert!(bad.parse::<Quantity>().is_err(), "{bad}");
    }
    for good in ["cpu", "memory", "ephemeral-storage", "example.com/gpu", "a/B_c.d"] {
        assert!(good.parse::<ResourceName>().is_ok(), "{good}");
    }
    for bad in ["", "ram", "gpu", "/gpu", "a/", "a/-b", "A/b", "a..b/c", "-a/b", "a/b/c"] {
        assert!(bad.parse::<ResourceName>().is_err(), "{bad}");
    }
    for (name, value) in [("disk", "fast"), ("example.com/disk", "a_b-c.d"), ("D", "1")] {
        assert!(name.parse::<LabelName>().is_ok() && value.parse::<LabelValue>().is_ok(), "{name} {value}");
    }
    let long = "a".repeat(64);
    for bad in ["", "-a", "a-", "a b", "a/b", long.as_str()] {
        assert!(bad.parse::<LabelValue>().is_err(), "{bad}");
    }
}
