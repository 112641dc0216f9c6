//! A pattern of the definitions takes a text if and only if the parser does.

use lineal_engine::pipeline::{EnvName, ImageReference, parse_ms};
use lineal_facts::manifest::check_path;
use lineal_facts::{Digest, RolloutId, RunId, SnapshotRef, StepName, Tag};
use lineal_kube::schema;
use proptest::prelude::*;
use regex::Regex;
use schemars::{JsonSchema, SchemaGenerator};

/// What the API server does with a text of type `T`: its pattern, and its length in characters.
fn takes<T: JsonSchema>(text: &str) -> bool {
    let schema = T::json_schema(&mut SchemaGenerator::default());
    let pattern = Regex::new(schema.get("pattern").unwrap().as_str().unwrap()).unwrap();
    let limit = schema.get("maxLength").unwrap().as_u64().unwrap();
    !text.is_empty() && text.chars().count() as u64 <= limit && pattern.is_match(text)
}

fn agree<T: JsonSchema>(text: &str, parser: bool) -> Result<(), TestCaseError> {
    prop_assert_eq!(takes::<T>(text), parser, "{:?} of {}", text, T::schema_name());
    Ok(())
}

proptest! {
    #[test]
    fn names(text in "[-a-c0-9._A-Z\u{e9}]{0,5}|[a-z0-9-]{60,66}") {
        agree::<schema::Name>(&text, text.parse::<StepName>().is_ok())?;
        agree::<schema::LocalName>(&text, text.parse::<EnvName>().is_ok())?;
        agree::<schema::Tag>(&text, text.parse::<Tag>().is_ok())?;
    }

    #[test]
    fn ids(text in "(run|rollout|ran)-[0-9a-g]{11,13}|sha256:[0-9a-fA]{63,65}|run-[0-9a-f]{12}|sha256:[0-9a-f]{64}") {
        agree::<schema::RunId>(&text, text.parse::<RunId>().is_ok())?;
        agree::<schema::RolloutId>(&text, text.parse::<RolloutId>().is_ok())?;
        agree::<schema::Digest>(&text, text.parse::<Digest>().is_ok())?;
    }

    #[test]
    fn snapshots(text in "[-a-b]{0,3}@?[-a.A]{0,3}|[a-b]{62,64}@sha256:[0-9a]{64}") {
        agree::<schema::DatasetUri>(&format!("dataset://{text}"), text.parse::<SnapshotRef>().is_ok())?;
    }

    #[test]
    fn images(
        text in "[-ab._]{0,4}|[-aA.:/_0]{0,9}|(\\[[a:]{0,2}\\]|a\\.B)(:0|)/a(/b|)(:[_A.-]{0,2}|)|a{250,258}|a:b{127,130}",
        digest in "@sha256:[0-9a]{64}|@sha256:[0-9a-g]{63,65}|",
    ) {
        let text = format!("{text}{digest}");
        agree::<schema::ImageReference>(&text, text.parse::<ImageReference>().is_ok())?;
    }

    #[test]
    fn paths(text in "[a./\\\\\u{7f}\u{85}\u{e9}\n]{0,7}|[a./]{1,9}") {
        agree::<schema::RelativePath>(&text, check_path(&text).is_ok())?;
    }

    /// Beyond the limit of 168 hours a rule refuses, and before it one of zero.
    #[test]
    fn durations(text in "[0-9]{0,4}(ms|s|m|h|d|)|[-+ 0-9.mshu]{0,4}") {
        let parsed = parse_ms(&text);
        prop_assert!(parsed.is_err() || takes::<schema::Duration>(&text), "{:?}", text);
        let digits = text.trim_end_matches(char::is_alphabetic);
        let in_range = digits.parse::<u64>().is_ok_and(|number| (1..=168).contains(&number));
        prop_assert!(!in_range || takes::<schema::Duration>(&text) == parsed.is_ok(), "{:?}", text);
    }
}
