//! Every development task: `cargo xtask <task>`. README says which two matter; `ci` is what a merge needs.

mod bench;
mod ci;
mod cluster;
mod demo;
mod fuzz;
mod generate;
mod image;
/// The server of the store's tests.
#[path = "../../crates/lineal-store/tests/it/server.rs"]
mod postgres;
mod roles;
/// The S3 server of the store's tests.
#[path = "../../crates/lineal-store/tests/it/s3.rs"]
mod s3;
mod setup;
mod shell;
mod soak;
mod step;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development tasks of Lineal", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the other tasks need and make the example's Python environments and data.
    Setup,
    /// Take the flights model from data to production and prove it, in `demo/`.
    Demo {
        /// Check the facts instead of showing the output; stops at the first wrong one.
        #[arg(long)]
        check: bool,
    },
    /// Run every test: crates, tidy, generated files, the demo's facts, a Kubernetes cluster.
    Test {
        #[command(flatten)]
        options: test::Options,
    },
    /// Format, lints, documentation, then every test and a moment of fuzzing.
    Ci {
        #[command(flatten)]
        options: test::Options,
    },
    /// Check the rules of STYLE.md that no lint knows.
    Tidy,
    /// Write the generated files.
    Gen {
        /// Write nothing; fail if a file differs from what would be written.
        #[arg(long)]
        check: bool,
    },
    /// Look for bytes that break a parser.
    Fuzz {
        /// Only this one of `fuzz/src/targets.rs`.
        name: Option<String>,
        /// For each.
        #[arg(long, default_value_t = 20)]
        seconds: u64,
    },
    /// Run for long what CI runs for a short time.
    Soak {
        #[command(subcommand)]
        what: Soak,
    },
    /// Make the image of Lineal, its bill of materials and the statement of its origin.
    Image {
        #[command(flatten)]
        options: image::Options,
    },
    /// Build the program that runs steps in pods, for images that have nothing else in them.
    Step,
    /// A real Kubernetes cluster of one node, for tests.
    Cluster(cluster::Arguments),
    /// Measure.
    Bench {
        #[command(subcommand)]
        what: Bench,
    },
}

#[derive(Subcommand)]
enum Soak {
    /// `kill -9` of a process that appends.
    Ledger {
        /// How many.
        #[arg(long, default_value_t = 1000)]
        rounds: u64,
    },
}

#[derive(Subcommand)]
enum Bench {
    /// Steps, ledger, routing and the gateway.
    Spine,
    /// The disk, durable appends, commands over a large ledger, and a peer on the same disk.
    Ledger {
        /// Entries of the large ledger.
        #[arg(long, default_value_t = 100_000)]
        entries: u64,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    match task {
        Task::Setup => setup::setup(&workspace),
        Task::Demo { check } => demo::demo(&workspace, demo::Mode::from_check(*check)).map(|_| ()),
        Task::Test { options } => test::test(&workspace, test::Plan::new(options)?),
        Task::Ci { options } => ci::ci(&workspace, test::Plan::new(options)?),
        Task::Tidy => tidy::tidy(&workspace),
        Task::Gen { check } => generate::generate(&workspace, *check).map(|_| ()),
        Task::Fuzz { name, seconds } => fuzz::fuzz(&workspace, name.as_deref(), *seconds),
        Task::Soak { what: Soak::Ledger { rounds } } => soak::ledger(&workspace, *rounds),
        Task::Image { options } => {
            image::image(&workspace, options).map(|made| println!("{}  {}", made.digest, made.file.display()))
        }
        Task::Step => step::build(&workspace).map(|_| ()),
        Task::Cluster(arguments) => cluster::run(&workspace, arguments),
        Task::Bench { what: Bench::Spine } => bench::spine(&workspace),
        Task::Bench { what: Bench::Ledger { entries } } => bench::ledger(&workspace, *entries),
    }
}

#[cfg(test)]
mod tests;
