//! The JSON of a bundle. Field names and forms are those of proto3 JSON: 64-bit numbers as strings, bytes in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lineal_facts::Digest;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{HINT_LIMIT_BYTES, LogEntry, MEDIA_TYPE, NOTE_LIMIT_BYTES, PATH_LIMIT};
use crate::envelope::{self, Envelope};
use crate::leaf;
use crate::tile::ENTRY_LIMIT_BYTES;
use crate::tree::Hash;
use crate::verify::VerifyError;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Bundle {
    media_type: String,
    verification_material: Material,
    dsse_envelope: envelope::Wire,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Material {
    public_key: KeyHint,
    #[serde(default)]
    tlog_entries: Vec<Entry>,
    /// Other tools may write it; nothing here relies on it.
    #[serde(default, skip_serializing, rename = "timestampVerificationData")]
    _timestamps: Option<IgnoredAny>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyHint {
    #[serde(default)]
    hint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    log_index: Number,
    log_id: LogId,
    kind_version: KindVersion,
    #[serde(default)]
    integrated_time: Number,
    inclusion_proof: Proof,
    canonicalized_body: Base64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LogId {
    key_id: Base64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KindVersion {
    kind: String,
    version: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Proof {
    /// Proto3 JSON leaves out zero.
    #[serde(default)]
    log_index: Number,
    root_hash: Base64,
    tree_size: Number,
    #[serde(default)]
    hashes: Vec<Base64>,
    checkpoint: Note,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    envelope: String,
}

/// A 64-bit number, written as a string without leading zeros.
#[derive(Clone, Copy, Default, PartialEq)]
struct Number(u64);

/// Bytes, written in standard base64 with padding.
struct Base64(Vec<u8>);

impl From<&super::Bundle> for Bundle {
    fn from(bundle: &super::Bundle) -> Self {
        Self {
            media_type: MEDIA_TYPE.to_owned(),
            verification_material: Material {
                public_key: KeyHint { hint: bundle.hint.clone() },
                tlog_entries: bundle.entry.iter().map(Entry::from).collect(),
                _timestamps: None,
            },
            dsse_envelope: bundle.envelope.to_wire(),
        }
    }
}

impl From<&LogEntry> for Entry {
    fn from(entry: &LogEntry) -> Self {
        Self {
            log_index: Number(entry.index),
            log_id: LogId { key_id: Base64(entry.log_id.as_bytes().to_vec()) },
            kind_version: KindVersion { kind: leaf::KIND.to_owned(), version: leaf::VERSION.to_owned() },
            integrated_time: Number(0),
            inclusion_proof: Proof {
                log_index: Number(entry.index),
                root_hash: Base64(entry.root.as_bytes().to_vec()),
                tree_size: Number(entry.size),
                hashes: entry.path.iter().map(|hash| Base64(hash.as_bytes().to_vec())).collect(),
                checkpoint: Note { envelope: entry.checkpoint.clone() },
            },
            canonicalized_body: Base64(entry.leaf.clone()),
        }
    }
}

impl TryFrom<Bundle> for super::Bundle {
    type Error = VerifyError;

    fn try_from(wire: Bundle) -> Result<Self, VerifyError> {
        let hint = wire.verification_material.public_key.hint;
        if wire.media_type != MEDIA_TYPE {
            return Err(malformed("another media type than that of a v0.3 bundle"));
        }
        if hint.len() > HINT_LIMIT_BYTES {
            return Err(malformed("the key hint is too long"));
        }
        let mut entries = wire.verification_material.tlog_entries.into_iter();
        let entry = entries.next().map(LogEntry::try_from).transpose()?;
        if entries.next().is_some() {
            return Err(malformed("more than one log entry"));
        }
        Ok(Self { envelope: Envelope::from_wire(wire.dsse_envelope)?, hint, entry })
    }
}

impl TryFrom<Entry> for LogEntry {
    type Error = VerifyError;

    fn try_from(wire: Entry) -> Result<Self, VerifyError> {
        let proof = wire.inclusion_proof;
        if (wire.kind_version.kind.as_str(), wire.kind_version.version.as_str())
            != (leaf::KIND, leaf::VERSION)
        {
            return Err(malformed("the log entry is not a hashedrekord 0.0.2"));
        }
        if wire.integrated_time != Number(0) {
            return Err(malformed("the log entry claims a time, which this kind of log does not attest"));
        }
        if proof.log_index != wire.log_index {
            return Err(VerifyError::Tampered("the log entry has two positions".to_owned()));
        }
        if proof.hashes.len() > PATH_LIMIT {
            return Err(malformed("the inclusion proof is too long"));
        }
        if proof.checkpoint.envelope.len() > NOTE_LIMIT_BYTES {
            return Err(malformed("the checkpoint is too large"));
        }
        if wire.canonicalized_body.0.len() > ENTRY_LIMIT_BYTES {
            return Err(malformed("the log entry is too large"));
        }
        Ok(Self {
            index: wire.log_index.0,
            log_id: wire.log_id.key_id.into_hash()?,
            leaf: wire.canonicalized_body.0,
            path: proof.hashes.into_iter().map(Base64::into_hash).collect::<Result<_, _>>()?,
            size: proof.tree_size.0,
            root: proof.root_hash.into_hash()?,
            checkpoint: proof.checkpoint.envelope,
        })
    }
}

impl Base64 {
    fn into_hash(self) -> Result<Hash, VerifyError> {
        let bytes = self.0.try_into().map_err(|_| malformed("a hash that is not 32 bytes"))?;
        Ok(Digest::from_bytes(bytes))
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = text.parse().ok().filter(|number: &u64| number.to_string() == text);
        number.map(Self).ok_or_else(|| serde::de::Error::custom("not a 64-bit number as a string"))
    }
}

fn malformed(reason: &str) -> VerifyError {
    VerifyError::Malformed(reason.to_owned())
}
