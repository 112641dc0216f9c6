//! Measurements with a running control plane and gateway.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use lineal_app::control::{Action, LaneStatus};
use lineal_app::{Code, Failure, Project, serving};
use lineal_facts::ModelVersion;
use lineal_http::api::StartRollout;

use super::super::traffic::{self, Line};
use super::super::{Done, parsed};
use super::quantiles::{Quantiles, quantiles};
use crate::client::Client;
use crate::printer::Printer;

const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a canary may take to get traffic.
const START_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// Which rollout, how often.
#[derive(Debug, Args)]
pub(crate) struct AbortArguments {
    /// A promoted `model/version` that does not serve.
    version: String,
    /// Requests, as for `traffic send`.
    requests: String,
    /// The environment.
    #[arg(long = "to", default_value = "production")]
    environment: String,
    /// Rollouts that are started and aborted.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
}

/// At which rate, how long.
#[derive(Debug, Args)]
pub(crate) struct GatewayArguments {
    /// Requests, as for `traffic send`.
    requests: String,
    /// Requests a second, evenly spaced.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Seconds for each of the two ways.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
}

/// Starts a rollout, waits until a key is answered by the canary, aborts, and waits until the stable version answers
/// the same key; the time between the last two.
pub(super) async fn abort(project: &Project, arguments: &AbortArguments, printer: &Printer) -> Done {
    let client = Client::of(project)?;
    let version: ModelVersion = parsed(&arguments.version)?;
    let gateway = traffic::gateway_url(project)?;
    let lines = traffic::all(project, &arguments.requests).await?;
    let prober = Prober::new(&gateway, version.model.as_str(), lines)?;
    let mut times_ms = Vec::new();
    for _ in 0..arguments.rounds {
        let body = StartRollout { version: version.clone(), environment: parsed(&arguments.environment)? };
        let started: LaneStatus = client.post("/api/v1/rollouts", &body).await?;
        let rollout =
            started.rollout.ok_or_else(|| Failure::new(Code::Internal, "no rollout was started"))?.id;
        let key = prober.key_of(&version.to_string()).await?;
        let action = Action::Abort { by: "bench".to_owned(), reason: "measurement".to_owned() };
        let path = format!("/api/v1/rollouts/{rollout}/actions");
        let ordered = Instant::now();
        let aborting = tokio::spawn({
            let client = client.clone();
            async move { client.post::<LaneStatus, _>(&path, &action).await }
        });
        prober.until_not(&key, &version.to_string()).await?;
        times_ms.push(ordered.elapsed().as_secs_f64() * 1000.0);
        aborting.await.map_err(|e| Failure::caused(Code::Internal, &e))??;
    }
    let result = quantiles(times_ms);
    printer.result(&result, || {
        format!(
            "abort to changed route: p50 {} ms, p99 {} ms, worst {} ms of {}",
            result.p50_ms, result.p99_ms, result.max_ms, result.count
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// The same requests at the same rate, first straight to the model server, then through the gateway.
pub(super) async fn latency(project: &Project, arguments: &GatewayArguments, printer: &Printer) -> Done {
    let client = Client::of(project)?;
    let lanes: Vec<LaneStatus> = client.get("/api/v1/status").await?;
    let absent = || Failure::new(Code::NotFound, "nothing serves in this project");
    let lane = lanes.into_iter().next().ok_or_else(absent)?;
    let server = lane.servers.iter().find(|s| Some(s.version) == lane.serving).ok_or_else(absent)?;
    let direct = format!("http://{}", server.address.as_deref().ok_or_else(absent)?);
    let gateway = traffic::gateway_url(project)?;
    let lines = traffic::all(project, &arguments.requests).await?;
    let mut results = Vec::new();
    for base in [direct, gateway] {
        let prober = Prober::new(&base, lane.model.as_str(), lines.clone())?;
        results.push(quantiles(prober.at_rate(arguments).await?));
    }
    let value = serde_json::json!({"rate": arguments.rate, "direct": results[0], "gateway": results[1]});
    printer.result(&value, || {
        let line = |name: &str, q: &Quantiles| format!("{name}: p50 {} ms, p99 {} ms", q.p50_ms, q.p99_ms);
        format!(
            "at {} requests/s: {}; {}; added p50 {:.2} ms, p99 {:.2} ms",
            arguments.rate,
            line("direct", &results[0]),
            line("gateway", &results[1]),
            results[1].p50_ms - results[0].p50_ms,
            results[1].p99_ms - results[0].p99_ms
        )
    });
    Ok(ExitCode::SUCCESS)
}

struct Prober {
    http: reqwest::Client,
    url: String,
    lines: Vec<Line>,
}

impl Prober {
    fn new(base: &str, model: &str, lines: Vec<Line>) -> Result<Self, Failure> {
        let http = serving::client(TIMEOUT)?;
        Ok(Self { http, url: format!("{base}/v2/models/{model}/infer"), lines })
    }

    /// Sends a request with this routing key; the version that answered.
    async fn send(&self, line: &Line, key: &str) -> Result<String, Failure> {
        let wrong = |e: reqwest::Error| Failure::new(Code::Server, lineal_app::failure::chain(&e));
        let request = self.http.post(&self.url).header("x-lineal-key", key).header("x-request-id", &line.id);
        let response = request.json(&line.body).send().await.map_err(wrong)?;
        let version =
            response.headers().get("x-lineal-version").and_then(|v| v.to_str().ok()).map(str::to_owned);
        response.error_for_status().map_err(wrong)?.bytes().await.map_err(wrong)?;
        Ok(version.unwrap_or_default())
    }

    /// A key that `version` answers.
    async fn key_of(&self, version: &str) -> Result<String, Failure> {
        let deadline = Instant::now() + START_LIMIT;
        let mut interval = tokio::time::interval(POLL);
        for (number, line) in self.lines.iter().cycle().enumerate() {
            let key = format!("key-{}", number % 200);
            if self.send(line, &key).await? == version {
                return Ok(key);
            }
            if Instant::now() > deadline {
                break;
            }
            if number % 200 == 199 {
                interval.tick().await;
            }
        }
        Err(Failure::new(Code::ModelServer, format!("{version} got no traffic")))
    }

    async fn until_not(&self, key: &str, version: &str) -> Result<(), Failure> {
        for line in self.lines.iter().cycle() {
            if self.send(line, key).await? != version {
                break;
            }
        }
        Ok(())
    }

    async fn at_rate(&self, arguments: &GatewayArguments) -> Result<Vec<f64>, Failure> {
        let mut interval = tokio::time::interval(Duration::from_secs(1) / arguments.rate.max(1));
        let count = arguments.rate as usize * arguments.seconds as usize;
        let mut times_ms = Vec::with_capacity(count);
        for line in self.lines.iter().cycle().take(count) {
            interval.tick().await;
            let started = Instant::now();
            self.send(line, &line.id).await?;
            times_ms.push(started.elapsed().as_secs_f64() * 1000.0);
        }
        Ok(times_ms)
    }
}
