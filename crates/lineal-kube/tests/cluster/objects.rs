//! The other resources: what is refused, what cannot be changed, what columns show.

use crate::{accepted, namespace, refused};

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const OTHER: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn object(kind: &str, name: &str, spec: &str) -> String {
    let spec = spec.replace("DIGEST", DIGEST).replace("OTHER", OTHER);
    format!("apiVersion: lineal.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

fn apply(kind: &str, name: &str, spec: &str) {
    accepted(&["apply", "-n", namespace(), "-f", "-"], &object(kind, name, spec));
}

fn refuse(kind: &str, name: &str, spec: &str, message: &str) {
    refused(&["apply", "-n", namespace(), "-f", "-"], &object(kind, name, spec), message);
}

fn set_status(kind: &str, name: &str, status: &str) {
    let patch = format!("{{\"status\": {status}}}");
    accepted(
        &["patch", "-n", namespace(), kind, name, "--subresource=status", "--type=merge", "-p", &patch],
        "",
    );
}

#[test]
fn runs_cannot_be_changed() {
    apply("PipelineRun", "first", "{pipeline: late-rate, set: [column=3], seed: 1}");
    let message = "the spec of a PipelineRun cannot be changed; create another PipelineRun";
    refuse("PipelineRun", "first", "{pipeline: late-rate, set: [column=4], seed: 1}", message);
    refuse("PipelineRun", "first", "{pipeline: late-rate, set: [column=3], seed: 2}", message);
    refuse("PipelineRun", "first", "{pipeline: late-rate, set: [column=3]}", message);
    refuse("PipelineRun", "first", "{pipeline: other, set: [column=3], seed: 1}", message);
    refuse("PipelineRun", "second", "{pipeline: Late}", "spec.pipeline in body should match");
    refuse("PipelineRun", "second", "{pipeline: a, set: [column]}", "spec.set[0] in body should match");
    refuse("PipelineRun", "second", "{}", "spec.pipeline: Required value");
    // An operator, if there is one, says so; with a phase that is an end it leaves the status to others.
    set_status("pipelineruns", "first", r#"{"phase": "Error"}"#);
    accepted(&["wait", "-n", namespace(), "plr/first", "--for=jsonpath={.status.phase}=Error"], "");
    set_status("pipelineruns", "first", r#"{"phase": "Succeeded", "progress": "1/2", "cachedSteps": 1}"#);
    accepted(&["wait", "-n", namespace(), "plr/first", "--for=jsonpath={.status.phase}=Succeeded"], "");
    let columns = accepted(&["get", "-n", namespace(), "plr", "first"], "");
    for word in ["PIPELINE", "PHASE", "STEPS", "CACHED", "RUN", "AGE", "late-rate", "Succeeded", "1/2"] {
        assert!(columns.contains(word), "{columns}");
    }
}

#[test]
fn snapshots_stay_what_they_are() {
    apply(
        "Dataset",
        "numbers",
        "{snapshots: [{tag: v1, digest: 'DIGEST'}, {tag: v2, storageUri: 's3://b/v2'}]}",
    );
    let digest = "the digest of a snapshot cannot be changed; give the other bytes another tag";
    let fixed = "{tag: v2, storageUri: 's3://b/v2'}";
    refuse("Dataset", "numbers", &format!("{{snapshots: [{{tag: v1, digest: 'OTHER'}}, {fixed}]}}"), digest);
    refuse(
        "Dataset",
        "numbers",
        &format!("{{snapshots: [{{tag: v1, storageUri: 's3://b'}}, {fixed}]}}"),
        digest,
    );
    let uri = "the storageUri of a snapshot cannot be changed";
    refuse(
        "Dataset",
        "numbers",
        "{snapshots: [{tag: v1, digest: 'DIGEST'}, {tag: v2, storageUri: 's3://c/v2'}]}",
        uri,
    );
    let removed = "a snapshot cannot be removed, because its tag never moves";
    refuse("Dataset", "numbers", &format!("{{snapshots: [{fixed}]}}"), removed);
    refuse("Dataset", "numbers", "{description: none}", removed);
    // A digest can be added, once, and so can snapshots.
    apply(
        "Dataset",
        "numbers",
        "{snapshots: [{tag: v3, digest: 'OTHER'}, {tag: v2, storageUri: 's3://b/v2', digest: 'DIGEST'}, \
         {tag: v1, digest: 'DIGEST'}]}",
    );
    refuse(
        "Dataset",
        "numbers",
        "{snapshots: [{tag: v1, digest: 'DIGEST'}, {tag: v2, storageUri: 's3://b/v2', digest: 'OTHER'}, {tag: v3, digest: 'OTHER'}]}",
        digest,
    );
    refuse(
        "Dataset",
        "other",
        "{snapshots: [{tag: v1}]}",
        "a snapshot needs `digest` (bytes that the store has)",
    );
    refuse("Dataset", "other", "{snapshots: [{tag: v1, digest: 'sha256:1'}]}", "digest in body should match");
    refuse(
        "Dataset",
        "other",
        "{snapshots: [{tag: a, digest: 'DIGEST'}, {tag: a, digest: 'OTHER'}]}",
        "Duplicate value",
    );
    refuse("Dataset", "a.b", "{}", "metadata.name: use lower-case letters, digits and `-`");
}

#[test]
fn versions_stay_what_they_are() {
    apply(
        "Model",
        "late",
        "{versions: [{version: 1, digest: 'DIGEST'}], aliases: [{alias: champion, version: 1}]}",
    );
    refuse(
        "Model",
        "late",
        "{versions: [{version: 1, digest: 'OTHER'}]}",
        "the digest of a version cannot be changed",
    );
    refuse(
        "Model",
        "late",
        "{versions: [{version: 2, digest: 'OTHER'}]}",
        "a version cannot be removed; put it back",
    );
    let alias = "an alias points to a version that is not listed";
    refuse(
        "Model",
        "late",
        "{versions: [{version: 1, digest: 'DIGEST'}], aliases: [{alias: champion, version: 2}]}",
        alias,
    );
    apply(
        "Model",
        "late",
        "{versions: [{version: 1, digest: 'DIGEST', run: run-0123456789ab}, {version: 2, digest: 'OTHER'}], \
         aliases: [{alias: champion, version: 2}]}",
    );
    refuse(
        "Model",
        "late",
        "{versions: [{version: 1, digest: 'DIGEST'}, {version: 2, digest: 'OTHER'}]}",
        "the run of a version cannot be changed",
    );
    refuse("Model", "other", "{versions: [{version: 0, digest: 'DIGEST'}]}", "greater than or equal to 1");
}

#[test]
fn environments_are_checked() {
    let rules = "policy: {rules: [{name: all, expr: 'true', message: none}]}";
    apply(
        "Environment",
        "production",
        &format!(
            "{{{rules}, gates: [quality], approvers: [{{name: ana}}], requiredApprovals: 1, rollout: {{steps: [5, 100], alpha: 0.01, margins: {{errors: 0.02}}}}}}"
        ),
    );
    refuse("Environment", "x", "{policy: {rules: []}}", "should have at least 1 items");
    refuse(
        "Environment",
        "x",
        &format!("{{{rules}, requiredApprovals: 1}}"),
        "requiredApprovals is more than there are approvers",
    );
    refuse("Environment", "x", &format!("{{{rules}, gates: [a, a]}}"), "Duplicate value");
    for steps in ["[5, 50]", "[50, 5, 100]", "[5, 5, 100]"] {
        let spec = format!("{{{rules}, rollout: {{steps: {steps}}}}}");
        refuse("Environment", "x", &spec, "give rising percentages from 1 that end with 100");
    }
    refuse(
        "Environment",
        "x",
        &format!("{{{rules}, rollout: {{steps: [0, 100]}}}}"),
        "greater than or equal to 1",
    );
    refuse("Environment", "x", &format!("{{{rules}, rollout: {{alpha: 0.5}}}}"), "less than or equal to 0.2");
    let twice =
        "{policy: {rules: [{name: a, expr: 'true', message: m}, {name: a, expr: 'true', message: m}]}}";
    refuse("Environment", "x", twice, "Duplicate value");
}

#[test]
fn promotions_and_approvals_cannot_be_changed() {
    apply("Promotion", "late-1", "{model: late, version: 1, environment: production}");
    let message = "the spec of a Promotion cannot be changed; create another Promotion";
    refuse("Promotion", "late-1", "{model: late, version: 2, environment: production}", message);
    refuse(
        "Promotion",
        "late-1",
        "{model: late, version: 1, environment: production, digest: 'DIGEST'}",
        message,
    );
    let fields =
        "model: late, version: 1, digest: 'DIGEST', environment: production, approver: ana, reason: good";
    apply("Approval", "ana", &format!("{{{fields}, bundle: '{{}}'}}"));
    let message = "the spec of an Approval cannot be changed, because it is signed";
    refuse("Approval", "ana", &format!("{{{fields}, bundle: '{{\"a\": 1}}'}}"), message);
    refuse("Approval", "ben", &format!("{{{fields}}}"), "spec.bundle: Required value");
}

#[test]
fn rollouts_and_actions() {
    apply("Rollout", "late", "{model: late, environment: production, version: 1}");
    apply("Rollout", "late", "{model: late, environment: production, version: 2}");
    refuse(
        "Rollout",
        "late",
        "{model: other, environment: production, version: 2}",
        "the model of a Rollout cannot be changed",
    );
    refuse(
        "Rollout",
        "late",
        "{model: late, environment: staging, version: 2}",
        "the environment of a Rollout cannot be changed",
    );
    refuse("Rollout", "x", "{model: late, environment: production}", "spec.version: Required value");
    let status = r#"{"observedGeneration": 2, "phase": "Progressing", "step": "2/4", "weight": 25, "verdict": "hold",
        "stableVersion": 1, "canaryVersion": 2, "conditions": [{"type": "Progressing", "status": "True",
        "reason": "TrafficWeightUpdated", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}"#;
    set_status("rollouts", "late", status);
    accepted(&["wait", "-n", namespace(), "lro/late", "--for=condition=Progressing"], "");
    let columns = accepted(&["get", "-n", namespace(), "lro", "late"], "");
    for word in
        ["PHASE", "STEP", "WEIGHT", "VERDICT", "STABLE", "CANARY", "AGE", "Progressing", "2/4", "hold"]
    {
        assert!(columns.contains(word), "{columns}");
    }
    let patch = r#"{"status": {"phase": "Failed"}}"#;
    let arguments =
        ["patch", "-n", namespace(), "lro", "late", "--subresource=status", "--type=merge", "-p", patch];
    refused(&arguments, "", "supported values: \"Healthy\", \"Progressing\", \"Paused\", \"Degraded\"");

    apply("RolloutAction", "stop", "{rollout: late, action: Abort, by: ana, reason: errors}");
    let message = "the spec of a RolloutAction cannot be changed";
    refuse("RolloutAction", "stop", "{rollout: late, action: Resume, by: ana, reason: errors}", message);
    let unsigned = "going on without evidence must be signed";
    refuse("RolloutAction", "go", "{rollout: late, action: Promote, by: ana, reason: sure}", unsigned);
    refuse("RolloutAction", "go", "{rollout: late, action: PromoteFull, by: ana, reason: sure}", unsigned);
    refuse("RolloutAction", "go", "{rollout: late, action: Undo, by: ana, reason: sure}", "supported values");
    apply("RolloutAction", "go", "{rollout: late, action: Promote, by: ana, reason: sure, bundle: '{}'}");
    let all = accepted(&["get", "-n", namespace(), "lineal"], "");
    assert!(
        all.contains("rollout.lineal.dev/late") && all.contains("rolloutaction.lineal.dev/stop"),
        "{all}"
    );
}
