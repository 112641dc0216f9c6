//! The main job on real data, in `demo/`: only `lineal` commands, shown to a person or checked by their facts.
//!
//! One story, two modes. [`Mode::Show`] lets the commands print; [`Mode::Check`] runs the same commands with `--json`
//! and holds every claim of the story against what they answer.

mod folder;
mod production;
mod proof;
mod stage;
mod training;

use std::time::Instant;

use anyhow::{Context, Result};

use crate::setup;
use crate::workspace::Workspace;
use stage::Stage;

/// Who reads the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A person.
    Show,
    /// A test.
    Check,
}

impl Mode {
    /// The mode of `--check`.
    pub(crate) fn from_check(check: bool) -> Self {
        if check { Self::Check } else { Self::Show }
    }
}

/// A part of the story.
struct Chapter {
    title: &'static str,
    play: fn(&mut Stage) -> Result<()>,
}

const CHAPTERS: &[Chapter] = &[
    Chapter { title: "A project", play: training::init },
    Chapter { title: "Data is frozen", play: training::data },
    Chapter { title: "A pipeline runs; what is known is not run again", play: training::run },
    Chapter { title: "Gates are tests with recorded verdicts", play: training::gates },
    Chapter { title: "To production only with everything the policy asks for", play: production::promotion },
    Chapter { title: "A control plane and a gateway", play: production::serving },
    Chapter { title: "Later months are its traffic", play: production::traffic },
    Chapter { title: "Version 2 is better and earns its traffic", play: production::second },
    Chapter { title: "Version 3 has a fault that no gate sees", play: production::third },
    Chapter { title: "Again, bit for bit", play: proof::reproduction },
    Chapter { title: "The whole chain, offline", play: proof::verification },
    Chapter { title: "One byte", play: proof::tampering },
];

/// Plays the story; yields the number of facts that were checked.
pub(crate) fn demo(workspace: &Workspace, mode: Mode) -> Result<u64> {
    let flights = setup::example(workspace)?;
    let binary = workspace.build_lineal(false)?;
    let started = Instant::now();
    let folder = folder::prepare(workspace, &flights)?;
    let mut stage = Stage::new(folder, binary, mode);
    for (number, chapter) in (1..).zip(CHAPTERS) {
        let begun = Instant::now();
        stage.heading(number, chapter.title);
        (chapter.play)(&mut stage).with_context(|| format!("chapter {number}, {}", chapter.title))?;
        stage.chapter_ended(begun.elapsed());
    }
    stage.heading(CHAPTERS.len() + 1, "What was proven");
    proof::summary(&mut stage, started.elapsed())?;
    Ok(stage.facts())
}

#[cfg(test)]
mod tests;
