//! Whether a cluster does what tests rely on, and leaves nothing behind.

mod behaviour;
mod leftovers;
mod objects;
mod subject;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use self::leftovers::Machine;
use self::subject::Subject;
use super::life::{self, Start};
use super::place::{Name, Place};
use super::processes;
use crate::setup::{self, Containerd};
use crate::workspace::Workspace;

/// What a cluster must be able to do; each says what it saw.
type Behaviour = (&'static str, fn(&Subject) -> Result<String>);

const BEHAVIOURS: [Behaviour; 10] = [
    ("exec", behaviour::exec),
    ("deployment, service, DNS, job", behaviour::service_and_dns),
    ("network policy", behaviour::network_policy),
    ("admission policy refuses tags", behaviour::admission_policy),
    ("pull by digest", behaviour::pull_by_digest),
    ("pod failure policy", behaviour::failure_policy),
    ("suspended job", behaviour::suspended),
    ("killed API server", behaviour::killed_api_server),
    ("two at once", two_at_once),
    ("reboot", reboot),
];

/// For everything to be ready: more than by default, because tests of other things may run beside this.
const LIMIT_SECONDS: u64 = 120;

/// Only newer ones can do this.
const NEWER_BEHAVIOURS: [Behaviour; 2] =
    [("image volume", behaviour::image_volume), ("user namespace", behaviour::user_namespace)];

/// What is checked, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Newer ones are asked for what only they can do.
    pub(crate) containerd: Containerd,
    /// Makes the image of Debian and Python too, twice, and trains something in it.
    pub(crate) python: bool,
    /// Leaves the cluster as it is if something failed.
    pub(crate) keep_failed: bool,
}

/// Brings a cluster up under a name of its own, asks it everything, takes it down.
pub(crate) fn check(workspace: &Workspace, options: Options) -> Result<()> {
    setup::cluster(workspace, options.containerd)?;
    let begun = Instant::now();
    let before = Machine::look()?;
    let name: Name = format!("check-{}", std::process::id()).parse().map_err(anyhow::Error::msg)?;
    let start = Start { kept: false, containerd: options.containerd, limit_seconds: LIMIT_SECONDS };
    let subject = Subject::new(workspace, Place::of(&name)?, start)?;
    let place = &subject.place;
    let mut report = Report::default();
    report.part("its own Go code", || setup::cluster_tests(workspace).map(|()| String::new()));
    report.part("up", || life::up(workspace, place, start).map(|()| memory(place)));
    if place.init().is_some() {
        let newer = options.containerd == Containerd::Modules;
        let more = newer.then_some(&NEWER_BEHAVIOURS[..]).into_iter().flatten();
        let python = options.python.then_some(&("Python image, twice the same", behaviour::python as _));
        for (name, ask) in BEHAVIOURS.iter().chain(more).chain(python) {
            report.part(name, || ask(&subject));
        }
        report.part("memory at the end", || Ok(memory(place)));
    }
    if options.keep_failed && report.failed > 0 {
        bail!("cluster {name} is left as it is; `cargo xtask cluster down --name {name}` ends it");
    }
    let processes = place.init().map(processes::below).unwrap_or_default();
    report.part("down", || life::down(place, false).map(|()| String::new()));
    report.part("nothing is left", || before.compare(place, &processes));
    println!("{} passed, {} failed in {:.0} s", report.passed, report.failed, begun.elapsed().as_secs_f64());
    ensure!(report.failed == 0, "the cluster does not do what tests rely on");
    Ok(())
}

/// Counts parts, and says how each went.
#[derive(Default)]
struct Report {
    passed: usize,
    failed: usize,
}

impl Report {
    fn part(&mut self, name: &str, work: impl FnOnce() -> Result<String>) {
        let begun = Instant::now();
        let (word, said) = match work() {
            Ok(said) => {
                self.passed += 1;
                ("ok", said)
            }
            Err(error) => {
                self.failed += 1;
                ("FAILED", format!("{error:#}"))
            }
        };
        println!("{word:6}  {name:30}  {:5.1} s  {said}", begun.elapsed().as_secs_f64());
    }
}

fn memory(place: &Place) -> String {
    let processes = place.init().map(processes::below).unwrap_or_default();
    let kib: u64 = processes::memory(&processes).iter().map(|(_, usage)| usage.kib).sum();
    format!("{} MiB in {} processes", kib / 1024, processes.len())
}

/// A second cluster beside the first: what is made in one is not in the other, and the end of one is not the other's.
fn two_at_once(subject: &Subject) -> Result<String> {
    let name: Name = format!("{}-b", subject.place.name).parse().map_err(anyhow::Error::msg)?;
    let second = Subject::new(subject.workspace, Place::of(&name)?, subject.start)?;
    life::up(second.workspace, &second.place, second.start)?;
    let told = (|| {
        subject.kubectl(&["create", "namespace", "only-here"])?;
        second.kubectl(&["create", "namespace", "only-there"])?;
        let listed = subject.kubectl(&["get", "namespaces", "--output=name"])?;
        ensure!(
            listed.contains("only-here") && !listed.contains("only-there"),
            "they are not apart: {listed}"
        );
        Ok(())
    })();
    let down = life::down(&second.place, false);
    told.and(down)?;
    subject
        .kubectl(&["get", "namespace", "only-here"])
        .context("the first does not answer after the second's end")?;
    let job =
        objects::job("after-two", &["lookup", "kubernetes.default.svc.cluster.local"], serde_json::json!({}));
    subject.run_job("after-two", &job)?;
    Ok("apart, and the first goes on".to_owned())
}

/// Ends everything and starts again with the same data: what was to run runs again.
fn reboot(subject: &Subject) -> Result<String> {
    let place = &subject.place;
    let uid = ["get", "deployment", "hello", "--output=jsonpath={.metadata.uid}"];
    let before = subject.kubectl(&uid)?;
    let started = [
        "get",
        "pods",
        "--selector=app=hello",
        "--output=jsonpath={.items[*].status.containerStatuses[*].containerID}",
    ];
    let old = subject.kubectl(&started)?;
    life::down(place, true)?;
    life::up(subject.workspace, place, Start { kept: true, ..subject.start })?;
    ensure!(subject.kubectl(&uid)? == before, "the deployment is another one");
    subject.eventually("the deployment's containers are new and ready", Duration::from_secs(60), || {
        let now = subject.kubectl(&started)?;
        let ready =
            subject.kubectl(&["get", "deployment", "hello", "--output=jsonpath={.status.readyReplicas}"])?;
        let new = now.split(' ').all(|id| !old.contains(id));
        Ok((ready == "2" && new && !now.is_empty()).then_some(()))
    })?;
    let job = objects::job(
        "after-reboot",
        &["get", "http://hello.default.svc.cluster.local/"],
        serde_json::json!({}),
    );
    subject.run_job("after-reboot", &job)
}
