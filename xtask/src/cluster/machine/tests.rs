use std::fs::{self, File};
use std::path::PathBuf;

use serde_json::json;

use super::{cgroup_mounts, free, record, restore};

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

#[test]
fn the_machine_is_as_it_was_before() {
    let system = tempfile::tempdir().unwrap();
    let path = |name: &str| system.path().join(name);
    fs::create_dir_all(path("vm")).unwrap();
    fs::create_dir_all(path("kernel")).unwrap();
    for (name, value) in [("vm/panic_on_oom", "0\n"), ("kernel/panic", "1\n"), ("kernel/other", "2\n")] {
        fs::write(path(name), value).unwrap();
    }
    let mut before = record(system.path());
    let folder = path("covered");
    before["folders"] = json!([folder.join("below"), folder]);
    before["sysctls"]["kernel/other"] = json!("3\n");
    fs::create_dir_all(folder.join("below")).unwrap();
    fs::write(path("kernel/panic"), "10\n").unwrap();
    restore(&before, system.path()).unwrap();
    assert_eq!(fs::read_to_string(path("kernel/panic")).unwrap(), "1\n");
    assert_eq!(fs::read_to_string(path("vm/panic_on_oom")).unwrap(), "0\n");
    assert_eq!(
        fs::read_to_string(path("kernel/other")).unwrap(),
        "2\n",
        "it is not among those that clusters set"
    );
    assert!(!folder.exists());
}
