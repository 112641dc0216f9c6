use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use lineal_facts::Digest;
use lineal_proof::PublicKey;
use lineal_proof::tree::verify_consistency;
use proptest::prelude::*;

use super::*;

struct World {
    folder: tempfile::TempDir,
    ledger: Ledger,
    signer: LogSigner,
    key: PublicKey,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let signer = LogSigner::from_seed("lineal.local/test", &[7; 32]).unwrap();
    let ledger = Ledger::new(folder.path(), signer.verifier_key().clone());
    let document =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref()).unwrap();
    let key = PublicKey::from_point(pair.public_key().as_ref()).unwrap();
    World { folder, ledger, signer, key }
}

impl World {
    fn leaves(&self, range: std::ops::Range<u64>) -> Vec<Leaf> {
        let leaf = |n: u64| Leaf {
            data: Digest::of(&n.to_be_bytes()),
            signature: vec![0x30, 6, 2, 1, 1, 2, 1, 1],
            key: self.key.clone(),
        };
        range.map(leaf).collect()
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut pending = vec![self.folder.path().to_owned()];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { pending.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    }
}

#[test]
fn appends_accumulate_and_old_partials_go() {
    let world = world();
    assert_eq!(world.ledger.head().unwrap(), None);
    for (from, to) in [(0, 1), (1, 5), (5, 256), (256, 257), (257, 700)] {
        world.ledger.append(&world.signer, &world.leaves(from..to)).unwrap();
        let head = world.ledger.check().unwrap().unwrap();
        assert_eq!(head.size, to);
    }
    let expected: usize = 1 + tile::tiles_of(700).len() + tile::entry_bundles_of(700).len();
    assert_eq!(world.files().len(), expected, "{:?}", world.files());
    assert_eq!(world.ledger.leaf(699, 700).unwrap().data, Digest::of(&699_u64.to_be_bytes()));
    assert!(matches!(world.ledger.leaf(700, 700), Err(LedgerError::Range { .. })));
}

#[test]
fn any_changed_byte_is_found() {
    let world = world();
    world.ledger.append(&world.signer, &world.leaves(0..300)).unwrap();
    for path in world.files() {
        let good = fs::read(&path).unwrap();
        for position in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[position] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(world.ledger.check().is_err(), "{} byte {position}", path.display());
        }
        fs::write(&path, good).unwrap();
    }
    world.ledger.check().unwrap();
}

#[test]
fn a_crash_before_the_checkpoint_changes_nothing() {
    let world = world();
    world.ledger.append(&world.signer, &world.leaves(0..10)).unwrap();
    let published = fs::read(world.ledger.checkpoint_path()).unwrap();
    let before = world.ledger.head().unwrap();
    world.ledger.append(&world.signer, &world.leaves(10..300)).unwrap();
    // The crash: tiles and bundles of the new size are there, the checkpoint and the old partials are as they were.
    let survivor = super::tests::world();
    survivor.ledger.append(&survivor.signer, &world.leaves(0..10)).unwrap();
    for path in world.files().iter().filter(|p| !p.ends_with("checkpoint")) {
        let relative = path.strip_prefix(world.folder.path()).unwrap();
        let target = survivor.folder.path().join(relative);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    }
    fs::write(survivor.ledger.checkpoint_path(), published).unwrap();
    assert_eq!(survivor.ledger.check().unwrap(), before);
    // Other entries than those of the lost append now take their places.
    survivor.ledger.append(&survivor.signer, &world.leaves(1000..1100)).unwrap();
    assert_eq!(survivor.ledger.check().unwrap().unwrap().size, 110);
    assert_eq!(survivor.ledger.leaf(10, 110).unwrap().data, Digest::of(&1000_u64.to_be_bytes()));
}

#[test]
fn a_changed_tile_is_never_signed_over() {
    let world = world();
    world.ledger.append(&world.signer, &world.leaves(0..3)).unwrap();
    let published = fs::read(world.ledger.checkpoint_path()).unwrap();
    let path = world.folder.path().join("tile/0/000.p/3");
    let mut tile = fs::read(&path).unwrap();
    tile[40] ^= 1;
    fs::write(&path, tile).unwrap();
    let appended = world.ledger.append(&world.signer, &world.leaves(3..4));
    assert!(matches!(appended, Err(LedgerError::Contradiction(_))));
    assert_eq!(fs::read(world.ledger.checkpoint_path()).unwrap(), published);
}

#[test]
fn a_checkpoint_of_another_key_is_refused() {
    let world = world();
    world.ledger.append(&world.signer, &world.leaves(0..3)).unwrap();
    let stranger = LogSigner::from_seed("lineal.local/test", &[8; 32]).unwrap();
    let ledger = Ledger::new(world.folder.path(), stranger.verifier_key().clone());
    assert!(matches!(ledger.head(), Err(LedgerError::Checkpoint { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn proofs_hold_for_any_growth(sizes in prop::collection::vec(1_u64..400, 1..4), pick in any::<u64>()) {
        let world = world();
        let mut roots = vec![];
        let mut size = 0;
        for count in sizes {
            let head = world.ledger.append(&world.signer, &world.leaves(size..size + count)).unwrap();
            size += count;
            roots.push((size, head.root));
        }
        let position = pick % size;
        let (_, root) = *roots.last().unwrap();
        let leaf = world.ledger.leaf(position, size).unwrap().hash();
        let path = world.ledger.inclusion_proof(position, size).unwrap();
        prop_assert!(tree::verify_inclusion(position, size, &leaf, &path, &root).is_ok());
        for (old, old_root) in &roots {
            let path = world.ledger.consistency_proof(*old, size).unwrap();
            prop_assert!(verify_consistency(*old, old_root, size, &root, &path).is_ok());
        }
    }
}

#[test]
fn the_root_at_an_older_size_is_the_one_that_was_published() {
    let world = world();
    let mut published = vec![(0, lineal_proof::tree::empty_root())];
    for (from, to) in [(0, 1), (1, 7), (7, 256), (256, 300), (300, 513), (513, 700)] {
        let head = world.ledger.append(&world.signer, &world.leaves(from..to)).unwrap();
        published.push((head.size, head.root));
        for (size, root) in &published {
            assert_eq!(world.ledger.root_at(*size, head.size).unwrap(), *root, "{size} of {}", head.size);
        }
    }
    assert!(matches!(world.ledger.root_at(701, 700), Err(LedgerError::Range { .. })));
}
