//! `lineal model sign`, `lineal model verify`.

use std::path::Path;
use std::process::ExitCode;

use lineal_app::model_signing::{self, Check, Trust};
use lineal_app::{Code, Failure, Project};
use lineal_blob::files;

use super::{Done, ledger, parsed};
use crate::cli::VerifyModelArguments;
use crate::printer::Printer;

pub(super) async fn sign(
    project: &Project,
    version: &str,
    (out, force): (&Path, bool),
    printer: &Printer,
) -> Done {
    // Before anything is recorded. A file that appears meanwhile is nobody's older signature.
    if !force && out.symlink_metadata().is_ok() {
        let text = format!("`{}` is there already; --force replaces it", out.display());
        return Err(Failure::new(Code::Taken, text));
    }
    let signed = model_signing::sign(project, &parsed(version)?).await?;
    let bundle = ledger::proof(project, &signed.statement).await?;
    files::replace(out, bundle.as_bytes())?;
    printer.result(&signed, || {
        let word = if signed.unchanged { "already signed" } else { "signed" };
        format!(
            "{word}: {} files of {} have root {}\n  statement {}\n  signature in {}",
            signed.files,
            signed.version,
            signed.root,
            signed.statement,
            out.display()
        )
    });
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn verify(
    project: Option<&Project>,
    arguments: VerifyModelArguments,
    printer: &Printer,
) -> Done {
    let trust = match (project, &arguments.key) {
        (Some(project), _) => Trust::Project(project),
        (None, Some(key)) => {
            let logs = arguments.ledger_key.iter().map(|key| key.parse()).collect::<Result<_, _>>();
            let logs = logs.map_err(|e| Failure::caused(Code::Usage, &e))?;
            Trust::Key(Box::new(model_signing::read_key(key)?), logs)
        }
        (None, None) => return Err(Failure::new(Code::Usage, "expected --key or --project")),
    };
    let check = Check {
        target: arguments.target,
        signature: arguments.signature,
        ignore_paths: arguments.ignore_paths,
        follow_links: arguments.allow_links_inside,
    };
    let checked = model_signing::verify(&check, &trust).await?;
    printer.result(&checked, || {
        let word = if checked.verified { "VERIFIED" } else { "NOT VERIFIED" };
        let place = checked.position.map_or_else(|| "not checked".to_owned(), |at| format!("entry {at}"));
        let mut text = format!(
            "{word}: {}\n  {} signed files, root {}\n  key {}\n  ledger {place}\n",
            check.target.display(),
            checked.files,
            checked.root,
            checked.key
        );
        for difference in &checked.differences {
            text.push_str(&format!("  {}: {}\n", difference.what, difference.path));
        }
        text
    });
    match checked.failure(&check.target) {
        Some(failure) => Ok(printer.failure(&failure)),
        None => Ok(ExitCode::SUCCESS),
    }
}
