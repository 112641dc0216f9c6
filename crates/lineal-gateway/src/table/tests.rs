use lineal_engine::route::Role;
use lineal_facts::{Digest, Timestamp};

use super::*;

/// Model `delay`: version 2 as canary with a tenth, version 1 as stable; slow after 500 ms.
pub(crate) fn served_route() -> Arc<ServedRoute> {
    let share = |version: u32, role, weight| Share {
        version,
        digest: Digest::of(b"model"),
        role,
        weight,
        upstream: ([127, 0, 0, 1], 1).into(),
    };
    let route = Route {
        model: "delay".parse().unwrap(),
        environment: "production".parse().unwrap(),
        slow_after_ms: 500,
        output: "probability".to_owned(),
        shares: vec![share(2, Role::Canary, 1_000), share(1, Role::Stable, 9_000)],
    };
    let issued_at = Timestamp::from_unix_ms(0);
    let table = RouteTable { version: "1".to_owned(), generation: 7, issued_at, routes: vec![route] };
    Snapshot::new(table).route("delay").unwrap().clone()
}

#[test]
fn choosing_by_position_is_choosing_by_key() {
    let served = served_route();
    for n in 0..1_000 {
        let key = format!("user-{n}");
        assert_eq!(served.share(served.choose(&key)), served.route.share(&key));
    }
    assert_eq!(served.label(0).unwrap(), "delay/2");
    assert_eq!(served.label(served.stable).unwrap(), "delay/1");
}
