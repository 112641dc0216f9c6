use std::time::{Duration, Instant};

use crate::control_plane::{ControlPlane, RouterKey, canary_table, stable_table};
use crate::eventually;
use crate::gateway::Gateway;
use crate::model_server::{Behaviour, ModelServer};

async fn servers() -> (ModelServer, ModelServer) {
    (ModelServer::start(Behaviour::Predict(0.9)).await, ModelServer::start(Behaviour::Predict(0.1)).await)
}

#[tokio::test]
async fn bad_tables_are_refused_and_the_old_one_stays() {
    let (canary, stable) = servers().await;
    let plane = ControlPlane::start().await;
    plane.publish(&canary_table(7, 10_000, &canary, &stable));
    let gateway = Gateway::serving(&plane, 7).await;
    let good = stable_table(9, &stable);
    let payload = serde_json::to_vec(&good).unwrap();
    let mut too_light = canary_table(9, 10_000, &canary, &stable);
    too_light.routes[0].shares[0].weight = 9_999;
    let mut newer_format = good.clone();
    newer_format.version = "2".to_owned();
    let mut tampered = plane.key.table(&good);
    let position = tampered.iter().position(|b| *b == b'A').unwrap();
    tampered[position] = b'B';
    let offers = [
        ("not JSON", b"<html>".to_vec(), "envelope"),
        ("unsigned", payload.clone(), "envelope"),
        ("another key", RouterKey::new().table(&good), "signature"),
        ("another type", plane.key.seal("application/json", payload), "application/json"),
        ("not a table", plane.key.seal("application/vnd.lineal.route-table+json", b"{}".to_vec()), "read"),
        ("tampered", tampered, "signature"),
        ("weights", plane.key.table(&too_light), "weights"),
        ("format", plane.key.table(&newer_format), "version"),
        ("lower generation", plane.key.table(&stable_table(6, &stable)), "generation 6"),
        ("same generation", plane.key.table(&stable_table(7, &stable)), "generation 7"),
    ];
    for (what, bytes, problem) in offers {
        let refused = gateway.status().await["refused_tables"].as_u64().unwrap();
        plane.force(bytes);
        let status = eventually(what, || async {
            let status = gateway.status().await;
            let text = status["last_problem"].as_str().unwrap();
            (status["refused_tables"].as_u64().unwrap() > refused && text.contains(problem)).then_some(status)
        })
        .await;
        assert_eq!((&status["generation"], &status["routes"]), (&7.into(), &1.into()), "{what}");
        assert_eq!(gateway.version("a").await, "delay/2", "{what}");
    }
    plane.publish(&good);
    gateway.generation(9).await;
    assert_eq!(gateway.version("a").await, "delay/1");
    assert_eq!(gateway.status().await["last_problem"], "");
}

#[tokio::test]
async fn without_the_control_plane_it_keeps_serving_also_after_a_restart() {
    let (canary, stable) = servers().await;
    let plane = ControlPlane::start().await;
    plane.publish(&canary_table(3, 10_000, &canary, &stable));
    let gateway = Gateway::serving(&plane, 3).await;
    let state = gateway.config.state_file.clone();
    eventually("state file", || async { state.exists().then_some(()) }).await;
    plane.kill();
    eventually("notices", || async {
        (gateway.status().await["control_plane_reachable"] == false).then_some(())
    })
    .await;
    assert_eq!(gateway.version("a").await, "delay/2");

    let gateway = gateway.restart().await;
    assert_eq!(gateway.status().await["generation"], 3);
    assert_eq!(gateway.version("b").await, "delay/2");

    // Never backwards, also across restarts.
    plane.publish(&stable_table(2, &stable));
    plane.force(plane.key.table(&stable_table(2, &stable)));
    plane.revive().await;
    eventually("refuses", || async {
        (gateway.status().await["refused_tables"].as_u64().unwrap() > 0).then_some(())
    })
    .await;
    assert_eq!(gateway.version("c").await, "delay/2");
    plane.publish(&stable_table(4, &stable));
    gateway.generation(4).await;
    assert_eq!(gateway.version("d").await, "delay/1");
}

#[tokio::test]
async fn a_damaged_state_file_is_a_problem_but_no_reason_to_stay_down() {
    let (canary, stable) = servers().await;
    let plane = ControlPlane::start().await;
    plane.publish(&canary_table(3, 10_000, &canary, &stable));
    let gateway = Gateway::serving(&plane, 3).await;
    let state = gateway.config.state_file.clone();
    eventually("state file", || async { state.exists().then_some(()) }).await;
    plane.kill();
    std::fs::write(&state, b"{\"payload\":").unwrap();
    let gateway = gateway.restart().await;
    let status = gateway.status().await;
    assert_eq!(status["generation"], 0);
    assert!(status["last_problem"].as_str().unwrap().contains("state file"), "{status}");
    assert_eq!(gateway.infer("a").await.status(), 503);
    plane.revive().await;
    gateway.generation(3).await;
}

/// An abort is a new table. Measured from its publication until every new request is on the stable version.
#[tokio::test]
async fn an_abort_takes_effect_at_once() {
    let (canary, stable) = servers().await;
    let plane = ControlPlane::start().await;
    plane.publish(&canary_table(1, 10_000, &canary, &stable));
    let gateway = Gateway::serving(&plane, 1).await;
    let mut took = Vec::new();
    for round in 0..20 {
        let polls = plane.polls();
        let generation = 2 + 2 * round;
        plane.publish(&stable_table(generation, &stable));
        let published = Instant::now();
        while gateway.version("a").await != "delay/1" {
            assert!(published.elapsed() < Duration::from_secs(1), "the abort did not take effect");
        }
        took.push(published.elapsed());
        plane.publish(&canary_table(generation + 1, 10_000, &canary, &stable));
        gateway.generation(generation + 1).await;
        eventually("polls again", || async { (plane.polls() >= polls + 2).then_some(()) }).await;
    }
    took.sort();
    println!(
        "abort to route: p50 {:?}, worst of {} {:?}",
        took[took.len() / 2],
        took.len(),
        took[took.len() - 1]
    );
}
