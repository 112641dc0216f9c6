//! Waits for the next route table.
//!
//! A long poll: the control plane answers when there is a generation above ours, so that an abort costs one round
//! trip. Whatever fails, the served table stays and the wait before the next try grows up to a limit.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::{Client, StatusCode, Url};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::state::Tables;
use crate::table::TABLE_LIMIT_BYTES;

/// How long the control plane may hold a poll.
const POLL_WAIT_MS: u64 = 20_000;
/// A poll that takes longer is dead.
const POLL_LIMIT: Duration = Duration::from_secs(30);
/// An answer "nothing new" that comes sooner is treated as a failure: it must not make a busy loop.
const POLL_SHORTEST: Duration = Duration::from_millis(50);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LONGEST: Duration = Duration::from_secs(1);

/// A wait that doubles up to a limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(RETRY_FIRST)
    }

    /// The wait before the next try.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(RETRY_LONGEST);
        wait
    }
}

/// How one poll ended.
enum Poll {
    Table(Vec<u8>),
    NothingNew,
    Failed,
}

/// Runs until `stop` turns true. Nobody else offers tables while it runs.
pub(crate) async fn run(client: Client, url: Url, tables: Arc<Tables>, mut stop: watch::Receiver<bool>) {
    let mut backoff = Backoff::new();
    loop {
        let started = Instant::now();
        let poll = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            poll = poll(&client, &url, tables.generation()) => poll,
        };
        tables.health().control_plane_reachable.store(!matches!(poll, Poll::Failed), Ordering::Relaxed);
        let good = match poll {
            Poll::Table(bytes) => take(&tables, bytes).await,
            Poll::NothingNew => started.elapsed() >= POLL_SHORTEST,
            Poll::Failed => false,
        };
        if good {
            backoff = Backoff::new();
            continue;
        }
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(backoff.next()) => {}
        }
    }
}

async fn take(tables: &Arc<Tables>, bytes: Vec<u8>) -> bool {
    if let Err(error) = tables.offer(&bytes) {
        tables.refused(&error);
        return false;
    }
    let keeper = tables.clone();
    // Joined, so that two tables never race for the file. A panic there would be a lost copy, not a lost table.
    let _ = tokio::task::spawn_blocking(move || keeper.keep(&bytes)).await;
    true
}

async fn poll(client: &Client, url: &Url, after: u64) -> Poll {
    let mut url = url.clone();
    url.set_query(Some(&format!("after={after}&wait_ms={POLL_WAIT_MS}")));
    match client.get(url).timeout(POLL_LIMIT).send().await {
        Ok(answer) if answer.status() == StatusCode::NO_CONTENT => Poll::NothingNew,
        Ok(answer) if answer.status() == StatusCode::OK => {
            read_limited(answer).await.map_or(Poll::Failed, Poll::Table)
        }
        Ok(_) | Err(_) => Poll::Failed,
    }
}

async fn read_limited(mut answer: reqwest::Response) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.ok()? {
        if bytes.len() + chunk.len() > TABLE_LIMIT_BYTES {
            return None;
        }
        bytes.extend_from_slice(&chunk);
    }
    Some(bytes)
}
