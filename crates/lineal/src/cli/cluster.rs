//! What can be typed about runs on a cluster.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum SourceCommand {
    /// Freeze the code and the contracts that a pipeline names.
    #[command(after_help = "Example: lineal source add pipeline.yaml")]
    Add {
        /// The pipeline file.
        #[arg(default_value = "pipeline.yaml")]
        file: PathBuf,
    },
    /// Freeze the files of a tar archive.
    #[command(
        after_help = "Example: tar --create src contracts | kubectl exec -i deploy/lineal-operator -- lineal source import -"
    )]
    Import {
        /// The archive; `-` for standard input.
        archive: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct OperatorArguments {
    /// Where the exchange listens, for the pods of steps.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8443")]
    pub(crate) listen: String,
    /// Where pods reach it: `https://ADDRESS:PORT`, an address that stays when the operator is started again.
    #[arg(long, value_name = "URL")]
    pub(crate) advertise: String,
    /// The image with the step program, by digest.
    #[arg(long, value_name = "IMAGE")]
    pub(crate) step_image: String,
    /// When nodes pull that image: `Always`, `IfNotPresent` or `Never`.
    #[arg(long, value_name = "POLICY")]
    pub(crate) step_image_pull_policy: Option<String>,
    /// The namespace to work in; all of them otherwise.
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Steps of one run at a time.
    #[arg(long, value_name = "COUNT", default_value_t = 16)]
    pub(crate) parallel_steps: usize,
    /// Where `/healthz`, `/readyz` and `/metrics` are.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    pub(crate) health: String,
    /// Who gets the first approver key, if the project is made.
    #[arg(long, value_name = "NAME", default_value = "operator")]
    pub(crate) approver: String,
}
