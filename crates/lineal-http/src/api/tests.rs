use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use lineal_app::project::InitOptions;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

struct World {
    _folder: tempfile::TempDir,
    api: Api,
}

async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let identity = folder.path().join("identity.txt");
    let options = InitOptions { identity: Some(&identity), ..InitOptions::default() };
    Project::init_with(folder.path(), "ana", options).await.unwrap();
    let project = Project::open(folder.path(), "/nonexistent/lineal".into()).await.unwrap();
    let control = Control::start(project.clone()).await.unwrap();
    World { _folder: folder, api: Api { control, project, audit: watch::channel(AuditReport::default()).1 } }
}

impl World {
    async fn ask(&self, method: &str, path: &str, body: impl Into<Body>) -> (StatusCode, Vec<u8>) {
        let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
        let response = router(self.api.clone()).oneshot(request).await.unwrap();
        let status = response.status();
        (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    async fn refused(&self, method: &str, path: &str, body: impl Into<Body>) -> (StatusCode, String, String) {
        let (status, bytes) = self.ask(method, path, body).await;
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        (status, body["code"].as_str().unwrap().to_owned(), body["error"].as_str().unwrap().to_owned())
    }
}

fn report(sequence: u64) -> Vec<u8> {
    let report = json!({
        "gateway": "local-1", "sequence": sequence, "generation": 1, "droppedRecords": 0,
        "windows": [{"model": "m", "version": 1, "role": "stable", "generation": 1, "requests": 5, "errors": 0,
                     "slow": 0, "latencySumMs": 1.5}],
        "records": [{"id": "a", "model": "m", "version": 1, "role": "stable", "generation": 1, "prediction": 0.5,
                     "answeredAt": "2026-01-01T00:00:00Z"}],
    });
    serde_json::to_vec(&report).unwrap()
}

#[tokio::test]
async fn an_empty_project_serves_nothing_and_says_so() {
    let world = world().await;
    assert_eq!(world.ask("GET", "/api/v1/status", "").await, (StatusCode::OK, b"[]".to_vec()));
    let (status, body) = world.ask("GET", "/api/v1/route-table?after=0&wait_ms=0", "").await;
    assert_eq!((status, body.len()), (StatusCode::NO_CONTENT, 0));
}

#[tokio::test]
async fn reports_and_outcomes_meet_by_request_id() {
    let world = world().await;
    assert_eq!(world.ask("POST", "/api/v1/observations", report(1)).await.0, StatusCode::NO_CONTENT);
    // The same report again is taken and changes nothing.
    assert_eq!(world.ask("POST", "/api/v1/observations", report(1)).await.0, StatusCode::NO_CONTENT);
    let outcome = |id: &str| json!({"outcomes": [{"id": id, "outcome": 1.0}]}).to_string();
    let (_, body) = world.ask("POST", "/api/v1/outcomes", outcome("a")).await;
    assert_eq!(body, br#"{"joined":1}"#);
    let (_, body) = world.ask("POST", "/api/v1/outcomes", outcome("a")).await;
    assert_eq!(body, br#"{"joined":0}"#);
}

#[tokio::test]
async fn bad_bodies_are_refused_with_a_code() {
    let world = world().await;
    let cases = [
        ("not json", "not acceptable JSON"),
        (r#"{"outcomes":[],"outcomes":[]}"#, "duplicate key"),
        (r#"{"outcomes":[],"more":1}"#, "unknown field"),
        (r#"{"outcomes":[{"id":"a","outcome":"x"}]}"#, "unexpected JSON document"),
    ];
    for (body, fragment) in cases {
        let (status, code, error) = world.refused("POST", "/api/v1/outcomes", body).await;
        assert_eq!((status, code.as_str()), (StatusCode::BAD_REQUEST, "usage"), "{body}");
        assert!(error.contains(fragment), "{error}");
    }
    let (status, _) = world.ask("POST", "/api/v1/outcomes", vec![b' '; BODY_LIMIT_BYTES + 1]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn what_is_not_in_the_record_cannot_be_rolled_out() {
    let world = world().await;
    let body = json!({"version": "flights-delay/2", "environment": "production"}).to_string();
    let (status, code, _) = world.refused("POST", "/api/v1/rollouts", body).await;
    assert_eq!((status, code.as_str()), (StatusCode::NOT_FOUND, "not-found"));
    let abort = json!({"action": "abort", "by": "ana", "reason": "test"}).to_string();
    let (status, code, _) =
        world.refused("POST", "/api/v1/rollouts/rollout-0123456789ab/actions", abort.clone()).await;
    assert_eq!((status, code.as_str()), (StatusCode::NOT_FOUND, "not-found"));
    let (status, code, _) = world.refused("POST", "/api/v1/rollouts/nonsense/actions", abort).await;
    assert_eq!((status, code.as_str()), (StatusCode::BAD_REQUEST, "name-invalid"));
}

#[tokio::test]
async fn the_ledger_is_readable_and_nothing_else_is() {
    let world = world().await;
    let (status, checkpoint) = world.ask("GET", "/log/checkpoint", "").await;
    assert_eq!(status, StatusCode::OK);
    assert!(checkpoint.starts_with(world.api.project.config.origin.as_bytes()));
    assert_eq!(world.ask("GET", "/log/tile/0/000.p/3", "").await.0, StatusCode::OK);
    for path in [
        "/log/../config.toml",
        "/log/tile/../../config.toml",
        "/log/tile/%2e%2e/checkpoint",
        "/log/nothing",
        "/x",
    ] {
        assert_eq!(world.ask("GET", path, "").await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn only_loopback_is_bound() {
    let error = crate::serve("0.0.0.0:0".parse().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("no authentication yet"), "{error}");
    let served = crate::serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = crate::serve(served.address()).await.unwrap_err();
    assert!(error.to_string().contains("choose another port"), "{error}");
}

#[test]
fn the_description_names_every_route() {
    let description: Value = serde_json::from_str(&crate::openapi::document()).unwrap();
    let paths: Vec<&String> = description["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths.len(), 7, "{paths:?}");
}
