use super::{Role, helm_flags, linker_flags, parts, role};

#[test]
fn an_edit_rebuilds_only_what_it_changes() {
    assert_eq!(role("main.go"), Some(Role::Large));
    assert_eq!(role("go.sum"), Some(Role::Large));
    assert_eq!(role("node/keys.go"), Some(Role::Small));
    assert_eq!(role("probe/main.go"), Some(Role::Small));
    for name in ["README.md", "node/keys_test.go", "node/notes.txt", "other/main.go", "main_test.go"] {
        assert_eq!(role(name), None, "{name}");
    }
}

#[test]
fn a_key_covers_names_contents_and_flags() {
    let sources = vec![("a.go".to_owned(), b"one".to_vec())];
    let flags = ["-s"];
    let key = parts(&sources, &flags);
    assert_eq!(key, [b"a.go".as_slice(), b"one", b"-s"]);
}

#[test]
fn the_api_server_knows_its_version() {
    let flags = linker_flags("module m\n\nrequire (\n\tk8s.io/kubernetes v1.34.4\n)\n").unwrap();
    assert!(flags.starts_with("-s -w -X k8s.io/component-base/version.gitVersion=v1.34.4 "), "{flags}");
    assert!(flags.contains(" -X k8s.io/client-go/pkg/version.gitMinor=34 "), "{flags}");
    linker_flags("module m\n").unwrap_err();
    linker_flags("k8s.io/kubernetes v1\n").unwrap_err();
}

#[test]
fn helm_knows_its_version_and_the_clusters() {
    let module = "require (\n\tk8s.io/kubernetes v1.34.4\n\thelm.sh/helm/v3 v3.19.0 // indirect\n)\n";
    let flags = helm_flags(module).unwrap();
    assert!(flags.contains(" -X helm.sh/helm/v3/internal/version.version=v3.19.0 "), "{flags}");
    assert!(flags.ends_with(" -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=34"), "{flags}");
    helm_flags("module m\n").unwrap_err();
}
