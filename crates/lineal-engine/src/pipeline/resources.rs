//! What a step needs of the node that it runs on, in the words of Kubernetes.
//!
//! It is no part of a step's cache key: where a step runs does not change what determines its result. On one's own
//! machine it is not looked at.

use super::text::texts;

/// Longest name of a resource or label, with its prefix.
const NAME_LIMIT_BYTES: usize = 127;
/// Longest part of a label's name, and longest value.
const LABEL_LIMIT_BYTES: usize = 63;
const QUANTITY_LIMIT_BYTES: usize = 20;
/// Suffixes of quantities: powers of ten and of two.
const UNITS: [&str; 10] = ["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"];
/// What nodes of themselves have.
const NATIVE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

texts! {
    /// The name of something that nodes have an amount of.
    ResourceName, "a resource", is_resource,
        "write `cpu`, `memory`, `ephemeral-storage` or an extended resource, as `example.com/gpu`";
    /// An amount: `500m`, `2`, `4Gi`.
    Quantity, "an amount", is_quantity, "write a number above 0 and a unit or none, as `500m`, `2` or `4Gi`";
    /// The name of a label of nodes.
    LabelName, "the name of a label", is_label, "write it as `kubectl get nodes --show-labels` does";
    /// The value of a label of nodes.
    LabelValue, "the value of a label", is_label_value, "write it as `kubectl get nodes --show-labels` does";
}

fn is_resource(text: &str) -> bool {
    NATIVE.contains(&text) || (text.contains('/') && is_label(text))
}

fn is_quantity(text: &str) -> bool {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    text.len() <= QUANTITY_LIMIT_BYTES
        && UNITS.contains(&unit)
        && (1..=12).contains(&whole.len())
        && (1..=3).contains(&fraction.len())
        && [whole, fraction].iter().all(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
        && number.bytes().any(|b| (b'1'..=b'9').contains(&b))
}

fn is_label(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').unwrap_or(("a", text));
    let is_prefix = prefix.split('.').all(|part| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    });
    text.len() <= NAME_LIMIT_BYTES && is_prefix && is_label_value(name)
}

fn is_label_value(text: &str) -> bool {
    let is_end = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    (1..=LABEL_LIMIT_BYTES).contains(&bytes.len())
        && is_end(bytes.first())
        && is_end(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}
