use std::collections::{BTreeMap, BTreeSet};

use super::{descendants, program, pss_kib};

#[test]
fn all_below_one_are_found_in_any_order() {
    let parents = BTreeMap::from([(2, 9), (9, 5), (5, 1), (7, 1), (3, 2), (1, 0)]);
    assert_eq!(descendants(&parents, 5), BTreeSet::from([2, 3, 5, 9]));
    assert_eq!(descendants(&parents, 3), BTreeSet::from([3]));
}

#[test]
fn programs_are_named_by_their_part() {
    assert_eq!(program("cluster\0kubelet\0--config=x\0"), "kubelet");
    assert_eq!(program("/usr/bin/containerd\0-c\0x\0"), "containerd");
    assert_eq!(program(""), "");
}

#[test]
fn memory_is_the_proportional_share() {
    let text = "55d0 ---p 00 [rollup]\nRss:      900 kB\nPss:            1234 kB\nPss_Dirty:  7 kB\n";
    assert_eq!(pss_kib(text), Some(1234));
    assert_eq!(pss_kib("Rss: 1 kB\n"), None);
}
