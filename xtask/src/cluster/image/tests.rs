use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{Entry, Image, digest};

/// An image of two files that lie in `folder` and were last changed at `time`.
fn write(folder: &Path, time: SystemTime, order: [usize; 2]) -> (String, Vec<u8>) {
    let program = folder.join("program");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o700)).unwrap();
    let text = folder.join("text");
    fs::write(&text, "hello\n").unwrap();
    fs::set_permissions(&text, Permissions::from_mode(0o600)).unwrap();
    for file in [&program, &text] {
        File::options().append(true).open(file).unwrap().set_modified(time).unwrap();
    }
    let entries = [
        Entry { path: "/bin/program".to_owned(), file: program },
        Entry { path: "/etc/text".to_owned(), file: text },
    ];
    let image = Image { name: "made.test/two:1".to_owned(), entrypoint: vec!["/bin/program".to_owned()] };
    let out = folder.join("out.tar");
    let digest = image.write(&out, &order.map(|at| entries[at].clone())).unwrap();
    (digest, fs::read(out).unwrap())
}

#[test]
fn twice_the_same_from_elsewhere_at_another_time_in_another_order() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let early = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let (first, bytes) = write(one.path(), early, [0, 1]);
    let (second, again) = write(two.path(), SystemTime::now(), [1, 0]);
    assert_eq!(first, second);
    assert!(bytes == again, "the digests are equal, the files are not");
}

#[test]
fn the_layout_is_as_oci_says() {
    let folder = tempfile::tempdir().unwrap();
    let (image, bytes) = write(folder.path(), SystemTime::now(), [0, 1]);
    let files = unpack(&bytes);
    for (name, content) in files.iter().filter(|(name, _)| name.starts_with("blobs/")) {
        assert_eq!(*name, format!("blobs/{}", digest(content).replace(':', "/")));
    }
    let get = |digest: &Value| {
        let name = format!("blobs/{}", digest.as_str().unwrap().replace(':', "/"));
        files[&name].clone()
    };
    let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
    assert_eq!(index["manifests"][0]["digest"], image.as_str());
    assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], "made.test/two:1");
    let manifest: Value = serde_json::from_slice(&get(&index["manifests"][0]["digest"])).unwrap();
    let configuration: Value = serde_json::from_slice(&get(&manifest["config"]["digest"])).unwrap();
    let layer = &manifest["layers"][0];
    assert_eq!(configuration["rootfs"]["diff_ids"][0], layer["digest"]);
    assert_eq!(configuration["config"]["Entrypoint"][0], "/bin/program");
    assert_eq!(layer["size"], get(&layer["digest"]).len());
    let inside = unpack(&get(&layer["digest"]));
    assert_eq!(inside["bin/program"], b"#!/bin/sh\n");
    assert_eq!(inside["etc/text"], b"hello\n");
}

#[test]
fn only_the_right_to_execute_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let (_, bytes) = write(folder.path(), SystemTime::now(), [0, 1]);
    let layer = unpack(&bytes).into_values().find(|content| content.starts_with(b"bin/program\0")).unwrap();
    let mut modes = Vec::new();
    for entry in tar::Archive::new(layer.as_slice()).entries().unwrap() {
        let entry = entry.unwrap();
        modes.push((entry.header().mode().unwrap(), entry.header().uid().unwrap()));
    }
    assert_eq!(modes, [(0o755, 0), (0o644, 0)]);
}

#[test]
fn entries_are_plain_paths_and_files() {
    let entry: Entry = "/bin/a=b=c".parse().unwrap();
    assert_eq!((entry.path.as_str(), entry.file.as_path()), ("/bin/a", Path::new("b=c")));
    for text in ["bin/a=b", "/=b", "/a/../b=c", "/a//b=c", "/a=", "/a", ""] {
        text.parse::<Entry>().unwrap_err();
    }
}

#[test]
fn a_path_named_twice_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "").unwrap();
    let entry = Entry { path: "/a".to_owned(), file: folder.path().join("a") };
    let image = Image { name: "made.test/a:1".to_owned(), entrypoint: Vec::new() };
    image.write(&folder.path().join("out"), &[entry.clone(), entry]).unwrap_err();
    assert!(!folder.path().join("out").exists());
}

fn unpack(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(bytes).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        files.insert(name, content);
    }
    files
}
