//! Names that mean something within one pipeline file only.

use lineal_facts::name::NAME_LIMIT_BYTES;

use super::text::texts;

texts! {
    /// An output of a step; a file of that name is what the next step reads.
    OutputName, "a output name", is_local, "use lower-case letters, digits, `-` and `_`, start with a letter, at most 63";
    /// An input of a step.
    InputName, "a input name", is_local, "use lower-case letters, digits, `-` and `_`, start with a letter, at most 63";
    /// A dataset snapshot that the pipeline reads.
    DataName, "a data name", is_local, "use lower-case letters, digits, `-` and `_`, start with a letter, at most 63";
    /// A software environment that steps run in.
    EnvName, "a env name", is_local, "use lower-case letters, digits, `-` and `_`, start with a letter, at most 63";
    /// A parameter. `seed` and `determinism` are taken: they mean the whole pipeline on the command line.
    ParamName, "a param name", is_param,
        "use letters, digits, `-` and `_`, start with a letter, at most 63, and not `seed` or `determinism`";
}

fn is_local(text: &str) -> bool {
    fits(text)
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
}

fn is_param(text: &str) -> bool {
    fits(text)
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        && !matches!(text, "seed" | "determinism")
}

fn fits(text: &str) -> bool {
    (1..=NAME_LIMIT_BYTES).contains(&text.len())
}
