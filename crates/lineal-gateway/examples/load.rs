//! Measures what the gateway adds: the same load on a trivial model server, directly and through a real gateway
//! process. `cargo run --release -p lineal-gateway --example load -- [CLIENTS] [RATE] [SECONDS]`
//!
//! Open loop: each client sends on a schedule and latency counts from the scheduled time, so that a stall is seen
//! by every request that it delays. A rate of 0 sends as fast as answers come.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use lineal_engine::route::{Role, Route, RouteTable, Share};
use lineal_facts::{Digest, Timestamp};
use lineal_gateway::GatewayConfig;
use lineal_proof::envelope::{Envelope, pae};
use lineal_proof::key::PublicKey;

const REQUEST_BODY: &str =
    r#"{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP64","data":[[0.1,0.2,0.3,0.4]]}]}"#;
const ANSWER_BODY: &str = r#"{"model_name":"delay","outputs":[{"name":"probability","shape":[1,1],"datatype":"FP64","data":[[0.5]]}]}"#;
const TABLE_TYPE: &str = "application/vnd.lineal.route-table+json";

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (clients, rate, seconds) = (number(16)?, number(2_000)?, number(5)?);
    let upstream = serve_model()?;
    let directory = tempfile::tempdir()?;
    let (plane, key) = serve_control_plane(upstream)?;
    let config = GatewayConfig {
        listen: "127.0.0.1:0".parse()?,
        control_plane: format!("http://{plane}"),
        router_key_pem: key,
        state_file: directory.path().join("table.json"),
        gateway: "load".to_owned(),
        ready_file: Some(directory.path().join("ready.json")),
    };
    let (mut gateway, address) = start_gateway(&config, directory.path())?;
    for (name, target) in
        [("direct", upstream), ("gateway", address), ("direct", upstream), ("gateway", address)]
    {
        let before = cpu_ms(gateway.id());
        let started = Instant::now();
        let mut latencies = load(target, clients, rate, Duration::from_secs(seconds))?;
        let wall = started.elapsed().as_secs_f64();
        let cpu = cpu_ms(gateway.id()) - before;
        latencies.sort_unstable();
        let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        let line = format!(
            "{name:8} {:7.0}/s  p50 {:.3} ms  p90 {:.3}  p99 {:.3}  p99.9 {:.3}  gateway cpu {:.1} us/request\n",
            latencies.len() as f64 / wall,
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            cpu * 1e3 / latencies.len() as f64,
        );
        std::io::stdout().write_all(line.as_bytes())?;
    }
    gateway.kill()?;
    gateway.wait()?;
    Ok(())
}

/// Processor time of a process so far (fields 14 and 15 of /proc/pid/stat, 10 ms each).
fn cpu_ms(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks * 10.0
}

fn load(target: SocketAddr, clients: u64, rate: u64, time: Duration) -> Result<Vec<Duration>, Failure> {
    let runs: Vec<_> = (0..clients)
        .map(|client| {
            thread::spawn(move || -> std::io::Result<Vec<Duration>> {
                let mut stream = TcpStream::connect(target)?;
                stream.set_nodelay(true)?;
                let pause = Duration::from_nanos((clients * 1_000_000_000).checked_div(rate).unwrap_or(0));
                let mut latencies = Vec::new();
                let started = Instant::now();
                let mut due = started + pause.mul_f64(client as f64 / clients as f64);
                while started.elapsed() < time {
                    if rate > 0 {
                        thread::sleep(due.saturating_duration_since(Instant::now()));
                    } else {
                        due = Instant::now();
                    }
                    // Sleeping wakes late by up to 0.1 ms; that is the machine's, not the gateway's.
                    let from =
                        if Instant::now() - due < Duration::from_micros(200) { Instant::now() } else { due };
                    exchange(&mut stream, client, latencies.len())?;
                    latencies.push(from.elapsed());
                    due += pause;
                }
                Ok(latencies)
            })
        })
        .collect();
    let mut all = Vec::new();
    for run in runs {
        all.extend(run.join().map_err(|_| "a client panicked")??);
    }
    Ok(all)
}

fn exchange(stream: &mut TcpStream, client: u64, number: usize) -> std::io::Result<()> {
    let request = format!(
        "POST /v2/models/delay/infer HTTP/1.1\r\nhost: x\r\nx-request-id: {client}-{number}\r\n\
         content-length: {}\r\n\r\n{REQUEST_BODY}",
        REQUEST_BODY.len()
    );
    stream.write_all(request.as_bytes())?;
    let answer = read_message(stream)?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// One message with a content length, `None` at the end.
fn read_message(stream: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut message = Vec::with_capacity(1024);
    let mut part = [0; 16 << 10];
    loop {
        if let Some(end) = message.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&message[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            if message.len() >= end + 4 + length {
                return Ok(Some(message));
            }
        }
        match stream.read(&mut part)? {
            0 => return Ok(None),
            count => message.extend_from_slice(&part[..count]),
        }
    }
}

fn serve(answer: impl Fn(&[u8]) -> Vec<u8> + Clone + Send + 'static) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || -> std::io::Result<()> {
                let mut stream = stream;
                stream.set_nodelay(true)?;
                while let Some(request) = read_message(&mut stream)? {
                    let body = answer(&request);
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    stream.write_all(&[head.as_bytes(), &body].concat())?;
                }
                Ok(())
            });
        }
    });
    Ok(address)
}

fn serve_model() -> Result<SocketAddr, Failure> {
    serve(|_| ANSWER_BODY.as_bytes().to_vec())
}

/// Gives one table, holds the polls after it for ever, and accepts reports.
fn serve_control_plane(upstream: SocketAddr) -> Result<(SocketAddr, String), Failure> {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
    let pem = PublicKey::from_point(key.public_key().as_ref())?.to_pem();
    let share = |version, role, weight| Share { version, digest: Digest::of(b"m"), role, weight, upstream };
    let route = Route {
        model: "delay".parse()?,
        environment: "production".parse()?,
        slow_after_ms: 100,
        output: "probability".to_owned(),
        shares: vec![share(2, Role::Canary, 1_000), share(1, Role::Stable, 9_000)],
    };
    let issued_at = Timestamp::from_unix_ms(1_700_000_000_000);
    let table = RouteTable { version: "1".to_owned(), generation: 1, issued_at, routes: vec![route] };
    let payload = serde_json::to_vec(&table)?;
    let signature = key.sign(&SystemRandom::new(), &pae(TABLE_TYPE, &payload))?.as_ref().to_vec();
    let envelope =
        Envelope { payload_type: TABLE_TYPE.to_owned(), payload, signature, key_id: String::new() }
            .to_bytes();
    let address = serve(move |request| {
        if request.starts_with(b"GET") && !request.windows(8).any(|window| window == b"after=0&") {
            thread::park();
        }
        if request.starts_with(b"GET") { envelope.clone() } else { Vec::new() }
    })?;
    Ok((address, pem))
}

/// The gateway program lies beside the directory of this example.
fn start_gateway(
    config: &GatewayConfig,
    directory: &std::path::Path,
) -> Result<(Child, SocketAddr), Failure> {
    let path = directory.join("config.json");
    std::fs::write(&path, serde_json::to_vec(config)?)?;
    let program = std::env::current_exe()?;
    let program = program.ancestors().nth(2).ok_or("no program directory")?.join("lineal-gateway-run");
    let child = Command::new(program).arg(path).spawn()?;
    let ready = config.ready_file.as_ref().ok_or("no ready file")?;
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(10) {
        if let Ok(bytes) = std::fs::read(ready) {
            let ready: serde_json::Value = serde_json::from_slice(&bytes)?;
            let address: SocketAddr = ready["listen"].as_str().ok_or("no address")?.parse()?;
            if let Ok(mut stream) = TcpStream::connect(address)
                && exchange_ready(&mut stream)?
            {
                return Ok((child, address));
            }
        }
        thread::yield_now();
    }
    Err("the gateway did not start".into())
}

fn exchange_ready(stream: &mut TcpStream) -> std::io::Result<bool> {
    stream.write_all(b"GET /v2/health/ready HTTP/1.1\r\nhost: x\r\n\r\n")?;
    Ok(read_message(stream)?.is_some_and(|answer| answer.starts_with(b"HTTP/1.1 200")))
}
