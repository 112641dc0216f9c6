use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::PathBuf;

use super::{Start, first_process, hold, kept_containerd, prepare};
use crate::cluster::place::Place;
use crate::setup::{Containerd, Programs};
use crate::shell;

#[test]
fn the_first_process_has_namespaces_and_descriptors_of_its_own() {
    let place = Place { name: "two".parse().unwrap(), state: PathBuf::from("/state/two") };
    let start = Start { kept: false, containerd: Containerd::Debian, limit_seconds: 7 };
    let command = first_process(&place, start, ["3".to_owned(), "4".to_owned()]);
    assert_eq!(
        shell::line(&command),
        "setsid unshare --mount --net --pid --uts --ipc --fork --kill-child /state/two/bin/node up \
         --state /state/two --cgroup lineal-cluster-two --relay 3 --seat 4 --limit 7s"
    );
}

#[test]
fn a_kept_cluster_has_the_containerd_that_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place { name: "two".parse().unwrap(), state: folder.path().join("two") };
    kept_containerd(&place).unwrap_err();
    let none = Programs { folders: Vec::new() };
    let start = Start { kept: false, containerd: Containerd::Modules, limit_seconds: 7 };
    prepare(&place, &none, start).unwrap();
    let unfinished = kept_containerd(&place).unwrap_err().to_string();
    assert_eq!(unfinished, "nothing is kept of cluster two; start it without `--kept`");
    fs::create_dir_all(place.at("keys")).unwrap();
    fs::write(place.at("keys/complete"), "").unwrap();
    assert_eq!(kept_containerd(&place).unwrap(), Containerd::Modules);
    fs::write(place.at("data/kept"), "").unwrap();
    prepare(&place, &none, Start { kept: true, ..start }).unwrap();
    assert!(place.at("data/kept").exists());
    prepare(&place, &none, start).unwrap();
    assert!(!place.at("data/kept").exists() && !place.at("keys").exists());
}

#[test]
fn a_cluster_keeps_its_programs_when_others_are_built() {
    let folder = tempfile::tempdir().unwrap();
    let (built, held) = (folder.path().join("built"), folder.path().join("held"));
    fs::create_dir_all(&built).unwrap();
    fs::create_dir_all(&held).unwrap();
    fs::write(built.join("cluster"), "program").unwrap();
    symlink("cluster", built.join("kubectl")).unwrap();
    for name in ["cluster", "kubectl"] {
        hold(&built.join(name), &held.join(name)).unwrap();
    }
    assert_eq!(fs::metadata(held.join("cluster")).unwrap().nlink(), 2, "it takes no room twice");
    fs::remove_dir_all(&built).unwrap();
    assert_eq!(fs::read_to_string(held.join("kubectl")).unwrap(), "program");
    hold(&built.join("gone"), &held.join("gone")).unwrap_err();
}
