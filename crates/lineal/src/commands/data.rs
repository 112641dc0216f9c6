//! `lineal data`.

use std::process::ExitCode;

use lineal_app::data::{self, AddData};
use lineal_app::{Code, Failure, Project};

use super::{Done, observer, parsed};
use crate::cli::DataCommand;
use crate::printer::{Printer, size, table};

pub(super) async fn run(project: &Project, command: DataCommand, printer: &Printer) -> Done {
    match command {
        DataCommand::Add { dataset, paths, tag } => {
            let tag = tag.as_deref().map(parsed).transpose()?;
            let archive = paths.iter().any(|path| path.as_os_str() == "-");
            let request = AddData { dataset: parsed(&dataset)?, paths, tag };
            let added = match archive {
                true if request.paths.len() > 1 => {
                    return Err(Failure::new(Code::Usage, "`-` cannot be combined with other paths"));
                }
                true => {
                    let mut archive = std::io::stdin().lock();
                    data::add_archive(project, &request, &mut archive, &observer(printer)).await?
                }
                false => data::add(project, &request, &observer(printer)).await?,
            };
            printer.result(&added, || {
                let tag = added.tag.as_ref().map_or_else(String::new, |tag| format!("@{tag}"));
                let word = if added.unchanged { "unchanged" } else { "frozen" };
                format!(
                    "{word}: {}{tag} is {}\n  {} files, {}, {} rows, statement {}",
                    added.dataset,
                    added.snapshot,
                    added.files,
                    size(added.size_bytes),
                    added.rows,
                    added.statement
                )
            });
        }
        DataCommand::List => {
            let snapshots = project.store.index().snapshots().await?;
            printer.result(&snapshots, || {
                let rows = snapshots.iter().map(|s| {
                    let tag = s.tag.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
                    let bytes = size(s.size_bytes.parse().unwrap_or(0));
                    vec![s.dataset.to_string(), tag, s.files.clone(), bytes, s.rows.clone(), s.digest.short()]
                });
                table(&["DATASET", "TAG", "FILES", "SIZE", "ROWS", "SNAPSHOT"], &rows.collect::<Vec<_>>())
            });
        }
        DataCommand::Show { snapshot } => {
            let shown = data::show(project, &parsed(&snapshot)?).await?;
            printer.result(&shown, || {
                let rows =
                    shown.files.iter().map(|f| vec![f.path.clone(), size(f.size_bytes), f.digest.short()]);
                let files = table(&["FILE", "SIZE", "SHA-256"], &rows.collect::<Vec<_>>());
                format!(
                    "{} {}\n{files}{}",
                    shown.snapshot.dataset,
                    shown.snapshot.digest,
                    profile(&shown.profile)
                )
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The recorded profile, a line a column.
fn profile(document: &serde_json::Value) -> String {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    let mut out = String::new();
    for (path, profile) in document["tables"].as_object().into_iter().flatten() {
        out.push_str(&format!("\n{path}: {} rows\n", text(&profile["rows"])));
        let columns = profile["columns"].as_array().into_iter().flatten().map(|column| {
            let numbers = &column["numbers"];
            let distinct = text(&column["distinct"]["count"]);
            vec![
                text(&column["name"]),
                text(&column["type"]),
                text(&column["nulls"]),
                distinct,
                text(&numbers["min"]),
                text(&numbers["mean"]),
                text(&numbers["max"]),
            ]
        });
        let header = ["COLUMN", "TYPE", "NULLS", "DISTINCT", "MIN", "MEAN", "MAX"];
        out.push_str(&table(&header, &columns.collect::<Vec<_>>()));
    }
    out
}
