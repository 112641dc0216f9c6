//! Specs and machines that do not work.

use crate::fixture::{LAUNCHER, Step, strict};
use lineal_sandbox::{Access, Determinism, Exit, Launcher, MAX_SPEC_SIZE_BYTES, SandboxError};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn a_bad_spec_names_its_field() {
    let field = |change: fn(&mut Step)| {
        let mut step = Step::new(["true"]);
        change(&mut step);
        match step.error() {
            SandboxError::BadSpec { field, .. } => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(field(|step| step.spec.argv.clear()), "argv");
    assert_eq!(field(|step| step.spec.argv[0].push('\0')), "argv[0]");
    assert_eq!(field(|step| step.mount(Path::new("/usr"), "relative", Access::ReadOnly)), "mounts[0].target");
}

#[test]
fn a_large_spec_is_refused_on_both_sides() {
    let mut step = Step::new(["true"]);
    step.spec.env.insert("LARGE".into(), "x".repeat(10 << 20));
    assert!(
        matches!(step.error(), SandboxError::SpecTooLarge { limit_bytes: MAX_SPEC_SIZE_BYTES, .. }),
        "{:?}",
        step.error()
    );
    let answer = raw_launcher(&vec![b'x'; 10 << 20]);
    assert!(answer.starts_with(r#"{"failed":{"spec_too_large""#), "{answer}");
}

/// Starts a launcher by hand, with these bytes as the spec.
fn raw_launcher(bytes: &[u8]) -> String {
    let mut child = Command::new(LAUNCHER).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // It may refuse, and close the pipe, before everything is written.
    let _ = child.stdin.take().unwrap().write_all(bytes);
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn a_launcher_refuses_what_is_no_spec() {
    for bytes in [&b""[..], b"{}", b"{}\n", b"\xff\n", b"[1,2\n", b"null\n"] {
        let answer = raw_launcher(bytes);
        assert!(answer.starts_with(r#"{"failed":{"bad_spec""#), "{bytes:?}: {answer}");
    }
}

#[test]
fn a_program_that_is_not_there_is_not_code_127() {
    for determinism in [Determinism::Off, Determinism::Observe, strict(1, 0)] {
        let error = Step::new(["no-such-program"]).determinism(determinism.clone()).error();
        let SandboxError::ProgramNotFound { program, searched } = error else { panic!("{error:?}") };
        assert_eq!((program.as_str(), searched.as_str()), ("no-such-program", "/usr/bin:/bin"));
        let error = Step::new(["/no/such"]).determinism(determinism.clone()).error();
        assert!(matches!(error, SandboxError::ProgramNotFound { .. }), "{error:?}");
        let outcome = Step::shell("no-such-program").determinism(determinism).run();
        assert_eq!(outcome.report.exit, Exit::Code(127));
    }
}

/// A step with a file of this content and mode as its program.
fn with_program(content: &[u8], mode: u32) -> Step {
    let mut step = Step::new(["/in/program"]);
    let program = step.dir.path().join("program");
    fs::write(&program, content).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
    step.mount(&program, "/in/program", Access::ReadOnly);
    step
}

#[test]
fn a_program_that_cannot_be_run_says_why() {
    let reason = |step: Step| match step.error() {
        SandboxError::ProgramNotExecutable { program, reason } => {
            assert_eq!(program, "/in/program");
            reason
        }
        other => panic!("{other:?}"),
    };
    assert!(reason(with_program(b"#!/bin/sh\n", 0o644)).contains("Permission denied"));
    assert!(reason(with_program(b"#!/no/interpreter\n", 0o755)).contains("interpreter"));
    assert!(reason(with_program(b"\x01\x02\x03", 0o755)).contains("neither a binary"));
    assert_eq!(with_program(b"#!/bin/sh\nexit 5\n", 0o755).run().report.exit, Exit::Code(5));
}

#[test]
fn paths_that_are_missing_are_named() {
    let mut step = Step::new(["true"]);
    step.mount(Path::new("/no/such/input"), "/in", Access::ReadOnly);
    let error = step.error();
    assert!(
        matches!(&error, SandboxError::MountSource { source_path, .. } if source_path == Path::new("/no/such/input")),
        "{error:?}"
    );

    let mut step = Step::new(["true"]);
    step.mount(Path::new("/etc"), "/usr/no-such-place", Access::ReadOnly);
    let error = step.error();
    assert!(
        matches!(&error, SandboxError::MountTarget { reason, .. } if reason.contains("Read-only")),
        "{error:?}"
    );

    let mut step = Step::new(["true"]);
    step.spec.cwd = "/no/such/place".into();
    let error = step.error();
    assert!(matches!(error, SandboxError::WorkingDirectory { .. }), "{error:?}");

    let mut step = Step::new(["true"]);
    step.spec.stdout = "/no/such/log".into();
    let error = step.error();
    assert!(matches!(error, SandboxError::LogFile { .. }), "{error:?}");
}

#[test]
fn a_program_that_is_no_launcher_is_told_from_one() {
    let mut step = Step::new(["true"]);
    step.launcher = Launcher::new("/no/such/launcher", [""; 0]);
    assert!(matches!(step.error(), SandboxError::LauncherNotStarted { .. }), "{:?}", step.error());
    step.launcher = Launcher::new("/bin/true", [""; 0]);
    assert!(matches!(step.error(), SandboxError::LauncherBroken { .. }), "{:?}", step.error());
    step.launcher = Launcher::new("/bin/cat", [""; 0]);
    assert!(matches!(step.error(), SandboxError::LauncherBroken { .. }), "{:?}", step.error());
}
