use serde_json::Value;

use super::{all, quoted};

/// Every schema within `schema`, with its path.
fn walk<'a>(path: &str, schema: &'a Value, visit: &mut dyn FnMut(&str, &'a Value)) {
    visit(path, schema);
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), inner, visit);
    }
    for word in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(word) {
            walk(&format!("{path}[]"), inner, visit);
        }
    }
}

/// What `wrong` says of any schema of any resource.
fn findings(wrong: impl Fn(&Value) -> Option<&'static str>) -> Vec<String> {
    let mut findings = Vec::new();
    for definition in all() {
        let plural = definition.plural().to_owned();
        walk(&plural, definition.schema(), &mut |path, schema| {
            findings.extend(wrong(schema).map(|finding| format!("{path}: {finding}")));
        });
    }
    findings
}

fn count(word: &str) -> usize {
    let mut count = 0;
    for definition in all() {
        walk("", definition.schema(), &mut |_, schema| count += usize::from(schema.get(word).is_some()));
    }
    count
}

#[test]
fn every_schema_has_a_description() {
    let found = findings(|schema| {
        let text = schema["description"].as_str().unwrap_or_default().trim();
        (text.len() < 5 || !text.ends_with('.')).then_some("no sentence that describes it")
    });
    assert_eq!(found, Vec::<String>::new());
    assert!(count("description") > 200);
}

#[test]
fn everything_is_bounded() {
    let found = findings(|schema| {
        let has = |word: &str| schema.get(word).is_some();
        match schema["type"].as_str() {
            Some("string") if !has("maxLength") && !has("enum") => Some("a text without a bound"),
            Some("array") if !has("maxItems") => Some("a list without a bound"),
            Some("object") if has("additionalProperties") && !has("maxProperties") => {
                Some("a map without a bound")
            }
            Some("object") if !has("additionalProperties") && !has("properties") => {
                Some("an object of anything")
            }
            None if !has("maxLength") || !has("maxItems") || !has("maxProperties") => {
                Some("a value without a bound")
            }
            _ => None,
        }
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_list_says_what_it_is() {
    let found = findings(|schema| {
        let list = schema["type"] == "array" && schema.get("x-kubernetes-list-type").is_none();
        list.then_some("no x-kubernetes-list-type")
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_rule_has_a_message_that_is_a_text_of_its_own() {
    let found = findings(|schema| {
        let rules = schema["x-kubernetes-validations"].as_array()?;
        let good = |rule: &Value| {
            let message = rule["message"].as_str().unwrap_or_default();
            message.len() > 20 && !message.contains('\n') && rule["rule"].as_str() != Some(message)
        };
        (!rules.iter().all(good)).then_some("a rule without a message")
    });
    assert_eq!(found, Vec::<String>::new());
    assert!(count("x-kubernetes-validations") > 25);
}

#[test]
fn integers_have_a_format_that_the_server_knows() {
    let found = findings(|schema| {
        let format = schema["format"].as_str();
        let good = match schema["type"].as_str() {
            Some("integer") => format == Some("int64"),
            Some("number") => format == Some("double"),
            _ => matches!(format, None | Some("date-time")),
        };
        (!good || schema.get("nullable").is_some()).then_some("an unknown format, or nullable")
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_resource_is_served_the_same_way() {
    let plurals: Vec<String> = all().iter().map(|definition| definition.plural().to_owned()).collect();
    assert_eq!(
        plurals,
        [
            "approvals",
            "datasets",
            "environments",
            "models",
            "pipelineruns",
            "pipelines",
            "promotions",
            "rolloutactions",
            "rollouts",
        ]
    );
    for definition in all() {
        let spec = &definition.document()["spec"];
        assert_eq!(spec["group"], "lineal.dev");
        assert_eq!(spec["scope"], "Namespaced");
        assert_eq!(spec["names"]["categories"][0], "lineal");
        assert_eq!(spec["names"]["shortNames"].as_array().map(Vec::len), Some(1));
        let version = &spec["versions"][0];
        assert_eq!(version["name"], "v1alpha1");
        assert!(version["subresources"]["status"].is_object());
        let status = &version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"];
        assert_eq!(status["observedGeneration"]["format"], "int64");
        assert_eq!(status["conditions"]["x-kubernetes-list-map-keys"][0], "type");
        let columns = version["additionalPrinterColumns"].as_array().unwrap();
        assert_eq!(columns.last().unwrap()["name"], "Age");
    }
}

#[test]
fn words_that_yaml_1_1_takes_for_booleans_are_quoted() {
    assert_eq!(quoted("  on:"), "  'on':");
    assert_eq!(quoted("    - off"), "    - 'off'");
    assert_eq!(quoted("  only:"), "  only:");
    for definition in all() {
        let text = definition.yaml();
        assert!(!text.lines().any(|line| matches!(line.trim(), "on:" | "- off" | "- on")), "{text}");
        let read: Value = serde_norway::from_str(&text).unwrap();
        assert_eq!(&read, definition.document());
    }
}
