//! What becomes of orders that can be carried out.

use lineal_facts::predicate::ArtifactKind;
use lineal_facts::{Digest, Manifest};
use lineal_sandbox::Exit;
use lineal_step::{Finished, Input, Outcome, StepResult};

use crate::pod::{Pod, is_empty, order, sent, with_output};
use crate::server::Server;

fn finished(result: StepResult) -> Finished {
    match result.outcome {
        Outcome::Finished(finished) => *finished,
        Outcome::Refused(refusal) => panic!("{refusal:?}"),
    }
}

#[test]
fn an_order_lives_from_its_inputs_to_its_outputs() {
    let server = Server::start();
    let script = r#"
        echo "to stdout"; echo "to stderr" >&2
        test "$(pwd)" = /lineal/code
        test "$IMAGE_SAYS" = hello
        test -z "${LINEAL_EXCHANGE-}${LINEAL_EXCHANGE_PIN-}${HOSTNAME-}${KUBERNETES_SERVICE_HOST-}"
        cat "$LINEAL_IN/table" "$LINEAL_IN/tree/sub/b" "$LINEAL_PARAMS" > "$LINEAL_OUT/all/text"
        mkdir "$LINEAL_OUT/folder"
        echo "$LINEAL_SEED" > "$LINEAL_OUT/folder/seed"
    "#;
    let mut order = with_output(order(&server, "train", script), "text", "all/text");
    order = with_output(order, "folder", "folder");
    let table = Input { kind: ArtifactKind::File, digest: server.blob(b"table\n") };
    let tree = server.directory(&[("a", "a\n"), ("sub/b", "b\n")]);
    let tree = Input { kind: ArtifactKind::Directory, digest: tree };
    order.inputs = [("table".to_owned(), table), ("tree".to_owned(), tree)].into();
    order.parameters = r#"{"depth":3}"#.to_owned();
    server.order(&order);

    let ended = Pod::new(&server).run();
    assert_eq!(ended.exit, Exit::Code(0), "{}", ended.log);

    let result = server.result();
    assert_eq!(result.attempt, order.attempt);
    assert_eq!(result.machine.cpu_class, lineal_step::machine::cpu_class());
    assert_eq!(server.state().asked[0].cpu_class, result.machine.cpu_class);
    let finished = finished(result);
    assert_eq!(finished.report.exit, Exit::Code(0));
    let text = &finished.outputs["text"];
    assert_eq!(text.kind, ArtifactKind::File);
    assert_eq!(sent(&server, &text.digest), "table\nb\n{\"depth\":3}");
    let folder = &finished.outputs["folder"];
    assert_eq!(folder.kind, ArtifactKind::Directory);
    let manifest = Manifest::from_bytes(sent(&server, &folder.digest).as_bytes()).unwrap();
    assert_eq!(sent(&server, &manifest.get("seed").unwrap().digest), "7\n");
    let log = sent(&server, &finished.log.unwrap());
    for line in ["to stdout\n", "to stderr\n"] {
        assert!(log.contains(line), "{log}");
        assert!(ended.log.contains(line), "the container's log lacks it: {}", ended.log);
    }
}

#[test]
fn a_pod_without_work_ends_well() {
    let server = Server::start();
    assert_eq!(Pod::new(&server).run().exit, Exit::Code(0));
    assert_eq!(server.state().requests, ["POST work"]);
}

#[test]
fn a_bundle_is_carried_out_in_order_and_each_step_in_a_clean_place() {
    let server = Server::start();
    // What a step leaves behind: files, directories without rights, and links, wherever it can write.
    let leave = r#"
        for place in /tmp /lineal/in /lineal/code; do
            test ! -e "$place/left" && test ! -h "$place/link"
            mkdir -p "$place/left/deep"; echo x > "$place/left/deep/file"; ln -s /usr "$place/link"
            chmod 0 "$place/left/deep" "$place/left"
        done
    "#;
    let write = |text: &str| format!("{leave}\ntest \"$(ls -A /lineal/out)\" = ''\n{text}");
    let first = order(&server, "first", &write("echo one > $LINEAL_OUT/result"));
    server.order(&with_output(first, "result", "result"));
    let one = Input { kind: ArtifactKind::File, digest: Digest::of(b"one\n") };
    let mut second =
        order(&server, "second", &write("cat $LINEAL_IN/one $LINEAL_IN/one > $LINEAL_OUT/result"));
    second.inputs.insert("one".to_owned(), one);
    server.order(&with_output(second, "result", "result"));
    // The same bytes as the first one's, which was sent for another order.
    let third = order(&server, "third", &write("test ! -e $LINEAL_IN/one; echo one > $LINEAL_OUT/result"));
    server.order(&with_output(third, "result", "result"));

    let pod = Pod::new(&server);
    let ended = pod.run();
    assert_eq!(ended.exit, Exit::Code(0), "{}", ended.log);
    assert!(!is_empty(&pod.path("work/tmp")), "the last step left nothing, so nothing was tested");

    let results = server.state().results.clone();
    let attempts: Vec<&str> = results.iter().map(|result| result.attempt.as_str()).collect();
    assert_eq!(attempts, ["run/first/1", "run/second/1", "run/third/1"]);
    let outputs: Vec<Digest> =
        results.into_iter().map(|result| finished(result).outputs["result"].digest).collect();
    assert_eq!(outputs, [Digest::of(b"one\n"), Digest::of(b"one\none\n"), Digest::of(b"one\n")]);
    let requests = server.state().requests.clone();
    let blob = Digest::of(b"one\n").hex();
    let count =
        |start: &str| requests.iter().filter(|name| **name == format!("{start} blobs/sha256/{blob}")).count();
    assert_eq!(
        (count("PUT"), count("GET")),
        (2, 0),
        "each attempt sends what it made; nothing is fetched twice"
    );
}

#[test]
fn the_token_is_read_again_for_each_request_and_never_shown() {
    let server = Server::start();
    let step = order(&server, "train", "echo done > $LINEAL_OUT/result");
    server.order(&with_output(step, "result", "result"));
    let pod = Pod::new(&server);
    server.state().rotation = Some((pod.token(), "second-token\n".to_owned()));

    let ended = pod.run();
    assert_eq!(ended.exit, Exit::Code(0), "{}", ended.log);
    let tokens = server.state().tokens.clone();
    assert_eq!(tokens[0], "Bearer first-token");
    assert!(tokens.len() > 3 && tokens[1..].iter().all(|token| token == "Bearer second-token"), "{tokens:?}");
    assert!(!ended.log.contains("-token"), "{}", ended.log);
}

#[test]
fn randomness_under_strict_is_that_of_the_key() {
    let digest = |key: u8| {
        let server = Server::start();
        let mut step = order(&server, "train", "head -c 64 /dev/urandom > $LINEAL_OUT/result");
        step.determinism = lineal_sandbox::Determinism::Strict {
            key: lineal_sandbox::EntropyKey::new([key; 32]),
            epoch_s: lineal_step::variables::FIXED_TIME_S,
        };
        server.order(&with_output(step, "result", "result"));
        let ended = Pod::new(&server).run();
        assert_eq!(ended.exit, Exit::Code(0), "{}", ended.log);
        finished(server.result()).outputs["result"].digest
    };
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
}
