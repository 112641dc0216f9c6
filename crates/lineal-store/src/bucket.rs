//! The ledger's files and blobs in an S3-compatible bucket, as objects with the names of the files.
//!
//! * **Guarantee**: what is written is whole and durable when the server says so. There is nothing to sync and nothing
//!   is ever torn.
//! * **Needed of the server**: a read sees what was written before it, and conditional writes hold: `If-None-Match: *`
//!   lets one writer create a name, `If-Match` lets one replace a content.
//! * An answer may be lost. So after an error of a conditional write the object is read back: its bytes say who wrote
//!   it. If it is not there, the write may still arrive; then it is not known what became of it, and that is the error.
//!
//! Names are paths below `s3://BUCKET/PREFIX`, so that a message names the object.

mod blobs;
mod credentials;
mod disk;
#[cfg(test)]
pub(crate) mod faults;
mod location;
mod transport;

use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use lineal_facts::error::chain;
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path as Key;
use object_store::{
    BackoffConfig, Error, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload, RetryConfig, UpdateVersion,
};
use tokio::runtime::Runtime;

use lineal_blob::files::FileError;

pub use credentials::{BucketCredentials, CredentialsError};
pub use location::{BucketLocation, BucketLocationError};

/// Repetitions of a request that failed and may be repeated.
const REPETITIONS_LIMIT: usize = 5;
/// No repetition after this.
const REPETITION_TIMEOUT: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Rounds of reading an object and replacing what was read, while others replace it too.
const ROUNDS_LIMIT: usize = 16;
/// Threads that wait for answers; each request is one task, so that a few carry many.
const THREADS: usize = 2;
/// A file of certificates to trust, as other programs name it.
const AUTHORITIES: &str = "AWS_CA_BUNDLE";

/// Requests run here, so that whoever calls may block, inside a runtime of its own or not. It never ends: a runtime must
/// not be dropped by a task.
static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("lineal-bucket")
        .enable_all()
        .build()
});

/// A place in a bucket. Every call waits for the server.
#[derive(Clone)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    /// `s3://BUCKET/PREFIX`: what paths begin with.
    root: PathBuf,
    prefix: Key,
}

/// The content of an object, and what to name when it is replaced.
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    version: UpdateVersion,
}

impl Bucket {
    /// The bucket at `location`. Asks the server nothing yet.
    pub fn open(location: &BucketLocation, credentials: &BucketCredentials) -> Result<Self, FileError> {
        let authorities = std::env::var_os(AUTHORITIES).filter(|path| !path.is_empty()).map(PathBuf::from);
        let connector = transport::Connector::new(authorities.as_deref()).map_err(|source| FileError {
            operation: "read the certificates in",
            path: authorities.unwrap_or_default(),
            source,
        })?;
        let backoff = BackoffConfig { max_backoff: LONGEST_PAUSE, ..BackoffConfig::default() };
        let retry =
            RetryConfig { backoff, max_retries: REPETITIONS_LIMIT, retry_timeout: REPETITION_TIMEOUT };
        let mut builder = AmazonS3Builder::new()
            .with_http_connector(connector)
            .with_retry(retry)
            .with_bucket_name(location.bucket())
            .with_region(location.region())
            .with_allow_http(true)
            .with_disable_bulk_delete(true)
            .with_conditional_put(S3ConditionalPut::ETagMatch);
        if let Some(endpoint) = location.endpoint() {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        let root = PathBuf::from(location.to_string());
        builder = builder.with_access_key_id(&credentials.id).with_secret_access_key(&*credentials.secret);
        if let Some(token) = &credentials.token {
            builder = builder.with_token(&**token);
        }
        let store = builder.build().map_err(|e| error("open the bucket", &root, e))?;
        Ok(Self::over(Arc::new(store), root, location.prefix()))
    }

    /// The part `prefix` of `store`, whose paths begin with `root`.
    pub(crate) fn over(store: Arc<dyn ObjectStore>, root: PathBuf, prefix: &str) -> Self {
        Self { store, root, prefix: Key::from(prefix) }
    }

    /// `s3://BUCKET/PREFIX`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether no object is below the place. Fails if the server, the bucket or the key to it is not the right one: ask
    /// this first, because some servers answer everything as if nothing were there to a key that they do not know.
    pub fn is_empty(&self) -> Result<bool, FileError> {
        let (store, prefix) = (self.store.clone(), self.prefix.clone());
        let listed =
            self.wait("list", &self.root, async move { store.list_with_delimiter(Some(&prefix)).await })?;
        Ok(listed.objects.is_empty() && listed.common_prefixes.is_empty())
    }

    /// The object's content, of at most `limit_bytes`; `None` when there is no such object.
    pub(crate) fn get(&self, path: &Path, limit_bytes: u64) -> Result<Option<Content>, FileError> {
        let (store, key) = (self.store.clone(), self.key(path));
        let got = self.wait("read", path, async move {
            let found = match store.get(&key).await {
                Err(Error::NotFound { .. }) => return Ok(None),
                other => other?,
            };
            let size = found.meta.size;
            let version =
                UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
            if size > limit_bytes {
                return Ok(Some(Err(size)));
            }
            Ok(Some(Ok(Content { bytes: found.bytes().await?.into(), version })))
        })?;
        got.transpose().map_err(|size| too_large(path, size, limit_bytes))
    }

    /// The object's size in bytes; `None` when there is no such object.
    pub(crate) fn size_of(&self, path: &Path) -> Result<Option<u64>, FileError> {
        let (store, key) = (self.store.clone(), self.key(path));
        self.wait("read", path, async move {
            match store.head(&key).await {
                Err(Error::NotFound { .. }) => Ok(None),
                other => Ok(Some(other?.size)),
            }
        })
    }

    /// Writes an object that must not be there yet. `false`, and nothing is changed, if it is, with other bytes.
    ///
    /// On error it is not known whether it was written, or will be.
    pub(crate) fn create(&self, path: &Path, bytes: &[u8]) -> Result<bool, FileError> {
        let mut last = None;
        for _ in 0..ROUNDS_LIMIT {
            let refused = match self.put(path, bytes, PutMode::Create) {
                Ok(()) => return Ok(true),
                Err(refused) => refused,
            };
            // Also our own write is refused if it was repeated on the way.
            match self.get(path, bytes.len() as u64) {
                Ok(Some(found)) => return Ok(found.bytes == bytes),
                Err(error) if error.source.kind() == io::ErrorKind::FileTooLarge => return Ok(false),
                // Somebody else's write was under way and failed, or what they wrote was removed since.
                Ok(None) if is_refusal(&refused) => last = Some(refused),
                Ok(None) | Err(_) => return Err(refused),
            }
        }
        Err(last.unwrap_or_else(|| busy(path)))
    }

    /// Replaces the content `old` by `new`; an empty `old` is that there is no object. `false`, and nothing is changed,
    /// if there is something else.
    ///
    /// On error it is not known whether it was replaced, or will be.
    pub(crate) fn exchange(&self, path: &Path, old: &[u8], new: &[u8]) -> Result<bool, FileError> {
        let limit_bytes = old.len().max(new.len()) as u64;
        self.change(path, limit_bytes, &|found| match found {
            Some(found) if found == new => Change::Done,
            Some(found) if found != old => Change::Refused,
            None if !old.is_empty() => Change::Refused,
            Some(_) | None => Change::To(new.to_vec()),
        })
        .or_else(|error| match error.source.kind() {
            io::ErrorKind::FileTooLarge => Ok(false),
            _ => Err(error),
        })
    }

    /// Replaces the content by what follows from it, however often others replace it meanwhile. `false` if `next`
    /// refused.
    pub(crate) fn change(
        &self,
        path: &Path,
        limit_bytes: u64,
        next: &dyn Fn(Option<&[u8]>) -> Change,
    ) -> Result<bool, FileError> {
        let mut last = None;
        for _ in 0..ROUNDS_LIMIT {
            let found = self.get(path, limit_bytes)?;
            let new = match next(found.as_ref().map(|found| found.bytes.as_slice())) {
                Change::Done => return Ok(true),
                Change::Refused => return Ok(false),
                Change::To(new) => new,
            };
            let mode = found.map_or(PutMode::Create, |found| PutMode::Update(found.version));
            match self.put(path, &new, mode) {
                Ok(()) => return Ok(true),
                // Somebody was faster, or the answer was lost: look what is there.
                Err(error) if is_refusal(&error) => last = Some(error),
                Err(error) if last.as_ref().is_some_and(|last| !is_refusal(last)) => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| busy(path)))
    }

    /// Writes an object over whatever was there.
    pub(crate) fn overwrite(&self, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
        self.put(path, bytes, PutMode::Overwrite)
    }

    fn put(&self, path: &Path, bytes: &[u8], mode: PutMode) -> Result<(), FileError> {
        let (store, key) = (self.store.clone(), self.key(path));
        let payload = PutPayload::from(bytes.to_vec());
        self.wait("write", path, async move { store.put_opts(&key, payload, mode.into()).await })?;
        Ok(())
    }

    /// Runs a request and waits for its end.
    fn wait<T: Send + 'static>(
        &self,
        operation: &'static str,
        path: &Path,
        request: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T, FileError> {
        let failed = |source| FileError { operation, path: path.to_owned(), source };
        let runtime = RUNTIME.as_ref().map_err(|error| failed(error.kind().into()))?;
        let (answer, receive) = sync_channel(1);
        runtime.spawn(async move {
            // Nobody can have stopped waiting.
            let _ = answer.send(request.await);
        });
        match receive.recv() {
            Ok(answered) => answered.map_err(|e| error(operation, path, e)),
            Err(_) => Err(failed(io::Error::other("the request was abandoned"))),
        }
    }

    fn key(&self, path: &Path) -> Key {
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        let parts = below.components().filter_map(|part| part.as_os_str().to_str());
        parts.fold(self.prefix.clone(), |key, part| key.join(part))
    }
}

/// What becomes of an object that was read.
pub(crate) enum Change {
    /// It is as it should be.
    Done,
    /// It is not what was expected; it stays.
    Refused,
    /// These bytes.
    To(Vec<u8>),
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({})", self.root.display())
    }
}

fn is_refusal(error: &FileError) -> bool {
    matches!(error.source.kind(), io::ErrorKind::AlreadyExists)
}

fn error(operation: &'static str, path: &Path, source: Error) -> FileError {
    let kind = match &source {
        Error::NotFound { .. } => io::ErrorKind::NotFound,
        Error::AlreadyExists { .. } | Error::Precondition { .. } => io::ErrorKind::AlreadyExists,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => io::ErrorKind::PermissionDenied,
        _ => io::ErrorKind::Other,
    };
    FileError { operation, path: path.to_owned(), source: io::Error::new(kind, told(&source)) }
}

/// What went wrong; of a server's document only its code and its sentence, because some repeat the whole request.
fn told(error: &object_store::Error) -> String {
    let text = chain(error);
    let Some((before, document)) = text.split_once("<?xml").or_else(|| text.split_once("<Error>")) else {
        return text;
    };
    let field = |name: &str| {
        let (_, rest) = document.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0)
    };
    let said: Vec<&str> = ["Code", "Message"].into_iter().filter_map(field).collect();
    format!("{before}{}", said.join(": "))
}

fn busy(path: &Path) -> FileError {
    FileError { operation: "write", path: path.to_owned(), source: io::ErrorKind::ResourceBusy.into() }
}

fn too_large(path: &Path, size: u64, limit_bytes: u64) -> FileError {
    let source =
        io::Error::new(io::ErrorKind::FileTooLarge, format!("{size} bytes; the limit is {limit_bytes}"));
    FileError { operation: "read", path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
