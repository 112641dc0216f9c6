//! The same as another user, when the tests run as root. Otherwise all other tests are that already.

use crate::fixture::{LAUNCHER, Step, strict};
use lineal_sandbox::{Access, Determinism, Exit, Launcher};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

const NOBODY: u32 = 65534;

/// Has the step started by a launcher that runs as `nobody`, from a copy that `nobody` can reach.
fn as_nobody(step: &mut Step) {
    if !is_root() {
        return;
    }
    let dir = step.dir.path();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.join("launcher");
    fs::copy(LAUNCHER, &program).unwrap();
    chown(dir, Some(NOBODY), Some(NOBODY)).unwrap();
    let args = ["--reuid=65534", "--regid=65534", "--clear-groups", "--"].map(str::to_owned);
    let args = args.into_iter().chain([program.to_str().unwrap().to_owned()]);
    step.launcher = Launcher::new("/usr/bin/setpriv", args);
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

#[test]
fn all_modes_work_without_privileges() {
    for determinism in [Determinism::Off, Determinism::Observe, strict(1, 0)] {
        let mut step = Step::shell("id -u; id -un; echo x > /tmp/x; head -c 4 /dev/urandom | wc -c; exit 6")
            .determinism(determinism);
        as_nobody(&mut step);
        let outcome = step.run();
        assert_eq!(outcome.report.exit, Exit::Code(6), "{outcome:?}");
        if is_root() {
            assert_eq!(outcome.stdout, "65534\nstep\n4\n");
        }
    }
}

#[test]
fn strict_works_without_privileges() {
    let run = |key| {
        let mut step = Step::shell(
            "mktemp -u; date +%s; head -c 8 /dev/urandom | od -x; awk 'BEGIN { srand(); print rand() }'",
        )
        .determinism(strict(key, 1_000_000_000));
        as_nobody(&mut step);
        let outcome = step.run();
        assert_eq!(outcome.report.exit, Exit::Code(0), "{outcome:?}");
        let missed = ["aslr", "entropy", "wall clock"];
        assert!(!outcome.report.uncontrolled.iter().any(|entry| missed.contains(&entry.what.as_str())));
        outcome.stdout
    };
    let first = run(1);
    assert!(first.contains("\n1000000000\n"));
    assert_eq!(first, run(1));
    assert_ne!(first, run(2));
}

#[test]
fn mounts_have_the_rights_of_the_user() {
    let mut step = Step::shell("echo x > /out/x && cat /in/readable && echo y > /in/y");
    let output = step.mount_output("/out");
    let input = step.dir.path().join("input");
    fs::create_dir(&input).unwrap();
    fs::write(input.join("readable"), "text\n").unwrap();
    step.mount(&input, "/in", Access::ReadOnly);
    as_nobody(&mut step);
    if is_root() {
        chown(&output, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let outcome = step.run();
    assert_eq!(outcome.stdout, "text\n", "{outcome:?}");
    assert!(outcome.stderr.contains("Read-only file system"), "{outcome:?}");
    assert_eq!(fs::read_to_string(output.join("x")).unwrap(), "x\n");
}

#[test]
fn the_number_of_processes_is_limited() {
    let mut step = Step::shell("for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; exit 0");
    step.spec.limits.processes = 5;
    as_nobody(&mut step);
    let outcome = step.run();
    assert_ne!(outcome.report.exit, Exit::Code(0), "{outcome:?}");
    assert!(outcome.stderr.contains("fork"), "{outcome:?}");
    assert!(!outcome.report.uncontrolled.iter().any(|entry| entry.what == "process count"));
}
