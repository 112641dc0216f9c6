//! What a merge needs: format, lints, documentation, every test, a moment of fuzzing.

use std::time::Instant;

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{fuzz, shell, test};

/// Runs everything, the cheap parts first; stops at the first that fails.
pub(crate) fn ci(workspace: &Workspace, plan: test::Plan) -> Result<()> {
    let started = Instant::now();
    plan.set_up(workspace)?;
    let steps: [&[&str]; 3] = [
        &["fmt", "--all", "--check"],
        &[
            "clippy",
            "--locked",
            "--workspace",
            "--all-targets",
            "--features",
            "lineal-kube/cluster",
            "--",
            "-D",
            "warnings",
        ],
        &["doc", "--locked", "--workspace", "--no-deps"],
    ];
    for arguments in steps {
        eprintln!("\n== cargo {}", arguments.join(" "));
        shell::loud(workspace.cargo(arguments).env("RUSTDOCFLAGS", "-D warnings"))?;
    }
    test::test(workspace, plan)?;
    eprintln!("\n== fuzzing, shortly");
    fuzz::fuzz(workspace, None, fuzz::SHORT_SECONDS)?;
    println!("ci: everything passed in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}
