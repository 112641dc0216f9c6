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
use crate::record::{Backlog, Notes};
use crate::state::Tables;

/// From the first note to its report; what comes in between goes with it.
const REPORT_EVERY: Duration = Duration::from_millis(100);
/// One delivery.
const DELIVERY_LIMIT: Duration = Duration::from_secs(5);
/// A report that is refused with 4xx this often is given up, so that it does not block those after it.
const REFUSAL_LIMIT: u32 = 5;
/// All of the last reports, when the process ends.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

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

/// What the reporter is doing.
enum Step {
    Idle,
    Send(Parcel, Sending),
    Retry(Parcel, Instant),
}

impl Reporter {
    pub(crate) fn new(destination: Destination, tables: Arc<Tables>, notes: Notes) -> Self {
        Self { destination, tables, notes, backlog: Backlog::default(), sequence: 0 }
    }

    /// Runs until `stop` turns true, then reports what is left.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut step = Step::Idle;
        let mut collect_at = None;
        loop {
            let retry_at = retry_at(&step);
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                delivery = sent(&mut step) => step = self.settle(step, delivery),
                () = wait_until(retry_at) => {
                    if let Step::Retry(parcel, _) = step {
                        step = self.send(parcel);
                    }
                }
                () = wait_until(collect_at) => {
                    collect_at = None;
                    self.notes.collect(&mut self.backlog);
                    if matches!(step, Step::Idle) {
                        step = self.next();
                    }
                }
                () = self.notes.arrived() => collect_at = Some(Instant::now() + REPORT_EVERY),
            }
        }
        self.flush(step).await;
    }

    /// Sends the next report, if there is something to say.
    fn next(&mut self) -> Step {
        match self.pack() {
            Some(parcel) => self.send(parcel),
            None => Step::Idle,
        }
    }

    fn settle(&mut self, step: Step, delivery: Delivery) -> Step {
        let Step::Send(mut parcel, _) = step else { return step };
        match delivery {
            Delivery::Accepted => return self.next(),
            Delivery::Unreachable => {}
            Delivery::Refused => parcel.refusals += 1,
        }
        if parcel.refusals >= REFUSAL_LIMIT {
            self.backlog.count_dropped(parcel.requests);
            return self.next();
        }
        let wait = parcel.backoff.next();
        Step::Retry(parcel, Instant::now() + wait)
    }

    /// The next report, or none if there is nothing to say.
    fn pack(&mut self) -> Option<Parcel> {
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
    async fn flush(mut self, step: Step) {
        self.notes.collect(&mut self.backlog);
        let mut next = match step {
            Step::Send(parcel, _) | Step::Retry(parcel, _) => Some(parcel),
            Step::Idle => self.pack(),
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
        Step::Idle | Step::Retry(..) => std::future::pending().await,
    }
}

fn retry_at(step: &Step) -> Option<Instant> {
    match step {
        Step::Retry(_, at) => Some(*at),
        Step::Idle | Step::Send(..) => None,
    }
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
