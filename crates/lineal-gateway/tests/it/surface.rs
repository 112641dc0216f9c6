use std::io::Read as _;

use serde_json::Value;

use crate::control_plane::{ControlPlane, stable_table};
use crate::eventually;
use crate::gateway::{Gateway, config, spawn};
use crate::model_server::{Behaviour, ModelServer, prediction_body};
use crate::wire::send_chunks;

#[tokio::test]
async fn before_the_first_table_it_lives_but_is_not_ready() {
    let plane = ControlPlane::start().await;
    let gateway = Gateway::start(&plane).await;
    let live = gateway.get("/v2/health/live").await;
    assert_eq!((live.status().as_u16(), live.text().await.unwrap().as_str()), (200, r#"{"live":true}"#));
    let ready = gateway.get("/v2/health/ready").await;
    assert_eq!((ready.status().as_u16(), ready.text().await.unwrap().as_str()), (503, r#"{"ready":false}"#));
    let answer = gateway.infer("a").await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["retry-after"].as_bytes()),
        (503, b"1".as_slice())
    );
    let status = eventually("reaches the control plane", || async {
        plane.publish(&stable_table(1, &ModelServer::start(Behaviour::Silent).await));
        let status = gateway.status().await;
        (status["control_plane_reachable"] == true && status["generation"] == 1).then_some(status)
    })
    .await;
    assert_eq!((&status["gateway"], &status["routes"]), (&"gateway-1".into(), &1.into()));
    assert_eq!(gateway.get("/v2/health/ready").await.status(), 200);
}

#[tokio::test]
async fn what_is_not_served_is_refused_in_the_words_of_the_protocol() {
    let stable = ModelServer::start(Behaviour::Predict(0.5)).await;
    let plane = ControlPlane::start().await;
    plane.publish(&stable_table(1, &stable));
    let gateway = Gateway::serving(&plane, 1).await;
    let refusals = [
        ("POST", "/v2/models/other/infer", 404),
        ("GET", "/v2/models/other", 404),
        ("POST", "/v2/models/delay/versions/1/infer", 400),
        ("GET", "/v2/models/delay/versions/1/ready", 400),
        ("GET", "/v2/models/delay/infer", 405),
        ("DELETE", "/v2/models/delay", 405),
        ("POST", "/v2/repository/index", 404),
        ("GET", "/", 404),
        ("GET", "/metrics", 404),
    ];
    for (method, path, status) in refusals {
        let request = gateway.client.request(method.parse().unwrap(), gateway.url(path)).body("{}");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{method} {path}");
        assert!(answer.json::<Value>().await.unwrap()["error"].is_string(), "{method} {path}");
    }
    let bad_ids = [vec![b'a'; 257], b"caf\xc3\xa9".to_vec(), Vec::new()];
    for id in bad_ids {
        for header in ["x-request-id", "x-lineal-key"] {
            let request =
                gateway.client.post(gateway.url("/v2/models/delay/infer")).header(header, id.clone());
            assert_eq!(request.body("{}").send().await.unwrap().status(), 400, "{header} {id:?}");
        }
    }
    assert_eq!(stable.served(), 0);
    assert_eq!(gateway.version("still-works").await, "delay/1");
}

#[tokio::test]
async fn bodies_have_limits() {
    let stable = ModelServer::start(Behaviour::Predict(0.5)).await;
    let plane = ControlPlane::start().await;
    plane.publish(&stable_table(1, &stable));
    let gateway = Gateway::serving(&plane, 1).await;
    let send = |bytes: usize| gateway.infer_request("large").body(vec![b' '; bytes]).send();
    assert_eq!(send(4 << 20).await.unwrap().status(), 200);
    assert_eq!(stable.largest_body(), 4 << 20);
    let refused = send((4 << 20) + 1).await.unwrap();
    assert_eq!(refused.status(), 413);
    assert!(refused.json::<Value>().await.unwrap()["error"].as_str().unwrap().contains("4194304"));

    let chunk = vec![b' '; 64 << 10];
    let exact: Vec<&[u8]> = vec![&chunk; 64];
    let answer = send_chunks(gateway.address, "/v2/models/delay/infer", &exact).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let more: Vec<&[u8]> = vec![&chunk; 80];
    let answer = send_chunks(gateway.address, "/v2/models/delay/infer", &more).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // Refused uploads say nothing about the version.
    plane.counted(2).await;
    assert_eq!(plane.sums(1).errors, 0);
}

#[tokio::test]
async fn a_large_answer_passes_and_only_its_record_is_short() {
    let mut body = prediction_body(0.5);
    body.splice(1..1, format!(r#""padding":"{}","#, "x".repeat(2 << 20)).into_bytes());
    let stable = ModelServer::start(Behaviour::Respond(200, body.clone())).await;
    let plane = ControlPlane::start().await;
    plane.publish(&stable_table(1, &stable));
    let gateway = Gateway::serving(&plane, 1).await;
    let answer =
        gateway.infer_request("a").header("accept-encoding", "gzip").body("{}").send().await.unwrap();
    assert_eq!(answer.bytes().await.unwrap(), body);
    assert!(!stable.saw_accept_encoding());
    plane.counted(1).await;
    assert_eq!(plane.records()[0].prediction, None);
}

#[tokio::test]
async fn wrong_configurations_do_not_start() {
    let plane = ControlPlane::start().await;
    let directory = tempfile::tempdir().unwrap();
    let good = config(&plane, &directory);
    let mut remote = good.clone();
    remote.listen = "0.0.0.0:0".parse().unwrap();
    let mut key = good.clone();
    key.router_key_pem = "-----BEGIN PUBLIC KEY-----".to_owned();
    let mut tls = good.clone();
    tls.control_plane = "https://127.0.0.1:1".to_owned();
    let mut name = good.clone();
    name.gateway = "a b".to_owned();
    let mut taken = good.clone();
    taken.listen = plane.address;
    let cases = [
        (remote, "no authentication"),
        (key, "router key"),
        (tls, "control plane"),
        (name, "gateway name"),
        (taken, "cannot listen"),
    ];
    for (config, reason) in cases {
        let mut child = spawn(&config, &directory);
        assert_eq!(child.wait().unwrap().code(), Some(3), "{reason}");
        let mut text = String::new();
        child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(text.contains(reason), "{text}");
    }
}

#[tokio::test]
async fn it_does_not_run_inside_another_runtime() {
    let plane = ControlPlane::start().await;
    let directory = tempfile::tempdir().unwrap();
    let outcome = lineal_gateway::run(config(&plane, &directory));
    assert!(matches!(outcome, Err(lineal_gateway::GatewayError::Nested)));
}
