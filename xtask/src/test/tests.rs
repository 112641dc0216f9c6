use super::*;

#[test]
fn verdicts_are_read_and_dots_left_out() {
    let line =
        "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s";
    assert_eq!(verdict(line), Some(Count { passed: 12, failed: 3 }));
    assert_eq!(verdict("running 3 tests"), None);
    assert!(is_noise("....i... 88/120") && is_noise("") && is_noise("running 3 tests"));
    assert!(!is_noise("thread 'x' panicked"));
}
