mod naive;

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use self::naive::Visited;
use super::*;
use crate::ledger::tests::{World, world};

/// What somebody may do to a file.
#[derive(Debug, Clone)]
enum Damage {
    Flip(prop::sample::Index),
    Cut(prop::sample::Index),
    Grow,
    Remove,
    /// A folder in its place, which cannot be read.
    Block,
    /// The content of another file.
    Replace(prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => any::<prop::sample::Index>().prop_map(Damage::Flip),
        1 => any::<prop::sample::Index>().prop_map(Damage::Cut),
        1 => Just(Damage::Grow),
        1 => Just(Damage::Remove),
        1 => Just(Damage::Block),
        1 => any::<prop::sample::Index>().prop_map(Damage::Replace),
    ]
}

fn apply(damage: &Damage, path: &Path, files: &[PathBuf]) {
    // An earlier damage may have taken it away.
    let Ok(mut bytes) = fs::read(path) else { return };
    match damage {
        Damage::Flip(at) => bytes[at.index(fs::metadata(path).unwrap().len() as usize)] ^= 1,
        Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Damage::Grow => bytes.push(0),
        Damage::Remove => return fs::remove_file(path).unwrap(),
        Damage::Block => {
            fs::remove_file(path).unwrap();
            return fs::create_dir(path).unwrap();
        }
        Damage::Replace(other) => bytes = fs::read(other.get::<PathBuf>(files)).unwrap_or(bytes),
    }
    fs::write(path, bytes).unwrap();
}

/// Everything that one pass finds and visits is what a plain walk does.
fn compare(world: &World, head: &Head) -> Result<usize, TestCaseError> {
    let ledger = &world.ledger;
    let mut expected = naive::check(ledger, head);
    prop_assert_eq!(&ledger.check(&|_| ()).findings, &expected);
    let statements = naive::check_statements(ledger, 0..head.size, head.size);
    prop_assert_eq!(&ledger.check_statements(0..head.size, head.size, &|_| ()), &statements);
    expected.extend(statements);
    let (visits, complete) = naive::visit(ledger, head.size, &expected);

    let (mut visited, told): (Vec<Visited>, _) = (Vec::new(), std::cell::Cell::new(0));
    let whole = ledger.check_whole(Some(head), &|by| told.set(told.get() + by), &mut |entry| {
        let statement = entry.statement.map_err(|error| error.to_string());
        visited.push((entry.position, entry.leaf.data, statement));
    });
    prop_assert_eq!(&whole.findings, &expected);
    prop_assert_eq!(whole.unvisited.is_none(), complete);
    prop_assert_eq!(&visited, &visits);
    prop_assert_eq!(told.get(), head.size);
    Ok(expected.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn several_damages_are_found_as_a_plain_walk_finds_them(
        size in 1_u64..1100,
        damages in prop::collection::vec((any::<prop::sample::Index>(), damage()), 0..5),
        range in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let mut world = world();
        let head = world.append(0..size).unwrap();
        prop_assert_eq!(compare(&world, &head)?, 0);
        let mut files = world.files("log/tile");
        files.extend(world.files("statements"));
        for (file, damage) in &damages {
            let file: &PathBuf = file.get(&files);
            apply(damage, file, &files);
        }
        compare(&world, &head)?;
        let (one, other) = (range.0.index(size as usize) as u64, range.1.index(size as usize) as u64);
        let range = one.min(other)..one.max(other);
        prop_assert_eq!(
            world.ledger.check_statements(range.clone(), size, &|_| ()),
            naive::check_statements(&world.ledger, range, size)
        );
    }
}

#[test]
fn no_statements_have_no_findings() {
    let mut world = world();
    world.append(0..2).unwrap();
    fs::write(world.ledger.layout.bundle(EntryBundleId { index: 0, width: 2 }), b"").unwrap();
    assert_eq!(world.ledger.check_statements(1..1, 2, &|_| ()), []);
    assert_eq!(world.ledger.check_statements(1..2, 2, &|_| ()).len(), 1);
}

#[test]
fn entries_before_the_first_unreadable_bundle_are_visited() {
    let mut world = world();
    let head = world.append(0..700).unwrap();
    fs::remove_file(world.ledger.layout.bundle(EntryBundleId { index: 1, width: 256 })).unwrap();
    let mut visited = Vec::new();
    let whole = world.ledger.check_whole(Some(&head), &|_| (), &mut |entry| visited.push(entry.position));
    assert!(matches!(whole.unvisited, Some(LedgerError::Missing(_))), "{whole:?}");
    assert_eq!(visited, (0..256).collect::<Vec<_>>());
    assert_eq!(whole.findings.len(), 2);
    assert!(
        whole
            .findings
            .iter()
            .all(|found| found.kind == FindingKind::EntriesMissing && found.position == Some(256))
    );
}

#[test]
fn no_more_findings_are_kept_than_the_limit() {
    let mut world = world();
    let size = FINDING_LIMIT as u64 + 600;
    let head = world.append(0..size).unwrap();
    fs::remove_dir_all(&world.ledger.layout.statements).unwrap();
    let mut visited = 0;
    let whole = world.ledger.check_whole(Some(&head), &|_| (), &mut |_| visited += 1);
    assert_eq!((whole.findings.len(), visited), (FINDING_LIMIT, 0));
    assert_eq!(whole.findings, world.ledger.check_statements(0..size, size, &|_| ()));
    assert!(whole.findings.iter().map(|found| found.position).eq((0..FINDING_LIMIT as u64).map(Some)));
}
