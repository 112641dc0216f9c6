use super::*;

#[test]
fn the_bill_is_the_same_twice_and_names_what_is_linked() {
    let workspace = Workspace::find().unwrap();
    let package = Package {
        name: "libc6".to_owned(),
        version: "1:2.36-9+deb12u1".to_owned(),
        architecture: "amd64".to_owned(),
    };
    assert_eq!(package.url(), "pkg:deb/debian/libc6@1%3A2.36-9%2Bdeb12u1?arch=amd64");
    let packages = BTreeSet::from([package]);
    let make = || of(&workspace, "0.1.0", "sha256:aa", &packages).unwrap().to_string();
    let text = make();
    assert_eq!(text, make());
    let bill: Value = serde_json::from_str(&text).unwrap();
    let components = bill["components"].as_array().unwrap();
    let names: Vec<&str> = components.iter().map(|component| component["name"].as_str().unwrap()).collect();
    for linked in ["lineal", "lineal-store", "rustls", "libc6"] {
        assert!(names.contains(&linked), "{linked} is missing");
    }
    // Of tests, and of the tasks.
    for absent in ["proptest", "xtask"] {
        assert!(!names.contains(&absent), "{absent} is not in the image");
    }
    let references: BTreeSet<&str> =
        components.iter().map(|component| component["bom-ref"].as_str().unwrap()).collect();
    assert_eq!(references.len(), components.len());
    let rustls = components.iter().find(|component| component["name"] == "rustls").unwrap();
    assert_eq!(rustls["hashes"][0]["content"].as_str().unwrap().len(), 64);
    assert!(rustls["licenses"][0]["expression"].is_string());
}

#[test]
fn a_file_that_no_package_has_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lib.so");
    fs::write(&file, "").unwrap();
    let error = packages(&[file]).unwrap_err().to_string();
    assert!(error.contains("lib.so"), "{error}");
}
