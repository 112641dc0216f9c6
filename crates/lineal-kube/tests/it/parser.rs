//! The parser of files is the authority: what it says of the documents, and of what an object becomes.

use lineal_engine::pipeline::Pipeline as Parsed;
use lineal_kube::definition;
use lineal_kube::resource::Pipeline;
use serde_json::Value;

use crate::documents::{GOOD, Refused, WRONG, wrong};

const FLIGHTS: &str = include_str!("../../../../examples/flights/pipeline.yaml");

#[test]
fn good_documents_mean_the_same_as_objects() {
    for text in [GOOD, FLIGHTS] {
        let file = Parsed::parse(text.as_bytes()).unwrap();
        let object: Pipeline = serde_norway::from_str(text).unwrap();
        let parsed = object.parse().unwrap();
        // Kubernetes keeps no order of steps; everything else is the same.
        assert_eq!(parsed.name, file.name);
        assert_eq!((&parsed.params, parsed.seed), (&file.params, file.seed));
        assert_eq!((&parsed.data, &parsed.envs, &parsed.code), (&file.data, &file.envs, &file.code));
        assert_eq!((&parsed.gates, &parsed.serve), (&file.gates, &file.serve));
        assert_eq!(parsed.steps().len(), file.steps().len());
        for step in file.steps() {
            assert_eq!(parsed.step(&step.name), Some(step));
        }
    }
}

#[test]
fn an_object_with_on_as_yaml_1_1_reads_it_means_the_same() {
    let text = GOOD.replacen("\"on\": data.numbers", "\"true\": data.numbers", 1);
    let object: Pipeline = serde_norway::from_str(&text).unwrap();
    assert_eq!(object.parse().unwrap().gates, Parsed::parse(GOOD.as_bytes()).unwrap().gates);
}

#[test]
fn metadata_and_status_of_an_object_do_not_disturb() {
    let mut object: Pipeline = serde_norway::from_str(GOOD).unwrap();
    object.metadata.uid = Some("00000000-0000-0000-0000-000000000000".to_owned());
    object.status = Some(lineal_kube::resource::PipelineStatus { steps: Some(2), ..Default::default() });
    assert_eq!(object.parse().unwrap().name.as_str(), "late-rate");
}

#[test]
fn wrong_documents_are_refused() {
    for (from, to, refused) in WRONG {
        let text = wrong(from, to);
        let result = Parsed::parse(text.as_bytes());
        match refused {
            Refused::Both(_) | Refused::Parser => assert!(result.is_err(), "accepted: `{from}` -> `{to}`"),
            Refused::Server(_) => assert!(result.is_ok(), "refused: `{from}` -> `{to}`: {result:?}"),
        }
        // What the API server lets through can be read as an object, and is refused then.
        if *refused == Refused::Parser {
            let object: Pipeline = serde_norway::from_str(&text).unwrap();
            assert!(object.parse().is_err(), "accepted as an object: `{from}` -> `{to}`");
        }
    }
}

/// A rule that no object breaks in a test would be a rule that nobody has seen refuse.
#[test]
fn every_rule_is_broken_by_a_test() {
    fn messages(schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(fields) => {
                for rule in
                    fields.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten()
                {
                    found.extend(rule["message"].as_str().map(str::to_owned));
                }
                fields.values().for_each(|inner| messages(inner, found));
            }
            Value::Array(items) => items.iter().for_each(|inner| messages(inner, found)),
            _ => {}
        }
    }
    let objects = include_str!("../cluster/objects.rs");
    let expected: Vec<&str> = WRONG
        .iter()
        .filter_map(|(_, _, refused)| match refused {
            Refused::Both(text) | Refused::Server(text) => Some(*text),
            Refused::Parser => None,
        })
        .collect();
    let mut all = Vec::new();
    definition::all().iter().for_each(|definition| messages(definition.schema(), &mut all));
    assert!(all.len() > 40, "{}", all.len());
    for message in all {
        let start = message.get(..28).unwrap_or(&message);
        let broken = expected.iter().any(|text| message.contains(text)) || objects.contains(start);
        assert!(broken, "no test breaks the rule `{message}`");
    }
}
