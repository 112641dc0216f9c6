//! The log's side of witnessing: whom it asks, what it publishes, and what stops it.
//!
//! * **Policy**: `.lineal/witnesses.policy`, a text of <https://c2sp.org/tlog-policy>. Without `log` lines it is about
//!   this ledger; with them, only checkpoints that these keys signed count.
//! * **Published is what has the quorum**: `log/checkpoint.witnessed` is replaced by nothing less.
//! * **Findings**: a checkpoint that this log's key signed, and that is larger than the log or that the log does not
//!   continue. What a witness merely says is none: sizes in answers are not authenticated. Under a log key that is not
//!   known here, a quorum of cosignatures on a larger one counts as much: the log's key was replaced since.

mod duty;
mod question;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lineal_blob::files;
use lineal_facts::Timestamp;
use lineal_proof::checkpoint::NoteSignature;
use lineal_proof::witness_policy::{POLICY_LIMIT_BYTES, PolicyWitness, Quorum};
use lineal_proof::{Note, WitnessPolicy};
use lineal_store::ledger::{Head, Publication};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::failure::{Code, Failure};
use crate::project::Project;
use crate::witness::{off_the_loop, unix_seconds};

pub(crate) use duty::ask_if_due;
pub use duty::keep_witnessed;
use question::{Question, Reply};

/// The policy's file in `.lineal`.
pub const POLICY: &str = "witnesses.policy";
/// How long one request to a witness may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one request may take before a command signs.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// How far ahead the clock of a witness may be.
pub(crate) const CLOCK_TOLERANCE_SECONDS: u64 = 60;

/// What became of one round of asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// Name of the ledger.
    pub origin: String,
    /// Entries of the checkpoint.
    pub size: u64,
    /// Each witness of the policy.
    pub witnesses: Vec<Answer>,
    /// Whether enough of them cosigned.
    pub quorum: bool,
    /// The latest moment at which a quorum knew of no larger log; nothing if the policy wants no witness.
    pub attested_at: Option<Timestamp>,
    /// Whether clients get the cosigned checkpoint. Another process may have published a larger one meanwhile.
    pub published: bool,
    /// Who cosigned and who is needed.
    pub summary: String,
}

/// What one witness did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Its name in the policy.
    pub witness: String,
    /// When it cosigned this checkpoint, by its clock.
    pub cosigned_at: Option<Timestamp>,
    /// Why it did not now.
    pub problem: Option<String>,
}

impl Asked {
    /// The failure to report, if too few cosigned.
    pub fn failure(&self) -> Option<Failure> {
        let text = format!("the checkpoint of {} entries is {}", self.size, self.summary);
        (!self.quorum).then(|| Failure::new(Code::NotVerified, text))
    }
}

/// The project's policy about its ledger, if there is one.
pub fn policy(project: &Project) -> Result<Option<WitnessPolicy>, Failure> {
    let path = path(project);
    if path.exists() { read_policy(project, &path).map(Some) } else { Ok(None) }
}

/// The policy in the file `path`, about the project's ledger.
pub fn read_policy(project: &Project, path: &Path) -> Result<WitnessPolicy, Failure> {
    let wrong = |reason: String| Failure::new(Code::Policy, format!("`{}`: {reason}", path.display()));
    let bytes = files::read_limited(path, POLICY_LIMIT_BYTES as u64)
        .map_err(|e| Failure::caused(Code::Policy, &e))?;
    let policy = WitnessPolicy::parse(&bytes).map_err(|e| wrong(e.to_string()))?;
    let keys = project.store.ledger().log_keys().get();
    Ok(if policy.logs().is_empty() { policy.with_logs(keys.all().cloned()) } else { policy })
}

/// Asks every witness for its signature on the published checkpoint and publishes what has the quorum.
pub async fn ask(project: &Project) -> Result<Asked, Failure> {
    let policy = policy(project)?.ok_or_else(|| {
        let text =
            format!("there is no witness policy `{}`; docs/formats.md shows one", path(project).display());
        Failure::new(Code::NotFound, text)
    })?;
    let ledger = project.store.ledger();
    let key = ledger.verifier();
    if !policy.logs().iter().any(|log| log.key == key) {
        let text = format!("`{POLICY}` does not name this ledger's key; add the line `log {key}`");
        return Err(Failure::new(Code::Policy, text));
    }
    let head = ledger.head()?.ok_or_else(|| Failure::new(Code::NotFound, "the ledger is empty"))?;
    refuse_if_behind(project, &head)?;
    let known = known_lines(project, &policy, &head)?;
    let replies = gather(project, &policy, Question::Cosign(head.clone()), ASK_TIMEOUT).await?;
    let mut note = Note::parse(&head.note).map_err(|e| Failure::caused(Code::Internal, &e))?;
    let mut problems = Vec::new();
    for ((witness, reply), known) in policy.witnesses().iter().zip(replies).zip(known) {
        let (line, problem) = match reply {
            Ok(line) => (line, None),
            Err(problem) => (None, Some(problem)),
        };
        note.signatures.extend(line.or(known));
        problems.push((witness, problem));
    }
    let latest = unix_seconds() + CLOCK_TOLERANCE_SECONDS;
    let judged = policy.evaluate(&note.to_bytes(), latest).map_err(|e| Failure::caused(Code::Policy, &e))?;
    let (quorum, attested_at) = match judged.quorum {
        Quorum::NotRequired => (true, None),
        Quorum::Reached { attested_at } => (true, Some(timestamp(attested_at))),
        Quorum::Missed => (false, None),
    };
    let published = quorum && publish(project, note).await? == Publication::Published;
    let answer = |(witness, problem): (&PolicyWitness, Option<String>)| {
        let cosigned = judged.cosigned.iter().find(|cosigned| cosigned.name == witness.name);
        let cosigned_at = cosigned.map(|cosigned| timestamp(cosigned.time));
        Answer { witness: witness.name.clone(), cosigned_at, problem }
    };
    Ok(Asked {
        origin: judged.checkpoint.origin.clone(),
        size: head.size,
        witnesses: problems.into_iter().map(answer).collect(),
        quorum,
        attested_at,
        published,
        summary: judged.to_string(),
    })
}

async fn publish(project: &Project, note: Note) -> Result<Publication, Failure> {
    let ledger = project.store.ledger().clone();
    off_the_loop(move || Ok(ledger.publish_witnessed(&note)?)).await
}

/// Refuses a ledger that is older than what a witness of its policy saw, or another one under the same key: who signs
/// on there makes a fork. Without a policy, or where no witness answers, nothing is known.
pub async fn refuse_if_rolled_back(project: &Project) -> Result<(), Failure> {
    let (Some(policy), Some(head)) = (policy(project)?, project.store.ledger().head()?) else {
        return Ok(());
    };
    refuse_if_behind(project, &head)?;
    gather(project, &policy, Question::Look, LOOK_TIMEOUT).await?;
    Ok(())
}

/// Refuses a ledger that its own witnessed checkpoint is ahead of.
fn refuse_if_behind(project: &Project, head: &Head) -> Result<(), Failure> {
    match project.store.ledger().witnessed()? {
        // Another process may have grown the log since `head` was read.
        Some(witnessed) if witnessed.size > head.size => {
            let now = project.store.ledger().head()?.map_or(0, |head| head.size);
            if witnessed.size > now { Err(rolled_back("the witnesses", witnessed.size, now)) } else { Ok(()) }
        }
        Some(_) | None => Ok(()),
    }
}

/// Asks all witnesses at the same time. In the order of the policy: what each signed, if anything, or the problem with
/// it. A finding of one, or a claim of a quorum, is the error.
async fn gather(
    project: &Project,
    policy: &WitnessPolicy,
    question: Question,
    timeout: Duration,
) -> Result<Vec<Result<Option<NoteSignature>, String>>, Failure> {
    let client = question::client(timeout)?;
    let question = Arc::new(question);
    let guess = project.store.ledger().witnessed()?.map_or(0, |witnessed| witnessed.size);
    let mut asked = JoinSet::new();
    for (at, witness) in policy.witnesses().iter().enumerate() {
        let Some(url) = url_of(witness)? else { continue };
        let correspondent = question::Correspondent {
            client: client.clone(),
            url,
            witness: witness.clone(),
            ledger: project.store.ledger().clone(),
        };
        let question = question.clone();
        asked.spawn(async move { (at, correspondent.ask(&question, guess).await) });
    }
    let mut replies: Vec<Reply> =
        policy.witnesses().iter().map(|_| Reply::Problem("the policy has no URL of it".to_owned())).collect();
    while let Some(done) = asked.join_next().await {
        let (at, reply) = done.map_err(|e| Failure::caused(Code::Internal, &e))?;
        replies[at] = reply;
    }
    let claims = |at: usize| matches!(replies[at], Reply::Claim(_));
    if policy.is_quorum(claims) {
        let size = |reply: &Reply| if let Reply::Claim(size) = reply { *size } else { 0 };
        let found = project.store.ledger().head()?.map_or(0, |head| head.size);
        let seen = replies.iter().map(size).max().unwrap_or_default();
        return Err(rolled_back("a quorum of witnesses, under a newer key of the log,", seen, found));
    }
    let settled = replies.into_iter().map(|reply| match reply {
        Reply::Cosigned(line) => Ok(Ok(Some(line))),
        Reply::Seen => Ok(Ok(None)),
        Reply::Claim(size) => {
            Ok(Err(format!("it shows {size} entries under a log key that is not known here")))
        }
        Reply::Problem(problem) => Ok(Err(problem)),
        Reply::Finding(finding) => Err(finding),
    });
    settled.collect()
}

/// The newest line of each witness on the published cosigned checkpoint, if that is of the head's text.
fn known_lines(
    project: &Project,
    policy: &WitnessPolicy,
    head: &Head,
) -> Result<Vec<Option<NoteSignature>>, Failure> {
    let parse = |bytes: &[u8]| Note::parse(bytes).map_err(|e| Failure::caused(Code::Tampered, &e));
    let text = parse(&head.note)?.text;
    let note = project.store.ledger().witnessed()?.map(|witnessed| parse(&witnessed.note)).transpose()?;
    let note = note.filter(|note| note.text == text);
    let line = |witness: &PolicyWitness| {
        let lines = note.iter().flat_map(|note| &note.signatures);
        let timed = lines.filter_map(|line| Some((question::time_of(&witness.key, &text, line)?, line)));
        timed.max_by_key(|(time, _)| *time).map(|(_, line)| line.clone())
    };
    Ok(policy.witnesses().iter().map(line).collect())
}

/// Where a witness takes requests, if the policy says so.
fn url_of(witness: &PolicyWitness) -> Result<Option<String>, Failure> {
    let wrong = |reason: &str| {
        Err(Failure::new(Code::Policy, format!("`{POLICY}`: the witness `{}` {reason}", witness.name)))
    };
    match witness.url.as_deref() {
        Some(url) if url.starts_with("http://") => Ok(Some(url.trim_end_matches('/').to_owned())),
        Some(url) if url.starts_with("https://") => wrong(
            "has an https:// URL, and this build speaks plain HTTP only; name a proxy on this machine that speaks TLS",
        ),
        Some(_) => wrong("has a URL that does not begin with http://"),
        None => Ok(None),
    }
}

pub(crate) fn rolled_back(who: &str, seen: u64, found: u64) -> Failure {
    let text = format!(
        "{who} saw {seen} entries of this ledger, and here are {found}: an older copy was put in its place. Put the \
         newer one back; what is signed on this one would be a fork"
    );
    Failure::new(Code::RolledBack, text)
}

fn timestamp(unix_seconds: u64) -> Timestamp {
    Timestamp::from_unix_ms(i64::try_from(unix_seconds).unwrap_or(i64::MAX).saturating_mul(1000))
}

fn path(project: &Project) -> PathBuf {
    project.folder().join(POLICY)
}
