use super::*;
use crate::pipeline::Override;

const FILE: &str = r#"
apiVersion: lineal.dev/v1alpha1
kind: Pipeline
metadata: {name: demo}
seed: 42
params: {trees: 120, rate: 0.10, unit: hours, unused: 1}
data: {flights: "dataset://flights@2013-01"}
envs: {py: {python: .venv}}
code: [src]
steps:
  prepare:
    run: [python, -m, src.prepare]
    env: py
    in: {flights: data.flights}
    out: {table: table.csv}
  train:
    run: [python, -m, src.train]
    env: py
    in: {table: prepare.table, raw: data.flights}
    params: [trees, rate, unit]
    out: {model: model, report: {path: report.json, as: metrics}}
    determinism: strict
  note: {run: [date], out: {text: note.txt}}
"#;

fn pipeline(text: &str) -> Pipeline {
    Pipeline::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{e}"))
}

fn resolved() -> Resolved {
    Resolved {
        snapshots: [("flights".parse().unwrap(), Digest::of(b"flights"))].into(),
        code: Digest::of(b"code"),
        environments: [("py".parse().unwrap(), Digest::of(b"py"))].into(),
        base: "debian-12".into(),
        cpu: Cpu::new("x86_64-v3", 2),
    }
}

fn name(text: &str) -> StepName {
    text.parse().unwrap()
}

fn file(content: &[u8]) -> Artifact {
    let size_bytes = content.len().to_string();
    Artifact { kind: ArtifactKind::File, digest: Digest::of(content), size_bytes }
}

fn outputs(entries: &[(&str, &[u8])]) -> BTreeMap<OutputName, Artifact> {
    entries.iter().map(|(name, content)| (name.parse().unwrap(), file(content))).collect()
}

/// The key of `train` after `prepare` made `table`.
fn train_key(text: &str, resolved: &Resolved, table: &[u8]) -> KeyDocument {
    let mut plan = Plan::new(&pipeline(text), resolved).unwrap();
    plan.complete(&name("prepare"), outputs(&[("table", table)])).unwrap();
    plan.key_document(&name("train")).unwrap()
}

fn base_key() -> KeyDocument {
    train_key(FILE, &resolved(), b"table")
}

fn changed(from: &str, to: &str) -> String {
    assert!(FILE.contains(from), "{from}");
    FILE.replacen(from, to, 1)
}

#[test]
fn the_key_document_has_these_bytes() {
    // Made by Python's json and hashlib, not by this code. A change of these bytes invalidates every cache: raise the
    // version.
    let expected = concat!(
        r#"{"base":"debian-12","code":"sha256:5694d08a2e53ffcae0c3103e5ad6f6076abd960eb1f8a56577040bc1028f702b","#,
        r#""cpu":{"class":"x86_64-v3","threads":"2"},"determinism":"strict","#,
        r#""environment":"sha256:6e491c02882ac36e3bcaaac4d151d4b2793135d4482adf227b1b730cdd90b46d","#,
        r#""inputs":{"raw":{"digest":"sha256:c8cf489ed229d3a214f17b2a755287289ef1fd56a807c65012dfb39e8cf44d8e","kind":"directory"},"#,
        r#""table":{"digest":"sha256:0d4fc4a78d3706edccafb665a8b2fdd9309e82c78625bb0f2b8e7bb9e1c4d21c","kind":"file"}},"#,
        r#""outputs":{"model":{"as":"artifact","path":"model"},"report":{"as":"metrics","path":"report.json"}},"#,
        r#""parameters":{"rate":"0.1","trees":"120","unit":"\"hours\""},"#,
        r#""run":["python","-m","src.train"],"seed":"3274803732","version":"1"}"#,
    );
    let bytes = base_key().to_bytes().unwrap();
    assert_eq!(String::from_utf8(bytes.clone()).unwrap(), expected);
    assert_eq!(KeyDocument::from_bytes(&bytes).unwrap(), base_key());
    assert_eq!(
        base_key().cache_key().unwrap().to_string(),
        "sha256:e61f9fb61283c061a963c1022f5af698b5b30e48eb4174edaeef5eaf96916ed3"
    );
}

#[test]
fn other_spellings_of_a_key_document_are_refused() {
    let text = String::from_utf8(base_key().to_bytes().unwrap()).unwrap();
    let read = |text: String| KeyDocument::from_bytes(text.as_bytes()).unwrap_err().to_string();
    assert!(read(text.replace("\"version\":\"1\"", "\"version\":\"2\"")).contains("version `2`"));
    assert!(read(text.replace(",\"run\"", ", \"run\"")).contains("canonical"));
    assert!(read(text.replace("\"run\"", "\"ran\"")).contains("unknown field"));
    assert!(read(String::new()).contains("not a key document"));
}

#[test]
fn step_seeds_are_those_of_the_formula() {
    // printf 'lineal/step-seed/v1\n42\ntrain' | sha256sum | cut -c1-8
    assert_eq!(step_seed(42, &name("train")), 0xc331_8a14);
    assert_ne!(step_seed(42, &name("train")), step_seed(42, &name("prepare")));
    assert_ne!(step_seed(42, &name("train")), step_seed(43, &name("train")));
}

/// Each change, and the only difference that it makes.
#[test]
fn every_field_of_the_key_changes_it_and_is_named() {
    let base = base_key();
    let with = |change: &dyn Fn(&mut Resolved)| {
        let mut resolved = resolved();
        change(&mut resolved);
        resolved
    };
    let other = Digest::of(b"other");
    let file = |from: &str, to: &str| train_key(&changed(from, to), &resolved(), b"table");
    let here = |change: &dyn Fn(&mut Resolved)| train_key(FILE, &with(change), b"table");
    let no_env =
        changed("    run: [python, -m, src.train]\n    env: py\n", "    run: [python, -m, src.train]\n");
    let table: Vec<(KeyDocument, Vec<&str>)> = vec![
        (file("trees: 120", "trees: 200"), vec!["params.trees: 120 -> 200"]),
        (file("unit: hours", "unit: days"), vec!["params.unit: \"hours\" -> \"days\""]),
        (file("[trees, rate, unit]", "[trees, rate]"), vec!["params.unit: \"hours\" -> none"]),
        (file("[trees, rate, unit]", "[trees, rate, unit, unused]"), vec!["params.unused: none -> 1"]),
        (file("src.train]", "src.fit]"), vec!["command: python -m src.train -> python -m src.fit"]),
        (
            file("[python, -m, src.train]", "[python, '-m src.train']"),
            vec!["command: python -m src.train -> python \"-m src.train\""],
        ),
        (file("determinism: strict", "determinism: observe"), vec!["determinism: strict -> observe"]),
        (file("model: model", "model: other"), vec!["outputs.model: model -> other"]),
        (file(", as: metrics", ""), vec!["outputs.report: report.json (metrics) -> report.json"]),
        (
            file("{model: model, ", "{fit: model, "),
            vec!["outputs.fit: none -> model", "outputs.model: model -> none"],
        ),
        (here(&|r| r.base = "debian-13".into()), vec!["base system: debian-12 -> debian-13"]),
        (here(&|r| r.cpu = Cpu::new("x86_64-v4", 2)), vec!["cpu class: x86_64-v3 -> x86_64-v4"]),
        (here(&|r| r.cpu = Cpu::new("x86_64-v3", 4)), vec!["cpu threads: 2 -> 4"]),
    ];
    for (current, expected) in &table {
        let texts: Vec<String> = explain(&base, current).iter().map(Difference::to_string).collect();
        assert_eq!(texts, *expected);
        assert_ne!(base.cache_key().unwrap(), current.cache_key().unwrap());
    }
    let fields = |current: &KeyDocument| -> Vec<String> {
        assert_ne!(base.cache_key().unwrap(), current.cache_key().unwrap());
        explain(&base, current).into_iter().map(|d| d.field).collect()
    };
    assert_eq!(fields(&here(&|r| r.code = other)), ["code"]);
    assert_eq!(fields(&here(&|r| *r.environments.values_mut().next().unwrap() = other)), ["environment"]);
    assert_eq!(fields(&here(&|r| *r.snapshots.values_mut().next().unwrap() = other)), ["inputs.raw"]);
    assert_eq!(fields(&train_key(FILE, &resolved(), b"table 2")), ["inputs.table"]);
    assert_eq!(fields(&train_key(&no_env, &resolved(), b"table")), ["environment"]);
    assert_eq!(fields(&file("seed: 42", "seed: 43")), ["seed"]);
    assert_eq!(fields(&file("raw: data.flights", "raw2: data.flights")), ["inputs.raw", "inputs.raw2"]);
    let mut newer = base.clone();
    newer.version = "2".into();
    assert_eq!(fields(&newer), ["key version"]);
    let mut directory = base.clone();
    directory.inputs.values_mut().for_each(|input| input.kind = ArtifactKind::Directory);
    assert_eq!(fields(&directory), ["inputs.table"]);
}

#[test]
fn nothing_else_changes_the_key() {
    let base = base_key();
    for (from, to) in [
        ("name: demo", "name: renamed"),
        ("unused: 1", "unused: 2"),
        ("rate: 0.10", "rate: 1e-1"),
        ("trees: 120", "trees: 120.0"),
        ("    determinism: strict\n", "    determinism: strict\n    timeout: 5s\n    probe: [entropy]\n"),
        ("python: .venv", "python: other"),
        ("code: [src]", "code: [lib]"),
        ("params: [trees, rate, unit]", "params: [unit, trees, rate]"),
        ("note: {run: [date]", "note: {run: [cal]"),
        ("run: [python, -m, src.prepare]", "run: [python, -m, src.other]"),
        ("steps:\n", "gates: {ok: {metrics: train.report, expect: {auc: {min: 0}}}}\nsteps:\n"),
    ] {
        let current = train_key(&changed(from, to), &resolved(), b"table");
        assert_eq!(explain(&base, &current), [], "{from}");
        assert_eq!(base.to_bytes().unwrap(), current.to_bytes().unwrap(), "{from}");
    }
    let renamed =
        FILE.replace("flights: \"dataset", "other: \"dataset").replace("data.flights", "data.other");
    let mut resolved = resolved();
    resolved.snapshots = [("other".parse().unwrap(), Digest::of(b"flights"))].into();
    assert_eq!(train_key(&renamed, &resolved, b"table"), base);
}

#[test]
fn digests_are_shortened_for_people_only() {
    let current = train_key(FILE, &resolved(), b"table 2");
    let difference = &explain(&base_key(), &current)[0];
    let (old, new) = (Digest::of(b"table"), Digest::of(b"table 2"));
    assert_eq!(difference.after, Some(new.to_string()));
    assert_eq!(
        difference.to_string(),
        format!("inputs.table: sha256:{}.. -> sha256:{}..", old.short(), new.short())
    );
}

#[test]
fn a_plan_is_completed_step_by_step() {
    let mut plan = Plan::new(&pipeline(FILE), &resolved()).unwrap();
    let ready = |plan: &Plan| plan.ready().into_iter().map(|s| s.name.to_string()).collect::<Vec<_>>();
    assert_eq!(ready(&plan), ["prepare", "note"]);
    let early = plan.key_document(&name("train")).unwrap_err().to_string();
    assert!(early.contains("step `train` needs `prepare.table`, which is not complete"), "{early}");
    let early = plan.complete(&name("train"), outputs(&[("model", b"m"), ("report", b"r")])).unwrap_err();
    assert!(matches!(early, PlanError::NotReady { .. }), "{early}");
    let error = plan.complete(&name("prepare"), outputs(&[])).unwrap_err().to_string();
    assert!(error.contains("step `prepare`: output `table` is missing"), "{error}");
    let extra = outputs(&[("table", b"t"), ("more", b"t")]);
    assert!(
        plan.complete(&name("prepare"), extra).unwrap_err().to_string().contains("`more` is not declared")
    );
    assert!(plan.complete(&name("other"), outputs(&[])).unwrap_err().to_string().contains("not in the plan"));

    let start = plan.document().digest().unwrap();
    assert_eq!(plan.complete(&name("prepare"), outputs(&[("table", b"t")])).unwrap(), [name("train")]);
    assert_ne!(plan.document().digest().unwrap(), start);
    let again = plan.complete(&name("prepare"), outputs(&[("table", b"t")])).unwrap_err();
    assert!(again.to_string().contains("already complete"));
    assert_eq!(ready(&plan), ["train", "note"]);
    assert_eq!(plan.complete(&name("train"), outputs(&[("model", b"m"), ("report", b"r")])).unwrap(), []);
    assert!(!plan.is_complete());
    plan.complete(&name("note"), outputs(&[("text", b"n")])).unwrap();
    assert!(plan.is_complete());
    assert_eq!(plan.outputs(&name("train")).unwrap().len(), 2);

    let document = serde_json::to_value(plan.document()).unwrap();
    let key = plan.key_document(&name("train")).unwrap().cache_key().unwrap();
    assert_eq!(document["steps"]["train"]["cacheKey"], key.to_string());
    assert_eq!(document["steps"]["train"]["inputs"]["table"], "prepare.table");
    assert_eq!(document["steps"]["train"]["snapshots"]["raw"], Digest::of(b"flights").to_string());
    assert_eq!((&document["pipeline"], &document["seed"]), (&"demo".into(), &"42".into()));
}

const IMAGE: &str = "{image: \"registry.example:5000/team/train:1@sha256:\
                     6e491c02882ac36e3bcaaac4d151d4b2793135d4482adf227b1b730cdd90b46d\"}";

#[test]
fn an_image_is_its_manifest_whatever_it_is_called_and_wherever_it_runs() {
    let in_image = changed("{python: .venv}", IMAGE);
    let key = train_key(&in_image, &resolved(), b"table");
    assert_eq!((key.base.as_str(), key.environment), ("image", Some(Digest::of(b"py"))));

    let renamed = in_image.replace("registry.example:5000/team/train:1", "train");
    assert_eq!(train_key(&renamed, &resolved(), b"table"), key);
    let mut elsewhere = resolved();
    elsewhere.base = "alpine-3".into();
    elsewhere.environments.clear();
    assert_eq!(train_key(&in_image, &elsewhere, b"table"), key, "nothing of the machine is in the key");
    elsewhere.cpu = Cpu::new("x86_64-v2", 2);
    assert_ne!(train_key(&in_image, &elsewhere, b"table"), key, "but what computes is");

    let other = in_image.replace("6e491c", "7e491c");
    let difference = explain(&key, &train_key(&other, &resolved(), b"table"));
    assert_eq!(difference.iter().map(|d| d.field.as_str()).collect::<Vec<_>>(), ["environment"]);
    let difference = explain(&base_key(), &key);
    assert_eq!(difference.iter().map(|d| d.field.as_str()).collect::<Vec<_>>(), ["base system"]);
}

/// `note` runs on the base system, so the plan's base counts until it too has the image.
#[test]
fn a_plan_in_images_only_is_the_same_on_every_machine() {
    let digest = |text: &str, base: &str| {
        let resolved = Resolved { base: base.into(), ..resolved() };
        Plan::new(&pipeline(text), &resolved).unwrap().document().digest().unwrap()
    };
    let some = changed("{python: .venv}", IMAGE);
    assert_ne!(digest(&some, "debian-12"), digest(&some, "debian-13"));
    let all = some.replace("note: {run: [date],", "note: {run: [date], env: py,");
    assert_eq!(digest(&all, "debian-12"), digest(&all, "debian-13"));
    let step = Plan::new(&pipeline(&all), &resolved()).unwrap().steps()[0].clone();
    assert_eq!(step.image().unwrap().name(), "registry.example:5000/team/train:1");
}

#[test]
fn every_name_must_be_resolved() {
    let mut missing = resolved();
    missing.environments.clear();
    let error = Plan::new(&pipeline(FILE), &missing).unwrap_err().to_string();
    assert!(error.contains("envs.py was not resolved"), "{error}");
    let mut missing = resolved();
    missing.snapshots.clear();
    assert!(Plan::new(&pipeline(FILE), &missing).unwrap_err().to_string().contains("data.flights"));
}

#[test]
fn overrides_reach_the_key_and_the_plan() {
    let overrides: Vec<Override> = vec!["trees=200".parse().unwrap(), "determinism=observe".parse().unwrap()];
    let pipeline = pipeline(FILE).with_overrides(&overrides).unwrap();
    let mut plan = Plan::new(&pipeline, &resolved()).unwrap();
    plan.complete(&name("prepare"), outputs(&[("table", b"table")])).unwrap();
    let key = plan.key_document(&name("train")).unwrap();
    let fields: Vec<String> = explain(&base_key(), &key).into_iter().map(|d| d.field).collect();
    assert_eq!(fields, ["params.trees", "determinism"]);
}

#[test]
fn decisions() {
    let key = base_key();
    let cached = CachedResult {
        key: key.clone(),
        provenance: Digest::of(b"statement"),
        outputs: outputs(&[("model", b"m"), ("report", b"r")]),
    };
    assert_eq!(decide(&key, None, true), Decision::Execute(Reason::NeverRan));
    assert_eq!(decide(&key, Some(&cached), true), Decision::Reuse(&cached));
    assert_eq!(decide(&key, Some(&cached), false), Decision::Execute(Reason::BlobMissing));
    let other = train_key(&changed("trees: 120", "trees: 200"), &resolved(), b"table");
    let Decision::Execute(reason) = decide(&other, Some(&cached), true) else { panic!("reused") };
    assert_eq!(reason.to_string(), "params.trees: 120 -> 200");
    let partial = CachedResult { outputs: outputs(&[("model", b"m")]), ..cached };
    assert_eq!(decide(&key, Some(&partial), true), Decision::Execute(Reason::BlobMissing));
}

#[test]
fn ten_thousand_steps_are_planned_and_completed() {
    const STEPS: usize = 10_000;
    let mut text =
        "apiVersion: lineal.dev/v1alpha1\nkind: Pipeline\nmetadata: {name: large}\nsteps:\n".to_owned();
    // Written from the last one to the first, so that the file's order is the worst one.
    for number in (0..STEPS).rev() {
        let inputs = match number {
            0 => String::new(),
            1 => ", in: {a: s0.o}".to_owned(),
            _ => format!(", in: {{a: s{}.o, b: s{}.o}}", number - 1, number / 2),
        };
        text += &format!("  s{number}: {{run: [x]{inputs}, out: {{o: o}}}}\n");
    }
    let pipeline = pipeline(&text);
    let mut plan = Plan::new(&pipeline, &resolved()).unwrap();
    assert_eq!(plan.steps().len(), STEPS);
    let edges: usize = plan.dependents.iter().map(Vec::len).sum();
    assert_eq!(edges, 2 * STEPS - 4, "each step but the first two has two needs; s2 reads s1 twice");
    let mut ready: Vec<StepName> = plan.ready().into_iter().map(|s| s.name.clone()).collect();
    let mut completed = 0;
    while let Some(step) = ready.pop() {
        ready.extend(plan.complete(&step, outputs(&[("o", step.as_str().as_bytes())])).unwrap());
        completed += 1;
    }
    assert_eq!(completed, STEPS);
    assert!(plan.is_complete());
    assert!(plan.document().to_bytes().unwrap().len() > STEPS * 100);
}
