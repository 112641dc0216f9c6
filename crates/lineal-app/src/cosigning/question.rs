//! One witness, one question: <https://c2sp.org/tlog-witness> from the log's side.

use std::time::Duration;

use lineal_facts::Digest;
use lineal_proof::checkpoint::{NOTE_LIMIT_BYTES, NoteSignature};
use lineal_proof::witness_message::parse_size;
use lineal_proof::witness_policy::PolicyWitness;
use lineal_proof::{AddCheckpoint, Checkpoint, Note, WitnessKey};
use lineal_store::Ledger;
use lineal_store::ledger::Head;
use reqwest::{Client, RequestBuilder, StatusCode};

use super::rolled_back;
use crate::failure::{Code, Failure, chain};

/// Largest answer that is read.
const ANSWER_LIMIT_BYTES: usize = NOTE_LIMIT_BYTES;
/// How often a checkpoint is sent: once by our guess of the witness's size, once by what it says.
const ATTEMPTS: usize = 2;
/// Most characters of a refusal that are shown.
const REASON_LIMIT: usize = 200;

/// What the log wants to know.
pub(super) enum Question {
    /// Whether the witness cosigns this checkpoint.
    Cosign(Head),
    /// Only whether it has seen what this log does not have.
    Look,
}

/// What came back.
pub(super) enum Reply {
    /// Its signature line on the checkpoint; it fits.
    Cosigned(NoteSignature),
    /// Nothing that contradicts the log.
    Seen,
    /// A larger checkpoint of that many entries, of the log's name and cosigned by the witness, but signed by no log key
    /// that is known here.
    Claim(u64),
    /// No use of it this time.
    Problem(String),
    /// Proof that this log is not the one that the witness saw.
    Finding(Failure),
}

/// What a witness shows monitors.
enum Shown {
    Nothing,
    /// Signed by a key of this log.
    Signed(Checkpoint),
    /// Of that many entries, signed by another key under the log's name, and cosigned by the witness.
    Claimed(u64),
}

/// A witness and the log that asks it.
pub(super) struct Correspondent {
    pub(super) client: Client,
    pub(super) url: String,
    pub(super) witness: PolicyWitness,
    pub(super) ledger: Ledger,
}

/// A client for witnesses. It goes where the policy says and nowhere else.
pub(super) fn client(timeout: Duration) -> Result<Client, Failure> {
    let builder = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(timeout);
    builder.build().map_err(|e| Failure::new(Code::Internal, format!("HTTP client: {}", chain(&e))))
}

impl Correspondent {
    /// Asks. `guess` is the size that the witness may have.
    pub(super) async fn ask(&self, question: &Question, guess: u64) -> Reply {
        let reply = match question {
            Question::Cosign(head) => self.cosign(head, guess.min(head.size)).await,
            Question::Look => self.look().await,
        };
        reply.unwrap_or_else(Reply::Problem)
    }

    async fn cosign(&self, head: &Head, guess: u64) -> Result<Reply, String> {
        let note = Note::parse(&head.note).map_err(|e| e.to_string())?;
        let mut old = guess;
        for _ in 0..ATTEMPTS {
            let path = self.ledger.consistency_proof(old, head.size).map_err(|e| chain(&e))?;
            let body = AddCheckpoint { old, path, note: note.clone() }.to_bytes();
            let request = self.client.post(format!("{}/add-checkpoint", self.url)).body(body);
            let (status, body) = answer(request).await?;
            match status {
                StatusCode::OK => return self.line(&note, &body).map(Reply::Cosigned),
                StatusCode::CONFLICT => {
                    let told = parse_size(&body).ok_or("409 without a size")?;
                    if told > head.size {
                        return self.objection().await;
                    }
                    old = told;
                }
                // Said of a proof that does not fit: it saw another log, or it is wrong.
                StatusCode::UNPROCESSABLE_ENTITY => return self.objection().await,
                other => return Err(format!("it answered {}: {}", other.as_u16(), reason(&body))),
            }
        }
        Err(format!("it does not agree with the size {old} that it told"))
    }

    /// What the witness has must show why it does not sign: neither a size nor a refusal is signed by anybody.
    async fn objection(&self) -> Result<Reply, String> {
        match self.look().await? {
            Reply::Seen => {
                Err("it refuses, and shows nothing that this log does not have; ask again".to_owned())
            }
            other => Ok(other),
        }
    }

    /// Holds what the witness saw last against the log.
    async fn look(&self) -> Result<Reply, String> {
        match self.shown().await? {
            Shown::Nothing => Ok(Reply::Seen),
            Shown::Signed(seen) => self.compare(&seen),
            Shown::Claimed(size) => {
                let found = self.ledger.head().map_err(|e| chain(&e))?.map_or(0, |head| head.size);
                let smaller = "it shows a smaller checkpoint under a log key that is not known here";
                if size > found { Ok(Reply::Claim(size)) } else { Err(smaller.to_owned()) }
            }
        }
    }

    async fn shown(&self) -> Result<Shown, String> {
        let origin = Digest::of(self.ledger.verifier().name().as_bytes()).hex();
        let (status, body) = answer(self.client.get(format!("{}/{origin}/checkpoint", self.url))).await?;
        match status {
            StatusCode::OK => match self.ledger.log_keys().open(&body) {
                Ok(seen) => Ok(Shown::Signed(seen.value)),
                Err(error) => self
                    .claimed(&body)
                    .map(Shown::Claimed)
                    .ok_or_else(|| format!("what it shows is no checkpoint of this log: {error}")),
            },
            StatusCode::NOT_FOUND => Ok(Shown::Nothing),
            other => Err(format!("it answered {}: {}", other.as_u16(), reason(&body))),
        }
    }

    /// The size of a checkpoint of this log's name that the witness cosigned, whoever else signed it.
    fn claimed(&self, body: &[u8]) -> Option<u64> {
        let note = Note::parse(body).ok()?;
        let checkpoint = Checkpoint::from_text(&note.text).ok()?;
        let cosigned = self.witness.key.time_of(&note).ok()?.is_some();
        (cosigned && checkpoint.origin == self.ledger.verifier().name()).then_some(checkpoint.size)
    }

    /// Holds a checkpoint against the log as it is now, which may have grown meanwhile.
    fn compare(&self, seen: &Checkpoint) -> Result<Reply, String> {
        let who = format!("the witness `{}`", self.witness.name);
        let head = self.ledger.head().map_err(|e| chain(&e))?;
        let size = head.as_ref().map_or(0, |head| head.size);
        let Some(head) = head.filter(|head| seen.size <= head.size) else {
            return Ok(Reply::Finding(rolled_back(&who, seen.size, size)));
        };
        match self.ledger.continues(seen, &head) {
            Ok(true) => Ok(Reply::Seen),
            Ok(false) => {
                let text = format!(
                    "{who} has a checkpoint of {} entries, signed by this log's key, that the {size} entries here do \
                     not continue: there are two ledgers under one key",
                    seen.size
                );
                Ok(Reply::Finding(Failure::new(Code::Tampered, text)))
            }
            Err(error) => Err(chain(&error)),
        }
    }

    /// The witness's own line among those that it answered.
    fn line(&self, note: &Note, body: &[u8]) -> Result<NoteSignature, String> {
        let text = std::str::from_utf8(body).map_err(|_| "its answer is not UTF-8")?;
        let lines = text.lines().filter_map(|line| NoteSignature::parse(line).ok());
        let mut fitting = lines.filter(|line| time_of(&self.witness.key, &note.text, line).is_some());
        fitting.next().ok_or_else(|| "its answer has no signature by its key that fits".to_owned())
    }
}

/// When `key` signed `text` with this line; `None` if the line is not by it or does not fit.
pub(super) fn time_of(key: &WitnessKey, text: &str, line: &NoteSignature) -> Option<u64> {
    let note = Note { text: text.to_owned(), signatures: vec![line.clone()] };
    key.time_of(&note).ok().flatten()
}

/// Status and body of an answer, as far as the limit.
async fn answer(request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), String> {
    let mut response = request.send().await.map_err(|e| format!("it does not answer: {}", chain(&e)))?;
    let (status, mut body) = (response.status(), Vec::new());
    while let Some(piece) =
        response.chunk().await.map_err(|e| format!("its answer breaks off: {}", chain(&e)))?
    {
        if body.len() + piece.len() > ANSWER_LIMIT_BYTES {
            return Err(format!("its answer is larger than {ANSWER_LIMIT_BYTES} bytes"));
        }
        body.extend_from_slice(&piece);
    }
    Ok((status, body))
}

/// The first line of a refusal, as far as it can be shown on a terminal.
fn reason(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(REASON_LIMIT).collect()
}
