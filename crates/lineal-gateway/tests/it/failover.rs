use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::control_plane::{ControlPlane, canary_table, stable_table};
use crate::eventually;
use crate::gateway::Gateway;
use crate::model_server::{Behaviour, ModelServer, prediction_body};
use crate::wire::send_chunks;

struct World {
    canary: ModelServer,
    stable: ModelServer,
    plane: ControlPlane,
    gateway: Gateway,
}

/// Everything goes to the canary, which behaves like this.
async fn canary(behaviour: Behaviour) -> World {
    let canary = ModelServer::start(behaviour).await;
    let stable = ModelServer::start(Behaviour::Predict(0.25)).await;
    let plane = ControlPlane::start().await;
    plane.publish(&canary_table(1, 10_000, &canary, &stable));
    let gateway = Gateway::serving(&plane, 1).await;
    World { canary, stable, plane, gateway }
}

impl World {
    /// All of `count` requests are answered by the stable version and count as errors of the canary.
    async fn falls_back(&self, count: u64) {
        for n in 0..count {
            assert_eq!(self.gateway.version(&format!("r{n}")).await, "delay/1");
        }
        self.plane.counted(count).await;
        let sums = self.plane.sums(2);
        assert_eq!((sums.requests, sums.errors), (count, count));
        assert_eq!(self.plane.sums(1).requests, 0);
        let records = self.plane.records();
        assert_eq!(records.len() as u64, count);
        assert!(records.iter().all(|r| r.version == 1 && r.prediction == Some(0.25)));
    }
}

#[tokio::test]
async fn a_dead_canary_loses_no_request() {
    let world = canary(Behaviour::Predict(0.5)).await;
    world.canary.kill();
    world.falls_back(20).await;
    assert_eq!(world.stable.served(), 20);
}

#[tokio::test]
async fn a_canary_that_dies_under_load_loses_no_request() {
    let world = Arc::new(canary(Behaviour::Predict(0.5)).await);
    let answered = Arc::new(AtomicU64::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..16 {
        let (world, answered) = (world.clone(), answered.clone());
        clients.spawn(async move {
            for n in 0..100 {
                world.gateway.version(&format!("c{client}-{n}")).await;
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    eventually("half is answered", || async { (answered.load(Ordering::Relaxed) > 800).then_some(()) }).await;
    world.canary.kill();
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    world.plane.counted(1_600).await;
    let sums = world.plane.sums(2);
    assert_eq!(sums.requests, 1_600);
    let by_stable = world.plane.records().iter().filter(|r| r.version == 1).count() as u64;
    assert!(by_stable > 0);
    assert_eq!(sums.errors, by_stable);
}

#[tokio::test]
async fn a_canary_that_answers_500_is_replaced() {
    let world = canary(Behaviour::Respond(500, b"{\"error\":\"boom\"}".to_vec())).await;
    world.falls_back(20).await;
    assert_eq!(world.canary.served(), 20);
}

#[tokio::test]
async fn a_canary_that_closes_without_an_answer_is_replaced() {
    let world = canary(Behaviour::CloseBeforeAnswer).await;
    world.falls_back(5).await;
}

#[tokio::test]
async fn a_canary_that_does_not_speak_http_is_replaced() {
    let world = canary(Behaviour::Noise).await;
    world.falls_back(5).await;
}

#[tokio::test]
async fn a_silent_canary_is_given_up_and_counts_as_slow() {
    let world = canary(Behaviour::Silent).await;
    world.falls_back(1).await;
    assert_eq!(world.plane.sums(2).slow, 1);
}

#[tokio::test]
async fn a_refusal_is_passed_on_and_counted_against_the_version_that_refused() {
    let world = canary(Behaviour::Respond(400, b"{\"error\":\"shape\"}".to_vec())).await;
    assert_eq!(world.gateway.infer("a").await.status(), 400);
    world.plane.counted(1).await;
    assert_eq!(world.plane.sums(2).errors, 1);
    assert_eq!(world.stable.served(), 0, "the client's fault is not retried");
    assert!(world.plane.records().is_empty());
}

#[tokio::test]
async fn an_answer_cut_in_the_middle_is_an_error_that_the_client_sees() {
    let world = canary(Behaviour::CloseMidAnswer).await;
    // Cut after the head, or before it when head and cut came together: never a complete answer.
    let whole = match world.gateway.infer_request("a").body(crate::gateway::BODY).send().await {
        Ok(answer) => answer.bytes().await,
        Err(error) => Err(error),
    };
    assert!(whole.is_err());
    world.plane.counted(1).await;
    assert_eq!(world.plane.sums(2).errors, 1);
    assert!(world.plane.records().is_empty());
}

#[tokio::test]
async fn kept_connections_that_die_are_nobodys_fault() {
    let world = canary(Behaviour::PredictAndClose(0.5)).await;
    for n in 0..50 {
        assert_eq!(world.gateway.version(&format!("closed-{n}")).await, "delay/2");
    }
    // Every second request meets a connection that was kept and dies with it: sent again to the same version.
    world.canary.behave(Behaviour::PredictOnce(0.5));
    for n in 0..50 {
        assert_eq!(world.gateway.version(&format!("dies-{n}")).await, "delay/2");
    }
    world.plane.counted(100).await;
    assert_eq!(world.plane.sums(2).errors, 0);
    assert_eq!(world.stable.served(), 0);
}

#[tokio::test]
async fn a_large_body_moves_on_after_a_refused_connection_but_not_after_it_was_sent() {
    let world = canary(Behaviour::Respond(503, b"{}".to_vec())).await;
    let body = vec![b' '; 256 << 10];
    let send = || world.gateway.infer_request("large").body(body.clone()).send();
    // Larger than the proxy's retry buffer: the canary's own answer is passed on.
    assert_eq!(send().await.unwrap().status(), 503);
    world.canary.kill();
    assert_eq!(send().await.unwrap().status(), 200);
    assert_eq!(world.stable.largest_body(), body.len());
    world.plane.counted(2).await;
    assert_eq!(world.plane.sums(2).errors, 2);
}

#[tokio::test]
async fn a_body_in_chunks_is_sent_again() {
    let world = canary(Behaviour::Respond(500, Vec::new())).await;
    let answer =
        send_chunks(world.gateway.address, "/v2/models/delay/infer", &[b"{\"inputs\"", b":[]}"]).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!((world.canary.largest_body(), world.stable.largest_body()), (13, 13));
}

#[tokio::test]
async fn without_a_stable_server_the_client_is_told_when_to_come_back() {
    let stable = ModelServer::start(Behaviour::Predict(0.5)).await;
    let plane = ControlPlane::start().await;
    plane.publish(&stable_table(1, &stable));
    let gateway = Gateway::serving(&plane, 1).await;
    stable.behave(Behaviour::CloseBeforeAnswer);
    let answer = gateway.infer("a").await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["retry-after"].as_bytes()),
        (502, b"1".as_slice())
    );
    stable.kill();
    let answer = gateway.infer("b").await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["retry-after"].as_bytes()),
        (503, b"1".as_slice())
    );
    assert_eq!(answer.headers()["x-request-id"], "b");
    assert!(answer.json::<serde_json::Value>().await.unwrap()["error"].is_string());
    plane.counted(2).await;
    assert_eq!(plane.sums(1).errors, 2);
}

#[tokio::test]
async fn a_stable_500_is_passed_on_and_counted() {
    let stable = ModelServer::start(Behaviour::Respond(500, prediction_body(1.0))).await;
    let plane = ControlPlane::start().await;
    plane.publish(&stable_table(1, &stable));
    let gateway = Gateway::serving(&plane, 1).await;
    assert_eq!(gateway.infer("a").await.status(), 500);
    plane.counted(1).await;
    assert_eq!(plane.sums(1).errors, 1);
    assert!(plane.records().is_empty());
    assert_eq!(stable.served(), 1);
}
