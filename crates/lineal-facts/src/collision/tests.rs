use proptest::prelude::*;

use super::*;

#[test]
fn names_that_another_file_system_merges_are_found() {
    for (a, b) in [
        ("README", "readme"),
        // Precomposed and decomposed.
        ("caf\u{e9}.bin", "cafe\u{301}.bin"),
        // Both at once.
        ("CAF\u{c9}.bin", "cafe\u{301}.bin"),
        // Full folding: one letter becomes two.
        ("stra\u{df}e", "STRASSE"),
        // Marks in another order, one of which folds to a letter.
        ("\u{1fb4}", "\u{1fb3}\u{301}"),
        // Final and other sigma; Kelvin sign.
        ("\u{3c3}", "\u{3c2}"),
        ("\u{212a}", "k"),
        // Angstrom sign, letter, letter with a ring.
        ("\u{212b}", "a\u{30a}"),
    ] {
        for (a, b) in [(a, b), (b, a)] {
            assert_eq!(find([a, b].into_iter()), Some((a, b)), "{a:?} {b:?}");
            let inside = [format!("d/{a}"), format!("d/{b}")];
            assert!(find(inside.iter().map(String::as_str)).is_some(), "{a:?} {b:?} in a directory");
        }
    }
}

#[test]
fn directories_collide_too() {
    assert_eq!(find(["Train/a", "train/b"].into_iter()), Some(("Train", "train")));
    assert_eq!(find(["data", "Data/a"].into_iter()), Some(("data", "Data")));
    assert_eq!(find(["a/B/c", "a/b"].into_iter()), Some(("a/B", "a/b")));
    // Not neighbours in byte order.
    assert_eq!(find(["A/x", "B/x", "a/y"].into_iter()), Some(("A", "a")));
}

#[test]
fn different_names_do_not_collide() {
    let names = ["README", "a", "a-", "a.b/c", "a.b/d", "b/a", "b/a-/x", "b/a.txt", "\u{131}", "i"];
    assert_eq!(find(names.into_iter()), None);
}

proptest! {
    #[test]
    fn the_order_of_paths_does_not_matter(
        mut paths in prop::collection::vec("[aAb](/[aAé]){0,2}", 0..6), seed in any::<u64>(),
    ) {
        let found = |paths: &[String]| find(paths.iter().map(String::as_str)).is_some();
        paths.sort();
        let sorted = found(&paths);
        paths.sort_by_key(|p| crate::Digest::of(format!("{seed}{p}").as_bytes()));
        prop_assert_eq!(sorted, found(&paths));
    }

    #[test]
    fn folding_is_done_after_one_time(name in "\\PC{0,12}") {
        let once = fold(&name).into_owned();
        prop_assert_eq!(fold(&once).into_owned(), once);
    }
}
