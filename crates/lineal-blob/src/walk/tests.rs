use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

const SECRET: &str = "secret";

/// `in/` with `a` and `sub/b`; beside it `out/` with a secret under the same names.
struct World {
    folder: tempfile::TempDir,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    for (directory, text) in [("in", "mine"), ("out", SECRET)] {
        fs::create_dir_all(folder.path().join(directory).join("sub")).unwrap();
        fs::write(folder.path().join(directory).join("a"), text).unwrap();
        fs::write(folder.path().join(directory).join("sub/b"), text).unwrap();
    }
    World { folder }
}

impl World {
    fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    fn walk(&self, links: Links) -> Result<Vec<Found>, TreeError> {
        walk(&self.path("in"), links, &|_| false)
    }
}

fn paths(found: &[Found]) -> Vec<&str> {
    found.iter().map(|f| f.path.as_str()).collect()
}

#[test]
fn files_are_found_in_order_and_hashed() {
    let world = world();
    fs::write(world.path("in/sub-1"), "").unwrap();
    let found = world.walk(Links::Refused).unwrap();
    assert_eq!(paths(&found), ["a", "sub-1", "sub/b"]);
    assert_eq!(found[0].digests(None).unwrap(), [Digest::of(b"mine")]);
    assert_eq!(found[0].digests(Some(3)).unwrap(), [Digest::of(b"min"), Digest::of(b"e")]);
    assert_eq!(found[0].digests(Some(4)).unwrap(), [Digest::of(b"mine")]);
    assert_eq!(found[1].digests(None).unwrap(), [Digest::of(b"")]);
    assert_eq!(found[1].digests(Some(3)).unwrap(), []);
    let only = walk(&world.path("in/a"), Links::Refused, &|_| false).unwrap();
    assert_eq!((paths(&only), only[0].digests(None).unwrap()), (vec!["a"], vec![Digest::of(b"mine")]));
}

#[test]
fn links_are_refused_or_stay_within() {
    for (target, within) in [
        ("a", true),
        ("sub/b", true),
        ("sub", false),
        ("../out/a", false),
        ("nowhere", false),
        ("link", false),
    ] {
        let world = world();
        symlink(target, world.path("in/link")).unwrap();
        assert!(matches!(world.walk(Links::Refused), Err(TreeError::Link(_))), "{target}");
        match world.walk(Links::Within) {
            Ok(found) => assert_eq!((within, paths(&found)), (true, vec!["a", "link", "sub/b"]), "{target}"),
            Err(error) => assert!(!within && matches!(error, TreeError::Link(_)), "{target}: {error}"),
        }
    }
    // Up and down again within the tree.
    let up = world();
    symlink("../a", up.path("in/sub/up")).unwrap();
    assert_eq!(up.walk(Links::Within).unwrap()[2].digests(None).unwrap(), [Digest::of(b"mine")]);
    // An absolute link leads elsewhere on another machine, also if here it does not.
    let absolute = world();
    symlink(absolute.path("in/a"), absolute.path("in/link")).unwrap();
    assert!(matches!(absolute.walk(Links::Within), Err(TreeError::Link(_))));
    // Not even through the links that the kernel makes.
    let magic = world();
    symlink("/proc/self/exe", magic.path("in/link")).unwrap();
    assert!(matches!(magic.walk(Links::Within), Err(TreeError::Link(_))));
}

#[test]
fn hard_links_are_files() {
    let world = world();
    fs::hard_link(world.path("in/a"), world.path("in/b")).unwrap();
    assert_eq!(paths(&world.walk(Links::Refused).unwrap()), ["a", "b", "sub/b"]);
}

#[test]
fn pipes_and_sockets_are_refused_without_waiting_for_them() {
    let world = world();
    let pipe = world.path("in/pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert!(matches!(world.walk(Links::Refused), Err(TreeError::Special(_))));
    fs::remove_file(&pipe).unwrap();
    let found = world.walk(Links::Refused).unwrap();
    fs::remove_file(world.path("in/a")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, world.path("in/a"), rustix::fs::FileType::Fifo, Mode::RUSR, 0)
        .unwrap();
    assert!(matches!(found[0].digests(None), Err(TreeError::Changed(_))), "exchanged after it was found");
    fs::remove_file(world.path("in/a")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(world.path("in/a")).unwrap();
    assert!(matches!(world.walk(Links::Refused), Err(TreeError::Special(_))));
}

#[test]
fn a_directory_exchanged_for_a_link_leads_nowhere() {
    for links in [Links::Refused, Links::Within] {
        let world = world();
        // `skip` is asked after the directory was listed and before its file is looked at.
        let exchange = |path: &str| {
            if path == "sub/b" {
                fs::rename(world.path("in/sub"), world.path("moved")).unwrap();
                symlink(world.path("out/sub"), world.path("in/sub")).unwrap();
            }
            false
        };
        let found = walk(&world.path("in"), links, &exchange).unwrap();
        let file = found.iter().find(|f| f.path == "sub/b").unwrap();
        assert_eq!(file.metadata.len(), "mine".len() as u64, "the file of the directory that was opened");
        assert!(matches!(file.digests(None), Err(TreeError::Changed(_))));
    }
}

#[test]
fn a_file_or_link_exchanged_after_it_was_found_is_not_read() {
    for target in ["../out/a", "sub/b"] {
        let world = world();
        symlink("a", world.path("in/link")).unwrap();
        let found = world.walk(Links::Within).unwrap();
        for name in ["in/a", "in/link"] {
            fs::remove_file(world.path(name)).unwrap();
            symlink(target, world.path(name)).unwrap();
        }
        for file in found.iter().filter(|f| f.path != "sub/b") {
            assert!(matches!(file.open(), Err(TreeError::Changed(_))), "{} -> {target}", file.path);
            assert!(matches!(file.digests(None), Err(TreeError::Changed(_))), "{} -> {target}", file.path);
        }
    }
}

#[test]
fn a_link_that_never_rests_never_leads_outside() {
    const ROUNDS: usize = 3000;
    let world = world();
    symlink("a", world.path("in/link")).unwrap();
    symlink("a", world.path("good")).unwrap();
    symlink("../out/a", world.path("bad")).unwrap();
    let (stop, swaps) = (AtomicBool::new(false), AtomicUsize::new(0));
    let read = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for name in ["bad", "good"] {
                    let (from, to) = (world.path(name), world.path("in/link"));
                    let exchange = rustix::fs::RenameFlags::EXCHANGE;
                    rustix::fs::renameat_with(rustix::fs::CWD, &from, rustix::fs::CWD, &to, exchange)
                        .unwrap();
                    rustix::fs::renameat_with(rustix::fs::CWD, &from, rustix::fs::CWD, &to, exchange)
                        .unwrap();
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let mut read = Vec::new();
        for _ in 0..ROUNDS {
            for file in world.walk(Links::Within).unwrap_or_default() {
                read.extend(file.digests(None).unwrap_or_default());
            }
        }
        stop.store(true, Ordering::Relaxed);
        read
    });
    assert!(!read.contains(&Digest::of(SECRET.as_bytes())), "after {swaps:?} swaps");
    assert!(swaps.into_inner() > 100 && read.contains(&Digest::of(b"mine")), "both sides were at work");
}
