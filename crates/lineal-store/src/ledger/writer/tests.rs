//! The writer on a disk that fails at every operation in turn, in every way.

use std::collections::BTreeMap;
use std::sync::Arc;

use lineal_proof::LogSigner;
use proptest::prelude::*;

use super::super::tests::world;
use super::*;
use crate::disk::simulated::{Fault, SimulatedDisk};
use crate::journal::JournalLimits;

/// A log on the simulated disk, through restarts, with what was acknowledged.
struct Machine {
    disk: Arc<SimulatedDisk>,
    signer: LogSigner,
    boot: u64,
    ledger: Ledger,
    writer: Writer,
    /// What is appended, in this order; made once, because signing takes time.
    supply: Arc<Vec<LedgerEntry>>,
    next: usize,
    /// Position of every acknowledged entry in the log, by its place in the supply.
    acknowledged: BTreeMap<usize, u64>,
}

fn supply(count: u64) -> Arc<Vec<LedgerEntry>> {
    Arc::new(world().entries(0..count))
}

fn ledger(disk: &Arc<SimulatedDisk>, signer: &LogSigner, boot: u64) -> Ledger {
    let limits = JournalLimits { records: 3, ..JournalLimits::default() };
    Ledger::on(
        disk.clone(),
        Path::new("lineal"),
        signer.verifier_key().clone().into(),
        format!("boot-{boot}"),
        limits,
    )
}

impl Machine {
    fn new(supply: Arc<Vec<LedgerEntry>>) -> Self {
        let disk = Arc::new(SimulatedDisk::default());
        let signer = LogSigner::from_seed("lineal.local/test", &[7; 32]).unwrap();
        let ledger = ledger(&disk, &signer, 0);
        let (writer, acknowledged) = (Writer::default(), BTreeMap::new());
        Self { disk, signer, boot: 0, ledger, writer, supply, next: 0, acknowledged }
    }

    fn append(&mut self, count: usize) -> Result<(), LedgerError> {
        let range = self.next..self.next + count;
        self.next = range.end;
        let entries = &self.supply[range.clone()];
        let head = self.writer.append(&self.ledger, &|value| self.signer.sign(value), entries)?;
        let first = head.size - count as u64;
        self.acknowledged.extend(range.zip(first..));
        Ok(())
    }

    fn tidy(&mut self) -> Result<(), LedgerError> {
        let Some(tidying) = self.writer.begin_tidying(&self.ledger)? else { return Ok(()) };
        let synced = tidying.sync(&self.ledger);
        self.writer.remove(&self.ledger, tidying, synced)
    }

    /// Starts the process again, and the machine if it had stopped.
    fn restart(&mut self, seed: u64) {
        self.boot += u64::from(self.disk.restart(seed));
        self.ledger = ledger(&self.disk, &self.signer, self.boot);
        self.writer = Writer::default();
        if self.ledger.needs_repair().unwrap() {
            self.writer.load(&self.ledger, &|value| self.signer.sign(value)).unwrap();
        }
    }

    /// Everything that must hold at any time.
    fn check(&self, context: &str) {
        let check = self.ledger.check(&|_| ());
        assert_eq!(check.findings, [], "{context}");
        let size = check.head.as_ref().map_or(0, |head| head.size);
        let leaves = self.ledger.leaves(0, size, size).unwrap();
        let visit = &mut |position, statement: &[u8]| {
            self.ledger.check_statement(position, &leaves[position as usize].data, statement)
        };
        self.ledger.for_each_statement(0, size, visit).unwrap_or_else(|error| panic!("{context}: {error}"));
        for (place, position) in &self.acknowledged {
            assert!(*position < size, "{context}: acknowledged entry {position} is lost, size {size}");
            let expected = &self.supply[*place].leaf;
            assert_eq!(leaves[*position as usize], *expected, "{context}: another entry at {position}");
        }
        let mut keys = KeyChain::default();
        let visit = &mut |position, statement: &[u8]| {
            keys.push_if_key(position, &leaves[position as usize].to_bytes(), statement);
            Ok(())
        };
        self.ledger.for_each_statement(0, size, visit).unwrap();
        let signed = check.head.as_ref().map(|head| head.keys);
        assert_eq!(signed.unwrap_or(Some(keys)), Some(keys), "{context}: the checkpoint's key statements");
        let mut roots = BTreeMap::new();
        for note in self.disk.checkpoints() {
            let value = self.ledger.keys.open(&note).unwrap().value;
            let root = *roots.entry(value.size).or_insert(value.root);
            assert_eq!(root, value.root, "{context}: two checkpoints of size {}", value.size);
        }
    }
}

/// What a process does until something fails.
fn scenario(machine: &mut Machine) -> Result<(), LedgerError> {
    for count in [1, 3, 252, 2, 270] {
        machine.append(count)?;
    }
    machine.tidy()?;
    machine.append(1)?;
    machine.append(2)
}

#[test]
fn nothing_acknowledged_is_lost_whatever_operation_fails() {
    let supply = supply(1100);
    let mut whole = Machine::new(supply.clone());
    whole.disk.fail(u64::MAX, Fault::Lost);
    scenario(&mut whole).unwrap();
    whole.check("without a fault");
    let operations = whole.disk.operations();
    assert!(operations > 60, "{operations}");
    for fault in Fault::ALL {
        for at in 0..operations {
            let context = format!("{fault:?} at {at}");
            let mut machine = Machine::new(supply.clone());
            machine.disk.fail(at, fault);
            let result = scenario(&mut machine);
            if machine.disk.is_dead() {
                machine.restart(at * 31 + 7);
                machine.check(&context);
            } else {
                // The process lives, and tries the next thing. The disk is as bad as before, or well again.
                assert!(result.is_err() || at + 1 >= operations || fault == Fault::Lost, "{context}");
                if !matches!(fault, Fault::Full | Fault::ReadOnly) {
                    machine.append(2).unwrap_or_else(|error| panic!("{context}: {error}"));
                    machine.check(&context);
                }
                machine.disk.stop();
                machine.restart(at);
                machine.check(&format!("{context}, then a stop"));
            }
            machine.append(3).unwrap_or_else(|error| panic!("{context}: {error}"));
            machine.check(&format!("{context}, afterwards"));
        }
    }
}

#[test]
fn a_second_fault_during_the_repair_loses_nothing_either() {
    let supply = supply(1100);
    for fault in Fault::ALL {
        for (at, then) in (9..70).step_by(9).flat_map(|at| (0..14).map(move |then| (at, then))) {
            let context = format!("stopped at {at}, {fault:?} at {then} of the repair");
            let mut machine = Machine::new(supply.clone());
            machine.disk.fail(at, Fault::Stopped);
            let _ = scenario(&mut machine);
            machine.boot += u64::from(machine.disk.restart(at * 13 + then));
            machine.ledger = ledger(&machine.disk, &machine.signer, machine.boot);
            machine.writer = Writer::default();
            machine.disk.fail(then, fault);
            let _ = machine.append(2);
            machine.disk.stop();
            machine.restart(then);
            machine.check(&context);
            machine.append(3).unwrap_or_else(|error| panic!("{context}: {error}"));
            machine.check(&context);
        }
    }
}

#[test]
fn an_unsigned_record_in_the_journal_is_not_published() {
    let mut machine = Machine::new(supply(10));
    machine.append(4).unwrap();
    let size_before = machine.ledger.head().unwrap().unwrap().size;
    // Somebody who can write the folder appends a record with a signature that is not one.
    let mut forged = machine.supply[5].clone();
    forged.statement = b"another statement".to_vec();
    let state = machine.writer.state.take().unwrap();
    let mut edge = state.edge;
    let before = JournalStart { size: edge.size(), root: edge.root() };
    let entry = forged.leaf.to_bytes();
    edge.append(&[tree::leaf_hash(&entry)]);
    let record =
        JournalRecord { before, root: edge.root(), entries: vec![entry], statements: vec![forged.statement] };
    machine.ledger.journal.append(state.end, &record, &state.note).unwrap();
    assert!(matches!(machine.append(1), Err(LedgerError::Leaf { position: 4, .. })));
    assert_eq!(machine.ledger.head().unwrap().unwrap().size, size_before);
}

#[test]
fn a_checkpoint_over_other_key_statements_is_never_continued() {
    let mut machine = Machine::new(supply(30));
    machine.append(7).unwrap();
    let head = machine.ledger.head().unwrap().unwrap();
    assert_eq!(head.keys.unwrap().count(), 3, "entries 0, 3 and 6");
    let path = machine.ledger.layout.checkpoint();
    let mut other = KeyChain::default();
    other.push(0, &machine.supply[0].leaf.hash());
    let mut checkpoint = Checkpoint::new(machine.ledger.verifier().name(), head.size, head.root);
    checkpoint.extensions = vec![other.to_line()];
    disk::replace(&*machine.ledger.disk, &path, &machine.signer.sign(&checkpoint).unwrap()).unwrap();
    machine.writer = Writer::default();
    assert!(matches!(machine.append(1), Err(LedgerError::Contradiction(_))));
    // One that says nothing is of an earlier build: what the entries say is known all the same.
    checkpoint.extensions.clear();
    disk::replace(&*machine.ledger.disk, &path, &machine.signer.sign(&checkpoint).unwrap()).unwrap();
    machine.append(1).unwrap();
    machine.check("afterwards");
}

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Tidy,
    Fault(u64, usize),
    Restart(u64),
    Stop(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_usize..12).prop_map(Step::Append),
        1 => (200_usize..300).prop_map(Step::Append),
        1 => Just(Step::Tidy),
        3 => (0_u64..40, 0..Fault::ALL.len()).prop_map(|(at, fault)| Step::Fault(at, fault)),
        2 => any::<u64>().prop_map(Step::Restart),
        2 => any::<u64>().prop_map(Step::Stop),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_history_of_faults_keeps_the_record(steps in prop::collection::vec(step(), 1..25)) {
        static SUPPLY: std::sync::LazyLock<Arc<Vec<LedgerEntry>>> = std::sync::LazyLock::new(|| supply(8000));
        let mut machine = Machine::new(SUPPLY.clone());
        for step in &steps {
            match step {
                Step::Append(count) => drop(machine.append(*count)),
                Step::Tidy => drop(machine.tidy()),
                Step::Fault(at, fault) => machine.disk.fail(*at, Fault::ALL[*fault]),
                Step::Restart(seed) => machine.restart(*seed),
                Step::Stop(seed) => {
                    machine.disk.stop();
                    machine.restart(*seed);
                }
            }
            if machine.disk.is_dead() {
                machine.restart(5);
            }
        }
        machine.restart(9);
        machine.check(&format!("{steps:?}"));
        machine.append(1).unwrap();
        machine.check("afterwards");
    }
}
