//! `lineal traffic send`: recorded requests through the gateway, with outcomes reported as they would arrive in life.

use std::collections::{BTreeMap, VecDeque};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lineal_app::control::LaneStatus;
use lineal_app::{Code, Event, Failure, Project, gates, serving};
use lineal_engine::observation::OutcomeReport;
use lineal_engine::pipeline::OutputRef;
use lineal_http::api::{Outcomes, OutcomesTaken};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Done, observer};
use crate::cli::{SendArguments, TrafficCommand};
use crate::client::Client;
use crate::printer::Printer;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Outcomes that are reported together.
const OUTCOME_BATCH: usize = 50;
const STATUS_INTERVAL: Duration = Duration::from_millis(100);
const FILE_LIMIT_BYTES: u64 = 1 << 30;

/// One line of a requests file.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Line {
    pub(super) id: String,
    pub(super) body: Value,
    #[serde(default)]
    outcome: Option<f64>,
}

/// What happened to the requests.
#[derive(Debug, Default, Serialize)]
struct Sent {
    requests: u64,
    failed: u64,
    first_failures: Vec<String>,
    by_version: BTreeMap<String, u64>,
    outcomes: u64,
    latency_p50_ms: f64,
    latency_p99_ms: f64,
    seconds: f64,
    settled: Option<String>,
}

/// Shared by the senders; each holds it for a few instructions.
#[derive(Default)]
struct Progress {
    queue: VecDeque<Line>,
    sent: Sent,
    latencies_ms: Vec<f64>,
    outcomes: Vec<OutcomeReport>,
    stop: bool,
}

pub(super) async fn run(project: &Project, command: TrafficCommand, printer: &Printer) -> Done {
    let TrafficCommand::Send(arguments) = command;
    let client = Client::of(project)?;
    let gateway = gateway_url(project)?;
    let lanes: Vec<LaneStatus> = client.get("/api/v1/status").await?;
    let model = model(&lanes, arguments.model.as_deref())?;
    let lines = read(project, &arguments).await?;
    let show = observer(printer);
    show(Event::Began { what: "sending".to_owned(), total: lines.len() as u64 });
    let progress = Arc::new(Mutex::new(Progress { queue: lines.into(), ..Progress::default() }));
    let started = Instant::now();
    let senders: Vec<_> = (0..arguments.concurrency.max(1))
        .map(|_| {
            let sender = Sender {
                http: serving::client(REQUEST_TIMEOUT)?,
                url: format!("{gateway}/v2/models/{model}/infer"),
                client: client.clone(),
                progress: progress.clone(),
            };
            Ok(tokio::spawn(sender.run()))
        })
        .collect::<Result<_, Failure>>()?;
    let watched = watch(&client, &model, &arguments, &progress, printer, &senders).await;
    lock(&progress).stop = true;
    for sender in senders {
        sender.await.map_err(|e| Failure::caused(Code::Internal, &e))??;
    }
    flush(&client, &progress, 1).await?;
    show(Event::Ended);
    let settled = watched?;
    let sent = finish(&progress, started, settled);
    printer.result(&sent, || human(&sent));
    Ok(ExitCode::from(u8::from(sent.failed > 0)))
}

struct Sender {
    http: reqwest::Client,
    url: String,
    client: Client,
    progress: Arc<Mutex<Progress>>,
}

impl Sender {
    async fn run(self) -> Result<(), Failure> {
        loop {
            let line = {
                let mut progress = lock(&self.progress);
                if progress.stop { None } else { progress.queue.pop_front() }
            };
            let Some(line) = line else { return Ok(()) };
            let started = Instant::now();
            let answered = self.send(&line).await;
            self.note(line, answered, started.elapsed().as_secs_f64() * 1000.0);
            flush(&self.client, &self.progress, OUTCOME_BATCH).await?;
        }
    }

    async fn send(&self, line: &Line) -> Result<String, String> {
        let request = self.http.post(&self.url).header("x-request-id", &line.id).json(&line.body);
        let response = request.send().await.map_err(|e| lineal_app::failure::chain(&e))?;
        let status = response.status();
        let version =
            response.headers().get("x-lineal-version").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let body = response.bytes().await.map_err(|e| lineal_app::failure::chain(&e))?;
        if !status.is_success() {
            return Err(format!("status {status}: {}", String::from_utf8_lossy(&body)));
        }
        Ok(version.unwrap_or_else(|| "unknown".to_owned()))
    }

    fn note(&self, line: Line, answered: Result<String, String>, latency_ms: f64) {
        let mut progress = lock(&self.progress);
        progress.sent.requests += 1;
        progress.latencies_ms.push(latency_ms);
        match answered {
            Ok(version) => {
                *progress.sent.by_version.entry(version).or_default() += 1;
                if let Some(outcome) = line.outcome {
                    progress.outcomes.push(OutcomeReport { id: line.id, outcome });
                }
            }
            Err(reason) => {
                progress.sent.failed += 1;
                if progress.sent.first_failures.len() < 3 {
                    progress.sent.first_failures.push(format!("{}: {reason}", line.id));
                }
            }
        }
    }
}

/// Reports outcomes once at least `least` wait.
async fn flush(client: &Client, progress: &Mutex<Progress>, least: usize) -> Result<(), Failure> {
    let outcomes = {
        let mut progress = lock(progress);
        if progress.outcomes.len() < least {
            return Ok(());
        }
        std::mem::take(&mut progress.outcomes)
    };
    let count = outcomes.len() as u64;
    let _: OutcomesTaken = client.post("/api/v1/outcomes", &Outcomes { outcomes }).await?;
    lock(progress).sent.outcomes += count;
    Ok(())
}

/// Shows each change of the rollout until the senders are done or, if asked for, the rollout has ended.
async fn watch(
    client: &Client,
    model: &str,
    arguments: &SendArguments,
    progress: &Mutex<Progress>,
    printer: &Printer,
    senders: &[tokio::task::JoinHandle<Result<(), Failure>>],
) -> Result<Option<String>, Failure> {
    let mut interval = tokio::time::interval(STATUS_INTERVAL);
    let mut last = String::new();
    let mut shown = 0;
    loop {
        interval.tick().await;
        let lanes: Vec<LaneStatus> = client.get("/api/v1/status").await?;
        let requests = lock(progress).sent.requests;
        printer.event(Event::Advanced { by: requests - shown });
        shown = requests;
        let rollout = lanes.iter().find(|l| l.model.as_str() == model).and_then(|l| l.rollout.as_ref());
        if let Some(rollout) = rollout {
            let state = format!("{} at {} %, {}", rollout.canary, rollout.weight_percent, rollout.phase);
            if state != last {
                printer.note(&format!("  after {requests} requests: {state}: {}", rollout.message));
                last = state;
            }
            if arguments.until_settled && rollout.is_final {
                return Ok(Some(last));
            }
        }
        if senders.iter().all(tokio::task::JoinHandle::is_finished) {
            return Ok(None);
        }
    }
}

fn finish(progress: &Mutex<Progress>, started: Instant, settled: Option<String>) -> Sent {
    let mut progress = lock(progress);
    let mut latencies = std::mem::take(&mut progress.latencies_ms);
    latencies.sort_by(f64::total_cmp);
    let quantile = |q: f64| {
        let position = (latencies.len() as f64 * q).ceil() as usize;
        let value = latencies.get(position.saturating_sub(1)).copied().unwrap_or(0.0);
        (value * 100.0).round() / 100.0
    };
    let mut sent = std::mem::take(&mut progress.sent);
    sent.latency_p50_ms = quantile(0.5);
    sent.latency_p99_ms = quantile(0.99);
    sent.seconds = (started.elapsed().as_secs_f64() * 100.0).round() / 100.0;
    sent.settled = settled;
    sent
}

fn human(sent: &Sent) -> String {
    let versions: Vec<String> =
        sent.by_version.iter().map(|(version, count)| format!("{version}: {count}")).collect();
    let mut text = format!(
        "{} requests in {} s ({:.0}/s), {} failed; latency p50 {} ms, p99 {} ms; {} outcomes reported\n  answered by {}\n",
        sent.requests,
        sent.seconds,
        sent.requests as f64 / sent.seconds.max(0.01),
        sent.failed,
        sent.latency_p50_ms,
        sent.latency_p99_ms,
        sent.outcomes,
        versions.join(", ")
    );
    for failure in &sent.first_failures {
        text.push_str(&format!("  failed: {failure}\n"));
    }
    if let Some(settled) = &sent.settled {
        text.push_str(&format!("  settled: {settled}\n"));
    }
    text
}

fn model(lanes: &[LaneStatus], wanted: Option<&str>) -> Result<String, Failure> {
    let serving = lanes.iter().find(|lane| wanted.is_none_or(|wanted| lane.model.as_str() == wanted));
    match serving {
        Some(lane) if wanted.is_some() || lanes.len() == 1 => Ok(lane.model.to_string()),
        Some(_) => Err(Failure::new(Code::Usage, "several models are served; name one with --model")),
        None => Err(Failure::new(Code::NotFound, "no such model is served; `lineal rollout start` begins")),
    }
}

pub(super) fn gateway_url(project: &Project) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Ready {
        listen: String,
    }
    let path = project.folder().join("gateway.json");
    let bytes = std::fs::read(path).map_err(|_| {
        Failure::new(Code::Server, "`lineal gateway` is not running in this project; start it")
    })?;
    let ready: Ready = serde_json::from_slice(&bytes).map_err(|e| Failure::caused(Code::Server, &e))?;
    Ok(format!("http://{}", ready.listen))
}

/// The requested part of a file or of a run's output.
async fn read(project: &Project, arguments: &SendArguments) -> Result<Vec<Line>, Failure> {
    let lines = all(project, &arguments.requests).await?;
    Ok(lines.into_iter().skip(arguments.skip).take(arguments.limit.unwrap_or(usize::MAX)).collect())
}

/// Every line of a file or of a run's output, `RUN:STEP.OUTPUT`.
pub(super) async fn all(project: &Project, requests: &str) -> Result<Vec<Line>, Failure> {
    let bytes = match requests.split_once(':').filter(|(run, _)| run.starts_with("run-")) {
        Some((run, output)) => {
            let reference = output_reference(output)?;
            let (artifact, _) = gates::output_of(project, &run.parse()?, &reference).await?;
            project.store.blobs().read(&artifact.digest)?
        }
        None => lineal_blob::files::read_limited(std::path::Path::new(requests), FILE_LIMIT_BYTES)?,
    };
    let text =
        String::from_utf8(bytes).map_err(|_| Failure::new(Code::Data, "the requests file is not UTF-8"))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            serde_json::from_str(line)
                .map_err(|e| Failure::new(Code::Data, format!("requests file, line {}: {e}", number + 1)))
        })
        .collect()
}

fn output_reference(text: &str) -> Result<OutputRef, Failure> {
    let wrong = || Failure::new(Code::Usage, format!("`{text}` is no output; expected STEP.OUTPUT"));
    let (step, output) = text.split_once('.').ok_or_else(wrong)?;
    Ok(OutputRef { step: step.parse()?, output: output.parse().map_err(|_| wrong())? })
}

fn lock(progress: &Mutex<Progress>) -> std::sync::MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}
