//! `lineal run`, `plan`, `explain`, `runs`, `test`, `reproduce`.

use std::process::ExitCode;
use std::time::Instant;

use lineal_app::run::{RunOutcome, StepOutcome};
use lineal_app::{Code, Failure, Project, gates, model, reproduce as reproduction, run as running};
use lineal_facts::predicate::Outcome;
use lineal_facts::{RunId, StepName};

use super::{Done, observer, parsed};
use crate::cli::{PipelineArguments, RunsCommand, TestCommand};
use crate::printer::{Printer, size, table};

pub(super) async fn run(project: &Project, pipeline: &PipelineArguments, printer: &Printer) -> Done {
    let started = Instant::now();
    let outcome = running::run(project, &pipeline.file, &pipeline.overrides, &observer(printer)).await?;
    printer.result(&outcome, || human(&outcome, started.elapsed().as_millis()));
    Ok(ExitCode::SUCCESS)
}

fn human(outcome: &RunOutcome, elapsed_ms: u128) -> String {
    let mut text = if outcome.unchanged {
        format!(
            "nothing to do: {} already has exactly these results, and their bytes are there ({elapsed_ms} ms)\n",
            outcome.run
        )
    } else {
        format!(
            "{} of {} sealed ({elapsed_ms} ms), statement {}\n",
            outcome.run, outcome.pipeline, outcome.statement
        )
    };
    let rows = outcome.steps.iter().map(|step| {
        let (word, time) =
            if step.reused { ("reused", "-".to_owned()) } else { ("ran", format!("{} ms", step.wall_ms)) };
        vec![step.step.to_string(), word.to_owned(), time, step.why.clone()]
    });
    text.push_str(&table(&["STEP", "", "TIME", "WHY"], &rows.collect::<Vec<_>>()));
    for step in &outcome.steps {
        if let Some(line) = randomness(step) {
            text.push_str(&line);
        }
    }
    for warning in &outcome.warnings {
        text.push_str(&format!("note: {warning}\n"));
    }
    text
}

/// What a person should know about a step's randomness.
fn randomness(step: &StepOutcome) -> Option<String> {
    let name = &step.step;
    match step.entropy.as_str() {
        "sensitive" => Some(format!(
            "uncontrolled randomness: step {name} gave other bytes when only the system's randomness changed; it read \
             {}\n",
            step.entropy_askers.join(", ")
        )),
        "read" => Some(format!(
            "randomness: step {name} read some from the system (libraries do when they are imported); \
             `probe: [entropy]` tells whether its output depends on it\n"
        )),
        "controlled" => Some(format!(
            "controlled: step {name} got its randomness from a keyed stream and its time from a fixed clock\n"
        )),
        _ => None,
    }
}

pub(super) async fn plan(
    project: &Project,
    pipeline: &PipelineArguments,
    step: Option<&str>,
    printer: &Printer,
) -> Done {
    let step: Option<StepName> = step.map(parsed).transpose()?;
    let explained = running::explain(project, &pipeline.file, &pipeline.overrides, step.as_ref()).await?;
    let value: Vec<_> = explained
        .iter()
        .map(|(step, reuse, why)| serde_json::json!({"step": step, "reuse": reuse, "why": why}))
        .collect();
    printer.result(&value, || {
        let line = |(step, reuse, why): &(StepName, bool, String)| {
            format!("{step}: {} because {why}", if *reuse { "is reused" } else { "runs" })
        };
        explained.iter().map(line).collect::<Vec<_>>().join("\n")
    });
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn runs(project: &Project, command: RunsCommand, printer: &Printer) -> Done {
    let index = project.store.index();
    match command {
        RunsCommand::List => {
            let runs = index.runs().await?;
            printer.result(&runs, || {
                let rows = runs.iter().map(|r| {
                    vec![
                        r.run.to_string(),
                        r.pipeline.to_string(),
                        r.finished_at.clone(),
                        r.statement.short(),
                    ]
                });
                table(&["RUN", "PIPELINE", "FINISHED", "STATEMENT"], &rows.collect::<Vec<_>>())
            });
        }
        RunsCommand::Show { run } => {
            let id: RunId = parsed(&run)?;
            let row = index.run(&id).await?.ok_or_else(|| {
                Failure::new(
                    Code::NotFound,
                    format!("there is no run `{id}`; `lineal runs list` shows what there is"),
                )
            })?;
            let mut steps = Vec::new();
            for step in index.run_steps(&id).await? {
                let result = index.result(&step.cache_key).await?;
                let outputs = result.map(|r| r.outputs).unwrap_or_default();
                steps.push((step, outputs));
            }
            let value: Vec<_> = steps
                .iter()
                .map(|(step, outputs)| serde_json::json!({"step": step, "outputs": outputs}))
                .collect();
            printer.result(&serde_json::json!({"run": row, "steps": value}), || {
                let rows = steps.iter().flat_map(|(step, outputs)| {
                    outputs.iter().map(|(name, artifact)| {
                        let bytes = size(artifact.size_bytes.parse().unwrap_or(0));
                        vec![step.step.to_string(), name.clone(), bytes, artifact.digest.to_string()]
                    })
                });
                let rows = rows.collect::<Vec<_>>();
                format!(
                    "{} of {}, {}\n{}",
                    row.run,
                    row.pipeline,
                    row.finished_at,
                    table(&["STEP", "OUTPUT", "SIZE", "DIGEST"], &rows)
                )
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn test(project: &Project, command: TestCommand, printer: &Printer) -> Done {
    match command {
        TestCommand::Run { run } => {
            let outcomes = gates::run(project, &parsed(&run)?, &observer(printer)).await?;
            printer.result(&outcomes, || {
                let mut text = String::new();
                for gate in &outcomes {
                    let word = if gate.outcome == Outcome::Failed { "FAILED" } else { "passed" };
                    let held = gate.passed.len();
                    text.push_str(&format!(
                        "{word}  {} ({held} checks held), statement {}\n",
                        gate.gate, gate.statement
                    ));
                    gate.failed.iter().for_each(|line| text.push_str(&format!("        not held: {line}\n")));
                    gate.skipped
                        .iter()
                        .for_each(|line| text.push_str(&format!("        not checked: {line}\n")));
                }
                text
            });
            let failed = outcomes.iter().any(|gate| gate.outcome == Outcome::Failed);
            Ok(ExitCode::from(u8::from(failed)))
        }
        TestCommand::Show { version } => {
            let row = model::find(project, &parsed(&version)?).await?;
            let gates = project.store.index().gates_about(&row.digest).await?;
            printer.result(&gates, || {
                let rows =
                    gates.iter().map(|g| vec![g.name.clone(), g.outcome.clone(), g.statement.to_string()]);
                table(&["GATE", "OUTCOME", "STATEMENT"], &rows.collect::<Vec<_>>())
            });
            Ok(ExitCode::SUCCESS)
        }
    }
}

pub(super) async fn reproduce(project: &Project, subject: &str, printer: &Printer) -> Done {
    let run: RunId = match subject.parse() {
        Ok(run) => run,
        Err(_) => model::find(project, &parsed(subject)?).await?.record.run,
    };
    let result = reproduction::reproduce(project, &run, &observer(printer)).await?;
    printer.result(&result, || {
        let rows = result.outputs.iter().map(|o| {
            let equal = if o.recorded == o.found { "equal" } else { "DIFFERS" };
            vec![format!("{}.{}", o.step, o.output), equal.to_owned(), o.recorded.short(), o.found.short()]
        });
        let word = if result.reproduced { "reproduced, bit for bit" } else { "NOT reproduced" };
        let table = table(&["OUTPUT", "", "RECORDED", "NOW"], &rows.collect::<Vec<_>>());
        format!("{}: {word}\n{table}{}", result.run, result.causes.join("\n"))
    });
    Ok(ExitCode::from(u8::from(!result.reproduced)))
}
