//! What can be typed.

mod cluster;
mod ledger;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use cluster::{OperatorArguments, SourceCommand};
pub(crate) use ledger::{KeysCommand, LedgerCommand, ProofFormat, Role};

const EXIT_CODES: &str = "Exit codes: 0 ok, 1 the answer is no, 2 wrong use, 3 input or environment, \
                          4 internal, 5 tampering found.\ndocs/errors.md explains every error code.";

/// From pinned inputs to a proven production model.
#[derive(Debug, Parser)]
#[command(name = "lineal", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// The project's folder, or one below it.
    #[arg(long, global = true, default_value = ".", value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print nothing but errors and JSON.
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Whether `--json` is among arguments that cannot be parsed, before those that belong to another program.
pub(crate) fn asks_for_json(arguments: impl Iterator<Item = OsString>) -> bool {
    arguments.take_while(|argument| argument != "--").any(|argument| argument == "--json")
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a project: keys, ledger, blobs and index in `.lineal/`.
    #[command(after_help = "Example: lineal init --approver ana")]
    Init {
        /// Who gets a key that can approve.
        #[arg(long, default_value = "approver")]
        approver: String,
        /// The file that opens the project's key files, made if it is not there; the user's otherwise. The environment
        /// variable LINEAL_IDENTITY goes before it.
        #[arg(long, value_name = "FILE")]
        identity: Option<PathBuf>,
        /// Where blobs and ledger are instead of in the project's folder: a place in an S3-compatible bucket in which
        /// nothing is yet. AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY have to be set, for every command.
        #[arg(long, value_name = "s3://BUCKET/PREFIX")]
        storage: Option<String>,
        /// The bucket's server, if it is not Amazon's; without TLS only on this machine.
        #[arg(long, value_name = "URL", requires = "storage")]
        storage_endpoint: Option<String>,
        /// The bucket's region; us-east-1 otherwise.
        #[arg(long, value_name = "NAME", requires = "storage")]
        storage_region: Option<String>,
    },
    /// Freeze and show data.
    #[command(subcommand)]
    Data(DataCommand),
    /// Import and list images, for `envs: {NAME: {image: ...}}` in a pipeline.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Run a pipeline: reuse what is recorded, execute the rest.
    #[command(
        after_help = "Examples:\n  lineal run\n  lineal run pipeline.yaml --set trees=200 --set data.flights=flights@2013-01..04"
    )]
    Run(PipelineArguments),
    /// Say what a run would do, step by step, without doing it.
    Plan(PipelineArguments),
    /// Say why a step would run again: which field changed, from what to what.
    #[command(after_help = "Example: lineal explain train --set trees=200")]
    Explain {
        /// The step.
        step: String,
        #[command(flatten)]
        pipeline: PipelineArguments,
    },
    /// Show sealed runs.
    #[command(subcommand)]
    Runs(RunsCommand),
    /// Run the gates of a run and record their verdicts.
    #[command(subcommand)]
    Test(TestCommand),
    /// Register and show model versions.
    #[command(subcommand)]
    Model(ModelCommand),
    /// Sign that a version may go to an environment.
    #[command(
        after_help = "Example: lineal approve flights-delay/2 --for production --reason \"slices look good\""
    )]
    Approve {
        /// `model/version`.
        version: String,
        /// The environment.
        #[arg(long = "for", value_name = "ENV")]
        environment: String,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Whose key in `.lineal/keys` signs; the project's default approver otherwise.
        #[arg(long = "as", value_name = "NAME", conflicts_with = "key")]
        holder: Option<String>,
        /// A key file that signs.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// Admit a version to an environment, if its policy allows.
    #[command(after_help = "Example: lineal promote flights-delay/2 --to production")]
    Promote {
        /// `model/version`.
        version: String,
        /// The environment.
        #[arg(long = "to", value_name = "ENV")]
        environment: String,
    },
    /// Show what a policy says.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Move traffic to a promoted version, by evidence.
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// Send recorded requests through the gateway and report their outcomes.
    #[command(subcommand)]
    Traffic(TrafficCommand),
    /// Execute a recorded run again in a clean place and compare every digest.
    #[command(after_help = "Example: lineal reproduce flights-delay/2")]
    Reproduce {
        /// `model/version` or a run.
        subject: String,
    },
    /// Check the whole chain behind a subject, or evidence that somebody else exported, offline.
    #[command(
        after_help = "Examples:\n  lineal verify flights-delay/2\n  lineal verify flights@2013-01..02 --json\n  lineal verify --bundle audit --log-key origin+1283a59c+AbeL...\n  lineal verify flights-delay/2 --witness-policy mine.policy --witness-max-age 1h\nWith --bundle, no project is needed."
    )]
    Verify(VerifyArguments),
    /// Print what a subject was made from, or what was made from it.
    Lineage {
        /// `model/version`, a run, `dataset@tag` or an artefact's digest.
        subject: String,
        /// What was made from it, instead of what it was made from.
        #[arg(long)]
        down: bool,
        /// How to print the graph.
        #[arg(long, value_enum, default_value_t = GraphFormat::Tree)]
        format: GraphFormat,
    },
    /// Show and rebuild the ledger and its index.
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Run the control plane: model servers, rollouts, API.
    Serve {
        /// Loopback address; port 0 takes a free one. `.lineal/serve.json` tells which.
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<String>,
    },
    /// Run the inference router.
    Gateway {
        /// Loopback address; port 0 takes a free one. `.lineal/gateway.json` tells which.
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<String>,
    },
    /// Files that a pipeline names beside itself, as one tree, for runs on a cluster.
    #[command(subcommand)]
    Source(SourceCommand),
    /// Run pipelines of a Kubernetes cluster as Jobs. The chart starts it; the project is made if it is not there.
    Operator(OperatorArguments),
    /// Run a witness, in `.lineal-witness/` of the folder, which is made if it is not there: it cosigns what continues the log that it saw before.
    #[command(after_help = "Example: lineal witness --dir ana --log LEDGER_KEY --listen 127.0.0.1:7401")]
    Witness {
        /// Loopback address; port 0 takes a free one. `.lineal-witness/witness.json` tells which.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
        listen: String,
        /// A log's key, as `lineal ledger keys` prints it. May be repeated, also for later keys of one log.
        #[arg(long = "log", value_name = "KEY", required = true)]
        logs: Vec<String>,
        /// What a new witness is called, for good; a name that nobody else has otherwise.
        #[arg(long)]
        name: Option<String>,
        /// The file that opens the witness's key file, made if it is not there; the user's otherwise.
        #[arg(long, value_name = "FILE")]
        identity: Option<PathBuf>,
    },
    /// Say what this machine allows and what it does not.
    Doctor,
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write a manual page for each command into a folder, which is made if it is not there.
    #[command(after_help = "Example: lineal man ~/.local/share/man/man1")]
    Man {
        /// The folder.
        folder: PathBuf,
    },
    /// Print a generated document: `cli`, `errors` or `openapi`.
    #[command(hide = true)]
    Reference {
        /// Which.
        document: crate::commands::reference::Document,
    },
    /// Keep one model server running; the control plane starts it.
    #[command(hide = true, name = lineal_app::project::MODEL_SERVER)]
    ModelServer {
        /// Its directory.
        directory: PathBuf,
    },
    /// Measure parts that have no command of their own.
    #[command(hide = true, subcommand)]
    Bench(crate::commands::bench::BenchCommand),
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// `model/version`, a run, `dataset@tag` or a statement's digest.
    #[arg(required_unless_present = "bundle")]
    pub(crate) subject: Option<String>,
    /// Check the whole ledger, with every signature, not only what the subject rests on.
    #[arg(long, conflicts_with = "bundle")]
    pub(crate) full: bool,
    /// A folder by `lineal ledger export`, or one Sigstore bundle, which needs --key.
    #[arg(long, value_name = "FILE|DIR", conflicts_with = "subject")]
    pub(crate) bundle: Option<PathBuf>,
    /// The public key (P-256, PEM) that signed the bundle; of a folder, the builder key that its log begins with.
    #[arg(long, value_name = "PEM", requires = "bundle")]
    pub(crate) key: Option<PathBuf>,
    /// A file `trusted_root.json` that names the log whose checkpoint counts.
    #[arg(long, value_name = "FILE", requires = "bundle")]
    pub(crate) trusted_root: Option<PathBuf>,
    /// The key of the log whose checkpoint counts, as `lineal ledger keys` prints it. May be repeated.
    #[arg(long = "log-key", value_name = "KEY", requires = "bundle")]
    pub(crate) log_keys: Vec<String>,
    /// Which witnesses must have seen the ledger (c2sp.org/tlog-policy); `.lineal/witnesses.policy` otherwise, if it is
    /// there.
    #[arg(long, value_name = "FILE", conflicts_with = "bundle")]
    pub(crate) witness_policy: Option<PathBuf>,
    /// How long ago they may have seen it, for instance `1h`; as the settings say otherwise.
    #[arg(long, value_name = "DURATION", conflicts_with = "bundle")]
    pub(crate) witness_max_age: Option<String>,
}

/// A pipeline file and values for it.
#[derive(Debug, Args)]
pub(crate) struct PipelineArguments {
    /// The pipeline file.
    #[arg(default_value = "pipeline.yaml")]
    pub(crate) file: PathBuf,
    /// `KEY=VALUE`: a parameter, `seed`, `determinism` or `data.NAME`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Freeze files and directories as a snapshot.
    #[command(after_help = "Example: lineal data add flights months/flights-2013-01.csv --tag 2013-01")]
    Add {
        /// The dataset.
        dataset: String,
        /// Files and directories; `-` alone for a tar archive on standard input.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// A name for the snapshot; it never moves.
        #[arg(long)]
        tag: Option<String>,
    },
    /// List snapshots.
    List,
    /// Show a snapshot's files and profile.
    Show {
        /// `dataset@tag` or `dataset@sha256:...`.
        snapshot: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Import the images of an OCI layout that are for this machine, and unpack them; prints what a pipeline calls them.
    #[command(
        after_help = "Example: skopeo copy --preserve-digests docker://registry.example/train:1 oci-archive:train.tar\n         lineal image import train.tar"
    )]
    Import {
        /// A tar file or folder with `index.json`: an OCI archive, or what `docker save` writes since Docker 25.
        layout: PathBuf,
    },
    /// List images that were imported.
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// List sealed runs.
    List,
    /// Show a run's steps and outputs.
    Show {
        /// The run.
        run: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TestCommand {
    /// Run all gates of a run.
    Run {
        /// The run.
        run: String,
    },
    /// Show the recorded verdicts about a model version.
    Show {
        /// `model/version`.
        version: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Register a run's model as the next version.
    #[command(after_help = "Example: lineal model register flights-delay --run run-0123456789ab")]
    Register {
        /// The model's name.
        model: String,
        /// The run that made it.
        #[arg(long)]
        run: String,
    },
    /// List registered versions.
    List,
    /// Sign a version's files for other tools (OpenSSF Model Signing) and record that.
    #[command(after_help = "Example: lineal model sign flights-delay/2 --out model.sig")]
    Sign {
        /// `model/version`.
        version: String,
        /// Where the signature goes: a Sigstore bundle with the proof that it is in the ledger.
        #[arg(long, default_value = "model.sig", value_name = "FILE")]
        out: PathBuf,
        /// Replace the file if it is there.
        #[arg(long)]
        force: bool,
    },
    /// Check that a directory or file is what was signed: the same files, the same bytes, nothing else.
    #[command(
        after_help = "Examples:\n  lineal model verify finbert --signature finbert/model.sig --key signer.pub\n  lineal model verify copy --signature model.sig --project\nWithout --project, no project is needed."
    )]
    Verify(VerifyModelArguments),
}

#[derive(Debug, Args)]
pub(crate) struct VerifyModelArguments {
    /// The model: a directory or a single file.
    pub(crate) target: PathBuf,
    /// The signature, by Lineal or another tool.
    #[arg(long, value_name = "FILE")]
    pub(crate) signature: PathBuf,
    /// The signer's public key: P-256, PEM.
    #[arg(long, value_name = "FILE", required_unless_present = "project", conflicts_with = "project")]
    pub(crate) key: Option<PathBuf>,
    /// A ledger's key as `lineal ledger keys` prints it: the signature must be in that ledger.
    #[arg(long, value_name = "KEY", requires = "key")]
    pub(crate) ledger_key: Option<String>,
    /// Accept what this project's builder keys signed and its ledger has.
    #[arg(long)]
    pub(crate) project: bool,
    /// A file or directory of the model that may be there unsigned, by its exact path. May be repeated.
    #[arg(long = "ignore", value_name = "PATH")]
    pub(crate) ignore_paths: Vec<String>,
    /// Take links to files within the model for these files; otherwise a link is an error.
    #[arg(long)]
    pub(crate) allow_links_inside: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Evaluate an environment's policy about a version, rule by rule, and record nothing.
    Check {
        /// `model/version`.
        version: String,
        /// The environment.
        #[arg(long = "for", value_name = "ENV")]
        environment: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RolloutCommand {
    /// Begin to roll out a promoted version.
    Start {
        /// `model/version`.
        version: String,
        /// The environment.
        #[arg(long = "to", value_name = "ENV")]
        environment: String,
    },
    /// Show what serves and what rollouts do.
    Status,
    /// Show the recorded steps of rollouts.
    History {
        /// Only this model.
        model: Option<String>,
    },
    /// Send all traffic back to the stable version.
    Abort(RolloutAction),
    /// Keep the present weight.
    Pause(RolloutAction),
    /// End a pause.
    Resume {
        /// The rollout.
        rollout: String,
    },
    /// Go to the next step without waiting for evidence.
    Promote {
        #[command(flatten)]
        action: RolloutAction,
        /// To 100 % at once.
        #[arg(long)]
        full: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RolloutAction {
    /// The rollout.
    pub(crate) rollout: String,
    /// Why.
    #[arg(long)]
    pub(crate) reason: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TrafficCommand {
    /// Replay a requests file as fast as the model bears.
    #[command(after_help = "Each line: {\"id\": \"...\", \"body\": {OIP v2 request}, \"outcome\": 0 or 1}")]
    Send(SendArguments),
}

#[derive(Debug, Args)]
pub(crate) struct SendArguments {
    /// A file, or `RUN:STEP.OUTPUT`.
    pub(crate) requests: String,
    /// The model, if the gateway serves several.
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Leave out that many requests at the beginning.
    #[arg(long, default_value_t = 0)]
    pub(crate) skip: usize,
    /// Send at most that many.
    #[arg(long)]
    pub(crate) limit: Option<usize>,
    /// Requests under way at the same time.
    #[arg(long, default_value_t = 4)]
    pub(crate) concurrency: usize,
    /// Stop when the rollout of the model has ended.
    #[arg(long)]
    pub(crate) until_settled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// Indented text.
    Tree,
    /// Graphviz.
    Dot,
    /// Nodes and edges.
    Json,
}
