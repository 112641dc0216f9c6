use super::*;
use crate::{EntropyKey, Limits};
use std::collections::BTreeMap;

fn account(determinism: Determinism, network: Network, missed: &[&str]) -> Account {
    let spec = Spec {
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
    };
    let mut account = Account::default();
    for what in missed {
        account.miss(what, "forbidden here");
    }
    account.complete(&spec, false);
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
