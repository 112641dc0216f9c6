//! The routes of API v1.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use lineal_app::control::{Action, Control, LaneStatus};
use lineal_app::self_audit::AuditReport;
use lineal_app::{Code, Failure, Project};
use lineal_engine::observation::{OutcomeReport, RECORD_LIMIT, Report};
use lineal_facts::{EnvironmentName, ModelVersion, RolloutId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::log;

/// Largest request body: a full report of a gateway.
pub const BODY_LIMIT_BYTES: usize = 8 << 20;
/// Most outcomes in one request.
pub const OUTCOME_LIMIT: usize = RECORD_LIMIT;
/// Longest wait for a new route table.
pub const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// What the routes work on.
#[derive(Debug, Clone)]
pub struct Api {
    /// The control plane.
    pub control: Control,
    /// The project.
    pub project: Project,
    /// What the ledger's audit of itself found.
    pub audit: watch::Receiver<AuditReport>,
}

/// The body of every failed request.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ErrorBody {
    /// A stable word; docs/errors.md explains each.
    pub code: String,
    /// What happened, where, and what to do.
    pub error: String,
}

/// The body that starts a rollout.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartRollout {
    /// `model/version`.
    #[schema(value_type = String, example = "flights-delay/2")]
    pub version: ModelVersion,
    /// Where.
    #[schema(value_type = String, example = "production")]
    pub environment: EnvironmentName,
}

/// The body that reports outcomes.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Outcomes {
    /// True outcomes by request id.
    #[schema(value_type = Vec<Object>)]
    pub outcomes: Vec<OutcomeReport>,
}

/// How many outcomes met their request at once.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OutcomesTaken {
    /// Joined now; the others wait for their request.
    pub joined: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct TableQuery {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    wait_ms: u64,
}

/// All routes.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/route-table", get(route_table))
        .route("/api/v1/observations", post(observations))
        .route("/api/v1/outcomes", post(outcomes))
        .route("/api/v1/rollouts", post(start_rollout))
        .route("/api/v1/rollouts/{id}/actions", post(act))
        .route("/api/v1/audit", get(audit))
        .route("/api/v1/openapi.json", get(openapi))
        .route("/log/{*path}", get(log::file))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .with_state(api)
}

/// What serves where.
#[utoipa::path(get, path = "/api/v1/status", responses((status = 200, body = Vec<Object>, description = "one item a model and environment")))]
pub(crate) async fn status(State(api): State<Api>) -> Result<Json<Vec<LaneStatus>>, Refusal> {
    Ok(Json(api.control.status().await?))
}

/// What the audit of the ledger, which goes on while it is used, has found so far.
#[utoipa::path(get, path = "/api/v1/audit", responses((status = 200, body = Object, description = "size of the ledger, rounds over the whole of it, findings as `lineal ledger fsck --json` has them")))]
pub(crate) async fn audit(State(api): State<Api>) -> Json<AuditReport> {
    Json(api.audit.borrow().clone())
}

/// The signed route table, as soon as its generation is above `after`.
#[utoipa::path(get, path = "/api/v1/route-table",
    params(("after" = u64, Query, description = "generation that the caller has"), ("wait_ms" = u64, Query, description = "how long to wait, at most 30000")),
    responses((status = 200, content_type = "application/json", description = "DSSE envelope of the route table"), (status = 204, description = "nothing newer")))]
pub(crate) async fn route_table(State(api): State<Api>, query: Query<TableQuery>) -> Response {
    let wait = Duration::from_millis(query.wait_ms).min(WAIT_LIMIT);
    match api.control.table_after(query.after, wait).await {
        Some(table) => ([(header::CONTENT_TYPE, "application/json")], table.envelope.clone()).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

/// A gateway's report. Repetitions are recognised by gateway and sequence.
#[utoipa::path(post, path = "/api/v1/observations", request_body = Object,
    responses((status = 204, description = "taken"), (status = 400, body = ErrorBody)))]
pub(crate) async fn observations(State(api): State<Api>, body: Bytes) -> Result<StatusCode, Refusal> {
    let report: Report = parse(&body)?;
    if report.records.len() > RECORD_LIMIT {
        return Err(usage(format!("{} records; at most {RECORD_LIMIT}", report.records.len())));
    }
    api.control.report(report).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// True outcomes, whenever they become known.
#[utoipa::path(post, path = "/api/v1/outcomes", request_body = Outcomes,
    responses((status = 200, body = OutcomesTaken), (status = 400, body = ErrorBody)))]
pub(crate) async fn outcomes(State(api): State<Api>, body: Bytes) -> Result<Json<OutcomesTaken>, Refusal> {
    let Outcomes { outcomes } = parse(&body)?;
    if outcomes.len() > OUTCOME_LIMIT {
        return Err(usage(format!("{} outcomes; at most {OUTCOME_LIMIT}", outcomes.len())));
    }
    Ok(Json(OutcomesTaken { joined: api.control.outcomes(outcomes).await? }))
}

/// Begins to roll out a promoted version.
#[utoipa::path(post, path = "/api/v1/rollouts", request_body = StartRollout,
    responses((status = 200, body = Object, description = "what serves now"), (status = 403, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn start_rollout(State(api): State<Api>, body: Bytes) -> Result<Json<LaneStatus>, Refusal> {
    let StartRollout { version, environment } = parse(&body)?;
    Ok(Json(api.control.start_rollout(version, environment).await?))
}

/// Aborts, pauses, resumes or promotes a rollout.
#[utoipa::path(post, path = "/api/v1/rollouts/{id}/actions", request_body = Object, params(("id" = String, Path, description = "rollout id")),
    responses((status = 200, body = Object, description = "what serves now"), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn act(
    State(api): State<Api>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<LaneStatus>, Refusal> {
    let id: RolloutId = id.parse().map_err(Failure::from)?;
    let action: Action = parse(&body)?;
    Ok(Json(api.control.act(id, action).await?))
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], crate::openapi::document()).into_response()
}

async fn unknown() -> Refusal {
    Refusal(Failure::new(
        Code::NotFound,
        "there is no such path; /api/v1/openapi.json describes what there is",
    ))
}

/// A failure as an answer.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) Failure);

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(ErrorBody { code: self.0.code.to_string(), error: self.0.message })).into_response()
    }
}

/// Reads a body by the strict rules of signed documents: no duplicate keys, bounded depth.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    lineal_facts::json::parse(body).map_err(|e| usage(e.to_string()))
}

fn usage(message: String) -> Refusal {
    Refusal(Failure::new(Code::Usage, message))
}

#[cfg(test)]
mod tests;
