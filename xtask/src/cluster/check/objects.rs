//! Kubernetes objects that the check applies.

use serde_json::{Value, json};

/// The image of `testing/cluster/probe`, which every cluster gets.
pub(super) const PROBE: &str = "cluster.test/probe:1";

/// Two servers that say which one they are.
pub(super) fn deployment() -> Value {
    let mut container = container(PROBE, &["serve"]);
    container["readinessProbe"] = json!({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "hello"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "hello"}},
            "template": {
                "metadata": {"labels": {"app": "hello"}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
            },
        },
    })
}

/// The one address of these servers.
pub(super) fn service() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "hello"},
        "spec": {"selector": {"app": "hello"}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

/// A job of the probe; `more` are further fields of its spec.
pub(super) fn job(name: &str, arguments: &[&str], more: Value) -> Value {
    job_of(name, container(PROBE, arguments), more)
}

/// A job of one container.
pub(super) fn job_of(name: &str, container: Value, more: Value) -> Value {
    let mut job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "backoffLimit": 6,
            "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
        },
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        job["spec"][key] = value.clone();
    }
    job
}

/// A container of an image that is on the node, or is pulled once by its digest.
pub(super) fn container(image: &str, arguments: &[&str]) -> Value {
    let policy = if image.contains("@sha256:") { "IfNotPresent" } else { "Never" };
    json!({"name": "main", "image": image, "imagePullPolicy": policy, "args": arguments})
}

/// A pod that waits, with a label.
pub(super) fn waiting_pod(name: &str, label: (&str, &str)) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {label.0: label.1}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container(PROBE, &["wait"])]},
    })
}

/// Only pods with the label `friend: "yes"` reach the servers.
pub(super) fn only_friends() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "only-friends"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "hello"}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"friend": "yes"}}}], "ports": [{"port": 8080}]}],
        },
    })
}

/// In namespaces with the label `digests: only`, images are named by digest; and the binding that puts it in force.
pub(super) fn images_by_digest() -> [Value; 2] {
    let api = "admissionregistration.k8s.io/v1";
    let policy = json!({
        "apiVersion": api,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "images-by-digest"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods"],
            }]},
            "validations": [{
                "expression": "object.spec.containers.all(c, c.image.matches('@sha256:[0-9a-f]{64}$'))",
                "message": "every image must be named by digest",
            }],
        },
    });
    let binding = json!({
        "apiVersion": api,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "images-by-digest"},
        "spec": {
            "policyName": "images-by-digest",
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"digests": "only"}}},
        },
    });
    [policy, binding]
}
