//! Machines that append to one log in a bucket, with everything that can go wrong between them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use lineal_proof::LogSigner;
use proptest::prelude::*;

use super::*;
use crate::bucket::faults::{Fault, FaultyStore};
use crate::ledger::tests::world;
use crate::ledger::writer::{LedgerEntry, Writer};

/// Made once, because signing takes time.
static SUPPLY: LazyLock<Vec<LedgerEntry>> = LazyLock::new(|| world().entries(0..3000));

/// A bucket, and what was acknowledged to whom.
struct World {
    store: Arc<FaultyStore>,
    signer: LogSigner,
    next: AtomicUsize,
    /// Position of every acknowledged entry in the log, by its place in the supply.
    acknowledged: Mutex<BTreeMap<usize, u64>>,
}

/// A machine.
struct Machine {
    world: Arc<World>,
    local: tempfile::TempDir,
    ledger: Ledger,
    writer: Writer,
}

impl World {
    fn new() -> Arc<Self> {
        let signer = LogSigner::from_seed("lineal.local/test", &[7; 32]).unwrap();
        let (store, next) = (Arc::new(FaultyStore::default()), AtomicUsize::new(0));
        Arc::new(Self { store, signer, next, acknowledged: Mutex::default() })
    }

    /// Everything that must hold at any time.
    fn check(self: &Arc<Self>, context: &str) {
        let machine = Machine::new(self);
        let check = machine.ledger.check(&|_| ());
        assert_eq!(check.findings, [], "{context}");
        let size = check.head.as_ref().map_or(0, |head| head.size);
        let leaves = machine.ledger.leaves(0, size, size).unwrap();
        let visit = &mut |position, statement: &[u8]| {
            machine.ledger.check_statement(position, &leaves[position as usize].data, statement)
        };
        machine.ledger.for_each_statement(0, size, visit).unwrap_or_else(|e| panic!("{context}: {e}"));
        let acknowledged = self.acknowledged.lock().unwrap();
        for (place, position) in &*acknowledged {
            assert!(*position < size, "{context}: acknowledged entry {position} is lost, size {size}");
            assert_eq!(leaves[*position as usize], SUPPLY[*place].leaf, "{context}: another at {position}");
        }
        let mut roots = BTreeMap::new();
        let mut last = 0;
        for note in self.store.checkpoints() {
            let value = machine.ledger.keys.open(&note).unwrap().value;
            assert!(value.size >= last, "{context}: the checkpoint went back to {} from {last}", value.size);
            last = value.size;
            let root = *roots.entry(value.size).or_insert(value.root);
            assert_eq!(root, value.root, "{context}: two checkpoints of size {last}");
        }
    }
}

impl Machine {
    fn new(world: &Arc<World>) -> Self {
        let local = tempfile::tempdir().unwrap();
        let keys = world.signer.verifier_key().clone();
        let ledger = Ledger::in_bucket(world.store.bucket(), local.path(), keys);
        Self { world: world.clone(), local, ledger, writer: Writer::default() }
    }

    /// The process starts again.
    fn restart(&mut self) {
        self.writer = Writer::default();
    }

    fn append(&mut self, count: usize) -> Result<u64, LedgerError> {
        self.append_at(count, None)
    }

    fn append_at(&mut self, count: usize, position: Option<u64>) -> Result<u64, LedgerError> {
        let first = self.world.next.fetch_add(count, Ordering::Relaxed);
        let entries = &SUPPLY[first..first + count];
        let sign = |value: &_| self.world.signer.sign(value);
        let head = self.writer.append_at(&self.ledger, &sign, entries, position)?;
        let positions = head.size - count as u64..;
        self.world.acknowledged.lock().unwrap().extend((first..first + count).zip(positions));
        self.tidy()?;
        Ok(head.size)
    }

    fn tidy(&mut self) -> Result<(), LedgerError> {
        let Some(tidying) = self.writer.begin_tidying(&self.ledger)? else { return Ok(()) };
        let synced = tidying.sync(&self.ledger);
        self.writer.remove(&self.ledger, tidying, synced)
    }

    fn load(&mut self) -> Result<(), LedgerError> {
        self.writer.load(&self.ledger, &|value| self.world.signer.sign(value))
    }
}

fn is_overtaken(error: &LedgerError) -> bool {
    matches!(error, LedgerError::Journal(JournalError::Overtaken))
}

#[test]
fn two_machines_take_turns() {
    let world = World::new();
    let (mut a, mut b) = (Machine::new(&world), Machine::new(&world));
    for count in [1, 3, 252, 2, 270, 1] {
        a.append(count).unwrap();
        assert!(a.ledger.needs_repair().is_ok_and(|needed| !needed));
        b.append(count + 1).unwrap();
        world.check("in turn");
    }
    assert_eq!(world.acknowledged.lock().unwrap().len(), 1064);
    // Partial tiles that full ones replaced are gone, from whichever machine wrote them.
    assert_eq!(a.ledger.disk.list(&a.ledger.layout.log.join("tile/0/000.p")).unwrap(), [""; 0]);
}

#[test]
fn entries_for_another_place_are_not_written() {
    let world = World::new();
    let (mut a, mut b) = (Machine::new(&world), Machine::new(&world));
    a.append_at(2, Some(0)).unwrap();
    for position in [0, 1, 3] {
        assert!(is_overtaken(&b.append_at(1, Some(position)).unwrap_err()), "{position}");
    }
    assert_eq!(b.append_at(1, Some(2)).unwrap(), 3);
    assert!(is_overtaken(&a.append_at(1, Some(2)).unwrap_err()));
    world.check("afterwards");
}

#[test]
fn nothing_acknowledged_is_lost_whatever_request_fails() {
    let scenario = |machine: &mut Machine| -> Result<(), LedgerError> {
        for count in [1, 3, 252, 2] {
            machine.append(count)?;
        }
        Ok(())
    };
    let whole = World::new();
    whole.store.fail(u64::MAX, Fault::Lost);
    scenario(&mut Machine::new(&whole)).unwrap();
    let (changes, _) = whole.store.counts();
    assert!(changes > 20, "{changes}");
    for fault in Fault::ALL {
        for at in 0..changes {
            let context = format!("{fault:?} at {at}");
            let world = World::new();
            let mut machine = Machine::new(&world);
            world.store.fail(at, fault);
            let result = scenario(&mut machine);
            assert_eq!(world.store.is_down(), matches!(fault, Fault::Killed | Fault::Down), "{context}");
            if world.store.is_down() {
                assert!(result.is_err(), "{context}");
                world.store.restart();
            }
            if fault == Fault::Killed {
                machine.restart();
            }
            let mut other = Machine::new(&world);
            other.append(2).unwrap_or_else(|error| panic!("{context}: {error}"));
            world.check(&context);
            // What was late arrives when others have gone on.
            tokio::runtime::Runtime::new().unwrap().block_on(world.store.arrive());
            machine.append(3).unwrap_or_else(|error| panic!("{context}: {error}"));
            other.append(1).unwrap_or_else(|error| panic!("{context}: {error}"));
            world.check(&format!("{context}, afterwards"));
        }
    }
}

/// While one machine is at some request of an append, the other one does all that it wants.
#[test]
fn machines_that_act_in_between_lose_nothing() {
    let begun = |world: &Arc<World>| {
        let mut a = Machine::new(world);
        a.append(250).unwrap();
        a
    };
    let whole = World::new();
    let mut machine = begun(&whole);
    whole.store.between(u64::MAX, || ());
    machine.append(4).unwrap();
    let (_, requests) = whole.store.counts();
    assert!(requests > 8, "{requests}");
    let mut overtaken = 0;
    // One append, as many as fill the tile, and so many that the journal's old segments are gone.
    for appends in [vec![1], vec![9], vec![1; 70]] {
        for at in 0..=requests {
            let context = format!("{} appends before request {at}", appends.len());
            let world = World::new();
            let mut a = begun(&world);
            let mut b = Machine::new(&world);
            b.load().unwrap();
            let theirs = appends.clone();
            world.store.between(at, move || {
                for count in theirs {
                    b.append(count).unwrap();
                }
            });
            match a.append(4) {
                Ok(_) => {}
                Err(error) if is_overtaken(&error) => overtaken += 1,
                Err(error) => panic!("{context}: {error}"),
            }
            world.check(&context);
            a.append(3).unwrap_or_else(|error| panic!("{context}: {error}"));
            Machine::new(&world).append(1).unwrap();
            world.check(&format!("{context}, afterwards"));
        }
    }
    assert!(overtaken >= 3, "{overtaken}");
}

#[test]
fn an_old_number_that_is_free_again_is_no_append() {
    let world = World::new();
    let (mut a, mut b) = (Machine::new(&world), Machine::new(&world));
    a.append(1).unwrap();
    for _ in 0..70 {
        b.append(1).unwrap();
    }
    let segments = a.ledger.disk.list(&a.ledger.layout.journal).unwrap();
    assert!(!segments.contains(&"0000000002".to_owned()), "{segments:?}");
    // The machine wakes up behind its look at the journal's end, and may create the second segment.
    let state = a.writer.state.as_mut().unwrap();
    let entries = &SUPPLY[2000..2001];
    let sign = |value: &_| world.signer.sign(value);
    let error = state.append(&a.ledger, &sign, entries).unwrap_err();
    assert!(is_overtaken(&error), "{error}");
    assert_eq!(a.ledger.disk.list(&a.ledger.layout.journal).unwrap(), segments);
    // One that died before it found out leaves a void segment, which nobody takes for a record.
    let mut state = State::load(&a.ledger, &sign).unwrap();
    state.end.segment = 1;
    let before = JournalStart { size: 1, root: a.ledger.root_at(1, 71).unwrap() };
    let entry = SUPPLY[2000].leaf.to_bytes();
    let mut edge = lineal_proof::Edge::load(1, |id| a.ledger.read_tile(id)).unwrap();
    edge.append(&[tree::leaf_hash(&entry)]);
    let statements = vec![SUPPLY[2000].statement.clone()];
    let record = JournalRecord { before, root: edge.root(), entries: vec![entry], statements };
    a.ledger.journal.append(state.end, &record, &state.note).unwrap();
    a.restart();
    assert!(!a.ledger.needs_repair().unwrap());
    assert_eq!(a.append(1).unwrap(), 72);
    assert_eq!(b.append(1).unwrap(), 73);
    world.check("afterwards");
    assert_eq!(a.ledger.journal.read().unwrap().records.last().unwrap().after().size, 73);
}

#[test]
fn an_older_version_of_the_bucket_is_noticed() {
    let world = World::new();
    let mut a = Machine::new(&world);
    a.append(3).unwrap();
    let checkpoint = a.ledger.layout.checkpoint();
    let old = a.ledger.disk.read(&checkpoint, 1 << 16).unwrap().unwrap();
    let segment = a.ledger.layout.journal.join("0000000002");
    a.append(2).unwrap();
    a.ledger.disk.write(&checkpoint, &old).unwrap();
    a.ledger.disk.remove(&segment).unwrap();
    a.restart();
    let error = a.ledger.needs_repair().unwrap_err();
    assert!(error.to_string().contains("an older version was put back"), "{error}");
    // A machine that never saw the newer one cannot know; one that saw another log does.
    let mut b = Machine::new(&world);
    assert!(!b.ledger.needs_repair().unwrap());
    b.append(3).unwrap();
    let error = a.ledger.needs_repair().unwrap_err();
    assert!(error.to_string().contains("does not continue the log of 5 entries"), "{error}");
    assert!(a.local.path().join("seen").exists());
}

#[test]
fn a_changed_journal_is_damage() {
    let world = World::new();
    let mut a = Machine::new(&world);
    a.append(3).unwrap();
    let segment = a.ledger.layout.journal.join("0000000001");
    let mut bytes = a.ledger.disk.read(&segment, 1 << 20).unwrap().unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    a.ledger.disk.write(&segment, &bytes).unwrap();
    a.restart();
    let error = a.append(1).unwrap_err();
    assert!(matches!(&error, LedgerError::Journal(JournalError::Damaged { path, .. }) if *path == segment));
}

#[derive(Debug, Clone)]
enum Step {
    Append(usize, usize),
    Restart(usize),
    Fault(u64, usize),
    Between(u64, usize),
    Arrive,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..3_usize, 1_usize..12).prop_map(|(who, count)| Step::Append(who, count)),
        1 => (0..3_usize, 120_usize..260).prop_map(|(who, count)| Step::Append(who, count)),
        1 => (0..3_usize).prop_map(Step::Restart),
        2 => (0_u64..12, 0..Fault::ALL.len()).prop_map(|(at, fault)| Step::Fault(at, fault)),
        3 => (0_u64..16, 0..3_usize).prop_map(|(at, who)| Step::Between(at, who)),
        1 => Just(Step::Arrive),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn any_history_of_three_machines_keeps_the_record(steps in prop::collection::vec(step(), 1..20)) {
        let world = World::new();
        let machines: Vec<_> = (0..3).map(|_| Arc::new(Mutex::new(Machine::new(&world)))).collect();
        for step in &steps {
            match step {
                Step::Append(who, count) => drop(machines[*who].lock().unwrap().append(*count)),
                Step::Restart(who) => machines[*who].lock().unwrap().restart(),
                Step::Fault(at, fault) => world.store.fail(*at, Fault::ALL[*fault]),
                Step::Between(at, who) => {
                    let machine = machines[*who].clone();
                    // A machine cannot act in between itself.
                    world.store.between(*at, move || {
                        machine.try_lock().ok().map(|mut machine| machine.append(2));
                    });
                }
                Step::Arrive => {
                    tokio::runtime::Runtime::new().unwrap().block_on(world.store.arrive());
                }
            }
            world.store.restart_if_down();
        }
        world.store.restart();
        world.store.between(u64::MAX, || ());
        let mut machine = Machine::new(&world);
        let appended = machine.append(1);
        prop_assert!(appended.is_ok(), "{steps:?}: {appended:?}");
        world.check(&format!("{steps:?}"));
    }
}
