//! One function a command: parse names, call the use-case, print.

pub(crate) mod bench;
mod data;
mod image;
mod keys;
mod ledger;
mod model;
mod model_signing;
mod operator;
pub(crate) mod reference;
mod roles;
mod rollout;
mod run;
mod source;
mod traffic;
mod verify;
mod witness;

use std::process::ExitCode;

use lineal_app::project::InitOptions;
use lineal_app::witness::WitnessOptions;
use lineal_app::{Code, Event, Failure, Project, cosigning, serving};
use lineal_store::BucketLocation;

use crate::cli::{Arguments, Command, DataCommand, LedgerCommand, ModelCommand, TestCommand};
use crate::printer::Printer;

type Done = Result<ExitCode, Failure>;

/// Carries out what was typed.
pub(crate) fn run(arguments: Arguments, printer: &Printer) -> Done {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::caused(Code::Internal, &e))?;
    if let Command::ModelServer { directory } = &arguments.command {
        drop(runtime);
        serving::keep(directory, &program()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    // The gateway makes its own runtimes, so it must not run inside this one.
    if let Command::Gateway { listen } = &arguments.command {
        let config = runtime.block_on(roles::gateway_config(&arguments.dir, listen.as_deref()))?;
        drop(runtime);
        return roles::gateway(config, printer);
    }
    runtime.block_on(dispatch(arguments, printer))
}

async fn dispatch(arguments: Arguments, printer: &Printer) -> Done {
    let dir = arguments.dir.clone();
    let appends = appends(&arguments.command);
    let open = || open_for(&dir, appends);
    match arguments.command {
        Command::Init { approver, identity, storage, storage_endpoint, storage_region } => {
            let storage = storage.map(|url| bucket(&url, storage_endpoint, storage_region)).transpose()?;
            let options = InitOptions { identity: identity.as_deref(), storage };
            roles::init(&dir, &approver, options, printer).await
        }
        Command::Data(command) => data::run(&open().await?, command, printer).await,
        Command::Image(command) => image::run(&open().await?, command, printer).await,
        Command::Run(pipeline) => run::run(&open().await?, &pipeline, printer).await,
        Command::Plan(pipeline) => run::plan(&open().await?, &pipeline, None, printer).await,
        Command::Explain { step, pipeline } => {
            run::plan(&open().await?, &pipeline, Some(&step), printer).await
        }
        Command::Runs(command) => run::runs(&open().await?, command, printer).await,
        Command::Test(command) => run::test(&open().await?, command, printer).await,
        Command::Reproduce { subject } => run::reproduce(&open().await?, &subject, printer).await,
        Command::Model(ModelCommand::Verify(arguments)) => {
            // A key is enough; a project is opened only if it is asked for.
            let project = if arguments.project { Some(open().await?) } else { None };
            model_signing::verify(project.as_ref(), arguments, printer).await
        }
        Command::Model(ModelCommand::Sign { version, out, force }) => {
            model_signing::sign(&open().await?, &version, (&out, force), printer).await
        }
        Command::Model(ModelCommand::Register { model, run }) => {
            model::register(&open().await?, &model, &run, printer).await
        }
        Command::Model(ModelCommand::List) => model::list(&open().await?, printer).await,
        Command::Approve { version, environment, reason, holder, key } => {
            let approver = model::Signature { holder, key };
            model::approve(&open().await?, (&version, &environment), &reason, approver, printer).await
        }
        Command::Promote { version, environment } => {
            model::promote(&open().await?, &version, &environment, printer).await
        }
        Command::Policy(command) => model::policy(&open().await?, command, printer).await,
        Command::Rollout(command) => rollout::run(&open().await?, command, printer).await,
        Command::Traffic(command) => traffic::run(&open().await?, command, printer).await,
        Command::Verify(arguments) if arguments.bundle.is_some() => verify::evidence(&arguments, printer),
        Command::Verify(arguments) => verify::verify(&open_to_check(&dir).await?, &arguments, printer).await,
        Command::Lineage { subject, down, format } => {
            verify::lineage(&open().await?, &subject, down, format, printer).await
        }
        Command::Ledger(LedgerCommand::Fsck) => ledger::check(&open_to_check(&dir).await?, printer).await,
        Command::Ledger(LedgerCommand::Rebuild) => {
            let project = Project::open_rebuilt(&dir, program()?).await?;
            ledger::run(&project, LedgerCommand::Rebuild, printer).await
        }
        Command::Ledger(command) => ledger::run(&open().await?, command, printer).await,
        Command::Serve { listen } => roles::serve(open().await?, listen.as_deref(), printer).await,
        Command::Source(command) => source::run(&open().await?, command, printer),
        Command::Operator(arguments) => operator::run(&dir, arguments, printer).await,
        Command::Witness { listen, logs, name, identity } => {
            let options = WitnessOptions { name, logs, identity };
            witness::run(&dir, &listen, options, printer).await
        }
        Command::Doctor => roles::doctor(&dir, printer).await,
        Command::Completions { shell } => reference::completions(shell),
        Command::Man { folder } => reference::manual(&folder, printer),
        Command::Reference { document } => reference::print(document, printer),
        Command::Bench(command) => bench::run(&dir, command, printer).await,
        // Handled before the runtime started.
        Command::Gateway { .. } | Command::ModelServer { .. } => Ok(ExitCode::SUCCESS),
    }
}

/// The project, for a command that appends to the ledger or does not.
async fn open_for(dir: &std::path::Path, appends: bool) -> Result<Project, Failure> {
    let project = open(dir).await?;
    // Whoever signs on an old copy of a ledger makes a fork of it.
    if appends {
        cosigning::refuse_if_rolled_back(&project).await?;
    }
    Ok(project)
}

/// Whether a command signs statements of the ledger in this process.
fn appends(command: &Command) -> bool {
    match command {
        Command::Run(_)
        | Command::Data(DataCommand::Add { .. })
        | Command::Test(TestCommand::Run { .. })
        | Command::Model(ModelCommand::Register { .. } | ModelCommand::Sign { .. })
        | Command::Approve { .. }
        | Command::Promote { .. }
        | Command::Reproduce { .. }
        | Command::Ledger(LedgerCommand::Rotate { .. } | LedgerCommand::Revoke { .. })
        | Command::Serve { .. } => true,
        Command::Init { .. }
        | Command::Data(DataCommand::List | DataCommand::Show { .. })
        | Command::Image(_)
        | Command::Plan(_)
        | Command::Explain { .. }
        | Command::Runs(_)
        | Command::Test(TestCommand::Show { .. })
        | Command::Model(ModelCommand::List | ModelCommand::Verify(_))
        | Command::Policy(_)
        | Command::Rollout(_)
        | Command::Traffic(_)
        | Command::Verify(_)
        | Command::Lineage { .. }
        | Command::Ledger(
            LedgerCommand::Show
            | LedgerCommand::Keys { .. }
            | LedgerCommand::Proof { .. }
            | LedgerCommand::Export { .. }
            | LedgerCommand::Witness
            | LedgerCommand::Fsck
            | LedgerCommand::Rebuild,
        )
        | Command::Source(_)
        // It looks by itself, after it has made a project where there is none.
        | Command::Operator(_)
        | Command::Gateway { .. }
        | Command::Witness { .. }
        | Command::Doctor
        | Command::Completions { .. }
        | Command::Man { .. }
        | Command::Reference { .. }
        | Command::ModelServer { .. }
        | Command::Bench(_) => false,
    }
}

/// Where blobs and ledger go.
fn bucket(url: &str, endpoint: Option<String>, region: Option<String>) -> Result<BucketLocation, Failure> {
    BucketLocation::new(url, endpoint, region, false).map_err(|e| Failure::caused(Code::Usage, &e))
}

/// The project of `dir`.
async fn open(dir: &std::path::Path) -> Result<Project, Failure> {
    Project::open(dir, program()?).await
}

/// The project of `dir`, for a command that writes nothing.
async fn open_to_check(dir: &std::path::Path) -> Result<Project, Failure> {
    Project::open_to_check(dir, program()?).await
}

/// This binary.
fn program() -> Result<std::path::PathBuf, Failure> {
    std::env::current_exe().map_err(|e| Failure::caused(Code::Internal, &e))
}

/// A listener that shows progress.
fn observer(printer: &Printer) -> impl Fn(Event) + Send + Sync + '_ {
    |event| printer.event(event)
}

fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, Failure>
where
    Failure: From<T::Err>,
{
    Ok(text.parse()?)
}
