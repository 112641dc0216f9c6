//! A fake control plane: signs tables, answers long polls, collects reports.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use lineal_engine::observation::{Report, RequestRecord, Window};
use lineal_engine::route::{Role, Route, RouteTable, Share};
use lineal_facts::{Digest, Timestamp};
use lineal_proof::envelope::Envelope;
use lineal_proof::key::PublicKey;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::eventually;
use crate::model_server::ModelServer;
use crate::wire::{read_request, respond};

const TYPE: &str = "application/vnd.lineal.route-table+json";

pub(crate) struct RouterKey(EcdsaKeyPair);

impl RouterKey {
    pub(crate) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        PublicKey::from_point(self.0.public_key().as_ref()).unwrap().to_pem()
    }

    /// The envelope around `payload`. The encoding that is signed is written out here, not taken from the code.
    pub(crate) fn seal(&self, payload_type: &str, payload: Vec<u8>) -> Vec<u8> {
        let mut message =
            format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
        message.extend_from_slice(&payload);
        let signature = self.0.sign(&SystemRandom::new(), &message).unwrap().as_ref().to_vec();
        let envelope =
            Envelope { payload_type: payload_type.to_owned(), payload, signature, key_id: String::new() };
        envelope.to_bytes()
    }

    pub(crate) fn table(&self, table: &RouteTable) -> Vec<u8> {
        self.seal(TYPE, serde_json::to_vec(table).unwrap())
    }
}

/// A table with the route `delay`: version 2 as canary with `weight`, version 1 as stable.
pub(crate) fn canary_table(
    generation: u64,
    weight: u32,
    canary: &ModelServer,
    stable: &ModelServer,
) -> RouteTable {
    let share = |version, role, weight, server: &ModelServer| Share {
        version,
        digest: Digest::of(&[version as u8]),
        role,
        weight,
        upstream: server.address,
    };
    let shares =
        vec![share(2, Role::Canary, weight, canary), share(1, Role::Stable, 10_000 - weight, stable)];
    table(generation, shares)
}

pub(crate) fn stable_table(generation: u64, stable: &ModelServer) -> RouteTable {
    let mut table = canary_table(generation, 0, stable, stable);
    table.routes[0].shares.remove(0);
    table
}

fn table(generation: u64, shares: Vec<Share>) -> RouteTable {
    let route = Route {
        model: "delay".parse().unwrap(),
        environment: "production".parse().unwrap(),
        slow_after_ms: 500,
        output: "probability".to_owned(),
        shares,
    };
    let issued_at = Timestamp::from_unix_ms(1_700_000_000_000);
    RouteTable { version: "1".to_owned(), generation, issued_at, routes: vec![route] }
}

#[derive(Default)]
struct State {
    generation: u64,
    table: Vec<u8>,
    /// Given to every poll, whatever it asks for.
    forced: bool,
    polls: u64,
    /// Every delivery, repetitions too, with the status that it got.
    deliveries: Vec<(Report, u16)>,
    /// Statuses for the next deliveries; 200 when empty.
    moods: Vec<u16>,
}

pub(crate) struct ControlPlane {
    pub(crate) address: SocketAddr,
    pub(crate) key: RouterKey,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
    alive: Mutex<watch::Sender<bool>>,
}

impl ControlPlane {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let plane = Self {
            address: listener.local_addr().unwrap(),
            key: RouterKey::new(),
            state: Arc::default(),
            changed: watch::channel(0).0,
            alive: Mutex::new(watch::channel(true).0),
        };
        plane.listen(listener);
        plane
    }

    fn listen(&self, listener: TcpListener) {
        let (state, changed) = (self.state.clone(), self.changed.clone());
        let mut life = self.alive.lock().unwrap().subscribe();
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = life.wait_for(|alive| !alive) => return,
                };
                let Ok((stream, _)) = accepted else { return };
                let serving = serve(stream, state.clone(), changed.subscribe());
                let mut life = life.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = serving => {}
                        _ = life.wait_for(|alive| !alive) => {}
                    }
                });
            }
        });
    }

    /// Closes the listener and every connection.
    pub(crate) fn kill(&self) {
        self.alive.lock().unwrap().send_replace(false);
    }

    /// Listens on the same port again.
    pub(crate) async fn revive(&self) {
        let listener =
            eventually("port free again", || async { TcpListener::bind(self.address).await.ok() }).await;
        *self.alive.lock().unwrap() = watch::channel(true).0;
        self.listen(listener);
    }

    pub(crate) fn publish(&self, table: &RouteTable) {
        self.set(table.generation, self.key.table(table), false);
    }

    /// Gives these bytes to every poll from now on.
    pub(crate) fn force(&self, bytes: Vec<u8>) {
        self.set(0, bytes, true);
    }

    fn set(&self, generation: u64, table: Vec<u8>, forced: bool) {
        {
            let mut state = self.state.lock().unwrap();
            state.generation = generation;
            state.table = table;
            state.forced = forced;
        }
        self.changed.send_modify(|n| *n += 1);
    }

    /// The next deliveries get these statuses.
    pub(crate) fn answer_reports(&self, moods: &[u16]) {
        self.state.lock().unwrap().moods = moods.to_vec();
    }

    pub(crate) fn polls(&self) -> u64 {
        self.state.lock().unwrap().polls
    }

    pub(crate) fn deliveries(&self) -> Vec<(Report, u16)> {
        self.state.lock().unwrap().deliveries.clone()
    }

    /// The accepted reports, each once.
    pub(crate) fn reports(&self) -> Vec<Report> {
        let mut seen = std::collections::BTreeSet::new();
        let deliveries = self.deliveries().into_iter().filter(|(_, status)| *status == 200);
        deliveries.map(|(r, _)| r).filter(|r| seen.insert((r.gateway.clone(), r.sequence))).collect()
    }

    /// Sum of the accepted windows of a version.
    pub(crate) fn sums(&self, version: u32) -> Sums {
        let mut sums = Sums::default();
        for window in self.reports().iter().flat_map(|r| &r.windows).filter(|w| w.version == version) {
            sums.add(window);
        }
        sums
    }

    pub(crate) fn records(&self) -> Vec<RequestRecord> {
        self.reports().into_iter().flat_map(|r| r.records).collect()
    }

    /// Waits until the accepted windows count `requests` of all versions together.
    pub(crate) async fn counted(&self, requests: u64) {
        let total = || self.reports().iter().flat_map(|r| &r.windows).map(|w| w.requests).sum::<u64>();
        eventually("requests are reported", || async { (total() >= requests).then_some(()) }).await;
        assert_eq!(total(), requests);
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.kill();
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Sums {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) slow: u64,
    pub(crate) latency_sum_ms: f64,
}

impl Sums {
    fn add(&mut self, window: &Window) {
        self.requests += window.requests;
        self.errors += window.errors;
        self.slow += window.slow;
        self.latency_sum_ms += window.latency_sum_ms;
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>, mut changed: watch::Receiver<u64>) {
    let _ = stream.set_nodelay(true);
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream).await {
        let (status, body) = if request.path.starts_with("/api/v1/route-table?") && request.method == "GET" {
            let after = request.query("after").unwrap();
            let wait = Duration::from_millis(request.query("wait_ms").unwrap());
            state.lock().unwrap().polls += 1;
            let table = async {
                loop {
                    changed.mark_unchanged();
                    if let Some(table) = table_after(&state, after) {
                        return Some(table);
                    }
                    changed.changed().await.ok()?;
                }
            };
            match tokio::time::timeout(wait, table).await.ok().flatten() {
                Some(table) => (200, table),
                None => (204, Vec::new()),
            }
        } else if request.path == "/api/v1/observations" && request.method == "POST" {
            let report: Report = serde_json::from_slice(&request.body).expect("a report");
            let mut state = state.lock().unwrap();
            let status = if state.moods.is_empty() { 200 } else { state.moods.remove(0) };
            state.deliveries.push((report, status));
            (status, Vec::new())
        } else {
            (404, Vec::new())
        };
        if respond(&mut stream, status, &body).await.is_err() {
            return;
        }
    }
}

fn table_after(state: &Mutex<State>, after: u64) -> Option<Vec<u8>> {
    let state = state.lock().unwrap();
    (state.forced || state.generation > after).then(|| state.table.clone())
}
