//! Signed notes: a text and signature lines (<https://c2sp.org/signed-note>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{CheckpointError, NAME_LIMIT_BYTES};

/// Largest note in bytes.
pub const NOTE_LIMIT_BYTES: usize = 64 << 10;
/// Most signatures on a note; the format demands at least 16.
pub const SIGNATURES_LIMIT: usize = 32;
/// What a signature line begins with: an em dash and a space.
const LINE_PREFIX: &str = "\u{2014} ";

/// A text and the signatures on it, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The signed text with its final newline.
    pub text: String,
    /// At least one.
    pub signatures: Vec<NoteSignature>,
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// The key's name.
    pub name: String,
    /// The key's id, which with the name selects the key and its type.
    pub key_id: [u8; 4],
    /// The signature, of whatever type; never empty.
    pub bytes: Vec<u8>,
}

impl Note {
    /// Reads a note; accepts only what [`Note::to_bytes`] writes.
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let error = |reason: &str| CheckpointError::Format(reason.to_owned());
        if bytes.len() > NOTE_LIMIT_BYTES {
            return Err(CheckpointError::Format(format!(
                "{} bytes; the limit is {NOTE_LIMIT_BYTES}",
                bytes.len()
            )));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| error("not UTF-8"))?;
        if note.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return Err(error("a control character"));
        }
        // The text may hold empty lines; the last one separates it from the signatures.
        let separator = note.rfind("\n\n").ok_or_else(|| error("no signatures"))?;
        let text = note[..=separator].to_owned();
        let lines = note[separator + 2..].strip_suffix('\n').ok_or_else(|| error("no newline at the end"))?;
        if lines.split('\n').count() > SIGNATURES_LIMIT {
            return Err(CheckpointError::Format(format!("more than {SIGNATURES_LIMIT} signatures")));
        }
        let signatures = lines.split('\n').map(NoteSignature::parse).collect::<Result<_, _>>()?;
        Ok(Self { text, signatures })
    }

    /// The note's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut note = format!("{}\n", self.text);
        for signature in &self.signatures {
            let blob = [&signature.key_id, &signature.bytes[..]].concat();
            note.push_str(&format!("{LINE_PREFIX}{} {}\n", signature.name, STANDARD.encode(blob)));
        }
        note.into_bytes()
    }
}

impl NoteSignature {
    fn parse(line: &str) -> Result<Self, CheckpointError> {
        let error = |reason: &str| CheckpointError::Format(format!("signature line: {reason}"));
        let rest = line.strip_prefix(LINE_PREFIX).ok_or_else(|| error("no em dash and space"))?;
        let (name, blob) = rest.split_once(' ').ok_or_else(|| error("no name"))?;
        check_name(name).map_err(|_| error("a name that no key may have"))?;
        let blob = STANDARD.decode(blob).map_err(|_| error("not base64"))?;
        match blob.split_first_chunk::<4>() {
            Some((key_id, bytes)) if !bytes.is_empty() => {
                Ok(Self { name: name.to_owned(), key_id: *key_id, bytes: bytes.to_vec() })
            }
            _ => Err(error("too short")),
        }
    }
}

/// Refuses names that signed-note forbids.
pub(super) fn check_name(name: &str) -> Result<(), CheckpointError> {
    let forbidden = |c: char| c.is_whitespace() || c == '+' || (c as u32) < 0x20;
    if name.is_empty() || name.len() > NAME_LIMIT_BYTES || name.contains(forbidden) {
        return Err(CheckpointError::Key("a name is 1 to 255 bytes without spaces and `+`".to_owned()));
    }
    Ok(())
}
