use super::*;

/// 22:13:20 and `seconds`.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_ms((1_700_000_000 + seconds) * 1000)
}

fn pipeline(run: &str) -> Pipeline {
    let mut object: Pipeline = serde_json::from_value(json!({
        "apiVersion": "lineal.dev/v1alpha1", "kind": "Pipeline", "metadata": {"name": "p"},
        "steps": {"a": {"run": [run], "out": {"x": "x"}}},
    }))
    .unwrap();
    object.metadata.generation = Some(3);
    object
}

#[test]
fn what_the_parser_says_is_told_once() {
    let mut good = pipeline("true");
    let status = judged(&good, at(0)).unwrap();
    assert_eq!((&status["steps"], &status["observedGeneration"]), (&json!(1), &json!(3)));
    assert_eq!(status["conditions"][0]["status"], "True");
    good.status = Some(serde_json::from_value(status).unwrap());
    assert_eq!(judged(&good, at(0)), None);
    // Another generation is another word, but the condition has held since.
    good.metadata.generation = Some(4);
    let again = judged(&good, at(9)).unwrap();
    assert_eq!(again["conditions"][0]["lastTransitionTime"], "2023-11-14T22:13:20Z");
    let bad = Pipeline { status: good.status, ..pipeline("") };
    let status = judged(&bad, at(9)).unwrap();
    assert_eq!((&status["conditions"][0]["status"], &status["steps"]), (&json!("False"), &Value::Null));
    assert!(
        status["conditions"][0]["message"].as_str().unwrap().contains("the command is empty"),
        "{status}"
    );
}
