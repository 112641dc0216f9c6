//! The one table of everything that can go wrong for a user: code, exit code, HTTP status.

use std::error::Error;
use std::fmt;

use lineal_blob::BlobError;
use lineal_blob::files::FileError;
use lineal_blob::tree::TreeError;
use lineal_engine::gate::PathError;
use lineal_engine::pipeline::{OverrideError, PipelineError};
use lineal_facts::StatementError;
pub use lineal_facts::error::chain;
use lineal_facts::name::NameError;
use lineal_proof::checkpoint::CheckpointError;
use lineal_proof::keyring::KeyringError;
use lineal_sandbox::SandboxError;
use lineal_step::OutputError;
use lineal_store::index::IndexError;
use lineal_store::journal::JournalError;
use lineal_store::{KeyError, LedgerError, StoreError, WitnessMemoryError};
use serde::Serialize;

/// What went wrong, where and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What kind.
    pub code: Code,
    /// A sentence for people.
    pub message: String,
}

macro_rules! codes {
    ($(#[doc = $doc:literal] $variant:ident, $code:literal, $exit:literal, $status:literal;)*) => {
        /// Kinds of failures. The words are stable; each has a section in docs/errors.md.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $doc] $variant,)*
        }

        impl Code {
            /// Every code, in table order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The stable word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),* }
            }

            /// What it means, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $doc),* }.trim()
            }

            /// Exit code of the process: 1 the answer is no, 2 wrong use, 3 input or environment, 4 internal,
            /// 5 tampering found.
            pub const fn exit(self) -> u8 {
                match self { $(Self::$variant => $exit),* }
            }

            /// HTTP status of the API.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status),* }
            }
        }
    };
}

codes! {
    /// A gate, step or check gave a negative answer.
    Failed, "failed", 1, 409;
    /// A policy refused; the message lists what is missing.
    Refused, "refused", 1, 403;
    /// A chain of evidence has a gap.
    NotVerified, "not-verified", 1, 409;
    /// The record of a run, a rollout or the keys has a gap, or a statement is out of its place.
    Incomplete, "incomplete", 1, 409;
    /// The evidence is older than the bound that was asked for.
    Stale, "stale", 1, 409;
    /// A key that the ledger's keyring does not admit signed it.
    UntrustedKey, "untrusted-key", 1, 403;
    /// A re-execution gave other bytes.
    NotReproduced, "not-reproduced", 1, 409;
    /// A rollout cannot do that in its present state.
    RolloutState, "rollout-state", 1, 409;
    /// The command or request is wrong.
    Usage, "usage", 2, 400;
    /// A name does not follow the rules.
    Name, "name-invalid", 2, 400;
    /// No project in this folder.
    ProjectAbsent, "project-absent", 3, 404;
    /// There is a project already.
    ProjectPresent, "project-present", 3, 409;
    /// `config.toml` cannot be read.
    Config, "config-invalid", 3, 400;
    /// The Kubernetes API cannot be reached, or refused what the operator needs.
    Cluster, "cluster", 3, 503;
    /// The pipeline file is wrong.
    Pipeline, "pipeline-invalid", 3, 400;
    /// The policy file is wrong.
    Policy, "policy-invalid", 3, 400;
    /// A contract file is wrong.
    Contract, "contract-invalid", 3, 400;
    /// Something that was named is not in the record.
    NotFound, "not-found", 3, 404;
    /// A tag or number is taken by something else.
    Taken, "taken", 3, 409;
    /// A directory cannot be frozen.
    Data, "data-unreadable", 3, 400;
    /// The Python environment or the image is missing, or is not the recorded one.
    Environment, "environment", 3, 409;
    /// An image cannot be read, breaks the rules of its format, is damaged or too large.
    Image, "image-invalid", 3, 400;
    /// A step failed, crashed or was stopped.
    Step, "step-failed", 1, 409;
    /// A step took longer than its timeout.
    StepTimeout, "step-timeout", 1, 409;
    /// A step did not write an output that it declares.
    StepOutput, "step-output", 1, 409;
    /// The sandbox cannot be set up on this machine.
    Sandbox, "sandbox", 3, 500;
    /// A model server did not become ready or died.
    ModelServer, "model-server", 3, 502;
    /// A signature file cannot be read, or breaks the rules of its format.
    Signature, "signature-invalid", 3, 400;
    /// A key is missing, exposed or does not count.
    Key, "key", 3, 403;
    /// The disk or another file operation failed.
    File, "file", 3, 500;
    /// Another process of the same role is running.
    Running, "already-running", 3, 409;
    /// An address is in use or may not be bound.
    Address, "address", 3, 409;
    /// The database of the index cannot be reached or does not let us in.
    Database, "database-unreachable", 3, 502;
    /// The bucket cannot be reached, does not let us in or refuses.
    Storage, "storage-unreachable", 3, 502;
    /// Other machines appended to the ledger first, again and again.
    Overtaken, "overtaken", 3, 409;
    /// The server of the project cannot be reached.
    Server, "server-unreachable", 3, 502;
    /// A bug or a broken machine.
    Internal, "internal", 4, 500;
    /// Bytes are not those that were recorded.
    Tampered, "tampered", 5, 409;
    /// Witnesses saw a larger ledger than the one that is here: an old copy was restored.
    RolledBack, "rolled-back", 5, 409;
}

impl Failure {
    /// A failure of this kind.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A failure that tells the whole chain of causes once.
    pub fn caused(code: Code, error: &dyn Error) -> Self {
        Self { code, message: chain(error) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

macro_rules! from {
    ($($error:ty => |$e:ident| $code:expr;)*) => {$(
        impl From<$error> for Failure {
            fn from($e: $error) -> Self {
                Self::caused($code, &$e)
            }
        }
    )*};
}

from! {
    NameError => |e| Code::Name;
    PathError => |e| Code::Pipeline;
    PipelineError => |e| Code::Pipeline;
    OverrideError => |e| Code::Usage;
    FileError => |e| file_code(&e);
    BlobError => |e| blob_code(&e);
    TreeError => |e| tree_code(&e);
    OutputError => |e| output_code(&e);
    LedgerError => |e| ledger_code(&e);
    IndexError => |e| index_code(&e);
    KeyError => |e| Code::Key;
    StoreError => |e| store_code(&e);
    SandboxError => |e| Code::Sandbox;
    StatementError => |e| Code::Tampered;
    WitnessMemoryError => |e| memory_code(&e);
}

fn memory_code(error: &WitnessMemoryError) -> Code {
    match error {
        WitnessMemoryError::Damaged { .. } => Code::Tampered,
        WitnessMemoryError::File(_) => Code::File,
    }
}

fn blob_code(error: &BlobError) -> Code {
    match error {
        BlobError::Missing(_) => Code::NotVerified,
        BlobError::Damaged { .. } | BlobError::Mismatch { .. } => Code::Tampered,
        BlobError::File(error) => file_code(error),
    }
}

/// A path that begins `s3:` is an object.
fn file_code(error: &FileError) -> Code {
    if error.path.starts_with("s3:") { Code::Storage } else { Code::File }
}

fn output_code(error: &OutputError) -> Code {
    match error {
        OutputError::Undeclared { .. } | OutputError::Missing { .. } | OutputError::Unfit { .. } => {
            Code::StepOutput
        }
        OutputError::Store(error) => tree_code(error),
    }
}

fn tree_code(error: &TreeError) -> Code {
    match error {
        TreeError::Name(_)
        | TreeError::Link(_)
        | TreeError::Special(_)
        | TreeError::Changed(_)
        | TreeError::Depth(_)
        | TreeError::Manifest(_)
        | TreeError::File(_) => Code::Data,
        TreeError::Blob(blob) => blob_code(blob),
    }
}

fn ledger_code(error: &LedgerError) -> Code {
    match error {
        LedgerError::Checkpoint { source, .. } => checkpoint_code(source),
        LedgerError::Missing(_) | LedgerError::StatementMissing { .. } => Code::NotVerified,
        LedgerError::Tile { .. }
        | LedgerError::Leaf { .. }
        | LedgerError::StatementDamaged { .. }
        | LedgerError::Contradiction(_) => Code::Tampered,
        LedgerError::Journal(error) => journal_code(error),
        LedgerError::Range { .. } | LedgerError::Proof(_) => Code::Internal,
        LedgerError::File(error) => file_code(error),
    }
}

fn journal_code(error: &JournalError) -> Code {
    match error {
        JournalError::Damaged { .. } => Code::Tampered,
        JournalError::Size(_) => Code::Internal,
        JournalError::Overtaken => Code::Overtaken,
        JournalError::File(error) => file_code(error),
    }
}

fn checkpoint_code(error: &CheckpointError) -> Code {
    match error {
        CheckpointError::Retired { .. } => Code::UntrustedKey,
        // In the project's own folder, a checkpoint without any known signature was changed or exchanged.
        CheckpointError::Unsigned(_)
        | CheckpointError::Format(_)
        | CheckpointError::Checkpoint(_)
        | CheckpointError::Key(_)
        | CheckpointError::Signature(_) => Code::Tampered,
    }
}

/// What a key statement that a reader must refuse means: somebody without the right signed, or the ledger was changed.
pub(crate) fn keyring_code(error: &KeyringError) -> Code {
    if error.is_about_the_signer() { Code::UntrustedKey } else { Code::Tampered }
}

fn index_code(error: &IndexError) -> Code {
    match error {
        IndexError::Server { .. } => Code::Database,
        IndexError::Database(_) if error.is_unreachable() => Code::Database,
        IndexError::Database(_) if error.is_of_the_disk() || error.is_damaged() => Code::File,
        IndexError::Database(_) | IndexError::Value { .. } => Code::Internal,
        IndexError::Ledger(ledger) => ledger_code(ledger),
        IndexError::Format { .. } => Code::Tampered,
        IndexError::Key { source, .. } => keyring_code(source),
        IndexError::File(_) | IndexError::Damaged(_) => Code::File,
    }
}

fn store_code(error: &StoreError) -> Code {
    match error {
        StoreError::Absent(_) => Code::ProjectAbsent,
        StoreError::UnknownStatement(_) => Code::NotFound,
        StoreError::Sequence(_) => Code::Incomplete,
        StoreError::Present(_) | StoreError::Occupied(_) => Code::ProjectPresent,
        StoreError::Overtaken(_) => Code::Overtaken,
        StoreError::Json(_) | StoreError::Statement(_) | StoreError::Interrupted => Code::Internal,
        StoreError::Sign(_) | StoreError::Key(_) | StoreError::Keyring(_) => Code::Key,
        StoreError::Group(inner) => store_code(inner),
        StoreError::Unindexed { source, .. } => store_code(source),
        StoreError::Blob(blob) => blob_code(blob),
        StoreError::Ledger(ledger) => ledger_code(ledger),
        StoreError::Index(index) => index_code(index),
        StoreError::File(error) => file_code(error),
    }
}
