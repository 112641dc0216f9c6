use std::collections::BTreeSet;

use super::*;

const VERBS: &[&str] = &["get", "list", "watch", "create", "update", "patch", "delete"];

#[test]
fn every_line_is_plain_and_says_why() {
    for access in EVERYWHERE.iter().chain(OWN_NAMESPACE) {
        let Access { group, resource, verbs, why } = *access;
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b"./0123456789".contains(&b));
        assert!(plain(&group.replace("k8s", "k")) && plain(resource) && !resource.is_empty(), "{access:?}");
        assert!(!verbs.is_empty() && verbs.iter().all(|verb| VERBS.contains(verb)), "{access:?}");
        // It becomes a comment in YAML and part of a template.
        assert!(!why.is_empty() && !why.contains(['\n', '{']), "{access:?}");
    }
}

#[test]
fn nothing_is_named_twice() {
    for table in [EVERYWHERE, OWN_NAMESPACE] {
        let names: BTreeSet<_> = table.iter().map(|access| (access.group, access.resource)).collect();
        assert_eq!(names.len(), table.len());
    }
}

/// By any of these the operator, or who takes it over, could become more than it is.
#[test]
fn nothing_leads_to_more_rights() {
    let more = ["secrets", "pods/exec", "serviceaccounts", "serviceaccounts/token", "nodes", "pods/attach"];
    for access in EVERYWHERE.iter().chain(OWN_NAMESPACE) {
        assert!(!more.contains(&access.resource) && !access.group.contains("rbac"), "{access:?}");
        assert!(access.resource != "pods" || access.verbs == READ, "{access:?}");
    }
}

#[test]
fn the_template_has_every_line() {
    let text = template();
    assert!(text.contains(
        "  - apiGroups: [\"lineal.dev\"]\n    resources: [\"pipelineruns/status\"]\n    verbs: [patch]\n"
    ));
    assert!(
        text.contains("  - apiGroups: [\"\"]\n    resources: [\"pods\"]\n    verbs: [get, list, watch]\n")
    );
    assert_eq!(text.matches("apiGroups").count(), EVERYWHERE.len() + OWN_NAMESPACE.len());
    assert_eq!((text.matches("kind: ClusterRole\n").count(), text.matches("kind: Role\n").count()), (1, 1));
}
