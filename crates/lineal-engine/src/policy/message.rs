//! Messages of rules, with two placeholders.

/// Longest message in bytes.
const MESSAGE_LIMIT_BYTES: usize = 1024;

/// Why a text is not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Empty or beyond the limit.
    #[error("{0} bytes; write 1 to {MESSAGE_LIMIT_BYTES} that say what is missing and what to do")]
    Length(usize),
    /// Another placeholder.
    #[error("`{{{{{0}}}}}` is not a placeholder; use {{{{subject}}}} or {{{{environment}}}}")]
    Placeholder(String),
    /// `{{` without `}}`.
    #[error("`{{{{` is not closed by `}}}}`")]
    Open,
}

/// A checked message.
#[derive(Debug)]
pub(super) struct Message(Vec<Part>);

#[derive(Debug)]
enum Part {
    Text(String),
    Subject,
    Environment,
}

impl Message {
    pub(super) fn parse(text: &str) -> Result<Self, MessageError> {
        if text.trim().is_empty() || text.len() > MESSAGE_LIMIT_BYTES {
            return Err(MessageError::Length(text.len()));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").ok_or(MessageError::Open)?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(match name.trim() {
                "subject" => Part::Subject,
                "environment" => Part::Environment,
                other => return Err(MessageError::Placeholder(other.chars().take(40).collect())),
            });
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    pub(super) fn fill(&self, subject: &str, environment: &str) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Subject => subject.to_owned(),
            Part::Environment => environment.to_owned(),
        };
        self.0.iter().map(part).collect()
    }
}
