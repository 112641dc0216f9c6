use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::*;
use crate::resource::PipelineRunSpec;

fn run(name: &str) -> PipelineRun {
    let mut run = PipelineRun::new(
        name,
        PipelineRunSpec {
            pipeline: "flights".to_owned(),
            source: None,
            set: Vec::new(),
            queue: None,
            seed: None,
            determinism: None,
        },
    );
    run.metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some("team".to_owned()),
        uid: Some("6a1c8c1e".to_owned()),
        ..ObjectMeta::default()
    };
    run
}

fn settings() -> Settings {
    Settings {
        namespace: None,
        advertise: "https://10.96.0.7:8443".to_owned(),
        pin: "ab".repeat(32),
        step_image: "made.test/lineal@sha256:00".to_owned(),
        step_image_pull_policy: None,
        parallel_steps: 4,
    }
}

fn step(name: &str) -> StepName {
    name.parse().unwrap()
}

/// 90.5 s at most, on a node with two amounts and a label.
fn plan() -> StepPlan {
    StepPlan {
        name: step("train"),
        run: vec!["true".to_owned()],
        environment: None,
        inputs: BTreeMap::new(),
        params: BTreeMap::new(),
        outputs: BTreeMap::new(),
        determinism: lineal_engine::pipeline::Determinism::Observe,
        probes: std::collections::BTreeSet::new(),
        seed: 7,
        timeout_ms: 90_500,
        resources: [("cpu", "500m"), ("memory", "1Gi")]
            .map(|(name, amount)| (name.parse().unwrap(), amount.parse().unwrap()))
            .into(),
        node_selector: [("disk".parse().unwrap(), "fast".parse().unwrap())].into(),
    }
}

#[test]
fn a_step_gets_what_it_asks_for() {
    let (mut object, step) = (run("nightly"), plan());
    let attempt = Attempt { name: "n", run: &object, step: &step, image: "i" };
    let spec = job(&settings(), &attempt).spec.unwrap();
    assert_eq!(spec.suspend, None);
    let pod = spec.template.spec.unwrap();
    assert_eq!(pod.node_selector.unwrap()["disk"], "fast");
    for container in pod.containers.iter().chain(pod.init_containers.iter().flatten()) {
        let resources = container.resources.as_ref().unwrap();
        let (requests, limits) = (resources.requests.as_ref().unwrap(), resources.limits.as_ref().unwrap());
        assert_eq!((requests["cpu"].0.as_str(), requests["memory"].0.as_str()), ("500m", "1Gi"));
        // More processor time than it asked for disturbs nobody who asked for it.
        assert_eq!(limits.keys().collect::<Vec<_>>(), ["memory"]);
    }
    object.spec.queue = Some("team".to_owned());
    let attempt = Attempt { name: "n", run: &object, step: &step, image: "i" };
    let job = job(&settings(), &attempt);
    assert_eq!(job.metadata.labels.unwrap()[QUEUE], "team");
    assert_eq!(job.spec.unwrap().suspend, Some(true));
}

#[test]
fn a_name_follows_from_run_step_and_number_and_is_a_host_name() {
    let long = "a".repeat(70) + ".b";
    let names = [
        name(&run("nightly"), &step("train"), 0, 0),
        name(&run("nightly"), &step("train"), 0, 1),
        name(&run("nightly"), &step("train"), 1, 0),
        name(&run("nightly"), &step("prepare"), 0, 0),
        name(&run(&long), &step("train"), 0, 0),
        name(&run("a.b.c"), &step("train"), 0, 0),
    ];
    for (place, found) in names.iter().enumerate() {
        assert!(found.len() <= NAME_LIMIT, "{found}");
        assert!(found.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{found}");
        assert!(!names[..place].contains(found), "{found} twice");
    }
    assert_eq!(names[0], name(&run("nightly"), &step("train"), 0, 0));
    let mut other = run("nightly");
    other.metadata.uid = Some("another".to_owned());
    assert_ne!(names[0], name(&other, &step("train"), 0, 0));
}

#[test]
fn a_pod_holds_no_credentials_of_the_cluster_and_is_restricted() {
    let (object, step) = (run("nightly"), plan());
    let attempt = Attempt { name: "nightly-train-0", run: &object, step: &step, image: "i@sha256:11" };
    let job = job(&settings(), &attempt);
    let owner = &job.metadata.owner_references.unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("PipelineRun", "6a1c8c1e"));
    let pod = job.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert_eq!(pod.enable_service_links, Some(false));
    assert!(pod.host_network.is_none() && pod.host_pid.is_none() && pod.host_ipc.is_none());
    let security = pod.security_context.unwrap();
    assert_eq!(security.run_as_non_root, Some(true));
    assert_eq!(security.seccomp_profile.unwrap().type_, "RuntimeDefault");
    for container in pod.containers.iter().chain(pod.init_containers.iter().flatten()) {
        let security = container.security_context.as_ref().unwrap();
        assert_eq!(security.allow_privilege_escalation, Some(false));
        assert_eq!(security.read_only_root_filesystem, Some(true));
        assert_eq!(security.capabilities.as_ref().unwrap().drop.as_ref().unwrap(), &["ALL"]);
        for variable in container.env.iter().flatten() {
            assert!(variable.value_from.is_none());
        }
    }
    // The only token is for the exchange, and only the step's container has it.
    let tokens =
        pod.volumes.unwrap().into_iter().filter_map(|volume| volume.projected).flat_map(|p| p.sources);
    let audiences: Vec<_> =
        tokens.flatten().map(|source| source.service_account_token.unwrap().audience.unwrap()).collect();
    assert_eq!(audiences, ["lineal.dev"]);
    let installs = pod.init_containers.unwrap();
    let mounted = installs.iter().flat_map(|c| c.volume_mounts.iter().flatten());
    assert_eq!(mounted.map(|mount| mount.name.as_str()).collect::<Vec<_>>(), ["bin", "work"]);
    let step = &pod.containers[0];
    let binary = step.volume_mounts.iter().flatten().find(|mount| mount.name == "bin").unwrap();
    assert_eq!(binary.read_only, Some(true));
}

#[test]
fn a_job_that_the_cluster_disturbs_is_not_lost_and_one_that_hangs_ends() {
    let (object, step) = (run("nightly"), plan());
    let attempt = Attempt { name: "n", run: &object, step: &step, image: "i" };
    let spec = job(&settings(), &attempt).spec.unwrap();
    assert_eq!(spec.backoff_limit, Some(0));
    assert_eq!(spec.active_deadline_seconds, Some(91 + AROUND_S));
    let rules = spec.pod_failure_policy.unwrap().rules;
    assert_eq!(rules[0].action, "Ignore");
    assert_eq!(rules[0].on_pod_conditions.as_ref().unwrap()[0].type_, "DisruptionTarget");
}
