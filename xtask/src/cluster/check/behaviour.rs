//! One function for each thing that a cluster must be able to do.

use std::ffi::OsStr;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::objects::{self, PROBE};
use super::subject::{LIMIT, Subject};
use crate::cluster::image::{Entry, Image, python};
use crate::cluster::place::Process;
use crate::cluster::{inside, life, processes};
use crate::shell;

const API_SERVER: &str = "kube-apiserver";
/// The exit code by which a step says that another attempt is pointless.
const HOPELESS: &str = "42";

/// Programs inside: they find the cluster, see its processes, and end with the command that started them.
pub(super) fn exec(subject: &Subject) -> Result<String> {
    let run = |words: &[&str]| -> Result<Command> {
        let mut command = inside::command(&subject.place, OsStr::new(words[0]))?;
        command.args(&words[1..]);
        Ok(command)
    };
    let node = shell::output(&mut run(&["kubectl", "get", "nodes", "--output=name"])?)?;
    ensure!(node.trim() == "node/node1", "kubectl inside says {node}");
    let own = shell::output(&mut run(&["readlink", "/proc/self"])?)?;
    ensure!(own.trim().parse::<u32>().is_ok(), "no process sees itself: {own}");
    let image = subject.place.at("bin/probe.tar");
    inside::load(&subject.place, &[image])?;
    // A number that no other process has as an argument.
    let argument = format!("7{}", std::process::id());
    let mut parent = Killed(run(&["sleep", &argument])?.stdin(Stdio::null()).spawn()?);
    let runs = || -> Result<bool> {
        let listed = shell::output(&mut run(&["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"])?);
        Ok(listed?.contains(&format!("sleep {argument}")))
    };
    subject.eventually("the program inside runs", LIMIT, || Ok(runs()?.then_some(())))?;
    parent.0.kill()?;
    parent.0.wait()?;
    subject.eventually("the program inside ends with its command", LIMIT, || Ok((!runs()?).then_some(())))?;
    // As the API server reaches a webhook.
    let probe = subject.place.at("bin/probe");
    let serve = [probe.to_str().context("the folder's name is not UTF-8")?, "serve"];
    let _server = Killed(run(&serve)?.stdin(Stdio::null()).spawn()?);
    let job = objects::job("outward", &["get", "http://10.96.0.1:8080/"], json!({}));
    let said = subject.run_job("outward", &job)?;
    ensure!(said == "hello from node1", "a program inside says {said} to a pod");
    Ok(said)
}

/// A process that does not outlive the check.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two servers behind one name, reached by a job.
pub(super) fn service_and_dns(subject: &Subject) -> Result<String> {
    subject.apply(&objects::deployment())?;
    subject.apply(&objects::service())?;
    let limit = format!("--timeout={}s", LIMIT.as_secs());
    subject.kubectl(&["rollout", "status", "deployment/hello", &limit])?;
    let job = objects::job("get", &["get", "http://hello.default.svc.cluster.local/"], json!({}));
    let said = subject.run_job("get", &job)?;
    ensure!(said.contains("hello from hello-"), "the job says {said}");
    Ok(said)
}

/// Open, then closed to strangers and open to friends, then open again.
pub(super) fn network_policy(subject: &Subject) -> Result<String> {
    for (name, friend) in [("friend", "yes"), ("stranger", "no")] {
        subject.apply(&objects::waiting_pod(name, ("friend", friend)))?;
    }
    let limit = format!("--timeout={}s", LIMIT.as_secs());
    subject.kubectl(&["wait", "--for=condition=Ready", "pod/friend", "pod/stranger", &limit])?;
    let reaches = |name: &str| -> Result<bool> {
        let arguments = ["exec", name, "--", "/probe", "get", "http://hello/"];
        let answer = subject.refusal(&arguments, &Value::Null)?;
        match answer {
            None => Ok(true),
            // Anything else is a fault of the cluster, not of the network between two pods.
            Some(said) if said.contains("hello") && said.contains("error:") => Ok(false),
            Some(said) => anyhow::bail!("{name}: {said}"),
        }
    };
    let until = |what: &str, name: &str, wanted: bool| {
        subject.eventually(what, LIMIT, || Ok((reaches(name)? == wanted).then_some(())))
    };
    until("open before the policy", "stranger", true)?;
    let begun = Instant::now();
    subject.apply(&objects::only_friends())?;
    until("the policy shuts strangers out", "stranger", false)?;
    let took = begun.elapsed().as_secs_f64();
    until("the policy lets friends in", "friend", true)?;
    ensure!(!reaches("stranger")?, "a stranger comes in after a friend did");
    subject.kubectl(&["delete", "networkpolicy", "only-friends"])?;
    until("open after the policy", "stranger", true)?;
    Ok(format!("in force after {took:.1} s"))
}

/// A tag is refused where the policy is bound, a digest is not, and elsewhere a tag is not.
pub(super) fn admission_policy(subject: &Subject) -> Result<String> {
    subject.kubectl(&["create", "namespace", "strict"])?;
    subject.kubectl(&["label", "namespace", "strict", "digests=only"])?;
    for object in objects::images_by_digest() {
        subject.apply(&object)?;
    }
    let pod = |image: &str| {
        let mut pod = objects::waiting_pod("pod", ("a", "b"));
        pod["spec"]["containers"][0]["image"] = json!(image);
        pod
    };
    let create = ["create", "--dry-run=server", "--filename=-", "--namespace=strict"];
    // It is not in force in the first moments.
    let said = subject.eventually("a tag is refused", LIMIT, || subject.refusal(&create, &pod(PROBE)))?;
    ensure!(said.contains("every image must be named by digest"), "refused, but: {said}");
    let pinned = format!("cluster.test/probe@sha256:{}", "0".repeat(64));
    let refused = subject.refusal(&create, &pod(&pinned))?;
    ensure!(refused.is_none(), "a digest is refused: {refused:?}");
    let refused = subject.refusal(&create[..3], &pod(PROBE))?;
    ensure!(refused.is_none(), "a tag is refused in another namespace: {refused:?}");
    Ok(String::new())
}

/// An image made here goes through the registry, and the node says that it runs exactly that one.
pub(super) fn pull_by_digest(subject: &Subject) -> Result<String> {
    let text = subject.scratch.path().join("text");
    std::fs::write(&text, "from the registry\n")?;
    let entries = [
        Entry { path: "/probe".to_owned(), file: subject.place.at("bin/probe") },
        Entry { path: "/etc/text".to_owned(), file: text },
    ];
    let image = Image { name: "made.test/text:1".to_owned(), entrypoint: vec!["/probe".to_owned()] };
    let file = subject.scratch.path().join("text.tar");
    let digest = image.write(&file, &entries)?;
    let reference = inside::push(&subject.place, &file, "text")?;
    ensure!(reference == format!("registry.test:5000/text@{digest}"), "pushed as {reference}, not {digest}");
    let container = objects::container(&reference, &["cat", "/etc/text"]);
    let said = subject.run_job("pulled", &objects::job_of("pulled", container, json!({})))?;
    ensure!(said == "from the registry", "the job says {said}");
    let path = "--output=jsonpath={.items[0].status.containerStatuses[0].imageID}";
    let ran = subject.kubectl(&["get", "pods", "--selector=job-name=pulled", path])?;
    ensure!(ran.ends_with(&digest), "the node ran {ran}, not {digest}");
    Ok(digest)
}

/// A hopeless exit code ends a job at its first pod, whatever attempts are left; another code is none of its business.
pub(super) fn failure_policy(subject: &Subject) -> Result<String> {
    let policy = json!({"podFailurePolicy": {"rules": [{
        "action": "FailJob",
        "onExitCodes": {"containerName": "main", "operator": "In", "values": [42]},
    }]}});
    let limit = format!("--timeout={}s", LIMIT.as_secs());
    subject.apply(&objects::job("hopeless", &["exit", HOPELESS], policy.clone()))?;
    subject.kubectl(&["wait", "--for=condition=Failed", "job/hopeless", &limit])?;
    let reason = "--output=jsonpath={.status.conditions[?(@.type=='Failed')].reason} {.status.failed}";
    let said = subject.kubectl(&["get", "job", "hopeless", reason])?;
    ensure!(said == "PodFailurePolicy 1", "the hopeless job failed by {said}");
    let mut other = policy;
    other["backoffLimit"] = json!(0);
    subject.apply(&objects::job("unlucky", &["exit", "7"], other))?;
    subject.kubectl(&["wait", "--for=condition=Failed", "job/unlucky", &limit])?;
    let other = subject.kubectl(&["get", "job", "unlucky", reason])?;
    ensure!(other == "BackoffLimitExceeded 1", "the unlucky job failed by {other}");
    Ok(format!("{said}; {other}"))
}

/// A suspended job has no pod until it is resumed.
pub(super) fn suspended(subject: &Subject) -> Result<String> {
    let job =
        objects::job("later", &["lookup", "kubernetes.default.svc.cluster.local"], json!({"suspend": true}));
    subject.apply(&job)?;
    // The controller has seen it, and made no pod.
    subject.kubectl(&["wait", "--for=condition=Suspended", "job/later", "--timeout=30s"])?;
    let pods = ["get", "pods", "--selector=job-name=later", "--output=name"];
    let before = subject.kubectl(&pods)?;
    ensure!(before.trim().is_empty(), "a suspended job has {before}");
    let begun = Instant::now();
    subject.kubectl(&["patch", "job", "later", "--patch={\"spec\":{\"suspend\":false}}"])?;
    subject.kubectl(&["wait", "--for=condition=Complete", "job/later", "--timeout=60s"])?;
    Ok(format!("complete {:.1} s after it was resumed", begun.elapsed().as_secs_f64()))
}

/// The API server is started again, and what ran goes on.
pub(super) fn killed_api_server(subject: &Subject) -> Result<String> {
    let uid = ["get", "deployment", "hello", "--output=jsonpath={.metadata.uid}"];
    let before = subject.kubectl(&uid)?;
    let servers = || -> Result<Vec<Process>> {
        Ok(processes::named(&processes::below(subject.place.running()?), API_SERVER))
    };
    let killed = servers()?;
    let begun = Instant::now();
    life::kill(&subject.place, API_SERVER)?;
    ensure!(!killed.is_empty() && !killed.iter().any(Process::runs), "it runs after it was killed");
    let after =
        subject.eventually("the API server answers again", LIMIT, || Ok(subject.kubectl(&uid).ok()))?;
    let again = servers()?;
    ensure!(again.len() == 1 && again != killed, "{again:?} answers, {killed:?} was killed");
    ensure!(before == after, "the deployment is another one");
    Ok(format!("answers after {:.1} s", begun.elapsed().as_secs_f64()))
}

/// Another image's files as a volume; it needs a newer containerd.
pub(super) fn image_volume(subject: &Subject) -> Result<String> {
    let text = subject.scratch.path().join("volume-text");
    std::fs::write(&text, "from an image volume\n")?;
    let image = Image { name: "made.test/volume:1".to_owned(), entrypoint: Vec::new() };
    let file = subject.scratch.path().join("volume.tar");
    image.write(&file, &[Entry { path: "/etc/text".to_owned(), file: text }])?;
    let reference = inside::push(&subject.place, &file, "volume")?;
    let mut container = objects::container(PROBE, &["cat", "/volume/etc/text"]);
    container["volumeMounts"] = json!([{"name": "image", "mountPath": "/volume"}]);
    let mut job = objects::job_of("volume", container, json!({}));
    job["spec"]["template"]["spec"]["volumes"] =
        json!([{"name": "image", "image": {"reference": reference}}]);
    let said = subject.run_job("volume", &job)?;
    ensure!(said == "from an image volume", "the job says {said}");
    Ok(said)
}

/// Root in a pod is nobody on the node; it needs a newer containerd and runc.
pub(super) fn user_namespace(subject: &Subject) -> Result<String> {
    let mut job = objects::job("apart", &["cat", "/proc/self/uid_map"], json!({}));
    job["spec"]["template"]["spec"]["hostUsers"] = json!(false);
    let said = subject.run_job("apart", &job)?;
    let outside = said.split_whitespace().nth(1).context("no map of users")?;
    ensure!(said.starts_with('0') && outside != "0", "users are mapped {said}");
    Ok(format!("root is {outside} on the node"))
}

/// The image of Debian, Python and a lock file is the same twice, from another folder, and trains a model in a pod.
pub(super) fn python(subject: &Subject) -> Result<String> {
    let lock = subject.workspace.root.join("examples/flights/env/train.txt");
    // Beside the cluster's data: there is room for it.
    let folders = [tempfile::tempdir_in(&subject.place.state)?, tempfile::tempdir_in(&subject.place.state)?];
    let mut digests = Vec::new();
    for folder in &folders {
        digests.push(python::write(&folder.path().join("image.tar"), "made.test/python:1", Some(&lock))?);
    }
    ensure!(digests[0] == digests[1], "two images: {} and {}", digests[0], digests[1]);
    let reference = inside::push(&subject.place, &folders[0].path().join("image.tar"), "python")?;
    let container = objects::container(&reference, &["-c", TRAINING]);
    let said = subject.run_job("training", &objects::job_of("training", container, json!({})))?;
    ensure!(said == "fits", "the training says {said}");
    Ok(digests.remove(0))
}

const TRAINING: &str = "\
import lightgbm, numpy
x = numpy.arange(200.0).reshape(-1, 1)
data = lightgbm.Dataset(x, x[:, 0] > 99)
model = lightgbm.train({'objective': 'binary', 'verbose': -1, 'num_threads': 1}, data, 20)
print('fits' if model.predict([[150.0]])[0] > 0.9 > 0.1 > model.predict([[10.0]])[0] else 'no')
";
