//! The keys to a bucket.

use std::fmt;

use zeroize::Zeroizing;

/// An access key, as S3 names it. What it prints has no secret.
#[derive(Clone)]
pub struct BucketCredentials {
    pub(super) id: String,
    pub(super) secret: Zeroizing<String>,
    pub(super) token: Option<Zeroizing<String>>,
}

/// Why there are no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {0} is not set; it has to hold a key to the bucket")]
pub struct CredentialsError(&'static str);

impl BucketCredentials {
    /// An access key and its secret.
    pub fn new(id: &str, secret: &str) -> Self {
        Self { id: id.to_owned(), secret: Zeroizing::new(secret.to_owned()), token: None }
    }

    /// Those in `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, for keys that expire, `AWS_SESSION_TOKEN`.
    pub fn from_environment() -> Result<Self, CredentialsError> {
        let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let needed = |name| read(name).ok_or(CredentialsError(name));
        let secret = needed("AWS_SECRET_ACCESS_KEY").map(Zeroizing::new);
        let id = needed("AWS_ACCESS_KEY_ID")?;
        Ok(Self { id, secret: secret?, token: read("AWS_SESSION_TOKEN").map(Zeroizing::new) })
    }
}

impl fmt::Debug for BucketCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketCredentials({})", self.id)
    }
}
