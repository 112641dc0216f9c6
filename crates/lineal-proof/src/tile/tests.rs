use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::tree::{leaf_hash, root};

type Files = BTreeMap<TileId, Vec<u8>>;

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

fn read(files: &Files) -> impl FnMut(TileId) -> Result<Vec<u8>, TileError> {
    |id| files.get(&id).cloned().ok_or(TileError::Path(id.path()))
}

fn append(edge: &mut Edge, files: &mut Files, hashes: &[Hash]) {
    for write in edge.append(hashes) {
        assert!(files.insert(write.id, write.bytes).is_none(), "{} written twice", write.id.path());
    }
}

/// The definition in tlog-tiles: hash `i` of tile `(level, n)` is the root of the leaves it covers.
fn expected_tile(leaves: &[Hash], id: TileId) -> Vec<u8> {
    let span = 256_usize.pow(id.level.into());
    let first = id.index as usize * 256;
    let hashes: Vec<Hash> =
        (first..first + usize::from(id.width)).map(|i| root(&leaves[i * span..(i + 1) * span])).collect();
    encode_tile(&hashes)
}

fn check_against_definition(files: &Files, leaves: &[Hash]) {
    for id in tiles_of(leaves.len() as u64) {
        assert_eq!(files.get(&id), Some(&expected_tile(leaves, id)), "{}", id.path());
    }
}

#[test]
fn paths_of_the_specification() {
    let cases = [
        (TileId { level: 0, index: 1_234_067, width: 256 }, "tile/0/x001/x234/067"),
        (TileId { level: 0, index: 1_234_067, width: 12 }, "tile/0/x001/x234/067.p/12"),
        (TileId { level: 1, index: 0, width: 1 }, "tile/1/000.p/1"),
        (TileId { level: 2, index: 999, width: 255 }, "tile/2/999.p/255"),
        (TileId { level: 63, index: 1000, width: 256 }, "tile/63/x001/000"),
        (TileId { level: 0, index: u64::MAX, width: 256 }, "tile/0/x018/x446/x744/x073/x709/x551/615"),
    ];
    for (id, path) in cases {
        assert_eq!(id.path(), path);
        assert_eq!(TileId::parse(path), Ok(id));
    }
    let bundle = EntryBundleId { index: 273, width: 112 };
    assert_eq!(bundle.path(), "tile/entries/273.p/112");
    assert_eq!(EntryBundleId::parse("tile/entries/273.p/112"), Ok(bundle));
}

#[test]
fn other_spellings_of_paths_are_refused() {
    let bad = [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "tile/0/1",
        "tile/0/0001",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/00/000",
        "tile/64/000",
        "tile/+1/000",
        "tile/0/000/",
        "/tile/0/000",
        "tile/entries/000",
        "tile/0/00a",
        "tile/0/-01",
        "tile/0/x001/x234/067.p/12/",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
        "tile/0/000.p/+1",
        "tile/8/0/000",
        "tile/0/../000",
        "tile/0/x0é/000",
    ];
    for path in bad {
        assert!(TileId::parse(path).is_err(), "{path}");
    }
    assert!(EntryBundleId::parse("tile/entries/1").is_err());
    assert!(EntryBundleId::parse("tile/0/000").is_err());
}

#[test]
fn sizes_of_the_specification() {
    assert!(tiles_of(0).is_empty() && entry_bundles_of(0).is_empty());
    let id = |level, index, width| TileId { level, index, width };
    assert_eq!(tiles_of(256), [id(0, 0, 256), id(1, 0, 1)]);
    let tiles = tiles_of(70_000);
    assert_eq!(tiles.len(), 277);
    assert_eq!(tiles.iter().filter(|tile| tile.level == 0 && !tile.is_partial()).count(), 273);
    assert_eq!(tiles[273..], [id(0, 273, 112), id(1, 0, 256), id(1, 1, 17), id(2, 0, 1)]);
    let bundles = entry_bundles_of(70_000);
    assert_eq!(bundles.len(), 274);
    assert_eq!(bundles[273], EntryBundleId { index: 273, width: 112 });
}

#[test]
fn every_size_below_600_one_by_one() {
    let all = leaves(600);
    let (mut edge, mut files) = (Edge::empty(), Files::new());
    for size in 1..=600 {
        append(&mut edge, &mut files, &all[size - 1..size]);
        let tree = &all[..size];
        assert_eq!((edge.size(), edge.root()), (size as u64, root(tree)));
        check_against_definition(&files, tree);
        assert_eq!(Edge::load(size as u64, read(&files)), Ok(edge.clone()));
    }
}

#[test]
fn every_size_below_600_at_once_writes_only_what_is_final() {
    let all = leaves(600);
    for size in 0..=600 {
        let (mut edge, mut files) = (Edge::empty(), Files::new());
        append(&mut edge, &mut files, &all[..size]);
        assert_eq!(files.keys().copied().collect::<Vec<_>>(), {
            let mut tiles = tiles_of(size as u64);
            tiles.sort();
            tiles
        });
        check_against_definition(&files, &all[..size]);
        assert_eq!(edge.root(), root(&all[..size]));
    }
}

#[test]
fn seventy_thousand() {
    let all = leaves(70_000);
    let (mut edge, mut files) = (Edge::empty(), Files::new());
    for batch in all.chunks(9_973) {
        edge = Edge::load(edge.size(), read(&files)).unwrap();
        append(&mut edge, &mut files, batch);
    }
    let tree_root = root(&all);
    assert_eq!(edge.root(), tree_root);
    check_against_definition(&files, &all);
    for index in [0, 1, 255, 256, 65_535, 65_536, 69_887, 69_888, 69_999] {
        let proof = |old: bool| {
            let mut read_tile = read(&files);
            let mut reader = |level, n| subtree_hash(70_000, level, n, &mut read_tile);
            if old {
                tree::consistency_proof(index + 1, 70_000, &mut reader)
            } else {
                tree::inclusion_proof(index, 70_000, &mut reader)
            }
        };
        let path = proof(false).unwrap();
        tree::verify_inclusion(index, 70_000, &all[index as usize], &path, &tree_root).unwrap();
        let old_root = root(&all[..=index as usize]);
        tree::verify_consistency(index + 1, &old_root, 70_000, &tree_root, &proof(true).unwrap()).unwrap();
    }
}

#[test]
fn an_unchanged_level_is_not_written_again() {
    let all = leaves(300);
    let (mut edge, mut files) = (Edge::empty(), Files::new());
    append(&mut edge, &mut files, &all[..260]);
    let writes = edge.append(&all[260..300]);
    assert_eq!(writes.iter().map(|w| w.id.path()).collect::<Vec<_>>(), ["tile/0/001.p/44"]);
    assert!(edge.append(&[]).is_empty());
}

#[test]
fn damaged_tiles_are_refused() {
    let mut files = Files::new();
    let mut edge = Edge::empty();
    append(&mut edge, &mut files, &leaves(300));
    files.insert(TileId { level: 0, index: 1, width: 44 }, vec![0; 44 * 32 - 1]);
    assert!(matches!(
        Edge::load(300, read(&files)),
        Err(TileError::Size { actual: 1407, expected: 1408, .. })
    ));
    assert!(subtree_hash(300, 0, 299, read(&files)).is_err());
    assert!(decode_tile(&[0; 33], 1).is_err());
    assert!(Edge::load(u64::MAX, read(&files)).is_err());
    let missing = subtree_hash(300, 0, 300, |_| -> Result<Vec<u8>, TileError> { panic!("not read") });
    assert_eq!(missing, Err(TileError::Subtree { size: 300, level: 0, index: 300 }));
    for level in [9, 62, 63, 64, 255] {
        assert!(
            subtree_hash(300, level, 0, |_| -> Result<Vec<u8>, TileError> { panic!("not read") }).is_err()
        );
    }
}

#[test]
fn bundles_have_limits() {
    let largest = vec![7; ENTRY_LIMIT_BYTES];
    let bytes = encode_bundle(&[&largest, b""]).unwrap();
    assert_eq!(decode_bundle(&bytes, 2).unwrap(), [&largest[..], b""]);
    assert!(encode_bundle(&[&[0; ENTRY_LIMIT_BYTES + 1]]).is_err());
    assert!(encode_bundle(&[]).is_err());
    assert!(encode_bundle(&[b"".as_slice(); 257]).is_err());
    assert_eq!(encode_bundle(&[b"ab", b"c"]).unwrap(), b"\0\x02ab\0\x01c");
    for (bytes, width) in [(&b"\0\x02ab"[..], 2), (b"\0\x02ab\0", 1), (b"\0\x03ab", 1), (b"\0", 1), (b"x", 0)]
    {
        assert!(decode_bundle(bytes, width).is_err(), "{bytes:?} {width}");
    }
    // What cannot be written is not read either.
    assert!(decode_bundle(b"", 0).is_err());
    assert!(decode_bundle(&[0; 2 * 257], 257).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_batches_give_the_same_tree(batches in proptest::collection::vec(0..3_000_u64, 1..8)) {
        let size: u64 = batches.iter().sum();
        let all = leaves(size);
        let (mut edge, mut files, mut done) = (Edge::empty(), Files::new(), 0);
        for batch in batches {
            edge = Edge::load(edge.size(), read(&files)).unwrap();
            append(&mut edge, &mut files, &all[done..done + batch as usize]);
            done += batch as usize;
            prop_assert_eq!(edge.root(), root(&all[..done]));
        }
        check_against_definition(&files, &all);
    }

    #[test]
    fn subtrees_from_tiles_follow_the_definition(size in 1..70_000_u64, level in 0..17_u8, at in any::<u64>()) {
        let count = size >> level;
        prop_assume!(count > 0);
        let index = at % count;
        let all = leaves(size);
        let hash = subtree_hash(size, level, index, |id| Ok::<_, TileError>(expected_tile(&all, id)));
        prop_assert_eq!(hash, Ok(root(&all[(index << level) as usize..((index + 1) << level) as usize])));
    }

    #[test]
    fn paths_round_trip(level in 0..=63_u8, index in any::<u64>(), width in 1..=256_u16) {
        let id = TileId { level, index, width };
        prop_assert_eq!(TileId::parse(&id.path()), Ok(id));
        let id = EntryBundleId { index, width };
        prop_assert_eq!(EntryBundleId::parse(&id.path()), Ok(id));
    }

    #[test]
    fn bundles_round_trip(entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..=256)) {
        let slices: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
        let bytes = encode_bundle(&slices).unwrap();
        prop_assert_eq!(decode_bundle(&bytes, entries.len() as u16).unwrap(), slices);
    }

    #[test]
    fn parsers_take_anything(bytes in proptest::collection::vec(any::<u8>(), 0..300), width in any::<u16>(), text in "(tile/)?[0-9a-zx./p+]{0,30}") {
        let _ = decode_bundle(&bytes, width);
        let _ = decode_tile(&bytes, width);
        if let Ok(id) = TileId::parse(&text) {
            prop_assert_eq!(id.path(), text);
        }
    }
}
