use super::*;

fn digest(packages: &Path) -> Digest {
    let mut cache = StatCache::default();
    Reader { cache: &mut cache, now_s: 0, misses: 0 }.folder(packages, &|_| false).unwrap()
}

fn packages(record: &str, code: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("python3.11/site-packages");
    fs::create_dir_all(site.join("thing-1.0.dist-info")).unwrap();
    fs::create_dir_all(site.join("thing/__pycache__")).unwrap();
    fs::write(site.join("thing-1.0.dist-info/RECORD"), record).unwrap();
    fs::write(site.join("thing/__init__.py"), code).unwrap();
    fs::write(site.join("thing/__pycache__/__init__.pyc"), record).unwrap();
    folder
}

#[test]
fn the_place_of_an_environment_does_not_change_its_digest() {
    // pip's RECORD and byte code differ between two places, the code does not.
    let here = packages("../../../bin/tool,sha256=aaa,10", "x = 1\n");
    let there = packages("../../../bin/tool,sha256=bbb,12", "x = 1\n");
    assert_eq!(digest(here.path()), digest(there.path()));
}

#[test]
fn changed_code_changes_the_digest() {
    let before = packages("", "x = 1\n");
    let digest_before = digest(before.path());
    fs::write(before.path().join("python3.11/site-packages/thing/__init__.py"), "x = 2\n").unwrap();
    assert_ne!(digest(before.path()), digest_before);
}
