//! A bucket in memory that fails where it is told to, and lets others act in between.
//!
//! What it says of conditional writes is what a server says; whether a real one does is tested with a real one.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::Bucket;

/// What goes wrong with a request that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does not arrive.
    Lost,
    /// It is carried out, and the answer does not arrive.
    AnswerLost,
    /// Nobody hears of it; it arrives at [`FaultyStore::arrive`].
    Late,
    /// The process dies before it.
    Killed,
    /// From here on the server answers nothing, until [`FaultyStore::restart`].
    Down,
}

impl Fault {
    pub(crate) const ALL: [Self; 5] = [Self::Lost, Self::AnswerLost, Self::Late, Self::Killed, Self::Down];
}

#[derive(Debug, Default)]
pub(crate) struct FaultyStore {
    inner: InMemory,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Requests since the last fault was planned: those that change something, and all.
    changes: u64,
    requests: u64,
    fault: Option<(u64, Fault)>,
    /// What happens before the request of that number.
    between: Option<(u64, Box<dyn FnOnce() + Send>)>,
    down: bool,
    late: Vec<(Key, PutPayload, PutOptions)>,
    checkpoints: Vec<Vec<u8>>,
}

/// Whether the request goes on.
enum Course {
    Do,
    DoAndFail,
    Keep,
}

impl FaultyStore {
    /// Its bucket, as one machine sees it.
    pub(crate) fn bucket(self: &Arc<Self>) -> Bucket {
        Bucket::over(self.clone(), PathBuf::from("s3://bucket/here"), "here")
    }

    /// The change number `at` after this goes wrong.
    pub(crate) fn fail(&self, at: u64, fault: Fault) {
        let mut state = self.lock();
        (state.changes, state.fault) = (0, Some((at, fault)));
    }

    /// Before the request number `at` after this, `act` happens.
    pub(crate) fn between(&self, at: u64, act: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        state.requests = 0;
        state.between = Some((at, Box::new(act)));
    }

    /// Changes and requests since the last plan.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = self.lock();
        (state.changes, state.requests)
    }

    pub(crate) fn is_down(&self) -> bool {
        self.lock().down
    }

    /// All is well again.
    pub(crate) fn restart(&self) {
        let mut state = self.lock();
        (state.down, state.fault) = (false, None);
    }

    /// The server is up again, if it was down.
    pub(crate) fn restart_if_down(&self) {
        if self.is_down() {
            self.restart();
        }
    }

    /// What was late arrives now.
    pub(crate) async fn arrive(&self) {
        let late = std::mem::take(&mut self.lock().late);
        for (key, payload, options) in late {
            // Nobody hears whether it was refused.
            let _ = self.store(&key, payload, options).await;
        }
    }

    /// Every checkpoint that readers could ever see.
    pub(crate) fn checkpoints(&self) -> Vec<Vec<u8>> {
        self.lock().checkpoints.clone()
    }

    async fn store(&self, key: &Key, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let bytes: Vec<u8> = payload.iter().flat_map(|piece| piece.to_vec()).collect();
        let stored = self.inner.put_opts(key, payload, options).await;
        if stored.is_ok() && key.filename() == Some("checkpoint") {
            self.lock().checkpoints.push(bytes);
        }
        stored
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request, and lets others act before it.
    async fn request(&self) -> Result<()> {
        let act = {
            let mut state = self.lock();
            let now = state.requests;
            state.requests += 1;
            state.between.take_if(|(at, _)| *at == now)
        };
        if let Some((_, act)) = act {
            // They wait for requests of their own.
            tokio::task::spawn_blocking(act).await.map_err(|source| Error::JoinError { source })?;
        }
        if self.lock().down { Err(failed()) } else { Ok(()) }
    }

    fn change(&self) -> Result<Course> {
        let mut state = self.lock();
        if state.down {
            return Err(failed());
        }
        let now = state.changes;
        state.changes += 1;
        match state.fault.take_if(|(at, _)| *at == now) {
            None => Ok(Course::Do),
            Some((_, Fault::AnswerLost)) => Ok(Course::DoAndFail),
            Some((_, Fault::Late)) => Ok(Course::Keep),
            Some((_, Fault::Lost)) => Err(failed()),
            Some((_, Fault::Killed | Fault::Down)) => {
                state.down = true;
                Err(failed())
            }
        }
    }
}

fn failed() -> Error {
    Error::Generic { store: "faulty", source: "as planned".into() }
}

#[async_trait::async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, key: &Key, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.request().await?;
        match self.change()? {
            Course::Do => self.store(key, payload, options).await,
            Course::DoAndFail => {
                let _ = self.store(key, payload, options).await;
                Err(failed())
            }
            Course::Keep => {
                self.lock().late.push((key.clone(), payload, options));
                Err(failed())
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        key: &Key,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.request().await?;
        self.inner.put_multipart_opts(key, options).await
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        self.request().await?;
        self.inner.get_opts(key, options).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Key>>) -> BoxStream<'static, Result<Key>> {
        match self.change() {
            Ok(Course::Do | Course::Keep) => self.inner.delete_stream(keys),
            Ok(Course::DoAndFail) => self.inner.delete_stream(keys).map(|_| Err(failed())).boxed(),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Key>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Key>) -> Result<ListResult> {
        self.request().await?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} changes", self.changes)
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a faulty store in memory")
    }
}
