use proptest::prelude::*;

use super::*;

fn file(path: &str) -> FileEntry {
    FileEntry { path: path.to_owned(), digest: Digest::of(path.as_bytes()), size_bytes: 3, executable: false }
}

#[test]
fn golden_bytes() {
    let manifest = Manifest::new(vec![file("b"), file("a/x")]).unwrap();
    assert_eq!(
        String::from_utf8(manifest.to_bytes()).unwrap(),
        format!(
            "{{\"files\":[{{\"mode\":\"100644\",\"path\":\"a/x\",\"sha256\":\"{}\",\"size\":\"3\"}},\
             {{\"mode\":\"100644\",\"path\":\"b\",\"sha256\":\"{}\",\"size\":\"3\"}}],\"version\":\"1\"}}",
            Digest::of(b"a/x").hex(),
            Digest::of(b"b").hex()
        )
    );
}

#[test]
fn bad_paths_are_refused() {
    for bad in ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/", "a\\b", "a\0b", "a\nb"] {
        assert!(matches!(Manifest::new(vec![file(bad)]), Err(ManifestError::Path(_))), "{bad:?}");
    }
}

#[test]
fn a_file_cannot_also_be_a_directory() {
    assert!(matches!(Manifest::new(vec![file("a"), file("a")]), Err(ManifestError::Duplicate(_))));
    // `a-` sorts between `a` and `a/b`: the check must not rely on neighbours.
    let clash = Manifest::new(vec![file("a"), file("a-"), file("a/b")]);
    assert_eq!(clash, Err(ManifestError::Duplicate("a".to_owned())));
}

#[test]
fn names_that_another_file_system_merges_are_refused() {
    for (a, b) in [("A", "a"), ("d/\u{e9}", "d/e\u{301}"), ("D/x", "d/y")] {
        let refused = Manifest::new(vec![file(a), file(b)]);
        assert!(matches!(refused, Err(ManifestError::Collision(_, _))), "{a:?} {b:?}");
    }
}

#[test]
fn only_canonical_bytes_are_read() {
    let bytes = Manifest::new(vec![file("a")]).unwrap().to_bytes();
    assert!(Manifest::from_bytes(&bytes).is_ok());
    let spaced = String::from_utf8(bytes).unwrap().replace("\":", "\": ");
    assert!(matches!(Manifest::from_bytes(spaced.as_bytes()), Err(ManifestError::Format(_))));
}

proptest! {
    #[test]
    fn order_of_files_does_not_matter(names in prop::collection::btree_set("[a-c]{1,3}(/[a-c]{1,2})?", 0..8), seed in any::<u64>()) {
        let mut files: Vec<_> = names.iter().map(|n| file(n)).collect();
        let sorted = Manifest::new(files.clone());
        files.sort_by_key(|f| Digest::of(format!("{seed}{}", f.path).as_bytes()));
        prop_assert_eq!(&sorted, &Manifest::new(files));
        if let Ok(manifest) = sorted {
            prop_assert_eq!(Manifest::from_bytes(&manifest.to_bytes()).unwrap(), manifest);
        }
    }
}
