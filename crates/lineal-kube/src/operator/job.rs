//! The Job of one attempt at a step.
//!
//! Its pod has no credentials of the cluster: no mounted token of its service account, but one that only the exchange
//! takes. It satisfies the "restricted" pod security standard. What the step may see is at the same paths as in the
//! local sandbox.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EmptyDirVolumeSource, EnvVar, PodSecurityContext, PodSpec, PodTemplateSpec,
    ProjectedVolumeSource, ResourceRequirements, SeccompProfile, SecurityContext,
    ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use lineal_engine::plan::StepPlan;
use lineal_facts::{Digest, StepName};

use super::Settings;
use crate::resource::PipelineRun;

/// The annotation of a pod that says which attempt it is for.
pub(super) const ATTEMPT: &str = "lineal.dev/attempt";
/// The annotation by which `kubectl logs` and `kubectl exec` choose a container.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// The label with the name of the `PipelineRun`.
pub(super) const RUN: &str = "lineal.dev/pipeline-run";
/// The label with the name of the step.
pub(super) const STEP: &str = "lineal.dev/step";
/// The label by which Kueue knows a Job's queue.
const QUEUE: &str = "kueue.x-k8s.io/queue-name";
/// What a container may use more of than it asked for.
const SHARED: &str = "cpu";
/// Selects the Jobs and pods of steps.
pub(super) const SELECTOR: &str = "app.kubernetes.io/part-of=lineal,app.kubernetes.io/component=step";
/// Who the exchange's tokens are for.
pub(super) const AUDIENCE: &str = "lineal.dev";
/// The name of the step's container.
pub(super) const CONTAINER: &str = "step";
/// Longest name of a Job, so that its pods' names are whole.
const NAME_LIMIT: usize = 57;
/// What a pod may need besides the step's own time: to be scheduled, to pull its image, to fetch and to send.
const AROUND_S: i64 = 1800;
/// How long a finished Job stays to be looked at.
const KEPT_S: i32 = 300;
/// The host name that steps see, as in the local sandbox.
const HOST_NAME: &str = "step";
/// A user without a name, as images without root use it.
const USER: i64 = 65532;
/// Exit code of the step program when the exchange could not be reached.
pub(super) const UNREACHED: i32 = 75;

/// One attempt.
pub(super) struct Attempt<'a> {
    pub(super) name: &'a str,
    pub(super) run: &'a PipelineRun,
    pub(super) step: &'a StepPlan,
    /// The step's image, by digest.
    pub(super) image: &'a str,
}

/// The name of an attempt and of its Job. It follows from the run, so that an operator that starts again finds the Job
/// that it made before.
pub(super) fn name(run: &PipelineRun, step: &StepName, stream: u32, number: u32) -> String {
    let object = run.meta();
    let uid = object.uid.as_deref().unwrap_or_default();
    let text = format!("lineal/attempt/v1\n{uid}\n{step}\n{stream}\n{number}");
    let unique = &Digest::of(text.as_bytes()).to_string()["sha256:".len()..][..10];
    let mut readable = format!("{}-{step}", object.name.as_deref().unwrap_or("run"));
    readable.truncate(NAME_LIMIT - unique.len() - 1);
    // A dot is allowed in the name of an object, but not in that of its pods' host.
    format!("{}-{unique}", readable.replace('.', "-").trim_end_matches('-'))
}

/// The object.
pub(super) fn job(settings: &Settings, attempt: &Attempt<'_>) -> Job {
    let mut labels: BTreeMap<String, String> = [
        ("app.kubernetes.io/part-of", "lineal".to_owned()),
        ("app.kubernetes.io/component", "step".to_owned()),
        ("app.kubernetes.io/managed-by", "lineal-operator".to_owned()),
        (RUN, label(attempt.run.meta().name.as_deref().unwrap_or_default())),
        (STEP, attempt.step.name.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let pod_labels = labels.clone();
    let queue = attempt.run.spec.queue.as_ref();
    labels.extend(queue.map(|queue| (QUEUE.to_owned(), queue.clone())));
    let seconds = i64::try_from(attempt.step.timeout_ms.div_ceil(1000)).unwrap_or(i64::MAX - AROUND_S);
    Job {
        metadata: ObjectMeta {
            name: Some(attempt.name.to_owned()),
            namespace: attempt.run.meta().namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![owner(attempt.run)]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            backoff_limit: Some(0),
            // Whoever keeps the queue lets it begin.
            suspend: queue.map(|_| true),
            active_deadline_seconds: Some(seconds + AROUND_S),
            ttl_seconds_after_finished: Some(KEPT_S),
            pod_failure_policy: Some(failure_policy()),
            // A pod that is being deleted may still send: the next one comes when it is gone.
            pod_replacement_policy: Some("Failed".to_owned()),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(pod_labels),
                    annotations: Some(
                        [(ATTEMPT, attempt.name), (DEFAULT_CONTAINER, CONTAINER)]
                            .map(|(name, value)| (name.to_owned(), value.to_owned()))
                            .into(),
                    ),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(settings, attempt)),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// The run that a Job goes away with.
fn owner(run: &PipelineRun) -> OwnerReference {
    OwnerReference {
        api_version: PipelineRun::api_version(&()).into_owned(),
        kind: PipelineRun::kind(&()).into_owned(),
        name: run.meta().name.clone().unwrap_or_default(),
        uid: run.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    }
}

/// A pod that the cluster itself ended (eviction, preemption, a drained node) is replaced and does not count.
fn failure_policy() -> PodFailurePolicy {
    PodFailurePolicy {
        rules: vec![PodFailurePolicyRule {
            action: "Ignore".to_owned(),
            on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
                type_: "DisruptionTarget".to_owned(),
                status: "True".to_owned(),
            }]),
            on_exit_codes: None,
        }],
    }
}

fn pod(settings: &Settings, attempt: &Attempt<'_>) -> PodSpec {
    let mut step_mounts = vec![
        mount("bin", "/lineal/bin", None, true),
        mount("token", "/lineal/token", None, true),
        mount("work", "/lineal/work", None, false),
        mount("work", "/tmp", Some("tmp"), false),
    ];
    // The same paths as in the local sandbox; the init container makes them in the volume.
    step_mounts.extend(
        ["code", "in", "out", "params.json"]
            .map(|name| mount("work", &format!("/lineal/{name}"), Some(name), false)),
    );
    let step = Container {
        name: CONTAINER.to_owned(),
        image: Some(attempt.image.to_owned()),
        command: Some(vec!["/lineal/bin/lineal-step".to_owned()]),
        env: Some(vec![
            variable("LINEAL_EXCHANGE", &settings.advertise),
            variable("LINEAL_EXCHANGE_PIN", &settings.pin),
        ]),
        volume_mounts: Some(step_mounts),
        resources: resources(attempt.step),
        security_context: Some(restricted()),
        working_dir: Some("/".to_owned()),
        ..Container::default()
    };
    let install = Container {
        name: "install".to_owned(),
        image: Some(settings.step_image.clone()),
        image_pull_policy: settings.step_image_pull_policy.clone(),
        command: Some(["/lineal-step", "install", "/lineal/bin", "/lineal/work"].map(str::to_owned).to_vec()),
        volume_mounts: Some(vec![
            mount("bin", "/lineal/bin", None, false),
            mount("work", "/lineal/work", None, false),
        ]),
        // A quota may demand that every container says what it needs. The pod needs no more for it.
        resources: resources(attempt.step),
        security_context: Some(restricted()),
        ..Container::default()
    };
    PodSpec {
        init_containers: Some(vec![install]),
        containers: vec![step],
        volumes: Some(volumes()),
        node_selector: node_selector(attempt.step),
        restart_policy: Some("Never".to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        // Its own name would differ from attempt to attempt, and steps see it.
        hostname: Some(HOST_NAME.to_owned()),
        termination_grace_period_seconds: Some(10),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    }
}

/// What the step asks for; more than that it may use of what is shared only.
fn resources(step: &StepPlan) -> Option<ResourceRequirements> {
    let amounts =
        || step.resources.iter().map(|(name, amount)| (name.to_string(), Quantity(amount.to_string())));
    let requirements = || ResourceRequirements {
        requests: Some(amounts().collect()),
        limits: Some(amounts().filter(|(name, _)| name != SHARED).collect()),
        ..ResourceRequirements::default()
    };
    (!step.resources.is_empty()).then(requirements)
}

fn node_selector(step: &StepPlan) -> Option<BTreeMap<String, String>> {
    let labels = step.node_selector.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    (!step.node_selector.is_empty()).then(|| labels.collect())
}

fn volumes() -> Vec<Volume> {
    let empty = |name: &str| Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    };
    let token = ServiceAccountTokenProjection {
        audience: Some(AUDIENCE.to_owned()),
        expiration_seconds: Some(3600),
        path: "token".to_owned(),
    };
    let projection = VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() };
    let token = Volume {
        name: "token".to_owned(),
        projected: Some(ProjectedVolumeSource { sources: Some(vec![projection]), default_mode: None }),
        ..Volume::default()
    };
    vec![empty("bin"), empty("work"), token]
}

fn restricted() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
        ..SecurityContext::default()
    }
}

fn mount(volume: &str, path: &str, sub_path: Option<&str>, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        sub_path: sub_path.map(str::to_owned),
        read_only: Some(read_only),
        ..VolumeMount::default()
    }
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

/// A name of an object as the value of a label, which may be shorter.
fn label(name: &str) -> String {
    let mut label = name.to_owned();
    label.truncate(63);
    label.trim_end_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests;
