//! `lineal source`.

use std::process::ExitCode;

use lineal_app::source::{self, Added};
use lineal_app::{Code, Failure, Project};

use super::Done;
use crate::cli::SourceCommand;
use crate::printer::{Printer, size};

pub(super) fn run(project: &Project, command: SourceCommand, printer: &Printer) -> Done {
    let added = match command {
        SourceCommand::Add { file } => source::add(project, &file)?,
        SourceCommand::Import { archive } if archive.as_os_str() == "-" => {
            source::import(project, &mut std::io::stdin().lock())?
        }
        SourceCommand::Import { archive } => {
            let opened = std::fs::File::open(&archive);
            let mut file = opened
                .map_err(|e| Failure::new(Code::File, format!("cannot open `{}`: {e}", archive.display())))?;
            source::import(project, &mut file)?
        }
    };
    printer.result(&added, || human(&added));
    Ok(ExitCode::SUCCESS)
}

fn human(added: &Added) -> String {
    format!("{}\n  {} files, {}", added.source, added.files, size(added.size_bytes))
}
