//! The file tree of an image as the base.

use crate::fixture::{Step, strict};
use lineal_sandbox::{Access, Determinism, Exit, Network, SandboxError};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes an image of these programs of the machine, with the libraries and the loader they name.
fn image(dir: &Path, programs: &[&str]) -> PathBuf {
    let root = dir.join("image");
    for directory in ["bin", "etc", "opt/data", "proc", "dev", "tmp"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for program in programs {
        let path = format!("/bin/{program}");
        fs::copy(&path, root.join("bin").join(program)).unwrap();
        let listed = Command::new("ldd").arg(&path).output().unwrap();
        assert!(listed.status.success(), "{listed:?}");
        let listed = String::from_utf8(listed.stdout).unwrap();
        for library in listed.split_whitespace().filter(|word| word.starts_with('/')) {
            let copy = root.join(&library[1..]);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(library, copy).unwrap();
        }
    }
    fs::write(root.join("etc/passwd"), "someone:x:7:7::/:/bin/sh\n").unwrap();
    fs::write(root.join("etc/hosts"), "1.2.3.4 from-the-image\n").unwrap();
    fs::write(root.join("opt/data/word"), "of the image\n").unwrap();
    symlink("opt/data", root.join("data")).unwrap();
    root
}

/// A step in an image of these programs.
fn step(script: &str, programs: &[&str]) -> Step {
    let mut step = Step::new(["sh", "-c", script]);
    step.spec.env.insert("PATH".into(), "/bin".into());
    step.spec.root = Some(image(step.dir.path(), programs));
    step
}

/// All paths below a directory.
fn listing(dir: &Path) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        if path.is_dir() && !path.is_symlink() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        all.insert(path);
    }
    all
}

#[test]
fn a_dynamic_program_runs_with_the_libraries_of_the_image_only() {
    for determinism in [Determinism::Off, Determinism::Observe, strict(1, 0)] {
        let mut step = step("ls /; cat /data/word /etc/passwd /etc/hosts", &["sh", "ls", "cat"])
            .determinism(determinism);
        let before = listing(step.spec.root.as_ref().unwrap());
        let root = step.spec.root.clone().unwrap();
        let mut expected =
            BTreeSet::from(["bin", "data", "dev", "etc", "opt", "proc", "tmp"].map(str::to_owned));
        expected.extend(fs::read_dir(&root).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()));
        let output = step.output();
        let (listed, rest) = output.split_at(output.find("of the image").unwrap());
        assert_eq!(listed.lines().map(str::to_owned).collect::<BTreeSet<_>>(), expected);
        assert_eq!(rest, "of the image\nsomeone:x:7:7::/:/bin/sh\n127.0.0.1 localhost step\n");
        assert_eq!(listing(&root), before, "nothing may be written to the image");

        // Without its loader the same program cannot start, although the machine has one at the same path.
        for name in ["lib", "lib64"] {
            let _ = fs::remove_dir_all(root.join(name));
        }
        let error = step.error();
        assert!(
            matches!(&error, SandboxError::ProgramNotExecutable { reason, .. } if reason.contains("loader")),
            "{error:?}"
        );
        step.spec.argv = vec!["python3".into()];
        assert!(matches!(step.error(), SandboxError::ProgramNotFound { .. }));
    }
}

#[test]
fn a_static_program_is_enough() {
    let mut step = Step::new(["/program", "x"]);
    let root = step.dir.path().join("image");
    fs::create_dir(&root).unwrap();
    let source = step.dir.path().join("program.c");
    fs::write(&source, "#include <stdio.h>\nint main(int n, char **v) { puts(v[1]); return n + 5; }")
        .unwrap();
    let made =
        Command::new("cc").args(["-static", "-o"]).arg(root.join("program")).arg(&source).status().unwrap();
    assert!(made.success());
    step.spec.root = Some(root);
    let outcome = step.run();
    assert_eq!((outcome.report.exit, outcome.stdout.as_str()), (Exit::Code(7), "x\n"), "{outcome:?}");
}

#[test]
fn mounts_find_a_place_wherever_they_go() {
    let mut step = step(
        "cat /lineal/in/a /opt/data/deep/er/a /opt/data/word /etc/own/a; cat /bin/sh > /lineal/out/sh; echo x > /tmp/x",
        &["sh", "cat"],
    );
    let root = step.spec.root.clone().unwrap();
    fs::set_permissions(root.join("opt"), fs::Permissions::from_mode(0o751)).unwrap();
    let input = step.dir.path().join("input");
    fs::create_dir(&input).unwrap();
    fs::write(input.join("a"), "a\n").unwrap();
    for target in ["/lineal/in", "/opt/data/deep/er", "/etc/own"] {
        step.mount(&input, target, Access::ReadOnly);
    }
    let output = step.mount_output("/lineal/out");
    let before = listing(&root);
    assert_eq!(step.output(), "a\na\nof the image\na\n");
    assert_eq!(listing(&root), before);
    assert_eq!(fs::read(output.join("sh")).unwrap(), fs::read(root.join("bin/sh")).unwrap());
    // A file of the image is covered by a file.
    step.mount(&input.join("a"), "/opt/data/word", Access::ReadOnly);
    assert!(step.output().ends_with("\na\na\na\na\n"));
}

#[test]
fn an_image_is_read_only_and_its_links_lead_inside() {
    let mut step = step(
        "for path in /x /etc/x /etc/passwd /opt/x /opt/data/x /opt/data/word /bin/sh; do echo x > $path; done; cat /out",
        &["sh", "cat"],
    );
    let root = step.spec.root.clone().unwrap();
    let secret = step.dir.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    symlink(&secret, root.join("out")).unwrap();
    symlink(step.dir.path(), root.join("opt/link")).unwrap();
    let outcome = step.run();
    assert_eq!(outcome.report.exit, Exit::Code(1));
    assert_eq!(outcome.stderr.matches("Read-only file system").count(), 7, "{outcome:?}");
    assert!(outcome.stderr.contains("/out: No such file"), "{outcome:?}");
    assert_eq!(fs::read_to_string(root.join("opt/data/word")).unwrap(), "of the image\n");

    // A mount point behind a link is resolved inside, where the folder of the host is not.
    step.mount(&secret, "/opt/link/place", Access::ReadOnly);
    assert!(matches!(step.error(), SandboxError::MountTarget { .. }), "{:?}", step.error());
    assert!(!step.dir.path().join("place").exists());
}

#[test]
fn the_hosts_network_brings_its_resolver() {
    let mut step = step("cat /etc/hosts /etc/resolv.conf", &["sh", "cat"]);
    step.spec.network = Network::Host;
    let expected = ["/etc/hosts", "/etc/resolv.conf"].map(|path| fs::read_to_string(path).unwrap()).concat();
    assert_eq!(step.output(), expected);
}

#[test]
fn a_missing_image_is_named() {
    let mut step = Step::new(["true"]);
    step.spec.root = Some("/no/such/image".into());
    let error = step.error();
    assert!(
        matches!(&error, SandboxError::MountSource { source_path, .. } if source_path == Path::new("/no/such/image")),
        "{error:?}"
    );
    step.spec.root = Some("image".into());
    assert!(matches!(step.error(), SandboxError::BadSpec { field, .. } if field == "root"));
}
