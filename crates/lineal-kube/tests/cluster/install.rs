//! The chart, with the real Helm, on the real cluster: what it refuses, makes, allows and leaves behind.
//!
//! `LINEAL_TEST_HELM` names Helm; otherwise it is on the path. No image is pulled here: what is checked does not need
//! the operator to run.

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use lineal_kube::access::{Access, EVERYWHERE, OWN_NAMESPACE};
use serde_json::{Value, json};

use crate::{accepted, kubectl, namespace, said};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/chart");
/// A small server and client, from `testing/cluster/probe`. On a cluster that was started by hand: `cargo xtask cluster
/// load .../bin/probe.tar`.
const PROBE: &str = "cluster.test/probe:1";
/// For policies to be in force.
const LIMIT: Duration = Duration::from_secs(60);
const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// What every installation needs.
fn needed() -> [String; 2] {
    ["image.repository=registry.test/lineal".to_owned(), format!("image.digest={DIGEST}")]
}

fn helm(arguments: &[&str], values: &[String]) -> Output {
    let kubeconfig = std::env::var("LINEAL_TEST_KUBECONFIG")
        .expect("LINEAL_TEST_KUBECONFIG must name the configuration of a cluster for tests");
    let program = std::env::var("LINEAL_TEST_HELM").unwrap_or_else(|_| "helm".to_owned());
    let mut command = Command::new(program);
    command.env("KUBECONFIG", kubeconfig).args(arguments);
    for value in values {
        command.args(["--set", value]);
    }
    command.output().expect("helm can be started")
}

fn done(arguments: &[&str], values: &[String]) -> String {
    let output = helm(arguments, values);
    assert!(output.status.success(), "{arguments:?} {values:?}\n{}", said(&output));
    said(&output)
}

/// A new namespace in which only pods that satisfy the restricted standard are admitted.
fn restricted(name: &str) -> String {
    namespace();
    let name = format!("{name}-{}", std::process::id());
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/warn": "restricted",
    }}});
    accepted(&["create", "-f", "-"], &object.to_string());
    name
}

/// Everything in the cluster that has the label of a release.
fn labelled(release: &str) -> BTreeSet<String> {
    let kinds = accepted(&["api-resources", "--verbs=list", "--output=name"], "");
    // Usage of nodes is no object, and there is nobody who measures it.
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.ends_with(".metrics.k8s.io")).collect();
    let label = format!("app.kubernetes.io/instance={release}");
    let listed = accepted(&["get", &kinds.join(","), "-A", "-l", &label, "--output=name"], "");
    listed.lines().map(str::to_owned).collect()
}

#[test]
fn install_lints_and_refuses_wrong_values() {
    done(&["lint", "--strict", CHART], &needed());
    let wrong: &[(&str, &str)] = &[
        ("image.digest=", "/image/digest"),
        ("image.digest=latest", "/image/digest"),
        ("image.digest=sha256:AA", "/image/digest"),
        ("image.repository=", "/image/repository"),
        ("image.repository=registry.test/lineal:1", "/image/repository"),
        ("image.tag=v1", "additional properties 'tag' not allowed"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("operator.parallelSteps=0", "/operator/parallelSteps"),
        ("operator.parallelSteps=many", "/operator/parallelSteps"),
        ("operator.approver=Ana Smith", "/operator/approver"),
        ("operator.replicas=2", "additional properties 'replicas' not allowed"),
        ("operator.stepImage=busybox:1", "/operator/stepImage"),
        ("operator.namespace=No_Name", "/operator/namespace"),
        ("operator.resources.claims=x", "additional properties 'claims' not allowed"),
        ("operator.tolerations=x", "/operator/tolerations"),
        ("storage.kind=hostPath", "/storage/kind"),
        ("storage.kind=existing", "/storage/existingClaim"),
        ("storage.existingClaim=ledger", "/storage/existingClaim"),
        ("storage.size=20", "/storage/size"),
        ("storage.size=0Gi", "/storage/size"),
        ("bucket.existingSecret=Not A Name", "/bucket/existingSecret"),
        ("index.password=secret", "additional properties 'password' not allowed"),
        ("networkPolicy.enabled=maybe", "/networkPolicy/enabled"),
        ("networkPolicy.stepNamespaces[0]=Team_A", "/networkPolicy/stepNamespaces/0"),
        ("podDisruptionBudget.minAvailable=1", "additional properties 'minAvailable' not allowed"),
        ("server.enabled=true", "additional properties 'server' not allowed"),
    ];
    let mut findings = Vec::new();
    for (value, expected) in wrong {
        let values: Vec<String> = needed().into_iter().chain([(*value).to_owned()]).collect();
        let output = helm(&["template", "wrong", CHART], &values);
        let said = said(&output);
        if output.status.success() || !said.contains(expected) {
            findings.push(format!("`{value}`, expected `{expected}`:\n{said}"));
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn install_makes_objects_that_the_server_accepts_without_a_warning() {
    let name = restricted("variants");
    let variants: &[&[&str]] = &[
        &[],
        &["storage.kind=empty", "networkPolicy.enabled=false", "podDisruptionBudget.enabled=false"],
        &["storage.kind=existing", "storage.existingClaim=ledger", "bucket.existingSecret=keys"],
        &[
            "index.existingSecret=database",
            "operator.namespace=default",
            "operator.arguments[0]=--verbose",
            "operator.environment[0].name=HTTPS_PROXY",
            "operator.environment[0].value=http://proxy:1",
            "image.pullSecrets[0]=registry",
            "operator.priorityClassName=system-cluster-critical",
            "operator.nodeSelector.disk=fast",
            "operator.tolerations[0].operator=Exists",
            "operator.podAnnotations.a=b",
            "operator.podLabels.team=x",
            "networkPolicy.metricsNamespace=monitoring",
            "serviceAccount.annotations.a=b",
            "storage.className=fast",
        ],
    ];
    for variant in variants {
        let values: Vec<String> =
            needed().into_iter().chain(variant.iter().map(|value| (*value).to_owned())).collect();
        let objects = helm(&["template", "lineal", CHART, "--namespace", &name], &values);
        assert!(objects.status.success(), "{}", said(&objects));
        let objects = String::from_utf8(objects.stdout).unwrap();
        let applied = kubectl(&["apply", "--dry-run=server", "--validate=strict", "-f", "-"], &objects);
        assert!(applied.status.success(), "{variant:?}\n{}", said(&applied));
        assert!(!said(&applied).contains("Warning"), "{variant:?}\n{}", said(&applied));
    }
}

/// The rules of an account in a namespace, one text for each verb on each resource.
fn rules(account: &str, namespace: &str) -> BTreeSet<String> {
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace}});
    let user = format!("--as={account}");
    let groups = "--as-group=system:authenticated";
    let answer = accepted(
        &["create", &user, groups, "--validate=false", "--output=json", "-f", "-"],
        &review.to_string(),
    );
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut found = BTreeSet::new();
    for rule in answer["status"]["resourceRules"].as_array().unwrap() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                found.extend(
                    texts(&rule["verbs"]).iter().map(|verb| format!("{verb} {resource} of `{group}`")),
                );
            }
        }
    }
    found
}

fn expected(tables: &[&[Access]]) -> BTreeSet<String> {
    let line = |access: &Access| {
        let Access { group, resource, verbs, .. } = *access;
        verbs.iter().map(move |verb| format!("{verb} {resource} of `{group}`")).collect::<Vec<_>>()
    };
    tables.iter().copied().flatten().flat_map(line).collect()
}

#[test]
fn install_allows_the_operator_what_the_list_says_and_nothing_else() {
    let name = restricted("access");
    let values: Vec<String> = needed().into_iter().chain(["storage.kind=empty".to_owned()]).collect();
    done(&["install", "lineal", CHART, "--namespace", &name], &values);
    let account = format!("system:serviceaccount:{name}:lineal");
    let nobody = format!("system:serviceaccount:{name}:nobody");
    for (space, tables) in [(name.as_str(), &[EVERYWHERE, OWN_NAMESPACE][..]), ("default", &[EVERYWHERE])] {
        // What everybody may: to ask who they are.
        let everybody = rules(&nobody, space);
        let own: BTreeSet<String> = rules(&account, space).difference(&everybody).cloned().collect();
        assert_eq!(own, expected(tables), "in {space}");
    }
    let user = format!("--as={account}");
    let can = |verb: &str, resource: &str, space: &str| {
        let output = kubectl(&["auth", "can-i", verb, resource, "-n", space, &user], "");
        output.status.success()
    };
    for (verb, resource) in [
        ("get", "secrets"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("update", "jobs.batch"),
        ("create", "rolebindings.rbac.authorization.k8s.io"),
        ("escalate", "clusterroles.rbac.authorization.k8s.io"),
        ("create", "serviceaccounts/token"),
        ("list", "nodes"),
        ("update", "pipelineruns.lineal.dev"),
        ("delete", "pipelineruns.lineal.dev"),
    ] {
        assert!(!can(verb, resource, &name), "{verb} {resource}");
    }
    assert!(can("create", "jobs.batch", "default") && can("get", "leases.coordination.k8s.io", &name));
    assert!(!can("get", "leases.coordination.k8s.io", "default"));
    done(&["uninstall", "lineal", "--namespace", &name, "--wait"], &[]);
}

#[test]
fn install_upgrade_keeps_the_claim_and_uninstall_leaves_nothing_else() {
    let name = restricted("life");
    // The label is on objects outside of the namespace too, so the release has a name of its own.
    let release = name.as_str();
    let object = format!("{release}-lineal");
    let values = |more: &[&str]| -> Vec<String> {
        needed().into_iter().chain(more.iter().map(|value| (*value).to_owned())).collect()
    };
    done(&["install", release, CHART, "--namespace", &name], &values(&[]));
    let made = labelled(release);
    for kind in [
        "deployment.apps",
        "serviceaccount",
        "clusterrole.rbac.authorization.k8s.io",
        "clusterrolebinding.rbac.authorization.k8s.io",
        "role.rbac.authorization.k8s.io",
        "rolebinding.rbac.authorization.k8s.io",
        "service",
        "networkpolicy.networking.k8s.io",
        "poddisruptionbudget.policy",
        "persistentvolumeclaim",
    ] {
        assert!(made.iter().any(|object| object.starts_with(&format!("{kind}/"))), "{kind}: {made:?}");
    }
    let claim = ["get", "pvc", &object, "-n", &name, "--output=jsonpath={.metadata.uid}"];
    let before = accepted(&claim, "");
    done(&["upgrade", release, CHART, "--namespace", &name], &values(&["operator.parallelSteps=3"]));
    assert_eq!(accepted(&claim, ""), before);
    let arguments = "--output=jsonpath={.spec.template.spec.containers[0].args}";
    let arguments =
        accepted(&["get", "deployment", &format!("{object}-operator"), "-n", &name, arguments], "");
    assert!(arguments.contains("--parallel-steps=3"), "{arguments}");
    done(&["rollback", release, "1", "--namespace", &name], &[]);
    assert_eq!(accepted(&claim, ""), before);
    done(&["uninstall", release, "--namespace", &name, "--wait", "--cascade=foreground"], &[]);
    // Kept by policy, as the chart's README says: the ledger is on it.
    assert_eq!(labelled(release), BTreeSet::from([format!("persistentvolumeclaim/{object}")]));
    assert_eq!(accepted(&claim, ""), before);
    accepted(&["get", "crd", "pipelineruns.lineal.dev"], "");
    // The same claim again, for who comes back.
    done(&["install", release, CHART, "--namespace", &name, "--take-ownership"], &values(&[]));
    assert_eq!(accepted(&claim, ""), before);
    done(&["uninstall", release, "--namespace", &name, "--wait"], &[]);
    accepted(&["delete", "namespace", &name, "--wait=false"], "");
}

/// A pod that serves on these ports and satisfies the restricted standard.
fn server(name: &str, labels: &Value, ports: &[(&str, u16)]) -> Value {
    let container = |(name, port): &(&str, u16)| {
        json!({
            "name": name,
            "image": PROBE,
            "imagePullPolicy": "Never",
            "args": ["serve", port.to_string()],
            "ports": [{"name": name, "containerPort": port}],
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        })
    };
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": ports.iter().map(container).collect::<Vec<_>>(),
        },
    })
}

/// Who reaches whom, with servers in place of the operator and of a step: the labels are theirs.
#[test]
fn install_policies_let_steps_reach_the_exchange_and_nothing_else() {
    let name = restricted("network");
    let values: Vec<String> = needed()
        .into_iter()
        .chain(["storage.kind=empty".to_owned(), format!("networkPolicy.metricsNamespace={name}")])
        .collect();
    done(&["install", "lineal", CHART, "--namespace", &name], &values);
    let deployment = accepted(&["get", "deployment", "lineal-operator", "-n", &name, "--output=json"], "");
    let deployment: Value = serde_json::from_str(&deployment).unwrap();
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let step = json!({"app.kubernetes.io/part-of": "lineal", "app.kubernetes.io/component": "step"});
    let pods = [
        server("operator", labels, &[("exchange", 8443), ("health", 8080)]),
        server("step", &step, &[("serve", 8080)]),
        server("stranger", &json!({"who": "stranger"}), &[("serve", 8080)]),
    ];
    for pod in &pods {
        accepted(&["create", "-n", &name, "-f", "-"], &pod.to_string());
    }
    let ready = ["wait", "-n", &name, "--for=condition=Ready", "--timeout=60s"];
    accepted(&[&ready[..], &["pod/operator", "pod/step", "pod/stranger"]].concat(), "");
    let address = |kind: &str, path: &str| {
        accepted(&["get", kind, "-n", &name, &format!("--output=jsonpath={{{path}}}")], "")
    };
    let exchange = format!("http://{}:8443/", address("service/lineal-exchange", ".spec.clusterIP"));
    let [operator, step, stranger] =
        ["pod/operator", "pod/step", "pod/stranger"].map(|pod| address(pod, ".status.podIP"));
    let asks = |from: &str, words: [&str; 2]| {
        let output = kubectl(&[&["exec", "-n", &name, from, "--", "/probe"], &words[..]].concat(), "");
        // Anything else is a fault of the cluster, not of the network between two pods.
        assert!(output.status.success() || said(&output).contains("error:"), "{from}: {}", said(&output));
        output.status.success()
    };
    // A policy is in force a moment after it is made, and a new pod's address is known a moment after that.
    let until = |from: &str, words: [&str; 2], wanted: bool| {
        let begun = Instant::now();
        while asks(from, words) != wanted {
            assert!(begun.elapsed() < LIMIT, "{from} {words:?}: not {wanted} within {LIMIT:?}");
        }
    };
    let (health, at_stranger) = (format!("http://{operator}:8080/"), format!("http://{stranger}:8080/"));
    until("step", ["get", &exchange], true);
    until("stranger", ["get", &exchange], false);
    until("stranger", ["get", &health], true);
    until("step", ["get", &health], false);
    until("step", ["get", &at_stranger], false);
    until("step", ["lookup", "kubernetes.default.svc.cluster.local"], false);
    until("stranger", ["get", &format!("http://{step}:8080/")], false);
    // What was refused is there.
    until("operator", ["get", &at_stranger], true);
    until("step", ["get", "http://127.0.0.1:8080/"], true);
    until("stranger", ["lookup", "kubernetes.default.svc.cluster.local"], true);
    // Still so, after the others could.
    assert!(asks("step", ["get", &exchange]) && !asks("stranger", ["get", &exchange]));
    done(&["uninstall", "lineal", "--namespace", &name, "--wait"], &[]);
    accepted(&["delete", "namespace", &name, "--wait=false"], "");
}
