use super::*;

#[test]
fn a_name_with_brackets_does_not_hide_the_parent() {
    assert_eq!(parent_of("12 (sh) S 7 12 12 0"), Some(7));
    assert_eq!(parent_of("12 (a) S 1 (b) R 7 12"), Some(7));
    assert_eq!(parent_of("12 (sh"), None);
    assert_eq!(parent_of(""), None);
}

#[test]
fn only_what_is_below_is_found() {
    let parents = BTreeMap::from([(1, 0), (2, 1), (3, 2), (4, 3), (5, 1), (6, 5), (7, 7)]);
    assert_eq!(below(2, &parents), BTreeSet::from([3, 4]));
    assert_eq!(below(7, &parents), BTreeSet::from([7]), "a circle ends");
    assert_eq!(below(9, &parents), BTreeSet::new());
}
