use std::collections::BTreeSet;
use std::io::Read as _;

use super::*;

/// Some program of this machine that is linked with libraries, and one that is not.
fn programs(folder: &Path) -> Programs {
    let step = folder.join("step");
    let source = folder.join("step.c");
    fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    shell::quiet(Command::new("cc").args(["-static", "-g", "-o"]).arg(&step).arg(&source)).unwrap();
    Programs { lineal: PathBuf::from("/bin/true"), step }
}

#[test]
fn the_image_is_the_same_twice_and_has_every_library() {
    setup::image().unwrap();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let made = [&one, &two].map(|folder| {
        let out = folder.path().join("out.tar");
        let written = write(&out, "made.test/lineal:1", &programs(one.path())).unwrap();
        (written, fs::read(out).unwrap())
    });
    let [(first, bytes), (second, again)] = made;
    assert_eq!(first.digest, second.digest);
    assert!(bytes == again, "the digests are equal, the files are not");
    let layer = layer(&bytes);
    for path in ["bin/lineal", "lineal-step", "etc/passwd", "etc/ssl/certs/ca-certificates.crt"] {
        assert!(layer.contains(path), "{path} is missing in {layer:?}");
    }
    assert!(layer.iter().any(|path| path.ends_with("libc.so.6")), "{layer:?}");
    assert!(layer.iter().any(|path| path.starts_with("lib64/ld-linux")), "{layer:?}");
    let packages = bill::packages(&first.libraries).unwrap();
    assert!(packages.iter().any(|package| package.name == "libc6"), "{packages:?}");
    let workspace = Workspace::find().unwrap();
    let make = || origin::of(&workspace, "given", &first, &packages).unwrap();
    let origin = make();
    assert_eq!(origin, make());
    let hex = first.digest.trim_start_matches("sha256:");
    assert_eq!(origin["subject"][0]["digest"]["sha256"], hex);
    let used = origin["predicate"]["buildDefinition"]["resolvedDependencies"].as_array().unwrap();
    assert_eq!(used[0]["digest"]["gitCommit"].as_str().map(str::len), Some(40));
}

#[test]
fn a_step_program_that_needs_libraries_is_refused() {
    setup::image().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let programs = Programs { step: PathBuf::from("/bin/true"), ..programs(folder.path()) };
    let error =
        write(&folder.path().join("out.tar"), "made.test/lineal:1", &programs).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("needs libraries"), "{error}");
}

#[test]
fn what_the_loader_says_is_read() {
    let said = "\tlinux-vdso.so.1 (0x00007f)\n\tlibm.so.6 => /lib/libm.so.6 (0x00007f)\n\t/lib64/ld-linux.so.2 (0x0)\n";
    let found = libraries(said).unwrap();
    assert_eq!(found, [PathBuf::from("/lib/libm.so.6"), PathBuf::from("/lib64/ld-linux.so.2")]);
    libraries("\tlibx.so => not found\n").unwrap_err();
}

/// The paths in the only layer.
fn layer(image: &[u8]) -> BTreeSet<String> {
    let mut archive = tar::Archive::new(image);
    let mut largest = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut content = Vec::new();
        entry.unwrap().read_to_end(&mut content).unwrap();
        if content.len() > largest.len() {
            largest = content;
        }
    }
    let mut layer = tar::Archive::new(largest.as_slice());
    let paths = layer.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string());
    paths.collect()
}
