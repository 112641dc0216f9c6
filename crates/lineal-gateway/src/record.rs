//! What the hot path notes about a request, and the sums of those notes until they are reported.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use lineal_engine::observation::{RECORD_LIMIT, Report, RequestRecord, Window};
use lineal_engine::route::Role;
use lineal_facts::{ModelName, Timestamp};
use tokio::sync::Notify;

use crate::table::ServedRoute;

/// Notes between the hot path and the reporter. A full queue drops and counts.
pub(crate) const QUEUE_LIMIT: usize = 16_384;
/// Records kept while the control plane is away; beyond it the oldest are dropped and counted.
pub(crate) const BACKLOG_RECORD_LIMIT: usize = 5 * RECORD_LIMIT;
/// Windows kept while the control plane is away (one for each model, version, role and generation).
pub(crate) const BACKLOG_WINDOW_LIMIT: usize = 20_000;
/// Windows in one report.
const REPORT_WINDOW_LIMIT: usize = 5_000;

/// One finished request.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) route: Arc<ServedRoute>,
    /// Position of the share that was chosen first.
    pub(crate) chosen: usize,
    /// Whether that share failed.
    pub(crate) failed: bool,
    pub(crate) latency_ms: f64,
    /// Absent if nobody answered with a success.
    pub(crate) answer: Option<Answer>,
}

/// Who answered, and what.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) id: String,
    /// Position of the share that answered.
    pub(crate) share: usize,
    pub(crate) prediction: Option<f64>,
    pub(crate) answered_at: Timestamp,
}

/// The hot path's end of the queue.
#[derive(Clone)]
pub(crate) struct Recorder {
    queue: SyncSender<Note>,
    arrivals: Arc<Arrivals>,
}

/// The reporter's end of the queue. The reporter is woken once for many notes, not once for each: a wake-up costs
/// more than the note.
pub(crate) struct Notes {
    queue: Receiver<Note>,
    arrivals: Arc<Arrivals>,
}

#[derive(Default)]
struct Arrivals {
    /// Something arrived since the last [`Notes::collect`].
    pending: AtomicBool,
    first: Notify,
    dropped: AtomicU64,
}

/// A queue for notes.
pub(crate) fn queue() -> (Recorder, Notes) {
    let (sender, receiver) = sync_channel(QUEUE_LIMIT);
    let arrivals = Arc::new(Arrivals::default());
    (Recorder { queue: sender, arrivals: arrivals.clone() }, Notes { queue: receiver, arrivals })
}

impl Recorder {
    /// Never waits.
    pub(crate) fn note(&self, note: Note) {
        if self.queue.try_send(note).is_err() {
            self.arrivals.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if !self.arrivals.pending.swap(true, Ordering::AcqRel) {
            self.arrivals.first.notify_one();
        }
    }
}

impl Notes {
    /// Waits for the first note after a [`Notes::collect`].
    pub(crate) async fn arrived(&self) {
        self.arrivals.first.notified().await;
    }

    /// Moves what has arrived, and the count of what was dropped, into the backlog.
    pub(crate) fn collect(&self, backlog: &mut Backlog) {
        // Before the queue is read: a note that comes later announces itself again.
        self.arrivals.pending.swap(false, Ordering::AcqRel);
        for _ in 0..QUEUE_LIMIT {
            let Ok(note) = self.queue.try_recv() else { break };
            backlog.add(note);
        }
        backlog.count_dropped(self.arrivals.dropped.swap(0, Ordering::Relaxed));
    }
}

type WindowKey = (ModelName, u32, Role, u64);

/// What is not yet reported.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    windows: BTreeMap<WindowKey, Window>,
    records: VecDeque<RequestRecord>,
    dropped: u64,
}

impl Backlog {
    pub(crate) fn is_empty(&self) -> bool {
        self.windows.is_empty() && self.records.is_empty() && self.dropped == 0
    }

    /// Counts requests that cannot be reported any more.
    pub(crate) fn count_dropped(&mut self, requests: u64) {
        self.dropped += requests;
    }

    pub(crate) fn add(&mut self, note: Note) {
        let served = &note.route;
        let Some(share) = served.route.shares.get(note.chosen) else { return };
        let model = &served.route.model;
        let key = (model.clone(), share.version, share.role, served.generation);
        let window = Window {
            model: model.clone(),
            version: share.version,
            role: share.role,
            generation: served.generation,
            requests: 1,
            errors: u64::from(note.failed),
            slow: u64::from(note.latency_ms > served.route.slow_after_ms as f64),
            latency_sum_ms: note.latency_ms,
        };
        if self.windows.len() >= BACKLOG_WINDOW_LIMIT && !self.windows.contains_key(&key) {
            self.dropped += 1;
            return;
        }
        self.windows.entry(key).and_modify(|w| w.merge(&window)).or_insert(window);
        if let Some(answer) = note.answer {
            self.add_record(served, answer);
        }
    }

    fn add_record(&mut self, served: &ServedRoute, answer: Answer) {
        let Some(share) = served.route.shares.get(answer.share) else { return };
        if self.records.len() >= BACKLOG_RECORD_LIMIT {
            self.records.pop_front();
            self.dropped += 1;
        }
        self.records.push_back(RequestRecord {
            id: answer.id,
            model: served.route.model.clone(),
            version: share.version,
            role: share.role,
            generation: served.generation,
            prediction: answer.prediction,
            answered_at: answer.answered_at,
        });
    }

    /// The next report; what does not fit stays for the one after.
    pub(crate) fn take(&mut self, gateway: &str, sequence: u64, generation: u64) -> Report {
        let mut windows = Vec::new();
        while windows.len() < REPORT_WINDOW_LIMIT {
            let Some((_, window)) = self.windows.pop_first() else { break };
            windows.push(window);
        }
        let count = self.records.len().min(RECORD_LIMIT);
        Report {
            gateway: gateway.to_owned(),
            sequence,
            generation,
            dropped_records: std::mem::take(&mut self.dropped),
            windows,
            records: self.records.drain(..count).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
