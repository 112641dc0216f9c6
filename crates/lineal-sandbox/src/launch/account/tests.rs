use super::*;
use crate::{EntropyKey, Limits};
use std::collections::BTreeMap;

fn spec(determinism: Determinism, network: Network) -> Spec {
    Spec {
        argv: vec!["true".into()],
        env: BTreeMap::new(),
        cwd: "/tmp".into(),
        isolation: Isolation::Namespaces,
        root: None,
        mounts: vec![],
        stdout: "/x/out".into(),
        stderr: "/x/err".into(),
        tee: false,
        network,
        determinism,
        limits: Limits::default(),
    }
}

fn account(determinism: Determinism, network: Network, missed: &[&str]) -> Account {
    let mut account = Account::default();
    for what in missed {
        account.miss(what, "forbidden here");
    }
    account.complete(&spec(determinism, network), &Surroundings::default());
    account
}

#[test]
fn nothing_is_in_both_lists() {
    let strict = Determinism::Strict { key: EntropyKey::new([0; 32]), epoch_s: 0 };
    for determinism in [Determinism::Off, Determinism::Observe, strict] {
        for network in [Network::None, Network::Host] {
            let account = account(determinism.clone(), network, &["aslr", "wall clock"]);
            for entry in &account.uncontrolled {
                assert!(!account.controlled.contains(&entry.what), "{} is in both", entry.what);
            }
            let aslr: Vec<_> = account.uncontrolled.iter().filter(|entry| entry.what == "aslr").collect();
            assert_eq!((aslr.len(), aslr[0].why.as_str()), (1, "forbidden here"));
        }
    }
}

#[test]
fn strict_names_what_it_controls() {
    let strict = Determinism::Strict { key: EntropyKey::new([0; 32]), epoch_s: 0 };
    let account = account(strict, Network::None, &[]);
    for what in ["aslr", "entropy", "wall clock", "network", "mounts"] {
        assert!(account.controlled.iter().any(|entry| entry == what), "{what}");
    }
}

#[test]
fn a_pod_claims_nothing_that_namespaces_give() {
    let in_pod = |determinism, host_name: &str| {
        let spec = Spec { isolation: Isolation::Pod, ..spec(determinism, Network::None) };
        let mut account = Account::default();
        account.complete(&spec, &Surroundings { is_root: false, host_name: host_name.to_owned() });
        account
    };
    let strict = Determinism::Strict { key: EntropyKey::new([0; 32]), epoch_s: 0 };
    assert_eq!(in_pod(Determinism::Off, "a-pod").controlled, ["environment"]);
    assert_eq!(in_pod(Determinism::Observe, "step").controlled, ["environment", "host name", "aslr"]);
    let account = in_pod(strict, "a-pod");
    assert_eq!(account.controlled, ["environment", "aslr", "entropy", "wall clock"]);
    for what in ["network", "mounts", "process ids", "host name", "random devices under other names"] {
        assert!(account.uncontrolled.iter().any(|entry| entry.what == what), "{what}");
    }
}
