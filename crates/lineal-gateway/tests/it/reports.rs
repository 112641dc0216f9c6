use std::collections::BTreeMap;

use crate::control_plane::{ControlPlane, canary_table, stable_table};
use crate::eventually;
use crate::gateway::Gateway;
use crate::model_server::{Behaviour, ModelServer};

#[tokio::test]
async fn reports_are_repeated_unchanged_until_accepted() {
    let stable = ModelServer::start(Behaviour::Predict(0.5)).await;
    let plane = ControlPlane::start().await;
    plane.publish(&stable_table(1, &stable));
    plane.answer_reports(&[503, 500, 200, 429, 200]);
    let gateway = Gateway::serving(&plane, 1).await;
    for n in 0..10 {
        gateway.version(&format!("first-{n}")).await;
    }
    plane.counted(10).await;
    for n in 0..10 {
        gateway.version(&format!("second-{n}")).await;
    }
    plane.counted(20).await;
    let deliveries = plane.deliveries();
    assert_eq!(
        deliveries.iter().take(5).map(|(_, status)| *status).collect::<Vec<_>>(),
        [503, 500, 200, 429, 200]
    );
    let mut by_sequence = BTreeMap::new();
    for (report, _) in &deliveries {
        assert!(report.gateway.starts_with("gateway-1-"), "{}", report.gateway);
        assert_eq!(report.gateway, deliveries[0].0.gateway);
        assert_eq!(report.dropped_records, 0);
        let first = by_sequence.entry(report.sequence).or_insert(report);
        assert_eq!(*first, report, "a repetition must be the same report");
    }
    let sequences: Vec<u64> = by_sequence.keys().copied().collect();
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>());
    assert_eq!(plane.records().len(), 20);
}

#[tokio::test]
async fn a_report_that_is_never_accepted_does_not_block_the_next() {
    let stable = ModelServer::start(Behaviour::Predict(0.5)).await;
    let plane = ControlPlane::start().await;
    plane.publish(&stable_table(1, &stable));
    plane.answer_reports(&[400; 5]);
    let gateway = Gateway::serving(&plane, 1).await;
    gateway.version("lost").await;
    eventually("given up and counted", || async {
        let dropped: u64 = plane.reports().iter().map(|r| r.dropped_records).sum();
        (dropped == 1).then_some(())
    })
    .await;
    gateway.version("kept").await;
    plane.counted(1).await;
    assert_eq!(plane.reports().last().unwrap().sequence, plane.reports().len() as u64 + 1);
}

#[tokio::test]
async fn observations_wait_for_the_control_plane() {
    let stable = ModelServer::start(Behaviour::Predict(0.5)).await;
    let plane = ControlPlane::start().await;
    plane.publish(&stable_table(1, &stable));
    let gateway = Gateway::serving(&plane, 1).await;
    plane.kill();
    for n in 0..500 {
        gateway.version(&format!("away-{n}")).await;
    }
    plane.revive().await;
    plane.counted(500).await;
    assert_eq!(plane.records().len(), 500);
}

#[tokio::test]
async fn an_unreadable_answer_is_an_error_of_the_version() {
    let stable = ModelServer::start(Behaviour::Respond(200, b"<html>not json".to_vec())).await;
    let plane = ControlPlane::start().await;
    plane.publish(&stable_table(1, &stable));
    let gateway = Gateway::serving(&plane, 1).await;
    let answer = gateway.infer("a").await;
    assert_eq!(answer.text().await.unwrap(), "<html>not json");
    plane.counted(1).await;
    let records = plane.records();
    assert_eq!((records[0].id.as_str(), records[0].prediction), ("a", None));
    assert_eq!(plane.sums(1).errors, 1);
}

#[tokio::test]
async fn slow_requests_are_counted_by_the_time_that_the_version_took() {
    let stable = ModelServer::start(Behaviour::Held(0.5)).await;
    let plane = ControlPlane::start().await;
    let mut table = stable_table(1, &stable);
    table.routes[0].slow_after_ms = 20;
    plane.publish(&table);
    let gateway = Gateway::serving(&plane, 1).await;
    let asking = gateway.infer("a");
    let releasing = async {
        eventually("request arrived", || async { (stable.served() == 1).then_some(()) }).await;
        tokio::time::timeout(std::time::Duration::from_millis(60), std::future::pending::<()>())
            .await
            .unwrap_err();
        stable.release();
    };
    assert_eq!(tokio::join!(asking, releasing).0.status(), 200);
    stable.behave(Behaviour::Predict(0.5));
    plane.counted(1).await;
    assert_eq!(plane.sums(1).slow, 1);
    let took = plane.sums(1).latency_sum_ms;
    assert!((60.0..5_000.0).contains(&took), "{took}");
}

#[tokio::test]
async fn a_client_that_gives_up_leaves_a_slow_request_but_no_error() {
    let canary = ModelServer::start(Behaviour::Silent).await;
    let stable = ModelServer::start(Behaviour::Predict(0.1)).await;
    let plane = ControlPlane::start().await;
    let mut table = canary_table(1, 10_000, &canary, &stable);
    table.routes[0].slow_after_ms = 200;
    plane.publish(&table);
    let gateway = Gateway::serving(&plane, 1).await;
    let asking = gateway.infer_request("a").body(crate::gateway::BODY);
    let answer = asking.timeout(std::time::Duration::from_millis(300)).send().await;
    assert!(answer.is_err_and(|e| e.is_timeout()));
    plane.counted(1).await;
    let sums = plane.sums(2);
    assert_eq!((sums.slow, sums.errors, stable.served()), (1, 0, 0));
    assert!(plane.records().is_empty());
}

#[tokio::test]
async fn an_answer_without_a_body_is_recorded() {
    let stable = ModelServer::start(Behaviour::Respond(200, Vec::new())).await;
    let plane = ControlPlane::start().await;
    plane.publish(&stable_table(1, &stable));
    let gateway = Gateway::serving(&plane, 1).await;
    assert_eq!(gateway.version("a").await, "delay/1");
    plane.counted(1).await;
    assert_eq!(plane.records()[0].prediction, None);
}

#[tokio::test]
async fn a_stop_answers_running_requests_and_reports_them() {
    let (canary, stable) =
        (ModelServer::start(Behaviour::Held(0.75)).await, ModelServer::start(Behaviour::Predict(0.1)).await);
    let plane = ControlPlane::start().await;
    plane.publish(&canary_table(1, 10_000, &canary, &stable));
    let mut gateway = Gateway::serving(&plane, 1).await;
    let idle = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
    let asking = tokio::spawn(gateway.infer_request("last").body(crate::gateway::BODY).send());
    eventually("request arrived", || async { (canary.served() == 1).then_some(()) }).await;
    let started = std::time::Instant::now();
    gateway.terminate();
    let address = gateway.address;
    eventually("listener is closed", || async { tokio::net::TcpStream::connect(address).await.err() }).await;
    canary.release();
    let answer = asking.await.unwrap().unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["x-lineal-version"].as_bytes()),
        (200, b"delay/2".as_slice())
    );
    let mut turns = tokio::time::interval(std::time::Duration::from_millis(5));
    let status = loop {
        turns.tick().await;
        if let Some(status) = gateway.exited() {
            break status;
        }
        assert!(started.elapsed() < lineal_gateway::server::DRAIN_LIMIT, "an idle client holds up the stop");
    };
    println!("stop took {:?} with one running request and one idle client", started.elapsed());
    assert!(status.success());
    assert_eq!((plane.sums(2).requests, plane.records()[0].prediction), (1, Some(0.75)));
    assert!(!gateway.config.ready_file.as_ref().unwrap().exists());
    drop(idle);
}
