use lineal_facts::predicate::Outcome;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const FILE: &str = r#"
apiVersion: lineal.dev/v1alpha1
kind: Policy
metadata: {name: production}
rules:
  - name: gates-passed
    expr: "['data-contract','quality','inference'].all(name, gates.exists(g, g.name == name && g.passed))"
    message: "gates data-contract, quality and inference must have passed"
  - name: provenance
    expr: "provenance.complete"
    message: "every step must have a verified statement"
  - name: approved
    expr: "approvals.filter(a, a.role == 'approver').size() >= 1"
    message: "one approval is missing: lineal approve {{subject}} --for {{environment}} --reason ..."
rollout: {steps: [{weight: 10}]}
"#;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-11-23T12:00:00Z")
}

fn gate(name: &str, outcome: Outcome) -> GateFact {
    let passed = outcome != Outcome::Failed;
    GateFact { name: name.into(), passed, outcome, failed: vec![], warned: vec![] }
}

fn record() -> Record {
    Record {
        model: ModelFact { name: "flights-delay".parse().unwrap(), version: 2, digest: Digest::of(b"model") },
        environment: "production".parse().unwrap(),
        gates: ["data-contract", "quality", "inference"].map(|name| gate(name, Outcome::Passed)).into(),
        approvals: vec![ApprovalFact {
            approver: "ana".into(),
            role: "approver".into(),
            reason: "numbers look right".into(),
            approved_at: at("2026-11-23T11:00:00Z"),
        }],
        provenance: ProvenanceFact {
            complete: true,
            code: Digest::of(b"code"),
            environment_digest: Digest::of(b"env").to_string(),
            data: vec![DataFact {
                dataset: "flights".into(),
                tag: "2013-01..02".into(),
                digest: Digest::of(b"data"),
            }],
            uncontrolled: vec![],
            steps: vec![StepFact {
                name: "train".into(),
                determinism: "strict".into(),
                entropy: "controlled".into(),
                cached: false,
                cpu: "x86_64-v3, threads 2".into(),
            }],
        },
        run: RunFact {
            id: "run-0123456789ab".parse().unwrap(),
            pipeline: "flights-delay".parse().unwrap(),
            seed: "42".into(),
            started_by: "bo".into(),
            started_at: at("2026-11-22T11:00:00Z"),
            finished_at: at("2026-11-22T12:00:00Z"),
            params: [("trees".to_owned(), json!(120))].into(),
            metrics: [("evaluate.report".to_owned(), json!({"auc": 0.71, "rows": 1000}))].into(),
        },
        promotions: vec![PromotionFact {
            environment: "staging".parse().unwrap(),
            promoted_at: at("2026-11-22T18:00:00Z"),
        }],
        incidents: vec![],
    }
}

use lineal_facts::Digest;

fn with_rule(expr: &str) -> Result<Policy, PolicyError> {
    let quoted = serde_json::to_string(expr).unwrap();
    Policy::parse(
        format!(
            "apiVersion: lineal.dev/v1alpha1\nkind: Policy\nmetadata: {{name: production}}\nrules:\n  \
             - {{name: rule, expr: {quoted}, message: 'do {{{{subject}}}}'}}\n"
        )
        .as_bytes(),
    )
}

fn run(expr: &str, record: &Record) -> RuleResult {
    with_rule(expr).unwrap_or_else(|e| panic!("{expr}: {e}")).evaluate(record, now()).rules.remove(0)
}

#[test]
fn the_example_holds_and_each_gap_is_named() {
    let policy = Policy::parse(FILE.as_bytes()).unwrap();
    assert_eq!(policy.rollout, Some(json!({"steps": [{"weight": 10}]})));
    assert!(policy.evaluate(&record(), now()).passed);

    let failing = |change: fn(&mut Record)| -> Vec<String> {
        let mut record = record();
        change(&mut record);
        let evaluation = policy.evaluate(&record, now());
        assert!(!evaluation.passed);
        evaluation.rules.into_iter().filter(|r| !r.held).map(|r| r.name).collect()
    };
    assert_eq!(failing(|r| r.gates[1] = gate("quality", Outcome::Failed)), ["gates-passed"]);
    assert_eq!(failing(|r| drop(r.gates.pop())), ["gates-passed"]);
    assert_eq!(failing(|r| r.provenance.complete = false), ["provenance"]);
    assert_eq!(failing(|r| r.approvals.clear()), ["approved"]);
    assert_eq!(failing(|r| r.approvals[0].role = "builder".into()), ["approved"]);
}

#[test]
fn placeholders_are_filled_in() {
    let policy = Policy::parse(FILE.as_bytes()).unwrap();
    let evaluation = policy.evaluate(&record(), now());
    assert_eq!(
        evaluation.rules[2].message,
        "one approval is missing: lineal approve flights-delay/2 --for production --reason ..."
    );
}

#[test]
fn a_record_of_another_environment_never_passes() {
    let policy = Policy::parse(FILE.as_bytes()).unwrap();
    let mut record = record();
    record.environment = "staging".parse().unwrap();
    let evaluation = policy.evaluate(&record, now());
    assert!(!evaluation.passed);
    assert!(evaluation.rules.iter().all(|r| !r.held && r.error.as_ref().unwrap().contains("`staging`")));
}

#[test]
fn rules_a_platform_engineer_writes() {
    let record = record();
    for (expr, held) in [
        ("model.name == 'flights-delay' && model.version == 2 && model.version + 1 > 2", true),
        ("model.digest.startsWith('sha256:')", true),
        ("environment == 'production'", true),
        ("approvers.size() >= 2", false),
        ("approvers == ['ana']", true),
        ("approvals.exists(a, a.approver != run.started_by)", true),
        ("approvals.all(a, a.age_seconds < 24 * 3600)", true),
        ("approvals.all(a, a.age_seconds <= 3599)", false),
        ("approvals.all(a, a.reason.size() >= 10)", true),
        ("promotions.exists(p, p.environment == 'staging' && p.age_seconds >= 12 * 3600)", true),
        ("promotions.exists(p, p.environment == 'staging' && p.age_seconds >= 24 * 3600)", false),
        ("incidents.size() == 0", true),
        ("provenance.data.all(d, d.dataset in ['flights', 'weather'])", true),
        ("provenance.data.all(d, d.dataset in ['weather'])", false),
        ("provenance.uncontrolled.size() == 0", true),
        ("provenance.steps.filter(s, s.name == 'train').all(s, s.determinism == 'strict')", true),
        ("run.metrics['evaluate.report'].auc >= 0.7", true),
        ("run.metrics['evaluate.report'].rows >= 1000.0", true),
        ("has(run.metrics.missing) ? false : true", true),
        ("run.params.trees == 120 && run.seed == '42'", true),
        ("run.age_seconds == 86400", true),
        ("now.startsWith('2026-11-23')", true),
        ("gates.all(g, g.outcome == 'PASSED')", true),
        ("gates.exists_one(g, g.name == 'quality')", true),
        ("gates.map(g, g.name).filter(n, n.contains('-')).size() == 1", true),
        ("!provenance.complete || false", false),
    ] {
        let result = run(expr, &record);
        assert_eq!((result.held, result.error.clone()), (held, None), "{expr}");
    }
}

#[test]
fn the_age_of_what_lies_in_the_future_is_unknown() {
    let year_ms = 365 * 24 * 3_600_000;
    for (ahead_ms, held) in [(0, true), (60_000, true), (600_000, false), (year_ms, false)] {
        let mut record = record();
        record.approvals.truncate(1);
        record.approvals[0].approved_at = Timestamp::from_unix_ms(now().unix_ms() + ahead_ms);
        for expr in ["approvals.all(a, a.age_seconds < 3600)", "approvals.exists(a, a.age_seconds < 3600)"] {
            let result = run(expr, &record);
            assert_eq!((result.held, result.error.is_none()), (held, held), "{ahead_ms} {expr}");
        }
        assert!(run("approvals.size() == 1", &record).held, "rules about anything else are decided");
    }
}

#[test]
fn rules_that_cannot_be_decided_do_not_hold_and_say_why() {
    let record = record();
    for (expr, expected) in [
        ("1", "type int"),
        ("'true'", "type string"),
        ("gates", "type list"),
        ("model", "type map"),
        ("null", "type null"),
        ("model.nme == 'x'", "nme"),
        ("run.metrics['evaluate.report'].f1 > 0.5", "f1"),
        ("1 / 0 == 1", "zero"),
        ("gates[99].passed", "ndex"),
        ("model.version > 'x'", "overload"),
        ("9223372036854775807 + 1 > 0", "verflow"),
        ("gates.exists(g, g.nam == 'quality')", "nam"),
    ] {
        let result = run(expr, &record);
        assert!(!result.held, "{expr}");
        assert!(result.error.as_deref().unwrap_or("").contains(expected), "{expr}: {:?}", result.error);
    }
}

#[test]
fn bad_expressions_are_refused_when_the_policy_is_read() {
    let nested = "gates.all(a, gates.all(b, gates.all(c, true)))";
    let nested_in_range = "gates.filter(a, gates.exists(b, gates.map(c, c) == [])) == []";
    for (expr, expected) in [
        ("", "not a CEL expression"),
        ("1 +", "not a CEL expression"),
        ("gates.", "not a CEL expression"),
        ("gate.size() > 0", "did you mean `gates`?"),
        ("x == 1", "`x` is not known"),
        ("gates.all(g, h.passed)", "`h` is not known"),
        ("gates.length() > 0", "function `length` is not known"),
        ("gates.exist(g, g.passed)", "did you mean `exists`?"),
        ("now.matches('a+')", "function `matches` is not known"),
        ("gates.all(model, model.passed)", "hides the record's `model`"),
        ("model{name: 'x'} == 1", "not supported"),
        ("gates.?x == 1", "not a CEL expression"),
        ("true\u{0}", "control character"),
        (nested, "within one another"),
        (nested_in_range, "within one another"),
        (&"(".repeat(4000), "brackets"),
        (&format!("{}1{}", "[".repeat(25), "]".repeat(25)), "brackets"),
        (&format!("1{}", "+1".repeat(400)), "operators"),
        (&format!("{}true", "!".repeat(400)), "operators"),
        (&format!("a{}", ".a".repeat(400)), "operators"),
        (&format!("1{}", " in 1".repeat(400)), "operators"),
        (&"a".repeat(5000), "at most 4096"),
    ] {
        let error = with_rule(expr).map(|_| ()).expect_err(expr).to_string();
        assert!(error.starts_with("rule `rule`: expr: "), "{error}");
        assert!(error.contains(expected), "{expr}: {error}");
    }
}

#[test]
fn bad_files_are_refused() {
    let rule = "{name: a, expr: 'true', message: m}";
    let file = |rules: &str| {
        format!(
            "apiVersion: lineal.dev/v1alpha1\nkind: Policy\nmetadata: {{name: production}}\nrules: {rules}\n"
        )
    };
    let many = format!("[{}]", vec![rule; 101].join(","));
    for (text, expected) in [
        (file("[]"), "1 to 100"),
        (file(&many), "101 rules"),
        (file(&format!("[{rule}, {rule}]")), "occurs twice"),
        (file("[{name: A, expr: 'true', message: m}]"), "rules[0].name"),
        (file("[{name: a, expr: 'true'}]"), "missing field `message`"),
        (file("[{name: a, expr: 'true', message: ''}]"), "what is missing"),
        (file("[{name: a, expr: 'true', message: 'x {{model}}'}]"), "`{{model}}` is not a placeholder"),
        (file("[{name: a, expr: 'true', message: 'x {{subject'}]"), "not closed"),
        (file("[{name: a, expr: 'true', message: m, extra: 1}]"), "unknown field `extra`"),
        (file("[]").replace("Policy", "Pipeline"), "expected `Policy`"),
        (file("[]").replace("production", "Production"), "not a environment name"),
        (format!("{}kind: Policy\n", file("[]")), "occurs twice"),
    ] {
        let error = Policy::parse(text.as_bytes()).map(|_| ()).expect_err(&text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn time_is_bounded_by_an_estimate() {
    let mut record = record();
    record.gates = (0..10_000).map(|n| gate(&format!("g{n}"), Outcome::Passed)).collect();
    assert!(run("gates.all(g, g.passed)", &record).held);
    assert!(run("['g1', 'g9999'].all(n, gates.exists(g, g.name == n && g.passed))", &record).held);
    // Sizes are those of the lists that are gone over, not of the largest one.
    assert!(run("approvals.all(a, provenance.steps.all(s, a.role != s.name))", &record).held);
    for expr in [
        "gates.all(a, gates.exists(b, b.name == a.name))",
        "gates.all(a, a.name in gates.map(b, b.name))",
        "gates.all(a, gates == gates)",
        "(gates + gates).map(a, gates).size() == gates.map(a, gates + gates).size()",
    ] {
        let result = run(expr, &record);
        assert!(!result.held, "{expr}");
        assert!(result.error.as_deref().unwrap_or("").contains("steps"), "{expr}: {:?}", result.error);
    }
    // The border is between 200 and 500 elements in each of two loops.
    let quadratic = "gates.all(a, gates.exists(b, b.name == a.name))";
    let mut some = record.clone();
    some.gates.truncate(500);
    assert!(run(quadratic, &some).error.is_some());
    some.gates.truncate(200);
    assert!(run(quadratic, &some).held);
    record.gates.push(gate("one-too-many", Outcome::Passed));
    let error = run("true", &record).error.unwrap();
    assert!(error.contains("10001 elements; at most 10000"), "{error}");
}

#[test]
fn large_records_fail_closed() {
    let mut deep = json!(1);
    for _ in 0..40 {
        deep = json!([deep]);
    }
    let mut with = record();
    with.run.metrics.insert("a.b".into(), deep);
    assert!(run("true", &with).error.unwrap().contains("nested deeper"));
    let mut with = record();
    with.approvals[0].reason = "x".repeat(70_000);
    assert!(run("true", &with).error.unwrap().contains("70000 bytes"));
    let mut with = record();
    with.run.metrics.insert("a.b".into(), json!(vec![vec![0; 9000]; 30]));
    assert!(run("true", &with).error.unwrap().contains("more than 200000 values"));
}

/// The deepest expressions that pass the first fence, in a thread with a quarter of the usual stack.
#[test]
fn the_deepest_expressions_fit_in_a_small_stack() {
    let chains = [
        format!("1{} > 0", "+1".repeat(290)),
        format!("model{} == 1", ".a".repeat(290)),
        format!("true{}", " && true".repeat(145)),
        format!("false{} || true", " || false".repeat(140)),
        format!("{}true", "!(".repeat(24)) + &")".repeat(24),
        format!("{}1{} == []", "[".repeat(24), "]".repeat(24)),
        format!("{}1{} == {{}}", "{1:".repeat(24), "}".repeat(24)),
        format!("{}true", "true ? true : ".repeat(90)),
        format!("{}1 == 1", "- ".repeat(290)),
        format!("gates{} == 1", "[0]".repeat(280)),
        format!("1{} == 1", " in [1]".repeat(140)),
        format!("{}true{}", "[1].all(x, [1].all(y, ".to_owned() + &"(".repeat(18), ")".repeat(20)),
        format!("'a'{} == 'a'", " + 'a'".repeat(280)),
        format!("'a'{}", ".contains('a')".repeat(100)),
        format!("1{}", " == 1".repeat(140)),
        format!("1{}", " < 1".repeat(140)),
    ];
    let work = move || {
        for chain in &chains {
            if let Ok(policy) = with_rule(chain) {
                let _ = policy.evaluate(&record(), now());
            }
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn a_policy_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Policy>();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text_never_panics(text in "\\PC{0,60}") {
        if let Ok(policy) = with_rule(&text) {
            let _ = policy.evaluate(&record(), now());
        }
    }

    #[test]
    fn any_sequence_of_tokens_never_panics(tokens in prop::collection::vec(prop::sample::select(TOKENS.to_vec()), 0..25)) {
        if let Ok(policy) = with_rule(&tokens.join(" ")) {
            let _ = policy.evaluate(&record(), now());
        }
        if let Ok(policy) = with_rule(&tokens.concat()) {
            let _ = policy.evaluate(&record(), now());
        }
    }

    #[test]
    fn any_file_never_panics(text in "\\PC{0,80}") {
        let _ = Policy::parse(text.as_bytes());
    }
}

const TOKENS: &[&str] = &[
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ".",
    ",",
    ":",
    "?",
    "+",
    "-",
    "*",
    "/",
    "%",
    "!",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "&&",
    "||",
    "in",
    "true",
    "false",
    "null",
    "1",
    "-1",
    "1u",
    "1.5",
    "1e400",
    "0x7fffffffffffffff",
    "-9223372036854775808",
    "18446744073709551615u",
    "'a'",
    "\"b\"",
    "b'\\xff'",
    "r'\\'",
    "'''c'''",
    "'\\u00e9'",
    "'\\400'",
    "'",
    "\"",
    "\\",
    "`",
    "gates",
    "model",
    "run",
    "now",
    "approvals",
    "g",
    "x",
    "has",
    "all",
    "exists",
    "filter",
    "map",
    "exists_one",
    "size",
    "contains",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "type",
    "dyn",
    "has(",
    "gates.all(g,",
    ".size()",
    ".filter(x,",
    "[0]",
    "model.version",
    "for",
    "if",
    "let",
    "//",
    "\n",
    "é",
    "💥",
];
