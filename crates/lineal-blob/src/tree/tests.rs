use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use super::*;

struct World {
    folder: tempfile::TempDir,
    blobs: BlobStore,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let blobs = BlobStore::open(&folder.path().join("blobs")).unwrap();
    fs::create_dir_all(folder.path().join("data/sub")).unwrap();
    fs::write(folder.path().join("data/a.csv"), "x\n1\n").unwrap();
    fs::write(folder.path().join("data/sub/b.csv"), "x\n2\n").unwrap();
    World { folder, blobs }
}

impl World {
    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn freeze(&self) -> Result<Manifest, TreeError> {
        let found = walk(&self.data(), &|_| false)?;
        freeze(&self.blobs, &found, &mut StatCache::default(), 0, &mut |_| {})
    }
}

#[test]
fn the_same_content_is_the_same_identity() {
    let world = world();
    let first = world.freeze().unwrap();
    assert_eq!(first.files().iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["a.csv", "sub/b.csv"]);
    fs::write(world.data().join("a.csv"), "x\n1\n").unwrap();
    assert_eq!(world.freeze().unwrap().digest(), first.digest());
    fs::write(world.data().join("a.csv"), "x\n9\n").unwrap();
    assert_ne!(world.freeze().unwrap().digest(), first.digest());
    // The snapshot still holds the old bytes.
    let out = world.folder.path().join("out");
    lay_out(&world.blobs, ArtifactKind::Directory, &first.digest(), &out).unwrap();
    assert_eq!(fs::read_to_string(out.join("a.csv")).unwrap(), "x\n1\n");
}

#[test]
fn what_has_no_certain_identity_is_refused() {
    let outside = world();
    symlink("/etc/passwd", outside.data().join("link")).unwrap();
    assert!(matches!(outside.freeze(), Err(TreeError::Link(_))));

    let dangling = world();
    symlink("nowhere", dangling.data().join("link")).unwrap();
    assert!(matches!(dangling.freeze(), Err(TreeError::Link(_))));

    let looping = world();
    symlink(".", looping.data().join("loop")).unwrap();
    assert!(matches!(looping.freeze(), Err(TreeError::Link(_))));

    let name = world();
    fs::write(name.data().join(std::ffi::OsStr::from_bytes(b"\xff.csv")), "").unwrap();
    assert!(matches!(name.freeze(), Err(TreeError::Name(_))));

    let special = world();
    let _socket = std::os::unix::net::UnixListener::bind(special.data().join("socket")).unwrap();
    assert!(matches!(special.freeze(), Err(TreeError::Special(_))));
}

#[test]
fn a_link_inside_the_tree_is_its_content() {
    let world = world();
    symlink("a.csv", world.data().join("c.csv")).unwrap();
    let manifest = world.freeze().unwrap();
    assert_eq!(manifest.get("c.csv").unwrap().digest, manifest.get("a.csv").unwrap().digest);
}

#[test]
fn a_file_that_changes_between_stat_and_read_is_refused() {
    let world = world();
    let found = walk(&world.data(), &|_| false).unwrap();
    fs::write(world.data().join("a.csv"), "x\n1\n2\n").unwrap();
    let frozen = freeze(&world.blobs, &found, &mut StatCache::default(), 0, &mut |_| {});
    assert!(matches!(frozen, Err(TreeError::Changed(p)) if p.ends_with("a.csv")));
}

#[test]
fn empty_files_are_content_too() {
    let world = world();
    fs::write(world.data().join("empty"), "").unwrap();
    assert_eq!(world.freeze().unwrap().get("empty").unwrap().size_bytes, 0);
}

#[test]
fn young_files_are_not_trusted_to_the_cache() {
    let world = world();
    let path = world.data().join("a.csv");
    let meta = fs::metadata(&path).unwrap();
    let mut cache = StatCache::default();
    cache.insert(&path, &meta, Digest::of(b"x"), meta.ctime());
    assert_eq!(cache.get(&path, &meta), None);
    cache.insert(&path, &meta, Digest::of(b"x"), meta.ctime() + 3);
    assert_eq!(cache.get(&path, &meta), Some(Digest::of(b"x")));
}

#[test]
fn a_damaged_blob_is_not_laid_out() {
    let world = world();
    let manifest = world.freeze().unwrap();
    let victim = world.blobs.path(&manifest.get("a.csv").unwrap().digest);
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&victim, "x\n7\n").unwrap();
    let out = world.folder.path().join("out");
    let result = lay_out(&world.blobs, ArtifactKind::Directory, &manifest.digest(), &out);
    assert!(matches!(result, Err(TreeError::Blob(BlobError::Damaged { .. }))));
}

#[test]
fn what_is_exchanged_while_it_is_laid_out_is_never_used() {
    use std::sync::atomic::{AtomicBool, Ordering};
    const ROUNDS: usize = 300;
    let world = world();
    let good = "good\n".repeat(50_000);
    fs::write(world.data().join("a.csv"), &good).unwrap();
    let manifest = world.freeze().unwrap();
    let victim = world.blobs.path(&manifest.get("a.csv").unwrap().digest);
    let (kept, other) = (world.folder.path().join("kept"), world.folder.path().join("other"));
    fs::write(&kept, &good).unwrap();
    fs::write(&other, good.replace("good", "evil")).unwrap();
    let done = AtomicBool::new(false);
    let (mut whole, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        // The blob is the right one and another one in turns, by renaming and by writing into it.
        scope.spawn(|| {
            let step = world.folder.path().join("step");
            while !done.load(Ordering::Relaxed) {
                for source in [&other, &kept] {
                    fs::copy(source, &step).unwrap();
                    fs::rename(&step, &victim).unwrap();
                }
                fs::copy(&other, &victim).unwrap();
                fs::copy(&kept, &victim).unwrap();
            }
        });
        for round in 0..ROUNDS {
            let out = world.folder.path().join(format!("out-{round}"));
            match lay_out(&world.blobs, ArtifactKind::Directory, &manifest.digest(), &out) {
                // What is there afterwards is what was hashed, and no file that somebody can still write to elsewhere.
                Ok(()) => {
                    assert_eq!(fs::read_to_string(out.join("a.csv")).unwrap(), good);
                    whole += 1;
                }
                Err(TreeError::Blob(BlobError::Damaged { .. } | BlobError::Missing(_))) => refused += 1,
                Err(error) => panic!("{error}"),
            }
            let _ = fs::remove_dir_all(&out);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(refused > 0 && whole > 0, "{whole} whole, {refused} refused: nothing was exchanged meanwhile");
}
