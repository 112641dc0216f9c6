use crate::predicate::{Approval, Promotion, VerificationPolicy, Verifier};
use crate::statement::Subject;
use crate::{Digest, Predicate, Statement, Timestamp};

use super::*;

fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn promotion() -> Statement {
    let attestation = crate::predicate::ResourceDescriptor {
        name: "approval".to_owned(),
        digest: digest("approval").into(),
        annotations: std::collections::BTreeMap::new(),
    };
    Statement {
        subject: vec![Subject::new("m/1", digest("model"))],
        predicate: Predicate::Promotion(Promotion {
            verifier: Verifier { id: "x".to_owned(), version: std::collections::BTreeMap::new() },
            time_verified: Timestamp::from_unix_ms(0),
            resource_uri: "lineal://production/m/1".to_owned(),
            policy: VerificationPolicy { uri: "p".to_owned(), digest: digest("policy").into() },
            input_attestations: vec![attestation],
            verification_result: "PASSED".to_owned(),
            verified_levels: Vec::new(),
        }),
    }
}

#[test]
fn a_promotion_rests_on_model_policy_and_what_it_accepted() {
    let statement = promotion();
    let expected = ["model", "policy", "approval"].map(digest);
    assert_eq!(statement.rests_on(), expected.into_iter().collect());
    assert_eq!(statement.artifacts(), [artifact(ArtifactKind::File, digest("policy"))]);
    assert!(!statement.makes_its_subjects());
}

#[test]
fn an_approval_rests_on_its_subject_and_stores_nothing() {
    let approval = Predicate::Approval(Approval {
        version: "m/1".parse().unwrap(),
        environment: "production".parse().unwrap(),
        reason: format!("looks like {}", digest("x")),
        approver: "ana".to_owned(),
        approved_at: Timestamp::from_unix_ms(0),
    });
    let statement = Statement { subject: vec![Subject::new("m/1", digest("model"))], predicate: approval };
    assert_eq!(statement.rests_on(), [digest("model")].into_iter().collect());
    assert!(statement.artifacts().is_empty());
}

#[test]
fn digests_are_found_in_both_spellings_at_any_depth() {
    let hex = digest("b").to_string().trim_start_matches("sha256:").to_owned();
    let value = serde_json::json!({"a": [{"b": digest("a").to_string()}], "digest": {"sha256": hex}, "n": 1, "s": "sha256:no"});
    let mut found = BTreeSet::new();
    collect(&value, &mut found);
    assert_eq!(found, [digest("a"), digest("b")].into_iter().collect());
}
