use super::*;

fn spec() -> Spec {
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
        network: Network::None,
        determinism: Determinism::Observe,
        limits: Limits::default(),
    }
}

fn field_of(change: impl FnOnce(&mut Spec)) -> String {
    let mut spec = spec();
    change(&mut spec);
    match spec.check() {
        Err(SandboxError::BadSpec { field, .. }) => field,
        other => panic!("expected a bad spec, got {other:?}"),
    }
}

#[test]
fn names_the_field_that_is_wrong() {
    assert_eq!(spec().check(), Ok(()));
    assert_eq!(field_of(|s| s.argv.clear()), "argv");
    assert_eq!(field_of(|s| s.argv[0].clear()), "argv[0]");
    assert_eq!(field_of(|s| s.argv.push("a\0b".into())), "argv[1]");
    assert_eq!(field_of(|s| drop(s.env.insert("A=B".into(), String::new()))), "env[\"A=B\"]");
    assert_eq!(field_of(|s| drop(s.env.insert("A".into(), "\0".into()))), "env[\"A\"]");
    assert_eq!(field_of(|s| s.cwd = "work".into()), "cwd");
    assert_eq!(field_of(|s| s.stdout = "out".into()), "stdout");
    assert_eq!(field_of(|s| s.limits.tmp_size_bytes = 0), "limits.tmp_size_bytes");
    assert_eq!(field_of(|s| s.limits.processes = 0), "limits.processes");
}

#[test]
fn mounts_are_absolute_and_have_no_parent_parts() {
    let mount = |source: &str, target: &str| Mount {
        source: source.into(),
        target: target.into(),
        access: Access::ReadOnly,
    };
    assert_eq!(field_of(|s| s.mounts.push(mount("a", "/a"))), "mounts[0].source");
    assert_eq!(field_of(|s| s.mounts.push(mount("/a", "a"))), "mounts[0].target");
    assert_eq!(field_of(|s| s.mounts.push(mount("/a", "/b/../c"))), "mounts[0].target");
    assert_eq!(field_of(|s| s.mounts.push(mount("/a", "/"))), "mounts[0].target");
    assert_eq!(field_of(|s| s.mounts = vec![mount("/a", "/a"); 1001]), "mounts");
}

#[test]
fn json_round_trips_and_unknown_fields_are_refused() {
    let mut spec = spec();
    spec.determinism = Determinism::Strict { key: EntropyKey::new([7; 32]), epoch_s: -1 };
    let json = serde_json::to_string(&spec).unwrap();
    assert!(json.contains(&"07".repeat(32)));
    assert_eq!(serde_json::from_str::<Spec>(&json).unwrap(), spec);
    assert!(serde_json::from_str::<Spec>(&json.replacen("argv", "argw", 1)).is_err());
    assert!(serde_json::from_str::<Spec>(&json.replacen("0707", "07", 1)).is_err(), "a short key");
}

#[test]
fn a_key_is_not_shown_in_debug_output() {
    assert_eq!(format!("{:?}", EntropyKey::new([7; 32])), "EntropyKey(..)");
}

#[test]
fn a_pod_has_no_mounts_and_no_other_root() {
    let in_pod = || Spec { isolation: Isolation::Pod, ..spec() };
    assert_eq!(in_pod().check(), Ok(()));
    assert_eq!(field_of(|s| *s = Spec { root: Some("/image".into()), ..in_pod() }), "root");
    let mount = Mount { source: "/a".into(), target: "/b".into(), access: Access::ReadOnly };
    assert_eq!(field_of(|s| *s = Spec { mounts: vec![mount], ..in_pod() }), "mounts");
    assert_eq!(field_of(|s| s.root = Some("image".into())), "root");
}

#[test]
fn a_spec_without_the_newer_fields_is_one_with_namespaces() {
    let mut value = serde_json::to_value(spec()).unwrap();
    for field in ["isolation", "tee"] {
        assert!(value.as_object_mut().unwrap().remove(field).is_some());
    }
    assert_eq!(serde_json::from_value::<Spec>(value).unwrap(), spec());
}
