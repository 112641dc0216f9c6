//! Pipelines that are wrong, and who refuses them.

/// A pipeline that is right; each wrong one is this with one text replaced.
pub(crate) const GOOD: &str = r#"
apiVersion: lineal.dev/v1alpha1
kind: Pipeline
metadata: {name: late-rate}
seed: 7
params: {column: 2, words: [a, b]}
data: {numbers: "dataset://numbers@v1"}
envs:
  py: {python: .venv/serve}
  img: {image: "train@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}
code: [src, lib/]
determinism: observe
steps:
  count:
    run: [sh, src/count.sh, ""]
    env: py
    in: {numbers: data.numbers}
    params: [column]
    out: {model: model, report: {path: rate.json, as: metrics}, sample: sample.jsonl}
    timeout: 1m
    resources: {cpu: 500m, memory: 2Gi}
    node_selector: {disk: fast}
    probe: [entropy]
  again:
    run: [sh]
    env: img
    in: {model: count.model}
    out: {copy: copy}
gates:
  contract: {contract: contract.yaml, "on": data.numbers}
  quality: {metrics: count.report, expect: {rate: {min: 0.1, max: 0.9}, "slices.*.auc": {min: 0, min_rows: 3}}}
  inference: {model: count.model, requests: count.sample, expect: {errors: {max: 0}}}
serve: {model: count.model, run: [python, serve.py], env: py, output: late, ready_timeout: 30s}
"#;

/// Who refuses a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Both; the API server with this text in its answer.
    Both(&'static str),
    /// Only the parser: no schema can say it.
    Parser,
    /// Only the API server, with this text.
    Server(&'static str),
}

use Refused::{Both, Parser, Server};

const REFERENCE: &str = "write `data.NAME` of a name under `data`, or `STEP.OUTPUT` of a step";
const GATE: &str = "a gate is exactly one of {contract, on}, {metrics, expect} or {model, requests, expect}";
const ENV: &str = "an environment is exactly one of {python: FOLDER} or {image: NAME@sha256:HEX}";
const DURATION: &str = "in body should match '^[0-9]{1,12}(ms|s|m|h)$'";

/// What is replaced, by what, and who refuses the result.
pub(crate) const WRONG: &[(&str, &str, Refused)] = &[
    ("late-rate", "Late.Rate", Both("RFC 1123")),
    ("late-rate", "late.rate", Both("metadata.name: use lower-case letters, digits and `-`")),
    ("seed: 7", "seed: -1", Both("seed in body should be greater than or equal to 0")),
    ("seed: 7", "seed: 1.5", Both("must be of type integer")),
    ("seed: 7", "seed: 18446744073709551615", Server("must be of type integer")),
    ("column: 2", "column: {a: 1}", Both("params.column: Too many: 1: must have at most 0 items")),
    ("column: 2", "column: {}", Both("should have at least 1 properties")),
    ("column: 2", "column: null", Parser),
    ("column: 2", "column: [[1]]", Parser),
    ("{column: 2,", "{column: 2, 9x: 1,", Parser),
    ("dataset://numbers@v1", "numbers@v1", Both("data.numbers: Invalid value")),
    ("dataset://numbers@v1", "dataset://Numbers@v1", Both("data.numbers: Invalid value")),
    ("dataset://numbers@v1", "dataset://numbers", Both("data.numbers: Invalid value")),
    ("dataset://numbers@v1", "dataset://numbers@sha256:12", Both("data.numbers: Invalid value")),
    ("data: {numbers", "data: {Numbers", Both("a name under `data` is not allowed; use lower-case letters")),
    ("{python: .venv/serve}", "{}", Both(ENV)),
    ("{python: .venv/serve}", "{python: ../x}", Both("envs.py.python in body should match")),
    ("{python: .venv/serve}", "{python: /usr}", Both("envs.py.python in body should match")),
    ("{python: .venv/serve}", "{pithon: x}", Both("unknown field \"envs.py.pithon\"")),
    ("image: \"train@", "python: x, image: \"train@", Both(ENV)),
    ("train@sha256:0", "train:1", Both("envs.img.image in body should match")),
    ("train@sha256:0", "train@sha256:", Both("envs.img.image in body should match")),
    ("train@sha256:0", "train@sha512:0", Both("envs.img.image in body should match")),
    ("train@sha256:0", "Train@sha256:0", Both("envs.img.image in body should match")),
    ("train@sha256:0", "a..b@sha256:0", Both("envs.img.image in body should match")),
    ("train@sha256:0", "re_g:5000/train@sha256:0", Both("envs.img.image in body should match")),
    ("  py: {", "  Py: {", Both("a name under `envs` is not allowed")),
    (
        "code: [src, lib/]",
        "code: [src, src/a]",
        Both("a path under `code` is inside another one; remove one"),
    ),
    ("code: [src, lib/]", "code: [src, src]", Both("code[1]: Duplicate value")),
    ("code: [src, lib/]", "code: [src, src/]", Both("a path under `code` is inside another one; remove one")),
    ("code: [src, lib/]", "code: [./src]", Both("code[0] in body should match")),
    (
        "determinism: observe",
        "determinism: sometimes",
        Both("supported values: \"off\", \"observe\", \"strict\""),
    ),
    (
        "determinism: observe",
        "determinism: \"off\"",
        Both("a probe needs `determinism: observe` or `strict`"),
    ),
    ("determinism: observe", "determinism: off", Both("determinism: Invalid value: \"boolean\"")),
    ("timeout: 1m", "determinism: \"off\"", Both("a probe needs `determinism: observe` or `strict`")),
    ("steps:\n", "stepz:\n", Both("unknown field \"stepz\"")),
    ("  again:", "  Again:", Both("a name under `steps` is not allowed; use lower-case letters")),
    ("  again:", "  data:", Both("a step cannot be called `data`")),
    ("run: [sh]", "run: []", Both("steps.again.run in body should have at least 1 items")),
    ("run: [sh]", "run: [\"\"]", Both("the command is empty; write [program, argument, ...]")),
    ("run: [sh]", "run: sh", Both("must be of type array")),
    ("run: [sh]", "run: [sh, \"a\\0b\"]", Both("in body should match")),
    ("run: [sh]", "runs: [sh]", Both("unknown field \"steps.again.runs\"")),
    ("    env: py", "    env: pi", Both("a step's `env` is not declared; add it under `envs`")),
    ("in: {numbers: data.numbers}", "in: {numbers: data.number}", Both(REFERENCE)),
    (
        "in: {numbers: data.numbers}",
        "in: {numbers: numbers}",
        Both("steps.count.in.numbers in body should match"),
    ),
    ("in: {numbers: data.numbers}", "in: {Numbers: data.numbers}", Both("a name under `in` is not allowed")),
    ("in: {model: count.model}", "in: {model: cout.model}", Both(REFERENCE)),
    ("in: {model: count.model}", "in: {model: again.copy}", Both("a step reads its own output")),
    ("in: {model: count.model}", "in: {model: count.models}", Parser),
    ("in: {numbers: data.numbers}", "in: {x: again.copy}", Parser),
    ("params: [column]", "params: [colum]", Parser),
    ("params: [column]", "params: [column, column]", Both("params[1]: Duplicate value")),
    ("params: [column]", "params: [\"a b\"]", Both("params[0] in body should match")),
    ("out: {copy: copy}", "out: {}", Both("should have at least 1 properties")),
    ("out: {copy: copy}", "probe: []", Both("steps.again.out: Required value")),
    ("out: {copy: copy}", "out: {Copy: copy}", Parser),
    ("out: {copy: copy}", "out: {copy: ../copy}", Both("should match")),
    ("out: {copy: copy}", "out: {copy: {path: a//b}}", Both("should match")),
    ("out: {copy: copy}", "out: {copy: {as: metrics}}", Both("path: Required value")),
    (
        "out: {copy: copy}",
        "out: {copy: {path: a, as: b}}",
        Both("supported values: \"artifact\", \"metrics\""),
    ),
    ("out: {copy: copy}", "out: {copy: {path: a, at: b}}", Parser),
    (
        "out: {copy: copy}",
        "out: {copy: [a]}",
        Both("steps.again.out.copy: Too many: 1: must have at most 0 items"),
    ),
    ("out: {copy: copy}", "out: {copy: 3}", Parser),
    ("out: {copy: copy}", "out: {copy: a, other: a/b}", Parser),
    ("memory: 2Gi", "memory: 2", Server("must be of type string")),
    ("memory: 2Gi", "memory: 2GB", Both("steps.count.resources.memory in body should match")),
    ("memory: 2Gi", "memory: \"0\"", Both("an amount under `resources` must be above 0")),
    ("memory: 2Gi", "ram: 2Gi", Both("a name under `resources` is not allowed")),
    ("memory: 2Gi", "-/gpu: \"1\"", Both("a name under `resources` is not allowed")),
    ("disk: fast", "disk: very fast", Both("steps.count.node_selector.disk in body should match")),
    ("disk: fast", "-disk: fast", Both("a name under `node_selector` is no name of a label")),
    ("timeout: 1m", "timeout: 90", Both("must be of type string")),
    ("timeout: 1m", "timeout: 1d", Both(DURATION)),
    ("timeout: 1m", "timeout: 1m30s", Both(DURATION)),
    ("timeout: 1m", "timeout: 0s", Both("write a whole number and a unit, as in 500ms, 30s, 10m or 1h")),
    ("timeout: 1m", "timeout: 169h", Both("at most 168h")),
    ("timeout: 1m", "timeot: 1m", Both("unknown field \"steps.count.timeot\"")),
    ("probe: [entropy]", "probe: [clock]", Both("supported values: \"entropy\"")),
    ("  contract:", "  Contract:", Both("a name under `gates` is not allowed")),
    ("\"on\": data.numbers", "metrics: count.report", Both(GATE)),
    ("\"on\": data.numbers", "\"on\": data.other", Both(REFERENCE)),
    (
        "{contract: contract.yaml, ",
        "{contract: /etc/x, ",
        Both("gates.contract.contract in body should match"),
    ),
    ("{contract: contract.yaml, \"on\": data.numbers}", "{}", Both(GATE)),
    ("metrics: count.report, expect", "metrics: cout.report, expect", Both(REFERENCE)),
    ("metrics: count.report, expect", "metrics: count.model, expect", Parser),
    ("expect: {errors: {max: 0}}", "expect: {}", Both("should have at least 1 properties")),
    ("{errors: {max: 0}}", "{errors: {}}", Both("an expectation needs `min` or `max`")),
    (
        "{errors: {max: 0}}",
        "{errors: {max: 0, min: 1}}",
        Both("`min` is larger than `max`, so nothing can pass"),
    ),
    ("{errors: {max: 0}}", "{errors: {max: low}}", Both("must be of type number")),
    ("{errors: {max: 0}}", "{errors: {max: 0, min_rows: -1}}", Both("greater than or equal to 0")),
    ("{errors: {max: 0}}", "{a..b: {max: 0}}", Both("joins keys by `.`, with `*` for every key")),
    ("{errors: {max: 0}}", "{a*.b: {max: 0}}", Both("joins keys by `.`, with `*` for every key")),
    ("requests: count.sample,", "", Both(GATE)),
    ("requests: count.sample", "requests: data.other", Both(REFERENCE)),
    ("inference: {model: count.model", "inference: {model: other.model", Both(REFERENCE)),
    ("serve: {model: count.model", "serve: {model: data.numbers", Both("serve.model is not declared")),
    ("serve: {model: count.model, ", "serve: {", Both("serve.model: Required value")),
    ("env: py, output", "env: pi, output", Both("serve.env is not declared; add it under `envs`")),
    ("env: py, output", "output", Both("serve.env: Required value")),
    ("output: late", "output: \"\"", Both("serve.output in body should be at least 1 chars long")),
    ("ready_timeout: 30s", "ready_timeout: 0h", Both("write a whole number and a unit")),
    ("kind: Pipeline", "kind: Pipelines", Both("no matches for kind")),
    ("v1alpha1", "v2", Both("no matches for kind")),
];

/// The document with `from` replaced.
pub(crate) fn wrong(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "the document has no `{from}`");
    GOOD.replacen(from, to, 1)
}
