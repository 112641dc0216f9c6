use super::*;

fn call() -> Call {
    Call::new(crate::table::tests::served_route(), "a".to_owned(), 0, true)
}

const DEAD: Failure = Failure { reused: false, timeout: false, repeatable: true };

#[test]
fn a_dead_kept_connection_is_tried_once_more_and_only_then_counts() {
    let mut call = call();
    assert_eq!(call.fail(Failure { reused: true, ..DEAD }), Next::Fresh);
    assert!(!call.failed);
    assert_eq!(call.fail(Failure { reused: true, ..DEAD }), Next::Stable);
    assert!(call.failed);
    assert_eq!(call.fail(Failure { reused: true, ..DEAD }), Next::Fresh);
    assert_eq!(call.fail(DEAD), Next::GiveUp);
}

#[test]
fn a_body_that_is_gone_ends_it() {
    let mut call = call();
    assert_eq!(call.fail(Failure { repeatable: false, ..DEAD }), Next::GiveUp);
    assert!(call.failed);
    assert_eq!(call.current, 0);
}

#[test]
fn a_timeout_on_a_kept_connection_counts() {
    let mut call = call();
    assert_eq!(call.fail(Failure { reused: true, timeout: true, repeatable: true }), Next::Stable);
    assert!(call.failed);
}

#[test]
fn a_failure_of_the_stable_version_does_not_count_against_the_canary() {
    let mut call = call();
    call.current = call.route.stable;
    call.fail_chosen();
    assert!(!call.failed);
}

#[test]
fn a_canary_is_given_less_time_than_the_stable_version() {
    let mut call = call();
    assert_eq!(call.silence_limit(), Duration::from_secs(5));
    call.current = call.route.stable;
    assert_eq!(call.silence_limit(), SILENCE_LIMIT);
}

#[test]
fn a_large_answer_is_not_kept() {
    let mut call = call();
    call.body_part(Some(&vec![0; RECORDED_LIMIT_BYTES]), false);
    assert_eq!(call.body().len(), RECORDED_LIMIT_BYTES);
    call.body_part(Some(&[0]), true);
    assert!(call.body().is_empty() && call.complete);
    call.body_part(Some(&[0]), true);
    assert!(call.body().is_empty());
}
