//! What can be typed about the ledger and keys.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Show entries, newest first.
    Show,
    /// List the keys that count and those that did.
    Keys {
        #[command(subcommand)]
        command: Option<KeysCommand>,
    },
    /// Replace a key by a new one and revoke it, or replace the key that signs checkpoints.
    #[command(
        after_help = "Examples:\n  lineal ledger rotate lineal builder\n  lineal ledger rotate ana approver\n  lineal ledger rotate --log"
    )]
    Rotate {
        /// Who holds the key; `lineal` holds those of the system.
        #[arg(required_unless_present = "log")]
        holder: Option<String>,
        /// What the key signs.
        #[arg(required_unless_present = "log")]
        role: Option<Role>,
        /// The key that signs checkpoints.
        #[arg(long, conflicts_with_all = ["holder", "role", "signed_by"])]
        log: bool,
        /// The present builder key, if it is in a token that `.lineal/config.toml` no longer names.
        #[arg(long, value_name = "PKCS11_URI")]
        signed_by: Option<String>,
    },
    /// End a key: what it signs from here on does not count.
    #[command(
        after_help = "Examples:\n  lineal ledger revoke ana approver --reason \"left\"\n  lineal ledger revoke sha256:... --reason \"stolen\""
    )]
    Revoke {
        /// The key's id, or who holds it.
        key: String,
        /// With a holder: what the key signs.
        role: Option<Role>,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Print a statement's proof of inclusion, by default in a Sigstore bundle with the statement.
    Proof {
        /// The statement's digest.
        statement: String,
        /// The file's form.
        #[arg(long, value_enum, default_value_t = ProofFormat::Bundle)]
        format: ProofFormat,
    },
    /// Ask the witnesses of `.lineal/witnesses.policy` to cosign the ledger as it is, and publish what they signed.
    Witness,
    /// Check everything that is stored: log, statements, signatures, blobs, index. Changes nothing.
    #[command(
        after_help = "Names each difference, its file, and what rests on it. Exit code 5: something\nwas changed; 1: something is missing or not trusted.\n\nExamples:\n  lineal ledger fsck\n  lineal ledger fsck --json"
    )]
    Fsck,
    /// Write an audit folder: log, keys and statements with proofs, to be checked offline and without Lineal.
    #[command(
        after_help = "Examples:\n  lineal ledger export audit\n  lineal ledger export audit --subject flights-delay/2\n`README.txt` in the folder says how to check it."
    )]
    Export {
        /// The folder, which must be new or empty.
        folder: PathBuf,
        /// Only the statements behind this `model/version`, run, `dataset@tag` or statement, and those about keys. May be
        /// repeated.
        #[arg(long = "subject", value_name = "SUBJECT")]
        subjects: Vec<String>,
    },
    /// Make the index again from the ledger.
    Rebuild,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Encrypt key files that an earlier build left unencrypted.
    Encrypt,
}

/// The roles of keys that people name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Statements of the system.
    Builder,
    /// Approvals.
    Approver,
    /// Route tables.
    Router,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProofFormat {
    /// A Sigstore bundle v0.3.
    Bundle,
    /// c2sp.org/tlog-proof, for verifiers that have the entry.
    TlogProof,
}
