use std::collections::BTreeSet;

use crate::control_plane::{ControlPlane, canary_table, stable_table};
use crate::gateway::{BODY, Gateway};
use crate::model_server::{Behaviour, ModelServer};

#[tokio::test]
async fn the_split_is_that_of_the_table() {
    let (canary, stable) = (
        ModelServer::start(Behaviour::Predict(0.9)).await,
        ModelServer::start(Behaviour::Predict(0.1)).await,
    );
    let plane = ControlPlane::start().await;
    let table = canary_table(1, 2_500, &canary, &stable);
    plane.publish(&table);
    let gateway = Gateway::serving(&plane, 1).await;
    for n in 0..2_000 {
        let key = format!("request-{n}");
        let expected = table.routes[0].share(&key).unwrap().version;
        assert_eq!(gateway.version(&key).await, format!("delay/{expected}"));
    }
    // 2,000 draws at 25 %: standard deviation 19.4; four of them either way.
    assert!((422..=578).contains(&canary.served()), "{}", canary.served());
    plane.counted(2_000).await;
    assert_eq!(plane.sums(2).requests, canary.served() as u64);
    assert_eq!(plane.sums(1).requests, stable.served() as u64);
    assert_eq!((plane.sums(2).errors, plane.sums(1).errors), (0, 0));
    let records = plane.records();
    assert_eq!(records.len(), 2_000);
    assert!(records.iter().all(|r| r.prediction == Some(if r.version == 2 { 0.9 } else { 0.1 })));
}

#[tokio::test]
async fn a_key_stays_and_a_raised_canary_keeps_its_cohort() {
    let (canary, stable) = (
        ModelServer::start(Behaviour::Predict(1.0)).await,
        ModelServer::start(Behaviour::Predict(0.0)).await,
    );
    let plane = ControlPlane::start().await;
    plane.publish(&canary_table(1, 1_000, &canary, &stable));
    let gateway = Gateway::serving(&plane, 1).await;
    let keys: Vec<String> = (0..300).map(|n| format!("user-{n}")).collect();
    let cohort = async || {
        let mut on_canary = BTreeSet::new();
        for key in &keys {
            let request = gateway.client.post(gateway.url("/v2/models/delay/infer"));
            let answer = request.header("x-lineal-key", key).body(BODY).send().await.unwrap();
            // Without an id of the client, every request gets its own, whatever its key.
            assert_eq!(answer.headers()["x-request-id"].len(), 16);
            if answer.headers()["x-lineal-version"] == "delay/2" {
                on_canary.insert(key.clone());
            }
        }
        on_canary
    };
    let first = cohort().await;
    assert_eq!(first, cohort().await);
    assert!(!first.is_empty());
    plane.publish(&canary_table(2, 5_000, &canary, &stable));
    gateway.generation(2).await;
    let raised = cohort().await;
    assert!(raised.is_superset(&first) && raised.len() > first.len());
    plane.publish(&stable_table(3, &stable));
    gateway.generation(3).await;
    assert!(cohort().await.is_empty());
    let ids: BTreeSet<String> = canary.ids().into_iter().chain(stable.ids()).collect();
    assert_eq!(ids.len(), 1_200, "generated ids repeat");
}

#[tokio::test]
async fn metadata_comes_from_the_stable_version() {
    let (canary, stable) = (
        ModelServer::start(Behaviour::Predict(1.0)).await,
        ModelServer::start(Behaviour::Predict(0.0)).await,
    );
    let plane = ControlPlane::start().await;
    plane.publish(&canary_table(1, 10_000, &canary, &stable));
    let gateway = Gateway::serving(&plane, 1).await;
    for path in ["/v2/models/delay", "/v2/models/delay/ready"] {
        let answer = gateway.get(path).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["x-lineal-version"]),
            (200, &"delay/1".parse().unwrap())
        );
    }
    assert_eq!((canary.served(), stable.served()), (0, 2));
    assert_eq!(gateway.version("a").await, "delay/2");
    plane.counted(1).await;
}
