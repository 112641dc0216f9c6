//! Somebody who copied the keys of a project, with the identity that opens them, and can write into its folder.

use lineal_facts::predicate::{Approval, DatasetSnapshot, Incident, KeyRole};
use lineal_facts::statement::{PAYLOAD_TYPE, Subject};
use lineal_facts::{Digest, Predicate, Statement, Timestamp};
use lineal_proof::{Leaf, LogSigner, Signer, envelope};
use lineal_store::ledger::{LedgerEntry, Writer};
use lineal_store::{FileSigner, Keys, Ledger};

use crate::project::Project;

pub(crate) struct Thief {
    pub(crate) builder: FileSigner,
    pub(crate) approver: FileSigner,
    pub(crate) log: LogSigner,
}

impl Thief {
    /// Has the keys of this moment.
    pub(crate) fn of(project: &Project) -> Self {
        let keys = keys(project);
        Self {
            builder: keys.load("lineal", KeyRole::Builder).unwrap(),
            approver: keys.load("ana", KeyRole::Approver).unwrap(),
            log: log_key(&keys),
        }
    }

    /// Appends past all checks of the program, with a checkpoint by `log`; yields the statement's digest.
    pub(crate) fn append(
        project: &Project,
        statement: &Statement,
        signer: &FileSigner,
        log: &LogSigner,
    ) -> Digest {
        let pae = envelope::pae(PAYLOAD_TYPE, &statement.to_bytes().unwrap());
        let signature = signer.sign(&pae).unwrap();
        let leaf = Leaf { data: Digest::of(&pae), signature, key: signer.public_key().clone() };
        let data = leaf.data;
        let entry = LedgerEntry { leaf, statement: pae };
        Writer::default().append(&ledger(project), &|value| log.sign(value), &[entry]).unwrap();
        data
    }
}

pub(crate) fn keys(project: &Project) -> Keys {
    Keys::new(&project.path(".lineal/keys")).with_identity(project.identity())
}

pub(crate) fn ledger(project: &Project) -> Ledger {
    Ledger::new(&project.path(".lineal"), keys(project).log_keys().unwrap())
}

/// The key that signs checkpoints now.
pub(crate) fn log_key(keys: &Keys) -> LogSigner {
    let path = keys.folder().join("ledger.seed.age");
    let text = secret(keys, &path);
    let (origin, seed) = text.trim_end().split_once('\n').unwrap();
    let seed: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&seed[2 * at..2 * at + 2], 16).unwrap()).collect();
    LogSigner::from_seed(origin, seed[..].try_into().unwrap()).unwrap()
}

/// The content of an encrypted key file.
pub(crate) fn secret(keys: &Keys, path: &std::path::Path) -> String {
    let identity = lineal_store::keys::Identity::load(keys.identity_path().unwrap()).unwrap();
    let plain = identity.decrypt(&std::fs::read(path).unwrap(), path).unwrap();
    String::from_utf8(plain.to_vec()).unwrap()
}

pub(crate) fn incident(text: &str) -> Statement {
    Statement {
        subject: vec![Subject::new("x", Digest::of(text.as_bytes()))],
        predicate: Predicate::Incident(Incident {
            code: "forged".to_owned(),
            message: text.to_owned(),
            found_at: Timestamp::from_unix_ms(0),
        }),
    }
}

/// The snapshot `d@t`.
pub(crate) fn snapshot(digest: Digest) -> Statement {
    Statement {
        subject: vec![Subject::new("d@t", digest)],
        predicate: Predicate::Dataset(DatasetSnapshot {
            dataset: "d".parse().unwrap(),
            tag: Some("t".parse().unwrap()),
            files: "1".to_owned(),
            size_bytes: "1".to_owned(),
            rows: "0".to_owned(),
            schema: digest,
            profile: digest,
            created_at: Timestamp::from_unix_ms(0),
        }),
    }
}

pub(crate) fn approval(version: &str, digest: Digest) -> Statement {
    Statement {
        subject: vec![Subject::new(version, digest)],
        predicate: Predicate::Approval(Approval {
            version: version.parse().unwrap(),
            environment: "production".parse().unwrap(),
            reason: "forged".to_owned(),
            approver: "ana".to_owned(),
            approved_at: Timestamp::from_unix_ms(0),
        }),
    }
}
