//! Sending sample requests to a model server and measuring what comes back.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use crate::failure::{Code, Failure};
use crate::serving::{ModelServer, client};

/// Most requests that one gate sends.
const REQUEST_LIMIT: usize = 10_000;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const FIRST_ERRORS: usize = 3;

/// One line of a requests file.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    id: String,
    body: Value,
}

/// Sends every request once, in order, and reports counts, latencies and the first errors.
pub(super) async fn send(server: &ModelServer, lines: &[u8], output: &str) -> Result<Value, Failure> {
    let requests = parse(lines)?;
    let client = client(REQUEST_TIMEOUT)?;
    let url = format!("http://{}/v2/models/{}/infer", server.address, server.version.model);
    let (mut latencies, mut errors, mut first_errors) = (Vec::new(), 0_u64, Vec::new());
    for request in &requests {
        let started = Instant::now();
        let answered = answer(&client, &url, request, output).await;
        latencies.push(started.elapsed().as_secs_f64() * 1000.0);
        if let Err(reason) = answered {
            errors += 1;
            if first_errors.len() < FIRST_ERRORS {
                first_errors.push(format!("{}: {reason}", request.id));
            }
        }
    }
    latencies.sort_by(f64::total_cmp);
    let quantile = |q: f64| {
        let position = ((latencies.len() as f64 * q).ceil() as usize).clamp(1, latencies.len()) - 1;
        // Whole microseconds: more digits would only be noise in the record.
        (latencies[position] * 1000.0).round() / 1000.0
    };
    Ok(serde_json::json!({
        "requests": requests.len(),
        "errors": errors,
        "first_errors": first_errors,
        "latency_p50_ms": quantile(0.5),
        "latency_p99_ms": quantile(0.99),
    }))
}

/// Reads a requests file: one JSON object a line with `id` and `body`.
pub(super) fn parse(lines: &[u8]) -> Result<Vec<Line>, Failure> {
    let wrong = |reason: String| Failure::new(Code::StepOutput, format!("the requests file {reason}"));
    let text = std::str::from_utf8(lines).map_err(|_| wrong("is not UTF-8".to_owned()))?;
    let mut requests = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        if requests.len() == REQUEST_LIMIT {
            return Err(wrong(format!("has more than {REQUEST_LIMIT} lines")));
        }
        let request = serde_json::from_str(line).map_err(|e| wrong(format!("line {}: {e}", number + 1)))?;
        requests.push(request);
    }
    if requests.is_empty() {
        return Err(wrong("is empty; nothing would be tested".to_owned()));
    }
    Ok(requests)
}

async fn answer(client: &reqwest::Client, url: &str, request: &Line, output: &str) -> Result<f64, String> {
    let sent = client.post(url).header("x-request-id", &request.id).json(&request.body).send().await;
    let response = sent.map_err(|e| crate::failure::chain(&e))?;
    let status = response.status();
    let body: Value = response.json().await.map_err(|e| format!("status {status}, no JSON: {e}"))?;
    if !status.is_success() {
        return Err(format!("status {status}: {body}"));
    }
    first_number(&body, output).ok_or_else(|| format!("no finite number in output tensor `{output}`"))
}

/// The first number of the output tensor called `output` of an OIP v2 answer.
fn first_number(body: &Value, output: &str) -> Option<f64> {
    let outputs = body.get("outputs")?.as_array()?;
    let tensor = outputs.iter().find(|o| o.get("name").and_then(Value::as_str) == Some(output))?;
    let mut value = tensor.get("data")?;
    while let Value::Array(items) = value {
        value = items.first()?;
    }
    value.as_f64().filter(|number| number.is_finite())
}
