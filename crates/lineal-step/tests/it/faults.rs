//! An exchange that lies, breaks off, says no, is somebody else, or is away.

use std::net::{Ipv4Addr, TcpListener};

use lineal_facts::Digest;
use lineal_sandbox::Exit;
use lineal_step::order::ORDER_LIMIT_BYTES;
use lineal_step::{Input, Outcome, Refusal, StepOrder};

use crate::pod::{Ended, Pod, order, with_output};
use crate::server::{Fault, Server};

fn refusal(server: &Server) -> Refusal {
    match server.result().outcome {
        Outcome::Refused(refusal) => refusal,
        Outcome::Finished(finished) => panic!("{finished:?}"),
    }
}

fn simple(server: &Server) -> StepOrder {
    with_output(order(server, "train", "echo done > $LINEAL_OUT/result"), "result", "result")
}

/// The program gave up: nothing was reported, and a person can read why.
fn gave_up(server: &Server, ended: &Ended, code: i32, why: &str) {
    assert_eq!(ended.exit, Exit::Code(code), "{}", ended.log);
    assert!(ended.log.contains(why), "{}", ended.log);
    assert!(!ended.log.contains("panicked"), "{}", ended.log);
    assert!(!ended.log.contains("-token"), "{}", ended.log);
    assert!(server.state().results.is_empty());
}

#[test]
fn a_damaged_blob_is_told_and_the_step_does_not_run() {
    let server = Server::start();
    let mut step = order(&server, "train", "echo it ran");
    let digest = server.blob(b"table");
    let kind = lineal_facts::predicate::ArtifactKind::File;
    step.inputs.insert("table".to_owned(), Input { kind, digest });
    server.order(&step);
    server.state().blobs.insert(digest.hex(), b"tablE".to_vec());
    let ended = Pod::new(&server).run();
    assert_eq!(ended.exit, Exit::Code(0), "{}", ended.log);
    assert!(!ended.log.contains("it ran"));
    let refusal = refusal(&server);
    assert_eq!(refusal.code, "tampered");
    assert!(refusal.message.contains(&digest.to_string()), "{}", refusal.message);
}

#[test]
fn a_blob_that_is_not_given_is_told() {
    let server = Server::start();
    let mut step = simple(&server);
    step.code = Digest::of(b"nobody has it");
    server.order(&step);
    assert_eq!(Pod::new(&server).run().exit, Exit::Code(0));
    assert_eq!(refusal(&server).code, "not-verified");
}

#[test]
fn a_code_tree_that_leads_outside_is_told() {
    let server = Server::start();
    let mut step = simple(&server);
    let file = Digest::of(b"x").hex();
    let manifest = format!(
        r#"{{"files":[{{"mode":"100644","path":"../../out/result","sha256":"{file}","size":"1"}}],"version":"1"}}"#
    );
    step.code = server.blob(manifest.as_bytes());
    server.order(&step);
    assert_eq!(Pod::new(&server).run().exit, Exit::Code(0));
    assert_eq!(refusal(&server).code, "data-unreadable");
}

#[test]
fn another_certificate_is_not_trusted() {
    let server = Server::start();
    server.order(&simple(&server));
    let other = Server::start();
    let ended = Pod::of(&server.address(), &other.pin()).run();
    gave_up(&server, &ended, 70, "another certificate");
    assert!(server.state().tokens.is_empty(), "a stranger got the token");
}

#[test]
fn a_server_without_the_key_of_the_certificate_is_not_trusted() {
    let server = Server::start();
    let impostor = Server::impostor(&server);
    impostor.order(&simple(&impostor));
    assert_eq!(impostor.pin(), server.pin());
    let ended = Pod::new(&impostor).run();
    gave_up(&impostor, &ended, 70, "another certificate");
    assert!(impostor.state().tokens.is_empty(), "a stranger got the token");
}

#[test]
fn an_exchange_that_is_away_for_a_moment_is_asked_again() {
    let server = Server::start();
    server.order(&simple(&server));
    {
        let mut state = server.state();
        state.hang_ups = 2;
        let away = [("POST work", 503), ("GET ", 502), ("PUT ", 500), ("POST result", 503)];
        state.faults.extend(away.map(|(name, status)| (name, Fault::Status(status))));
    }
    let ended = Pod::new(&server).run();
    assert_eq!(ended.exit, Exit::Code(0), "{}", ended.log);
    let state = server.state();
    assert!(state.faults.is_empty() && state.hang_ups == 0);
    assert!(matches!(state.results[0].outcome, Outcome::Finished(_)));
    assert_eq!(state.requests.iter().filter(|name| *name == "POST work").count(), 2);
}

#[test]
fn a_blob_that_breaks_off_is_fetched_to_its_end() {
    let server = Server::start();
    let mut step = order(&server, "train", "cp $LINEAL_IN/table $LINEAL_OUT/result");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let digest = server.blob(&bytes);
    let kind = lineal_facts::predicate::ArtifactKind::File;
    step.inputs.insert("table".to_owned(), Input { kind, digest });
    server.order(&with_output(step, "result", "result"));
    let name = format!("GET blobs/sha256/{}", digest.hex());
    server.state().faults.push_back((Box::leak(name.into_boxed_str()), Fault::BreakOff));
    let ended = Pod::new(&server).run();
    assert_eq!(ended.exit, Exit::Code(0), "{}", ended.log);
    assert!(server.state().faults.is_empty());
    match server.result().outcome {
        Outcome::Finished(finished) => assert_eq!(finished.outputs["result"].digest, digest),
        Outcome::Refused(refusal) => panic!("{refusal:?}"),
    }
}

#[test]
fn an_exchange_that_started_again_gets_everything_once_more() {
    let server = Server::start();
    server.order(&simple(&server));
    server.state().faults.push_back(("POST result", Fault::Forgets));
    let ended = Pod::new(&server).run();
    assert_eq!(ended.exit, Exit::Code(0), "{}", ended.log);
    let state = server.state();
    let Outcome::Finished(finished) = &state.results[0].outcome else { panic!("{:?}", state.results) };
    // Both are there after it forgot them.
    for digest in [finished.outputs["result"].digest, finished.log.unwrap()] {
        assert!(state.sent.contains_key(&digest.hex()), "{:?}", state.requests);
    }
}

#[test]
fn an_exchange_that_stays_away_ends_the_pod_for_now() {
    let server = Server::start();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut pod = Pod::of(&address, &server.pin());
    pod.env.insert("LINEAL_EXCHANGE_PATIENCE_S".to_owned(), "1".to_owned());
    gave_up(&server, &pod.run(), 75, "could not be reached for 1 s");
}

#[test]
fn a_no_is_final_wherever_it_comes() {
    for (name, status) in
        [("POST work", 403), ("GET ", 401), ("PUT ", 422), ("PUT ", 413), ("POST work", 302)]
    {
        let server = Server::start();
        server.order(&simple(&server));
        server.state().faults.push_back((name, Fault::Status(status)));
        let ended = Pod::new(&server).run();
        gave_up(&server, &ended, 70, &format!("status {status}: fault: told by the server"));
    }
}

#[test]
fn orders_that_are_none_end_the_pod() {
    let server = Server::start();
    let good = String::from_utf8(lineal_step::Message::to_bytes(&simple(&server)).unwrap()).unwrap();
    let cases = [
        (vec![b' '; ORDER_LIMIT_BYTES + 1], "more than 4194304 bytes"),
        (b"[]".to_vec(), "not an order"),
        (b"{".to_vec(), "not an order"),
        (vec![b'['; 100_000], "not an order"),
        (good.replace(r#""version":"1""#, r#""version":"9""#).into_bytes(), "version `9`"),
        (good.replace(r#""result":"result""#, r#""result":"../../x""#).into_bytes(), "stays inside"),
    ];
    for (bytes, why) in cases {
        server.state().orders.push_back(bytes);
        gave_up(&server, &Pod::new(&server).run(), 70, why);
    }
}

#[test]
fn a_pod_that_is_taken_away_ends_its_step_and_reports_nothing() {
    let server = Server::start();
    // The parent of the step is the launcher, and its parent is the program.
    let script = "kill -TERM $(cut -d ' ' -f 4 /proc/$PPID/stat); while :; do sleep 1; done";
    server.order(&order(&server, "train", script));
    gave_up(&server, &Pod::new(&server).run(), 143, "stopped by a signal");
}

#[test]
fn a_pod_that_was_told_too_little_says_what_is_missing() {
    let server = Server::start();
    for (name, value, why) in [
        ("LINEAL_EXCHANGE", None, "`LINEAL_EXCHANGE` is not set"),
        ("LINEAL_EXCHANGE", Some("http://127.0.0.1:1"), "is not https://IP:PORT"),
        ("LINEAL_EXCHANGE_PIN", None, "`LINEAL_EXCHANGE_PIN` is not set"),
        ("LINEAL_EXCHANGE_PIN", Some("AB"), "not a pin"),
    ] {
        let mut pod = Pod::new(&server);
        pod.env.remove(name);
        pod.env.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        let ended = pod.run();
        assert!(ended.log.contains(why), "{}", ended.log);
        assert_ne!(ended.exit, Exit::Code(0));
    }
}
