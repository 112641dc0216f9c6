//! Signed notes: a text and signature lines (<https://c2sp.org/signed-note>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{CheckpointError, NAME_LIMIT_BYTES};

/// Largest note in bytes.
pub const NOTE_LIMIT_BYTES: usize = 64 << 10;
/// Most signatures on a note; the format demands at least 16. A log, as many witnesses as a policy may name, and room.
pub const SIGNATURES_LIMIT: usize = 64;
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
            note.push_str(&signature.to_line());
            note.push('\n');
        }
        note.into_bytes()
    }
}

impl NoteSignature {
    /// The line without its newline.
    pub fn to_line(&self) -> String {
        let blob = [&self.key_id, &self.bytes[..]].concat();
        format!("{LINE_PREFIX}{} {}", self.name, STANDARD.encode(blob))
    }

    /// Reads a line without its newline; accepts only what [`NoteSignature::to_line`] writes.
    pub fn parse(line: &str) -> Result<Self, CheckpointError> {
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
pub(crate) fn check_name(name: &str) -> Result<(), CheckpointError> {
    let forbidden = |c: char| c.is_whitespace() || c == '+' || (c as u32) < 0x20;
    if name.is_empty() || name.len() > NAME_LIMIT_BYTES || name.contains(forbidden) {
        return Err(CheckpointError::Key("a name is 1 to 255 bytes without spaces and `+`".to_owned()));
    }
    Ok(())
}
