use std::fs::File;
use std::path::PathBuf;

use super::{cgroup_mounts, free};

#[test]
fn both_versions_of_cgroups_are_found() {
    let first = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                 cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\ncgroup /elsewhere/cpu cgroup rw 0 0\n";
    assert_eq!(
        cgroup_mounts(first),
        ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/unified"].map(PathBuf::from).to_vec()
    );
    assert_eq!(cgroup_mounts("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"), [PathBuf::from("/sys/fs/cgroup")]);
    assert_eq!(cgroup_mounts("\nx\n"), Vec::<PathBuf>::new());
}

#[test]
fn a_seat_is_free_again_when_its_last_holder_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seat");
    let first = File::create(&path).unwrap();
    assert!(free(&first).unwrap());
    let heir = first.try_clone().unwrap();
    drop(first);
    assert!(!free(&File::open(&path).unwrap()).unwrap(), "the heir still holds it");
    drop(heir);
    assert!(free(&File::open(&path).unwrap()).unwrap());
}
