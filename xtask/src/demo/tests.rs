use std::fs;

use super::folder::{copy, expand, fits, flip, largest};

#[test]
fn patterns_fit_as_in_a_shell() {
    let fit = |pattern: &str, name: &str| fits(pattern.as_bytes(), name.as_bytes());
    assert!(fit("*-2013-0[12].csv", "flights-2013-01.csv"));
    assert!(fit("*-2013-0[1-4].csv", "weather-2013-04.csv"));
    assert!(!fit("*-2013-0[1-4].csv", "weather-2013-05.csv"));
    assert!(!fit("*-2013-0[12].csv", "flights-2013-01.csv.old"));
    assert!(!fit("a[b", "ab"));
}

#[test]
fn words_are_expanded_in_order() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("months")).unwrap();
    for name in ["b-1", "a-1", "a-2"] {
        fs::write(folder.path().join("months").join(name), "x").unwrap();
    }
    assert_eq!(expand(folder.path(), "months/*-1").unwrap(), ["months/a-1", "months/b-1"]);
    assert_eq!(expand(folder.path(), "flights-delay/2").unwrap(), ["flights-delay/2"]);
    assert!(expand(folder.path(), "months/c*").is_err());
}

#[test]
fn one_byte_is_flipped_and_flipped_back() {
    let folder = tempfile::tempdir().unwrap();
    let (file, again) = (folder.path().join("a"), folder.path().join("copy/a"));
    fs::write(&file, "x,y\n10,20\n").unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o444)).unwrap();
    copy(&file, &again).unwrap();
    flip(&file).unwrap();
    let differing = |a: &[u8], b: &[u8]| a.iter().zip(b).filter(|(a, b)| a != b).count();
    assert_eq!(differing(&fs::read(&file).unwrap(), &fs::read(&again).unwrap()), 1);
    assert!(fs::metadata(&file).unwrap().permissions().readonly());
    flip(&file).unwrap();
    assert_eq!(fs::read(&file).unwrap(), fs::read(&again).unwrap());
    assert_eq!(largest(&folder.path().join("copy")).unwrap(), again);
}
