//! The step launcher: runs one program in fresh namespaces, counts or replaces the entropy it asks for, and says
//! what it could not control. The only unsafe code of the project.
//!
//! `lineal` has many threads, and a process with many threads must not clone itself. So it starts its own binary
//! again as a small single-threaded launcher, which calls [`launcher_main`]. Three processes take part:
//!
//! ```text
//! lineal ── Launcher::start ──> launcher            one event loop: logs, entropy, clock, ptrace, time limit
//!                                  └─ init (pid 1)   builds the file tree, reaps, passes SIGTERM on
//!                                       └─ step      no privileges; only what the Spec declares
//! ```
//!
//! The parent holds the launcher's stdin. When it closes (the parent died), the launcher kills init, and with init
//! the kernel ends the whole pid namespace. When the launcher dies, its parent-death signal ends init.
//!
//! In a restricted pod of Kubernetes none of that is allowed, so [`Isolation::Pod`] does without namespaces, mounts and
//! init: the step is the launcher's child, and the launcher adopts and kills what it leaves behind. Where ptrace(2) is
//! forbidden too, starts of programs and tasks wait for the launcher, which looks in `/proc` what came of them. The
//! streams of random bytes and the clock are the same in all three ways.
//!
//! * [`Spec`]: what to run; [`Report`]: what happened; [`SandboxError`]: why it did not start.
//! * [`Launcher`] and [`Running`]: the side of the parent.
//! * [`probe`]: what this machine allows.
//!
//! This is a tool for reproducible steps, not a boundary against hostile code: a step shares the kernel and the
//! user id with its caller, and seccomp notification observes cooperative programs only. Replaced entropy breaks
//! cryptography: use [`Determinism::Strict`] only for steps without network and secrets.
//!
//! The mechanism exists for Linux on x86-64. Elsewhere the crate compiles and answers "unsupported".

mod error;
mod launcher;
mod probe;
mod report;
mod running;
mod spec;
mod wire;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod inside;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod launch;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod sys;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use launch::launcher_main;

pub use error::SandboxError;
pub use launcher::Launcher;
pub use probe::{Capabilities, Capability, probe};
pub use report::{EntropyReport, EntropySource, EntropyUse, Exit, Report, Uncontrolled};
pub use running::{Control, Running};
pub use spec::{
    Access, Determinism, EntropyKey, Isolation, Limits, MAX_SPEC_SIZE_BYTES, Mount, Network, Spec,
};

/// The body of the hidden launcher subcommand. On this machine it only answers that it is unsupported.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub fn launcher_main() -> std::process::ExitCode {
    let failure = SandboxError::Unsupported {
        what: "the step sandbox".to_owned(),
        reason: "it exists for Linux on x86-64 only".to_owned(),
    };
    wire::answer(&wire::Answer::Failed(failure));
    std::process::ExitCode::FAILURE
}
