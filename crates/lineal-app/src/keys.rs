//! Replacing and revoking keys. Both are statements: what a key signed before its revocation counts for good.
//!
//! A rotation has four acts: make the new key, record it, put it in the old one's place, record the end of the old one.
//! Whichever of them was the last before a crash, the next rotation of the same key goes on from there.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::Arc;

use lineal_blob::files::Context;
use lineal_facts::predicate::{KeyRecord, KeyRole, KeyState};
use lineal_facts::statement::Subject;
use lineal_facts::{Digest, ModelName, Predicate, Statement};
use lineal_proof::keyring::Keyring;
use lineal_proof::{PublicKey, Signer, TrustedKey};
use lineal_store::keys::{Pkcs11Signer, Pkcs11Uri};
use lineal_store::store::SYSTEM_HOLDER;
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::project::{Project, now};

/// Longest reason in bytes.
const REASON_LIMIT_BYTES: usize = 1000;

/// A key that took over from another.
#[derive(Debug, Serialize)]
pub struct Rotated {
    /// Who holds it.
    pub holder: String,
    /// What it may sign.
    pub role: KeyRole,
    /// The key before, if there was one.
    pub old: Option<Digest>,
    /// The key.
    pub new: Digest,
    /// Where it is: a file, or a key in a token.
    pub place: String,
    /// Entries of the ledger afterwards.
    pub entries: u64,
}

/// A log key that took over from another.
#[derive(Debug, Serialize)]
pub struct RotatedLog {
    /// The verifier key before.
    pub old: String,
    /// The verifier key.
    pub new: String,
    /// The size of the first checkpoint that it signs.
    pub from: u64,
    /// The statement that introduces it.
    pub statement: Digest,
}

/// Keys that no longer count.
#[derive(Debug, Serialize)]
pub struct Revoked {
    /// Which.
    pub keys: Vec<Digest>,
    /// Ledger position from which on they do not count.
    pub at: u64,
    /// Why.
    pub reason: String,
}

/// What to revoke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevokeSubject {
    /// One key.
    Key(Digest),
    /// Every active key of a holder in a role.
    Holder(String, KeyRole),
}

/// Replaces the key of `holder` in `role` by a new file, or by the key in a token that the settings name.
///
/// `signed_by` names the builder key in a token that the settings no longer name, to introduce its successor.
pub async fn rotate(
    project: &Project,
    holder: &str,
    role: KeyRole,
    signed_by: Option<&Pkcs11Uri>,
) -> Result<Rotated, Failure> {
    let holder: ModelName = holder.parse().map_err(|_| {
        Failure::new(Code::Name, format!("holder `{holder}`: use lower-case letters, digits and `-`"))
    })?;
    let rotation = Rotation { project, holder: holder.as_str(), role };
    let _one_at_a_time = rotation_lock(project)?;
    let keyring = project.store.index().keyring().await?;
    if !keyring.entries().iter().any(|e| e.holder == rotation.holder && e.role == role) {
        let text = format!("`{holder}` never had a key as {role}; `lineal ledger keys` lists all");
        return Err(Failure::new(Code::NotFound, text));
    }
    let newest = keyring.current(rotation.holder, role);
    // A rotation that was interrupted after the new key was recorded: only its end is missing.
    let unfinished = newest.and_then(|new| Some((new, keyring.get(&new.replaces?)?)));
    if let Some((new, old)) = unfinished.filter(|(_, old)| old.revoked_at.is_none()) {
        let signer = rotation.take_over(&new.key)?;
        return rotation.end(signer, Some(old)).await;
    }
    project.store.keys().discard_next(rotation.holder, role)?;
    let new = rotation.make(newest)?;
    let record = rotation.record(&new, KeyState::Active, newest.map(|old| old.key.id()), None);
    match (role, newest, signed_by) {
        (KeyRole::Builder, Some(_), Some(uri)) => {
            project.store.commit(&[record], &Pkcs11Signer::connect(uri)?).await?;
        }
        // The settings name a token already; the builder key of this ledger is still the file.
        (KeyRole::Builder, Some(old), None)
            if rotation.file().is_some_and(|f| *f.public_key() == old.key) =>
        {
            let file = project.store.keys().load(rotation.holder, role)?;
            project.store.commit(&[record], &file).await?;
        }
        _ => {
            project.store.commit(&[record], project.store.builder()).await?;
        }
    }
    let signer = rotation.take_over(&new)?;
    rotation.end(signer, newest).await
}

/// Replaces the key that signs checkpoints.
pub async fn rotate_log(project: &Project) -> Result<RotatedLog, Failure> {
    let old = project.store.ledger().verifier().to_string();
    let committed = project.store.rotate_log_key(now()).await?;
    let new = project.store.ledger().verifier().to_string();
    Ok(RotatedLog { old, new, from: committed.position + 1, statement: committed.statement })
}

/// Ends keys: what they sign from here on does not count.
pub async fn revoke(project: &Project, subject: &RevokeSubject, reason: &str) -> Result<Revoked, Failure> {
    let reason = reason.trim();
    if reason.is_empty() || reason.len() > REASON_LIMIT_BYTES {
        let text =
            format!("a revocation needs a reason of at most {REASON_LIMIT_BYTES} bytes: --reason \"...\"");
        return Err(Failure::new(Code::Usage, text));
    }
    let keyring = project.store.index().keyring().await?;
    let entries: Vec<&TrustedKey> = match subject {
        RevokeSubject::Key(id) => keyring.get(id).into_iter().collect(),
        RevokeSubject::Holder(holder, role) => {
            keyring.entries().iter().filter(|e| e.holder == *holder && e.role == *role).collect()
        }
    };
    let active: Vec<&TrustedKey> = entries.iter().copied().filter(|e| e.revoked_at.is_none()).collect();
    if active.is_empty() {
        let what = match subject {
            RevokeSubject::Key(id) => format!("key {id}"),
            RevokeSubject::Holder(holder, role) => format!("`{holder}` as {role}"),
        };
        let state = if entries.is_empty() { "no key of the ledger" } else { "revoked already" };
        let text = format!("{what}: {state}; `lineal ledger keys` lists all");
        return Err(Failure::new(Code::NotFound, text));
    }
    refuse_last_builder(&keyring, &active)?;
    let records: Vec<Statement> = active
        .iter()
        .map(|entry| {
            let rotation = Rotation { project, holder: &entry.holder, role: entry.role };
            rotation.record(&entry.key, KeyState::Revoked, None, Some(reason.to_owned()))
        })
        .collect();
    let committed = project.store.commit(&records, project.store.builder()).await?;
    let at = committed.first().map_or(0, |c| c.position);
    Ok(Revoked { keys: active.iter().map(|e| e.key.id()).collect(), at, reason: reason.to_owned() })
}

/// Encrypts key files that are not; yields their former names.
pub fn encrypt(project: &Project) -> Result<Vec<PathBuf>, Failure> {
    Ok(project.store.keys().encrypt_all()?)
}

/// The key that signs route tables; it must count.
pub async fn router(project: &Project) -> Result<Arc<dyn Signer>, Failure> {
    let router = project.store.keys().signer(SYSTEM_HOLDER, KeyRole::Router)?;
    let keyring = project.store.index().keyring().await?;
    let size = project.store.index().size().await?;
    keyring.accepts(&router.public_key().id(), KeyRole::Router, size).map_err(|e| {
        let text = format!("the router key does not count: {e}; `lineal ledger rotate {SYSTEM_HOLDER} router` makes a new one");
        Failure::new(Code::Key, text)
    })?;
    Ok(router)
}

/// Held while a key is replaced: two processes must not each make the successor.
fn rotation_lock(project: &Project) -> Result<File, Failure> {
    let path = project.folder().join("keys.lock");
    let file = File::create(&path).context("open", &path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Failure::new(Code::Running, "another process replaces a key of this project"))
        }
        Err(TryLockError::Error(e)) => Err(Failure::caused(Code::File, &e)),
    }
}

/// The keyring refuses it too; here it is said what to do instead.
fn refuse_last_builder(keyring: &Keyring, ending: &[&TrustedKey]) -> Result<(), Failure> {
    let ends = |entry: &TrustedKey| ending.iter().any(|other| other.key == entry.key);
    let remains = |e: &TrustedKey| e.role == KeyRole::Builder && e.revoked_at.is_none() && !ends(e);
    if keyring.entries().iter().any(remains) {
        return Ok(());
    }
    let text = format!(
        "without a builder key nothing could be recorded any more; `lineal ledger rotate {SYSTEM_HOLDER} builder` \
         makes a new one and revokes this one"
    );
    Err(Failure::new(Code::Key, text))
}

/// One holder's key in one role.
struct Rotation<'a> {
    project: &'a Project,
    holder: &'a str,
    role: KeyRole,
}

impl Rotation<'_> {
    /// The present key file, if it is there and opens.
    fn file(&self) -> Option<lineal_store::FileSigner> {
        self.project.store.keys().load(self.holder, self.role).ok()
    }

    /// The new key: the one in the token that the settings name, or a file that waits.
    fn make(&self, old: Option<&TrustedKey>) -> Result<PublicKey, Failure> {
        let keys = self.project.store.keys();
        let Some(uri) = keys.token(self.holder, self.role) else {
            return Ok(keys.create_next(self.holder, self.role)?.public_key().clone());
        };
        let new = Pkcs11Signer::connect(uri)?.public_key().clone();
        if old.is_some_and(|old| old.key == new) {
            let text = format!("{uri} is the ledger's key already; make another and name it in the settings");
            return Err(Failure::new(Code::Key, text));
        }
        Ok(new)
    }

    /// Puts the recorded key `new` in the place of the old one.
    fn take_over(&self, new: &PublicKey) -> Result<Arc<dyn Signer>, Failure> {
        let keys = self.project.store.keys();
        if keys.token(self.holder, self.role).is_some() {
            keys.remove(self.holder, self.role)?;
        } else if keys.next(self.holder, self.role)?.is_some_and(|next| next.public_key() == new) {
            keys.adopt_next(self.holder, self.role)?;
        }
        let signer = keys.signer(self.holder, self.role)?;
        if signer.public_key() == new {
            return Ok(signer);
        }
        let text =
            format!("the key at hand, {}, is not the recorded one, {}", signer.public_key().id(), new.id());
        Err(Failure::new(Code::Key, text))
    }

    /// Records the end of the old key.
    async fn end(&self, signer: Arc<dyn Signer>, old: Option<&TrustedKey>) -> Result<Rotated, Failure> {
        let store = &self.project.store;
        if let Some(old) = old {
            let reason = Some("replaced by a new key".to_owned());
            let record = self.record(&old.key, KeyState::Revoked, None, reason);
            match self.role {
                KeyRole::Builder => store.commit(&[record], &*signer).await?,
                KeyRole::Approver | KeyRole::Router | KeyRole::Log => {
                    store.commit(&[record], store.builder()).await?
                }
            };
        }
        let place = match store.keys().token(self.holder, self.role) {
            Some(uri) => uri.to_string(),
            None => store.keys().path(self.holder, self.role).display().to_string(),
        };
        Ok(Rotated {
            holder: self.holder.to_owned(),
            role: self.role,
            old: old.map(|old| old.key.id()),
            new: signer.public_key().id(),
            place,
            entries: store.index().size().await?,
        })
    }

    fn record(
        &self,
        key: &PublicKey,
        state: KeyState,
        replaces: Option<Digest>,
        reason: Option<String>,
    ) -> Statement {
        Statement {
            subject: vec![Subject::new(format!("key/{}", self.holder), key.id())],
            predicate: Predicate::Key(KeyRecord {
                holder: self.holder.to_owned(),
                role: self.role,
                state,
                public_key: key.to_pem(),
                replaces,
                reason,
                stated_at: now(),
            }),
        }
    }
}
