use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{append_tree, dropped, settle};
use crate::cluster::image::Layer;

/// A tree with everything in it, its files made in this order.
fn tree(root: &Path, order: [&str; 3], age: Duration) -> String {
    fs::create_dir_all(root.join("usr/lib")).unwrap();
    for name in order {
        fs::write(root.join(name), name).unwrap();
        let file = File::options().append(true).open(root.join(name)).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }
    fs::hard_link(root.join("usr/lib/a"), root.join("usr/lib/linked")).unwrap();
    symlink("lib/a", root.join("usr/soft")).unwrap();
    Layer::new(root.parent().unwrap(), |tar| append_tree(tar, root, |name| !dropped(name))).unwrap().digest
}

#[test]
fn a_layer_does_not_depend_on_order_place_or_time() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, two] = folders.each_ref().map(|folder| folder.path().join("root"));
    let first = tree(&one, ["usr/lib/a", "usr/lib/b", "usr/c"], Duration::ZERO);
    let second = tree(&two, ["usr/c", "usr/lib/b", "usr/lib/a"], Duration::from_secs(86_400));
    assert_eq!(first, second);
    fs::write(two.join("usr/c"), "other").unwrap();
    let third = Layer::new(folders[1].path(), |tar| append_tree(tar, &two, |_| true)).unwrap().digest;
    assert_ne!(second, third);
}

#[test]
fn what_is_of_one_machine_is_dropped() {
    for name in ["var/cache/apt/x", "etc/machine-id", "usr/share/doc/a/copyright", "dev/null"] {
        assert!(dropped(name), "{name}");
    }
    for name in ["var/cache", "etc/machine-id-x", "usr/share/docs", "etc/passwd", "device"] {
        assert!(!dropped(name), "{name}");
    }
}

#[test]
fn scripts_of_wheels_are_dropped_and_modules_are_not_lost() {
    let site = tempfile::tempdir().unwrap();
    let data = site.path().join("thing-1.data");
    fs::create_dir_all(data.join("scripts")).unwrap();
    settle(&data).unwrap();
    assert!(!data.exists());
    fs::create_dir_all(data.join("purelib")).unwrap();
    settle(&data).unwrap_err();
    assert!(data.exists());
}
