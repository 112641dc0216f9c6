//! `lineal witness` and `lineal ledger witness`.

use std::path::Path;
use std::process::ExitCode;

use lineal_app::witness::{Witness, WitnessOptions};
use lineal_app::{Code, Failure, Project, cosigning};

use super::Done;
use super::roles::{RoleFileGuard, RoleLock, address, bind_again, told_to_stop};
use crate::printer::{Printer, table};

/// Runs a witness until it is told to stop.
pub(super) async fn run(dir: &Path, listen: &str, options: WitnessOptions, printer: &Printer) -> Done {
    let wanted = address(listen)?;
    let folder = Witness::folder_in(dir)?;
    let _role = RoleLock::take(&folder, "witness")?;
    let witness = Witness::open(&folder, &options)?;
    let last = folder.join("witness.last");
    let server = bind_again(&last, wanted).await?;
    let url = format!("http://{}", server.address());
    RoleFileGuard::write(&last, &url)?.keep();
    let file = RoleFileGuard::write(&folder.join("witness.json"), &url)?;
    let key = witness.verifier_key();
    printer.note(&format!(
        "lineal witness: {url}\nfor policies of these logs:\nwitness {} {key} {url}",
        key.name()
    ));
    let served = server.run_witness(witness.clone(), told_to_stop()?).await;
    drop(file);
    served.map_err(|e| Failure::caused(Code::Internal, &e))?;
    Ok(ExitCode::SUCCESS)
}

/// Asks the project's witnesses once.
pub(super) async fn ask(project: &Project, printer: &Printer) -> Done {
    let asked = cosigning::ask(project).await?;
    printer.result(&asked, || {
        let rows = asked.witnesses.iter().map(|answer| {
            let cosigned = answer.cosigned_at.map_or_else(|| "-".to_owned(), |time| time.to_string());
            vec![answer.witness.clone(), cosigned, answer.problem.clone().unwrap_or_default()]
        });
        let rows: Vec<_> = rows.collect();
        format!(
            "{} entries {}\n{}",
            asked.size,
            asked.summary,
            table(&["WITNESS", "COSIGNED", "PROBLEM"], &rows)
        )
    });
    match asked.failure() {
        Some(failure) => Ok(printer.failure(&failure)),
        None => Ok(ExitCode::SUCCESS),
    }
}
