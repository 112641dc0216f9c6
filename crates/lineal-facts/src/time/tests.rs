use proptest::prelude::*;

use super::*;

#[test]
fn reads_and_writes_rfc3339() {
    let time: Timestamp = "2026-11-23T06:21:28.125Z".parse().unwrap();
    assert_eq!(time.unix_ms(), 1_795_414_888_125);
    assert_eq!(time.to_string(), "2026-11-23T06:21:28.125Z");
    assert!("yesterday".parse::<Timestamp>().is_err());
}

#[test]
fn backwards_is_zero() {
    assert_eq!(Timestamp::from_unix_ms(5).since_ms(Timestamp::from_unix_ms(9)), 0);
}

proptest! {
    #[test]
    fn round_trips(ms in any::<i64>()) {
        let time = Timestamp::from_unix_ms(ms);
        prop_assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
    }
}
