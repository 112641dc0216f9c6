//! A fake model server that answers, fails or dies as a test wants.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

use crate::wire::{Request, read_request, respond};

#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// 200 with this prediction.
    Predict(f64),
    /// Answers like `Predict`, and closes the connection although it promised to keep it.
    PredictAndClose(f64),
    /// Answers the first request of a connection like `Predict`, and closes at the second without an answer.
    PredictOnce(f64),
    /// This status and body.
    Respond(u16, Vec<u8>),
    /// Closes after the request.
    CloseBeforeAnswer,
    /// Sends the head and half of the body, then closes.
    CloseMidAnswer,
    /// Not HTTP.
    Noise,
    /// Nothing, for as long as the client waits.
    Silent,
    /// Waits for [`ModelServer::release`], then predicts.
    Held(f64),
}

#[derive(Default)]
struct Seen {
    ids: Vec<String>,
    largest_body: usize,
    accept_encoding: bool,
}

pub(crate) struct ModelServer {
    pub(crate) address: SocketAddr,
    behaviour: Arc<Mutex<Behaviour>>,
    seen: Arc<Mutex<Seen>>,
    held: Arc<Notify>,
    alive: watch::Sender<bool>,
}

impl ModelServer {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self {
            address,
            behaviour: Arc::new(Mutex::new(behaviour)),
            seen: Arc::default(),
            held: Arc::default(),
            alive: watch::channel(true).0,
        };
        let (behaviour, seen, held) = (server.behaviour.clone(), server.seen.clone(), server.held.clone());
        let mut life = server.alive.subscribe();
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = life.wait_for(|alive| !alive) => return,
                };
                let Ok((stream, _)) = accepted else { return };
                let serving = serve(stream, behaviour.clone(), seen.clone(), held.clone());
                let mut life = life.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = serving => {}
                        _ = life.wait_for(|alive| !alive) => {}
                    }
                });
            }
        });
        server
    }

    /// Closes the listener and every connection, as SIGKILL does.
    pub(crate) fn kill(&self) {
        self.alive.send_replace(false);
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    pub(crate) fn release(&self) {
        self.held.notify_waiters();
    }

    pub(crate) fn served(&self) -> usize {
        self.seen.lock().unwrap().ids.len()
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.seen.lock().unwrap().ids.clone()
    }

    pub(crate) fn largest_body(&self) -> usize {
        self.seen.lock().unwrap().largest_body
    }

    pub(crate) fn saw_accept_encoding(&self) -> bool {
        self.seen.lock().unwrap().accept_encoding
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn prediction_body(prediction: f64) -> Vec<u8> {
    format!(
        r#"{{"model_name":"m","outputs":[{{"name":"probability","shape":[1,1],"datatype":"FP64","data":[[{prediction}]]}}]}}"#
    )
    .into_bytes()
}

async fn serve(
    stream: TcpStream,
    behaviour: Arc<Mutex<Behaviour>>,
    seen: Arc<Mutex<Seen>>,
    held: Arc<Notify>,
) {
    let _ = stream.set_nodelay(true);
    let mut stream = BufReader::new(stream);
    let mut answered = 0;
    while let Some(request) = read_request(&mut stream).await {
        let now = behaviour.lock().unwrap().clone();
        if matches!(now, Behaviour::PredictOnce(_)) && answered > 0 {
            return;
        }
        answered += 1;
        note(&seen, &request);
        if !answer(&mut stream, now, &held).await {
            return;
        }
    }
}

fn note(seen: &Mutex<Seen>, request: &Request) {
    let mut seen = seen.lock().unwrap();
    seen.ids.push(request.header("x-request-id").unwrap_or_default().to_owned());
    seen.largest_body = seen.largest_body.max(request.body.len());
    seen.accept_encoding |= request.header("accept-encoding").is_some();
}

/// Whether the connection is kept.
async fn answer(stream: &mut BufReader<TcpStream>, behaviour: Behaviour, held: &Notify) -> bool {
    match behaviour {
        Behaviour::Predict(p) | Behaviour::PredictOnce(p) => {
            respond(stream, 200, &prediction_body(p)).await.is_ok()
        }
        Behaviour::PredictAndClose(p) => {
            let _ = respond(stream, 200, &prediction_body(p)).await;
            false
        }
        Behaviour::Respond(status, body) => respond(stream, status, &body).await.is_ok(),
        Behaviour::CloseBeforeAnswer => false,
        Behaviour::CloseMidAnswer => {
            let _ = stream
                .get_mut()
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"outputs\"")
                .await;
            let _ = stream.get_mut().flush().await;
            false
        }
        Behaviour::Noise => {
            let _ = stream.get_mut().write_all(b"\x00\x01 this is not http\r\n\r\n\r\n").await;
            false
        }
        Behaviour::Silent => std::future::pending().await,
        Behaviour::Held(p) => {
            held.notified().await;
            respond(stream, 200, &prediction_body(p)).await.is_ok()
        }
    }
}
