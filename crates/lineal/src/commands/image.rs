//! `lineal image`.

use std::process::ExitCode;

use lineal_app::image::{self, ImportedImage};
use lineal_app::{Code, Failure, Project};

use super::{Done, observer};
use crate::cli::ImageCommand;
use crate::printer::{Printer, size, table};

pub(super) async fn run(project: &Project, command: ImageCommand, printer: &Printer) -> Done {
    match command {
        ImageCommand::Import { layout } => {
            let images = tokio::task::block_in_place(|| image::import(project, &layout, &observer(printer)))?;
            printer.result(&images, || images.iter().map(imported).collect::<Vec<_>>().join("\n"));
        }
        ImageCommand::List => {
            let project = project.clone();
            let images = tokio::task::spawn_blocking(move || image::list(&project))
                .await
                .map_err(|e| Failure::caused(Code::Internal, &e))??;
            printer.result(&images, || {
                let rows = images
                    .iter()
                    .map(|i| vec![i.layers.to_string(), size(i.size_bytes), i.reference.clone()]);
                table(&["LAYERS", "SIZE", "IMAGE"], &rows.collect::<Vec<_>>())
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn imported(image: &ImportedImage) -> String {
    let bytes = size(image.size_bytes);
    format!(
        "imported {}\n  {} layers, {bytes}; in a pipeline: envs: {{NAME: {{image: \"{}\"}}}}",
        image.digest, image.layers, image.reference
    )
}
