use lineal_facts::Timestamp;
use lineal_facts::statement::Subject;

use super::*;
use crate::LogSigner;
use crate::key::Signer as _;
use crate::test_keys::TestSigner;

fn key() -> PublicKey {
    TestSigner::new().public_key().clone()
}

fn record(key: &PublicKey, role: KeyRole, state: KeyState) -> KeyRecord {
    KeyRecord {
        holder: "ana".to_owned(),
        role,
        state,
        public_key: key.to_pem(),
        replaces: None,
        reason: None,
        stated_at: Timestamp::from_unix_ms(0),
    }
}

/// A ring with a builder at 0 and an approver at 3.
fn sample() -> (Keyring, PublicKey, PublicKey) {
    let (builder, approver) = (key(), key());
    let mut ring = Keyring::default();
    ring.apply(0, &builder.id(), &record(&builder, KeyRole::Builder, KeyState::Active)).unwrap();
    ring.apply(3, &builder.id(), &record(&approver, KeyRole::Approver, KeyState::Active)).unwrap();
    (ring, builder, approver)
}

#[test]
fn the_first_record_is_a_builder_that_signed_itself() {
    let (builder, other) = (key(), key());
    let active = record(&builder, KeyRole::Builder, KeyState::Active);
    let attempts = [
        (1, builder.id(), active.clone()),
        (0, other.id(), active.clone()),
        (0, builder.id(), record(&builder, KeyRole::Approver, KeyState::Active)),
        (0, builder.id(), record(&builder, KeyRole::Router, KeyState::Active)),
        (0, builder.id(), record(&builder, KeyRole::Builder, KeyState::Revoked)),
    ];
    for (position, signer, record) in attempts {
        let mut ring = Keyring::default();
        assert_eq!(ring.apply(position, &signer, &record), Err(KeyringError::Root));
        assert!(ring.entries().is_empty());
    }
    Keyring::default().apply(0, &builder.id(), &active).unwrap();
}

#[test]
fn a_key_counts_from_its_record_on_in_its_role_only() {
    let (ring, builder, approver) = sample();
    assert_eq!(ring.entries().len(), 2);
    ring.accepts(&builder.id(), KeyRole::Builder, 0).unwrap();
    assert_eq!(ring.accepts(&approver.id(), KeyRole::Approver, 3).unwrap().holder, "ana");
    assert!(matches!(ring.accepts(&approver.id(), KeyRole::Builder, 9), Err(KeyringError::Role { .. })));
    assert!(matches!(ring.accepts(&builder.id(), KeyRole::Approver, 9), Err(KeyringError::Role { .. })));
    assert!(matches!(
        ring.accepts(&approver.id(), KeyRole::Approver, 2),
        Err(KeyringError::Early { active_from: 3, position: 2, .. })
    ));
    let stranger = key().id();
    assert_eq!(ring.accepts(&stranger, KeyRole::Builder, 9), Err(KeyringError::Unknown(stranger)));
    assert_eq!(ring.holder(&approver.id(), 3), Some("ana"));
    assert_eq!(ring.holder(&approver.id(), 2), None);
}

#[test]
fn revocation_counts_from_its_position_on() {
    let (mut ring, builder, approver) = sample();
    let revoked = record(&approver, KeyRole::Approver, KeyState::Revoked);
    ring.apply(7, &builder.id(), &revoked).unwrap();
    ring.accepts(&approver.id(), KeyRole::Approver, 6).unwrap();
    for position in [7, 8, u64::MAX] {
        assert!(matches!(
            ring.accepts(&approver.id(), KeyRole::Approver, position),
            Err(KeyringError::Revoked { revoked_at: 7, .. })
        ));
    }
    assert!(ring.apply(8, &builder.id(), &revoked).is_err());
    let again = record(&approver, KeyRole::Approver, KeyState::Active);
    assert!(matches!(ring.apply(8, &builder.id(), &again), Err(KeyringError::Record { .. })));
}

#[test]
fn only_active_builders_sign_records() {
    let (mut ring, builder, approver) = sample();
    let next = key();
    let introduced = record(&next, KeyRole::Builder, KeyState::Active);
    assert!(matches!(ring.apply(4, &approver.id(), &introduced), Err(KeyringError::Role { .. })));
    assert!(matches!(ring.apply(4, &next.id(), &introduced), Err(KeyringError::Unknown(_))));
    ring.apply(4, &builder.id(), &introduced).unwrap();
    // Rotation: the new builder revokes the old one, which then can no longer introduce anything.
    ring.apply(5, &next.id(), &record(&builder, KeyRole::Builder, KeyState::Revoked)).unwrap();
    let late = record(&key(), KeyRole::Approver, KeyState::Active);
    assert!(matches!(ring.apply(6, &builder.id(), &late), Err(KeyringError::Revoked { revoked_at: 5, .. })));
    ring.apply(6, &next.id(), &late).unwrap();
    assert_eq!(ring.entries().len(), 4);
}

#[test]
fn contradicting_records_are_refused_and_change_nothing() {
    let (mut ring, builder, approver) = sample();
    let signer = builder.id();
    let stranger = record(&key(), KeyRole::Approver, KeyState::Revoked);
    let other_role = record(&approver, KeyRole::Router, KeyState::Revoked);
    let mut other_holder = record(&approver, KeyRole::Approver, KeyState::Revoked);
    other_holder.holder = "bob".to_owned();
    let second_role = record(&approver, KeyRole::Builder, KeyState::Active);
    let mut no_key = record(&approver, KeyRole::Approver, KeyState::Active);
    no_key.public_key = "key".to_owned();
    for bad in [stranger, other_role, other_holder, second_role, no_key] {
        assert!(ring.apply(4, &signer, &bad).is_err(), "{bad:?}");
    }
    let fine = record(&key(), KeyRole::Router, KeyState::Active);
    for position in [0, 2, 3] {
        assert!(ring.apply(position, &signer, &fine).is_err());
    }
    assert_eq!(ring.entries().len(), 2);
    assert!(ring.entries().iter().all(|entry| entry.revoked_at.is_none()));
    ring.apply(4, &signer, &fine).unwrap();
}

#[test]
fn the_last_builder_can_be_replaced_but_not_revoked() {
    let (mut ring, builder, _) = sample();
    let signer = builder.id();
    let end = record(&builder, KeyRole::Builder, KeyState::Revoked);
    let refused = ring.apply(4, &signer, &end);
    assert!(
        matches!(refused, Err(KeyringError::Record { reason, .. }) if reason.contains("last builder key"))
    );
    let next = key();
    let mut introduced = record(&next, KeyRole::Builder, KeyState::Active);
    introduced.replaces = Some(signer);
    ring.apply(4, &signer, &introduced).unwrap();
    ring.apply(5, &next.id(), &KeyRecord { reason: Some("old".to_owned()), ..end }).unwrap();
    let entry = ring.get(&signer).unwrap();
    assert_eq!((entry.revoked_at, entry.reason.as_deref()), (Some(5), Some("old")));
    assert_eq!(ring.current("ana", KeyRole::Builder).unwrap().key, next);
    assert_eq!(ring.get(&next.id()).unwrap().replaces, Some(signer));
    assert!(ring.apply(6, &next.id(), &record(&next, KeyRole::Builder, KeyState::Revoked)).is_err());
}

#[test]
fn a_key_replaces_an_active_key_of_its_holder_and_role_only() {
    let (mut ring, builder, approver) = sample();
    let signer = builder.id();
    let replaces = |role, holder: &str, old: Digest| {
        let mut new = record(&key(), role, KeyState::Active);
        (new.replaces, new.holder) = (Some(old), holder.to_owned());
        new
    };
    for bad in [
        replaces(KeyRole::Approver, "ana", key().id()),
        replaces(KeyRole::Approver, "bob", approver.id()),
        replaces(KeyRole::Router, "ana", approver.id()),
    ] {
        assert!(matches!(ring.apply(4, &signer, &bad), Err(KeyringError::Record { .. })), "{bad:?}");
    }
    ring.apply(4, &signer, &replaces(KeyRole::Approver, "ana", approver.id())).unwrap();
    ring.apply(5, &signer, &record(&approver, KeyRole::Approver, KeyState::Revoked)).unwrap();
    assert!(ring.apply(6, &signer, &replaces(KeyRole::Approver, "ana", approver.id())).is_err());
}

#[test]
fn a_statement_is_about_the_key_that_it_introduces() {
    let (ring, builder, approver) = sample();
    let introduced = key();
    let predicate = Predicate::Key(record(&introduced, KeyRole::Approver, KeyState::Active));
    let about = |id| Statement { subject: vec![Subject::new("key/ana", id)], predicate: predicate.clone() };
    for other in [builder.id(), approver.id(), Digest::of(b"x")] {
        let refused = ring.clone().apply_statement(4, &builder.id(), &about(other));
        assert!(matches!(refused, Err(KeyringError::Record { .. })));
    }
    let mut right = ring;
    right.apply_statement(4, &builder.id(), &about(introduced.id())).unwrap();
    assert_eq!(right.entries().len(), 3);
}

#[test]
fn log_keys_follow_one_another() {
    let log = |name: &str, seed| LogSigner::from_seed(name, &[seed; 32]).unwrap().verifier_key().clone();
    let id = |key: &VerifierKey| Digest::from_bytes(*key.log_id().as_bytes());
    let (mut ring, builder, approver) = sample();
    let handover = |old: &VerifierKey, new: &VerifierKey| KeyRecord {
        public_key: new.to_string(),
        replaces: Some(id(old)),
        ..record(&builder, KeyRole::Log, KeyState::Active)
    };
    let (first, second, third) = (log("log.example", 1), log("log.example", 2), log("log.example", 3));
    let good = handover(&first, &second);
    assert!(matches!(ring.apply(4, &approver.id(), &good), Err(KeyringError::Role { .. })));
    for bad in [
        KeyRecord { state: KeyState::Revoked, ..good.clone() },
        KeyRecord { replaces: None, ..good.clone() },
        KeyRecord { public_key: builder.to_pem(), ..good.clone() },
        handover(&first, &first),
    ] {
        assert!(ring.apply(4, &builder.id(), &bad).is_err(), "{bad:?}");
    }
    ring.apply(4, &builder.id(), &good).unwrap();
    for bad in [
        good,
        handover(&first, &third),
        handover(&second, &first),
        handover(&second, &log("other.example", 3)),
    ] {
        assert!(ring.apply(5, &builder.id(), &bad).is_err(), "{bad:?}");
    }
    ring.apply(5, &builder.id(), &handover(&second, &third)).unwrap();
    let recorded: Vec<_> = ring.log_keys().iter().map(|key| (key.position, key.key.clone())).collect();
    assert_eq!(recorded, [(4, second), (5, third)]);
    assert_eq!(ring.entries().len(), 2, "a log key signs no statements");
}
