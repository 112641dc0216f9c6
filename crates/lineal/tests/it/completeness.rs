//! Somebody with all keys leaves out, adds or exchanges a statement of a run: the record then has a gap, and that is
//! found, although every signature and every proof is good.

use lineal_facts::predicate::{RunSealed, StepProvenance};
use lineal_facts::sequence::Sequence;
use lineal_facts::statement::PAYLOAD_TYPE;
use lineal_facts::{Digest, Predicate, RunId, Statement, Timestamp};
use lineal_proof::envelope;
use serde_json::Value;

use crate::audit::{Folder, Stranger};
use crate::audit_outside;
use crate::tampering::Sealed;
use crate::thief::{self, Thief};

/// The statements of a run of two steps, as if it had run again: `run` in their place.
fn another_run(sealed: &Sealed) -> (RunId, Vec<Statement>) {
    let run = RunId::derive(&Digest::of(b"another"), Timestamp::from_unix_ms(0), 7);
    let ledger = thief::ledger(&sealed.project);
    let mut statements = Vec::new();
    for entry in sealed.project.ledger().as_array().unwrap().iter().rev() {
        let digest: Digest = entry["statement"].as_str().unwrap().parse().unwrap();
        let pae = ledger.statement(entry["position"].as_u64().unwrap(), &digest).unwrap();
        let mut statement = lineal_store::store::statement_of(&pae).unwrap();
        match &mut statement.predicate {
            Predicate::Provenance(record) => record.run_details.metadata.invocation_id = run.clone(),
            Predicate::RunSealed(record) => record.run = run.clone(),
            _ => continue,
        }
        statements.push(statement);
    }
    assert_eq!(statements.len(), 3);
    (run, statements)
}

fn provenance(statement: &mut Statement) -> &mut StepProvenance {
    let Predicate::Provenance(record) = &mut statement.predicate else { panic!("no provenance") };
    record
}

fn seal(statement: &mut Statement) -> &mut RunSealed {
    let Predicate::RunSealed(record) = &mut statement.predicate else { panic!("no end") };
    record
}

fn place(statement: &mut Statement, number: u64, previous: Option<Digest>) {
    let sequence = Sequence { number, previous };
    match &mut statement.predicate {
        Predicate::Provenance(record) => record.build_definition.internal_parameters.sequence = sequence,
        Predicate::RunSealed(record) => record.sequence = sequence,
        other => panic!("{} has no place", other.noun()),
    }
}

fn digest(statement: &Statement) -> Digest {
    Digest::of(&envelope::pae(PAYLOAD_TYPE, &statement.to_bytes().unwrap()))
}

/// Links the three statements and lets the end name the two steps.
fn link(statements: &mut [Statement]) {
    let mut previous = None;
    for number in 0..statements.len() {
        if number == 2 {
            let steps = [digest(&statements[0]), digest(&statements[1])];
            for (step, provenance) in seal(&mut statements[2]).steps.iter_mut().zip(steps) {
                step.provenance = provenance;
            }
        }
        place(&mut statements[number], number as u64 + 1, previous);
        previous = Some(digest(&statements[number]));
    }
}

/// Appends `statements` past all checks; then `verify` of the run and fsck must find the gap, and `fragment` is told. So
/// must whoever gets the evidence, with this program or with the verifier of another hand.
#[track_caller]
fn incomplete(sealed: &Sealed, run: &RunId, statements: &[Statement], fragment: &str) {
    let thief = Thief::of(&sealed.project);
    for statement in statements {
        Thief::append(&sealed.project, statement, &thief.builder, &thief.log);
    }
    let verify = sealed.project.lineal(&["verify", run.as_str(), "--json"]);
    verify.failed(1, "incomplete", &["NOT verified", run.as_str(), fragment]);
    let fsck = sealed.project.lineal(&["ledger", "fsck", "--json"]);
    fsck.failed(1, "incomplete", &[run.as_str(), fragment]);
    let report: Value = serde_json::from_str(&fsck.stdout).unwrap();
    assert_eq!(report["findings"][0]["kind"], "sequence", "{report:#}");
    assert_eq!(report["findings"].as_array().unwrap().len(), 1, "one gap is told once: {report:#}");
    let folder = Folder::of(&sealed.project, &[]);
    Stranger::new().refuses(&folder, 1, "incomplete", &[fragment]);
    audit_outside::refused(&audit_outside::python(&folder), &[1], run.as_str());
}

#[test]
fn a_whole_run_is_complete() {
    let sealed = Sealed::new();
    let (run, mut statements) = another_run(&sealed);
    link(&mut statements);
    let thief = Thief::of(&sealed.project);
    for statement in &statements {
        Thief::append(&sealed.project, statement, &thief.builder, &thief.log);
    }
    let tree = sealed.project.json(&["verify", run.as_str()])["tree"].to_string();
    assert!(tree.contains("statements 1 to 3, complete"), "{tree}");
    sealed.project.json(&["ledger", "fsck"]);
}

#[test]
fn a_statement_that_was_left_out_is_missed() {
    let sealed = Sealed::new();
    let (run, mut statements) = another_run(&sealed);
    link(&mut statements);
    // The end names a step of the other run in its place, so that nothing else is missing.
    let entries = sealed.project.ledger();
    let first = entries.as_array().unwrap().iter().rfind(|entry| entry["noun"] == "provenance").unwrap();
    let first: Digest = first["statement"].as_str().unwrap().parse().unwrap();
    seal(&mut statements[2]).steps[0].provenance = first;
    statements.remove(0);
    incomplete(&sealed, &run, &statements, "statement 1 of");
}

#[test]
fn a_statement_that_was_exchanged_is_noticed() {
    let sealed = Sealed::new();
    let (run, mut statements) = another_run(&sealed);
    link(&mut statements);
    provenance(&mut statements[0]).run_details.metadata.finished_on = Timestamp::from_unix_ms(1);
    let replaced = digest(&statements[0]);
    seal(&mut statements[2]).steps[0].provenance = replaced;
    incomplete(&sealed, &run, &statements, "statement 2 of");
}

#[test]
fn a_statement_after_the_end_is_noticed() {
    let sealed = Sealed::new();
    let (run, mut statements) = another_run(&sealed);
    link(&mut statements);
    let mut late = statements[1].clone();
    provenance(&mut late).run_details.metadata.finished_on = Timestamp::from_unix_ms(1);
    place(&mut late, 4, Some(digest(&statements[2])));
    statements.push(late);
    incomplete(&sealed, &run, &statements, "ended with statement 3");
}

#[test]
fn a_step_that_the_end_leaves_out_is_noticed() {
    let sealed = Sealed::new();
    let (run, mut statements) = another_run(&sealed);
    link(&mut statements);
    seal(&mut statements[2]).steps.pop();
    let thief = Thief::of(&sealed.project);
    for statement in &statements {
        Thief::append(&sealed.project, statement, &thief.builder, &thief.log);
    }
    let verify = sealed.project.lineal(&["verify", run.as_str(), "--json"]);
    verify.failed(1, "incomplete", &["it recorded other steps than its end names"]);
}
