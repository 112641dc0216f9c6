//! Why the exchange gave no answer that can be used.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use lineal_blob::files::FileError;

use crate::result::Refusal;
use crate::wire::WireError;

/// Longest part of a server's own words that is shown.
const SHOWN_CHARS: usize = 1000;

/// Why the exchange gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// What we were told about it cannot be used.
    #[error("the exchange cannot be asked: {0}")]
    SetUp(String),
    /// It was away for too long; another pod may find it.
    #[error("`{url}` could not be reached for {} s: {reason}", patience.as_secs())]
    Unreachable {
        /// What was asked for.
        url: String,
        /// How long it was tried.
        patience: Duration,
        /// The last reason.
        reason: String,
    },
    /// Somebody else answers there.
    #[error("`{address}` shows another certificate than the one that this pod was told to trust")]
    Untrusted {
        /// Where.
        address: String,
    },
    /// It said no.
    #[error("the exchange refused `{name}` with status {status}{message}")]
    Refused {
        /// What was asked for.
        name: String,
        /// The HTTP status.
        status: u16,
        /// Its own words, cut, after `: `; empty if it gave none.
        message: String,
    },
    /// It said something that it must not say.
    #[error("the exchange answered with {0}")]
    Answer(String),
    /// One of our messages or of its messages is none.
    #[error(transparent)]
    Message(#[from] WireError),
    /// The token cannot be sent.
    #[error("the token in `{}` cannot be used: {reason}", path.display())]
    Token {
        /// Its file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file on this side.
    #[error(transparent)]
    File(#[from] FileError),
    /// Somebody asked this process to end.
    #[error("stopped by a signal")]
    Stopped,
}

/// What became of one attempt.
pub(super) enum Trouble {
    /// It may be better soon.
    Passing {
        reason: String,
        /// Whether something was sent or received meanwhile.
        moved: bool,
    },
    /// It stays.
    Final(ExchangeError),
}

impl ExchangeError {
    /// As the failure of an operation on a blob that is elsewhere.
    pub(super) fn on(self, operation: &'static str, path: PathBuf) -> FileError {
        match self {
            Self::File(error) => error,
            other => FileError { operation, path, source: io::Error::other(other) },
        }
    }

    /// The exchange's failure that `error` tells of, if it is one.
    pub fn within(error: FileError) -> Result<Self, FileError> {
        let FileError { operation, path, source } = error;
        source.downcast::<Self>().map_err(|source| FileError { operation, path, source })
    }
}

impl Trouble {
    pub(super) fn passing(reason: impl Into<String>) -> Self {
        Self::Passing { reason: reason.into(), moved: false }
    }

    pub(super) fn moved(self, moved: bool) -> Self {
        match self {
            Self::Passing { reason, .. } => Self::Passing { reason, moved },
            Self::Final(error) => Self::Final(error),
        }
    }
}

impl From<FileError> for Trouble {
    fn from(error: FileError) -> Self {
        Self::Final(error.into())
    }
}

/// Whether a connection failed because of the server's certificate. That does not get better.
pub(super) fn is_untrusted(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        // The source of an IO error is that of the error in it, not this error itself.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

/// A server's own words: `: CODE: MESSAGE`, or nothing.
pub(super) fn told(body: &[u8]) -> String {
    let Ok(Refusal { code, message }) = serde_json::from_slice(body) else { return String::new() };
    let text = format!(": {code}: {message}");
    text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS).collect()
}
