//! What goes wrong on a cluster: pods that end, an operator that ends, images that are not there, a status that is lost.

use std::sync::PoisonError;

use serde_json::{Value, json};

use crate::run::{LIMIT, POD, ended, jobs_of, pipeline, start, step};
use crate::{accepted, kubectl, namespace, said};

/// Goes on for so long that something can happen meanwhile. The step's own time; nothing waits for it. No other test has
/// the same one, or it could reuse the result.
fn slow(test: &str) -> Value {
    step(&format!("sleep 4; echo {test} > $LINEAL_OUT/a.txt"), json!({}), json!({"a": "a.txt"}))
}

/// Waits until the step's container runs; gives the pod's name.
fn running_pod(run: &str, step: &str) -> String {
    let label = format!("lineal.dev/pipeline-run={run},lineal.dev/step={step}");
    let select = ["-n", namespace(), "-l", &label];
    for what in ["create", "jsonpath={.status.phase}=Running"] {
        let waited = kubectl(&[&["wait", &format!("--for={what}"), LIMIT, "pod"], &select[..]].concat(), "");
        assert!(waited.status.success(), "{}{}", said(&waited), crate::run::state_of(run));
    }
    let names = ["get", "pods", "--output=jsonpath={.items[0].metadata.name}"];
    accepted(&[&names[..], &select].concat(), "")
}

fn attempts(object: &Value) -> Vec<u64> {
    let steps = object["status"]["steps"].as_array().unwrap();
    steps.iter().map(|step| step["attempts"].as_u64().unwrap()).collect()
}

/// Ends the operator's pod and waits for the next one.
fn end_operator() {
    let _alone = POD.write().unwrap_or_else(PoisonError::into_inner);
    let selected = ["-n", "lineal", "-l", "app.kubernetes.io/component=operator"];
    accepted(&[&["delete", "pod", "--grace-period=0", "--force"], &selected[..]].concat(), "");
    accepted(&["rollout", "status", "-n", "lineal", "deploy/lineal-operator", LIMIT], "");
}

#[test]
fn fault_an_operator_that_ends_goes_on_with_the_same_run() {
    let document = |after: &str| {
        pipeline(
            "resumed",
            json!({
                "slow": slow("resumed"),
                "after": step(after, json!({"a": "slow.a"}), json!({"b": "b.txt"})),
            }),
        )
    };
    let run = start(&document("cat $LINEAL_IN/a > $LINEAL_OUT/b.txt"), json!({}));
    running_pod(&run, "slow");
    // An edit meanwhile is for the next run.
    let edited = document("echo edited > $LINEAL_OUT/b.txt");
    accepted(&["apply", "-n", namespace(), "-f", "-"], &edited);
    end_operator();
    let object = ended(&run, "Succeeded");
    assert_eq!(attempts(&object), [1, 1], "{object}");
    assert_eq!(jobs_of(&run).len(), 2);
    let status = &object["status"];
    let shown = crate::run::inside(&["runs", "show", status["runId"].as_str().unwrap()], b"");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    // `after` has the bytes of `slow`.
    let digests: Vec<_> = ["a", "b"]
        .iter()
        .zip(shown["steps"].as_array().unwrap())
        .map(|(name, step)| step["outputs"][name]["digest"].clone())
        .collect();
    assert_eq!(digests[0], digests[1], "{shown}");
}

#[test]
fn fault_a_pod_that_is_evicted_is_replaced_in_its_job() {
    let run = start(&pipeline("evicted", json!({"slow": slow("evicted")})), json!({}));
    let pod = running_pod(&run, "slow");
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": pod, "namespace": namespace()},
    });
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/eviction", namespace());
    accepted(&["create", "--raw", &path, "-f", "-"], &eviction.to_string());
    let object = ended(&run, "Succeeded");
    assert_eq!(attempts(&object), [1], "{object}");
}

#[test]
fn fault_a_pod_that_is_deleted_is_followed_by_another_job() {
    let run = start(&pipeline("deleted", json!({"slow": slow("deleted")})), json!({}));
    let pod = running_pod(&run, "slow");
    accepted(&["delete", "pod", "-n", namespace(), &pod, "--wait=false"], "");
    let object = ended(&run, "Succeeded");
    assert_eq!(attempts(&object), [2], "{object}");
}

#[test]
fn fault_an_image_that_is_not_there_is_said() {
    let name =
        "registry.test:5000/absent@sha256:0000000000000000000000000000000000000000000000000000000000000001";
    let mut document: Value = serde_json::from_str(&pipeline(
        "absent",
        json!({"a": step("true", json!({}), json!({"a": "a.txt"}))}),
    ))
    .unwrap();
    document["envs"]["base"]["image"] = name.into();
    let object = ended(&start(&document.to_string(), json!({})), "Failed");
    let message = object["status"]["message"].as_str().unwrap();
    assert!(message.contains("could not be started") && message.contains("absent@sha256"), "{message}");
}

#[test]
fn fault_a_status_that_is_removed_is_told_again() {
    let document = pipeline(
        "forgotten",
        json!({"a": step("echo a > $LINEAL_OUT/a.txt", json!({}), json!({"a": "a.txt"}))}),
    );
    let run = start(&document, json!({}));
    let before = ended(&run, "Succeeded")["status"].clone();
    let patch = ["patch", "plr", &run, "-n", namespace(), "--subresource=status", "--type=merge"];
    accepted(&[&patch[..], &["--patch", r#"{"status":null}"#]].concat(), "");
    assert_eq!(ended(&run, "Succeeded")["status"], before);
    assert_eq!(jobs_of(&run).len(), 1);
}

#[test]
fn fault_a_run_that_is_deleted_takes_its_jobs_along() {
    let document = pipeline("dropped", json!({"slow": step("sleep 600", json!({}), json!({"a": "a.txt"}))}));
    let run = start(&document, json!({}));
    let pod = running_pod(&run, "slow");
    accepted(&["delete", "plr", "-n", namespace(), &run], "");
    let gone = kubectl(&["wait", "--for=delete", "-n", namespace(), LIMIT, "pod", &pod], "");
    assert!(gone.status.success(), "{}", said(&gone));
    assert!(jobs_of(&run).is_empty());
}

#[test]
fn fault_a_step_has_no_credentials_of_the_cluster() {
    let script = "test ! -e /var/run/secrets && ! env | grep -i kubernetes && echo none > $LINEAL_OUT/a.txt";
    let document = pipeline("powerless", json!({"a": step(script, json!({}), json!({"a": "a.txt"}))}));
    let run = start(&document, json!({}));
    ended(&run, "Succeeded");
    // The only token that its pod has is for the exchange: the API server does not take it.
    let job = &jobs_of(&run)[0];
    let spec = &job["spec"]["template"]["spec"];
    assert_eq!(spec["automountServiceAccountToken"], false);
    let tokens: Vec<&Value> =
        spec["volumes"].as_array().unwrap().iter().filter(|v| v["projected"].is_object()).collect();
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0]["projected"]["sources"][0]["serviceAccountToken"]["audience"], "lineal.dev");
}

#[test]
fn fault_a_step_that_uses_too_much_memory_is_not_tried_again() {
    let mut greedy = step("tail /dev/zero", json!({}), json!({"a": "a.txt"}));
    greedy["resources"] = json!({"cpu": "10m", "memory": "48Mi"});
    let object = ended(&start(&pipeline("greedy", json!({"greedy": greedy})), json!({})), "Failed");
    let message = object["status"]["message"].as_str().unwrap();
    assert!(message.contains("memory"), "{message}");
    assert_eq!(attempts(&object), [1], "{object}");
}

#[test]
fn fault_a_run_in_a_queue_waits_until_it_is_let_in() {
    let document = pipeline(
        "queued",
        json!({"a": step("echo queued > $LINEAL_OUT/a.txt", json!({}), json!({"a": "a.txt"}))}),
    );
    let run = start(&document, json!({"queue": "team"}));
    let job = ["-n", namespace(), "-l", "kueue.x-k8s.io/queue-name=team"];
    accepted(&[&["wait", "--for=create", LIMIT, "job"], &job[..]].concat(), "");
    let suspended = ["wait", "--for=condition=Suspended", LIMIT, "job"];
    accepted(&[&suspended[..], &job].concat(), "");
    // As Kueue does when there is room.
    let name = jobs_of(&run)[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let patch = [
        "patch",
        "job",
        &name,
        "-n",
        namespace(),
        "--type=merge",
        "--patch",
        r#"{"spec":{"suspend":false}}"#,
    ];
    accepted(&patch, "");
    assert_eq!(attempts(&ended(&run, "Succeeded")), [1]);
}

/// Asks the exchange for work without a token, with the one that every pod gets, and with one for the exchange.
const STRANGER: &str = r#"
import ssl, sys, urllib.error, urllib.request
def ask(token):
    request = urllib.request.Request(sys.argv[1] + "/exchange/v1/work", method="POST",
        data=b'{"version":"1","cpuClass":"x","kernel":"x","previous":null}', headers={"Authorization": "Bearer " + token} if token else {})
    # The operator may be away, and the network may not let a new pod through yet.
    while True:
        try:
            return urllib.request.urlopen(request, context=ssl._create_unverified_context(), timeout=30).status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            pass
print([ask(None), ask(open("/var/run/secrets/kubernetes.io/serviceaccount/token").read()), ask(open("/token/token").read())])
"#;

#[test]
fn fault_a_stranger_gets_nothing_from_the_exchange() {
    let exchange =
        ["get", "service", "-n", "lineal", "lineal-exchange", "--output=jsonpath={.spec.clusterIP}"];
    let exchange = format!("https://{}:8443", accepted(&exchange, ""));
    let token =
        json!({"serviceAccountToken": {"audience": "lineal.dev", "expirationSeconds": 600, "path": "token"}});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        // The network lets it through as it lets pods of steps through.
        "metadata": {"name": "stranger", "namespace": namespace(), "labels": {
            "app.kubernetes.io/part-of": "lineal", "app.kubernetes.io/component": "step",
        }},
        "spec": {
            "restartPolicy": "Never",
            "volumes": [{"name": "token", "projected": {"sources": [token]}}],
            "containers": [{
                "name": "stranger", "image": crate::run::variable("LINEAL_TEST_STEP_IMAGE"),
                "command": ["python3", "-c", STRANGER, exchange],
                "volumeMounts": [{"name": "token", "mountPath": "/token"}],
            }],
        },
    });
    accepted(&["create", "-f", "-"], &pod.to_string());
    let wait = ["wait", "-n", namespace(), "--for=jsonpath={.status.phase}=Succeeded", LIMIT, "pod/stranger"];
    let ended = kubectl(&wait, "");
    let told = accepted(&["logs", "-n", namespace(), "stranger"], "");
    assert!(ended.status.success(), "{told}{}", said(&ended));
    // The last one is somebody's whom the operator may only not know yet: it is told to come again.
    assert_eq!(told.trim(), "[401, 401, 503]");
}
