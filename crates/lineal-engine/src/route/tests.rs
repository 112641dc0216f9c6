use proptest::prelude::*;

use super::*;

fn route(canary_weight: u32) -> Route {
    let share = |version, role, weight| Share {
        version,
        digest: Digest::of(&[version as u8]),
        role,
        weight,
        upstream: SocketAddr::from(([127, 0, 0, 1], 9000 + version as u16)),
    };
    Route {
        model: "m".parse().unwrap(),
        environment: "production".parse().unwrap(),
        slow_after_ms: 250,
        output: "late".to_owned(),
        shares: vec![
            share(2, Role::Canary, canary_weight),
            share(1, Role::Stable, WEIGHT_TOTAL - canary_weight),
        ],
    }
}

fn table(routes: Vec<Route>) -> RouteTable {
    RouteTable { version: "1".to_owned(), generation: 1, issued_at: Timestamp::from_unix_ms(0), routes }
}

#[test]
fn murmur3_published_vectors() {
    // From the reference implementation's verification, seed 0.
    assert_eq!(murmur3_32(b""), 0);
    assert_eq!(murmur3_32(b"test"), 0xba6b_d213);
    assert_eq!(murmur3_32(b"Hello, world!"), 0xc036_3e43);
    assert_eq!(murmur3_32(b"The quick brown fox jumps over the lazy dog"), 0x2e4f_f723);
}

#[test]
fn share_follows_the_weight() {
    let route = route(500);
    let canary = (0..20_000).filter(|n| route.share(&format!("key-{n}")).unwrap().version == 2).count();
    // 5 % of 20,000 is 1,000; five standard deviations are 154.
    assert!((846..1154).contains(&canary), "{canary}");
}

#[test]
fn bad_tables_are_refused() {
    assert!(table(vec![route(500)]).check().is_ok());
    assert!(table(vec![route(500), route(500)]).check().is_err());
    let mut wrong_version = table(vec![]);
    wrong_version.version = "2".to_owned();
    assert!(wrong_version.check().is_err());
    let mut light = route(500);
    light.shares[0].weight = 1;
    assert!(table(vec![light]).check().is_err());
    let mut reversed = route(500);
    reversed.shares.reverse();
    assert!(table(vec![reversed]).check().is_err());
    let mut headless = route(500);
    headless.shares[1].role = Role::Canary;
    assert!(table(vec![headless]).check().is_err());
}

proptest! {
    #[test]
    fn raising_the_weight_keeps_the_canary_cohort(key in ".{0,20}", low in 0..WEIGHT_TOTAL, high in 0..WEIGHT_TOTAL) {
        let (low, high) = (low.min(high), low.max(high));
        if route(low).share(&key).unwrap().version == 2 {
            prop_assert_eq!(route(high).share(&key).unwrap().version, 2);
        }
    }
}
