//! Delivers the sums to the control plane: at least once, in order, one report under way at a time.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, Url};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::fetch::Backoff;
use crate::record::{Backlog, Note, Notes};
use crate::state::Tables;

/// From the first note to its report.
const REPORT_EVERY: Duration = Duration::from_millis(100);
/// One delivery.
const DELIVERY_LIMIT: Duration = Duration::from_secs(5);
/// A report that is refused with 4xx this often is given up, so that it does not block those after it.
const REFUSAL_LIMIT: u32 = 5;
/// All of the last reports, when the process ends.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);
/// Notes taken from the queue at once.
const BATCH_LIMIT: usize = 1024;

/// Where reports go and who sends them.
pub(crate) struct Destination {
    pub(crate) client: Client,
    pub(crate) url: Url,
    /// Unique for each start of a gateway.
    pub(crate) gateway: String,
}

/// The one owner of everything that is not yet reported.
pub(crate) struct Reporter {
    destination: Destination,
    tables: Arc<Tables>,
    notes: Notes,
    backlog: Backlog,
    sequence: u64,
}

/// A report that is repeated, the same bytes, until it is accepted.
struct Parcel {
    body: Bytes,
    requests: u64,
    refusals: u32,
    backoff: Backoff,
}

enum Delivery {
    Accepted,
    Unreachable,
    Refused,
}

type Sending = Pin<Box<dyn Future<Output = Delivery> + Send>>;

/// What the reporter is about to do.
enum Step {
    Idle,
    Gather(Instant),
    Send(Parcel, Sending),
    Retry(Parcel, Instant),
}

impl Reporter {
    pub(crate) fn new(destination: Destination, tables: Arc<Tables>, notes: Notes) -> Self {
        Self { destination, tables, notes, backlog: Backlog::default(), sequence: 0 }
    }

    /// Runs until `stop` turns true, then reports what is left.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut batch = Vec::with_capacity(BATCH_LIMIT);
        let mut step = Step::Idle;
        loop {
            let mut delivery = None;
            let due = match &step {
                Step::Gather(at) | Step::Retry(_, at) => Some(*at),
                Step::Idle | Step::Send(..) => None,
            };
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                outcome = sent(&mut step) => delivery = Some(outcome),
                () = wait_until(due), if due.is_some() => {}
                received = self.notes.queue.recv_many(&mut batch, BATCH_LIMIT) => {
                    if received == 0 {
                        break; // the hot path is gone
                    }
                    self.absorb(&mut batch);
                    if matches!(step, Step::Idle) {
                        step = Step::Gather(Instant::now() + REPORT_EVERY);
                    }
                    continue;
                }
            }
            step = self.advance(step, delivery);
        }
        self.flush(step, batch).await;
    }

    /// The step after a timer fell due or a delivery ended.
    fn advance(&mut self, step: Step, delivery: Option<Delivery>) -> Step {
        match (step, delivery) {
            (Step::Send(parcel, _), Some(delivery)) => self.settle(parcel, delivery),
            (Step::Retry(parcel, _), _) => self.send(parcel),
            (Step::Gather(_), _) => match self.pack() {
                Some(parcel) => self.send(parcel),
                None => Step::Idle,
            },
            (step @ (Step::Idle | Step::Send(..)), _) => step,
        }
    }

    fn settle(&mut self, mut parcel: Parcel, delivery: Delivery) -> Step {
        match delivery {
            Delivery::Accepted => return self.next_gathering(),
            Delivery::Unreachable => {}
            Delivery::Refused => parcel.refusals += 1,
        }
        if parcel.refusals >= REFUSAL_LIMIT {
            self.backlog.count_dropped(parcel.requests);
            return self.next_gathering();
        }
        let wait = parcel.backoff.next();
        Step::Retry(parcel, Instant::now() + wait)
    }

    fn next_gathering(&self) -> Step {
        if self.backlog.is_empty() { Step::Idle } else { Step::Gather(Instant::now() + REPORT_EVERY) }
    }

    fn absorb(&mut self, batch: &mut Vec<Note>) {
        for note in batch.drain(..) {
            self.backlog.add(note);
        }
    }

    /// The next report, or none if there is nothing to say.
    fn pack(&mut self) -> Option<Parcel> {
        self.backlog.take_dropped(&self.notes);
        if self.backlog.is_empty() {
            return None;
        }
        self.sequence += 1;
        let report = self.backlog.take(&self.destination.gateway, self.sequence, self.tables.generation());
        let requests = report.windows.iter().map(|w| w.requests).sum::<u64>() + report.dropped_records;
        match serde_json::to_vec(&report) {
            Ok(body) => Some(Parcel { body: body.into(), requests, refusals: 0, backoff: Backoff::new() }),
            Err(_) => {
                self.backlog.count_dropped(requests);
                None
            }
        }
    }

    fn send(&self, parcel: Parcel) -> Step {
        let sending = self.deliver(&parcel);
        Step::Send(parcel, sending)
    }

    fn deliver(&self, parcel: &Parcel) -> Sending {
        let request = self.destination.client.post(self.destination.url.clone());
        let request = request.header(CONTENT_TYPE, "application/json").timeout(DELIVERY_LIMIT);
        let request = request.body(parcel.body.clone());
        Box::pin(async move {
            match request.send().await.map(|answer| answer.status()) {
                Ok(status) if status.is_success() => Delivery::Accepted,
                Ok(StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) => Delivery::Unreachable,
                Ok(status) if status.is_client_error() => Delivery::Refused,
                Ok(_) | Err(_) => Delivery::Unreachable,
            }
        })
    }

    /// The end: what is under way again, then the rest, all within [`FLUSH_LIMIT`].
    async fn flush(mut self, step: Step, mut batch: Vec<Note>) {
        self.absorb(&mut batch);
        while let Ok(note) = self.notes.queue.try_recv() {
            self.backlog.add(note);
        }
        let mut next = match step {
            Step::Send(parcel, _) | Step::Retry(parcel, _) => Some(parcel),
            Step::Idle | Step::Gather(_) => self.pack(),
        };
        let deliver_all = async {
            while let Some(parcel) = next.take() {
                match self.deliver(&parcel).await {
                    Delivery::Accepted | Delivery::Refused => next = self.pack(),
                    Delivery::Unreachable => break,
                }
            }
        };
        // Nothing is left to do when the time is over: the process ends.
        let _ = tokio::time::timeout(FLUSH_LIMIT, deliver_all).await;
    }
}

async fn sent(step: &mut Step) -> Delivery {
    match step {
        Step::Send(_, sending) => sending.await,
        Step::Idle | Step::Gather(_) | Step::Retry(..) => std::future::pending().await,
    }
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
