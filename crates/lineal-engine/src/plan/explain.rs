//! Which fields of a key changed, in people's words.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::key::{KeyDocument, KeyInput, KeyOutput};

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// `params.trees`, `inputs.train`, `code`, `environment`, `seed`...
    pub field: String,
    /// The previous value; none if the field was absent.
    pub before: Option<String>,
    /// The current value; none if the field is absent.
    pub after: Option<String>,
}

/// `params.trees: 120 -> 200`; digests are shortened.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<String>| value.as_deref().map_or_else(|| "none".to_owned(), shortened);
        write!(f, "{}: {} -> {}", self.field, show(&self.before), show(&self.after))
    }
}

/// Exactly the fields that differ. Empty if and only if the documents are equal.
pub fn explain(previous: &KeyDocument, current: &KeyDocument) -> Vec<Difference> {
    // Naming every field here makes a new one a compile error until it is explained.
    let KeyDocument {
        version,
        run,
        code,
        inputs,
        parameters,
        environment,
        base,
        cpu,
        determinism,
        seed,
        outputs,
    } = previous;
    let mut found = Found(Vec::new());
    found.scalar("key version", version, &current.version);
    found.scalar("command", &command(run), &command(&current.run));
    found.scalar("code", &code.to_string(), &current.code.to_string());
    found.map("inputs", inputs, &current.inputs, KeyInput::to_string);
    found.map("params", parameters, &current.parameters, String::clone);
    let digest = |environment: &Option<lineal_facts::Digest>| environment.map(|digest| digest.to_string());
    found.optional("environment", digest(environment), digest(&current.environment));
    found.scalar("base system", base, &current.base);
    found.scalar("cpu class", &cpu.class, &current.cpu.class);
    found.scalar("cpu threads", &cpu.threads, &current.cpu.threads);
    found.scalar("determinism", determinism.as_str(), current.determinism.as_str());
    found.scalar("seed", seed, &current.seed);
    found.map("outputs", outputs, &current.outputs, KeyOutput::to_string);
    found.0
}

struct Found(Vec<Difference>);

impl Found {
    fn scalar(&mut self, field: &str, before: &str, after: &str) {
        self.optional(field, Some(before.to_owned()), Some(after.to_owned()));
    }

    fn optional(&mut self, field: &str, before: Option<String>, after: Option<String>) {
        if before != after {
            self.0.push(Difference { field: field.to_owned(), before, after });
        }
    }

    fn map<K: Ord + fmt::Display, V>(
        &mut self,
        field: &str,
        before: &BTreeMap<K, V>,
        after: &BTreeMap<K, V>,
        show: impl Fn(&V) -> String,
    ) {
        let names: BTreeSet<&K> = before.keys().chain(after.keys()).collect();
        for name in names {
            self.optional(
                &format!("{field}.{name}"),
                before.get(name).map(&show),
                after.get(name).map(&show),
            );
        }
    }
}

impl fmt::Display for KeyInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            lineal_facts::predicate::ArtifactKind::File => write!(f, "{}", self.digest),
            lineal_facts::predicate::ArtifactKind::Directory => write!(f, "{} (directory)", self.digest),
        }
    }
}

impl fmt::Display for KeyOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            crate::pipeline::OutputKind::Artifact => f.write_str(&self.path),
            crate::pipeline::OutputKind::Metrics => write!(f, "{} (metrics)", self.path),
        }
    }
}

/// A command such that two different ones are never written the same.
fn command(run: &[String]) -> String {
    let plain = |argument: &str| {
        !argument.is_empty()
            && argument.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./=:,+@%".contains(&b))
    };
    let quote = |a: &String| if plain(a) { a.clone() } else { format!("{a:?}") };
    run.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// Each digest in `text` with 12 hex digits.
fn shortened(text: &str) -> String {
    const SHOWN: usize = "sha256:".len() + 12;
    const WHOLE: usize = "sha256:".len() + 64;
    let word = |word: &str| match word.parse::<lineal_facts::Digest>() {
        Ok(_) if word.len() == WHOLE => format!("{}..", &word[..SHOWN]),
        _ => word.to_owned(),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}
