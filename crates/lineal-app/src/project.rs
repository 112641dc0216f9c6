//! A project: the folder with `.lineal/`, its settings and the clock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use lineal_blob::files::{self, Context};
use lineal_facts::predicate::{KeyRecord, KeyRole, KeyState};
use lineal_facts::statement::Subject;
use lineal_facts::{Predicate, Statement, Timestamp};
use lineal_proof::Signer;
use lineal_sandbox::Launcher;
use lineal_store::keys::Pkcs11Uri;
use lineal_store::store::SYSTEM_HOLDER;
use lineal_store::{Bucket, BucketCredentials, BucketLocation, DatabaseUrl, IndexLocation, Keys, Store};
use serde::{Deserialize, Serialize};

/// By what pods know the operator's exchange.
pub use lineal_store::keys::ExchangeCertificate;
/// The ledger's files, as clients see them.
pub use lineal_store::ledger::Published;

use crate::failure::{Code, Failure};

/// The hidden subcommand by which the binary starts itself as the sandbox launcher.
pub const SANDBOX_LAUNCH: &str = "sandbox-launch";
/// The hidden subcommand by which the binary starts itself as the keeper of one model server.
pub const MODEL_SERVER: &str = "model-server";
/// The folder that holds everything.
pub const FOLDER: &str = ".lineal";
/// Names the identity file that opens key files; it goes before the settings.
pub const IDENTITY_VARIABLE: &str = "LINEAL_IDENTITY";
const CONFIG_LIMIT_BYTES: u64 = 64 << 10;

/// An open project.
#[derive(Debug, Clone)]
pub struct Project {
    /// The folder that contains `.lineal/`.
    pub root: PathBuf,
    /// Its state.
    pub store: Store,
    /// Its settings.
    pub config: Config,
    /// The `lineal` binary, which is also launcher and keeper of model servers.
    pub program: PathBuf,
    /// How steps are started.
    pub launcher: Launcher,
}

/// `.lineal/config.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Format version, 1.
    pub version: u32,
    /// Name of the ledger: a host name without port or path.
    pub origin: String,
    /// Who approves by default: holder of an approver key.
    pub approver: String,
    /// Where `lineal serve` listens; port 0 takes a free one.
    pub serve: String,
    /// Where `lineal gateway` listens; port 0 takes a free one.
    pub gateway: String,
    /// The identity file that opens key files; the one in the user's configuration folder otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<PathBuf>,
    /// How old the time that witnesses attest may be, for instance `1h`; no bound otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness_max_age: Option<String>,
    /// The PostgreSQL database of the index; `index.db` beside this file otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<DatabaseUrl>,
    /// The bucket that holds blobs and ledger; they are beside this file otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<BucketLocation>,
    /// Keys in tokens: `pkcs11:` URIs by `builder`, `router` or `HOLDER.approver`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub signers: BTreeMap<String, String>,
}

/// What a new project may have.
#[derive(Debug, Default)]
pub struct InitOptions<'a> {
    /// The file with the identity that opens key files; the settings will name it.
    pub identity: Option<&'a Path>,
    /// The bucket for blobs and ledger. Nothing may be there yet.
    pub storage: Option<BucketLocation>,
}

/// What `lineal init` made.
#[derive(Debug, Serialize)]
pub struct Initialised {
    /// The folder.
    pub folder: PathBuf,
    /// Name of the ledger.
    pub origin: String,
    /// The ledger's public key.
    pub ledger_key: String,
    /// Who can approve.
    pub approver: String,
    /// Entries of the ledger so far.
    pub entries: u64,
    /// The file that opens the project's key files.
    pub identity: PathBuf,
}

impl Config {
    /// How old the time that witnesses attest may be, in milliseconds.
    pub fn witness_max_age_ms(&self) -> Result<Option<u64>, Failure> {
        let parse = |text: &String| {
            let wrong = |e| Failure::new(Code::Config, format!("`witness_max_age` in `config.toml`: {e}"));
            lineal_engine::pipeline::parse_ms(text).map_err(wrong)
        };
        self.witness_max_age.as_ref().map(parse).transpose()
    }
}

impl Project {
    /// Makes `.lineal/` in `root`. `approver` gets a key that can approve.
    pub async fn init(root: &Path, approver: &str) -> Result<Initialised, Failure> {
        Self::init_with(root, approver, InitOptions::default()).await
    }

    /// [`Project::init`] with these options.
    pub async fn init_with(
        root: &Path,
        approver: &str,
        options: InitOptions<'_>,
    ) -> Result<Initialised, Failure> {
        let InitOptions { identity, storage } = options;
        let folder = root.join(FOLDER);
        if folder.exists() {
            return Err(Failure::new(
                Code::ProjectPresent,
                format!("there is a Lineal project in `{}` already", root.display()),
            ));
        }
        let holder: lineal_facts::ModelName = approver.parse().map_err(|_| {
            Failure::new(Code::Name, format!("approver `{approver}`: use lower-case letters, digits and `-`"))
        })?;
        // A half-made folder must not look like a project: it is made aside and renamed.
        let staging = root.join(format!("{FOLDER}.init"));
        if staging.exists() {
            std::fs::remove_dir_all(&staging).context("remove", &staging)?;
        }
        files::create_directory(&staging)?;
        // A bare host name: Sigstore clients look a log up by the host of its URL.
        let origin = format!("{}.lineal.local", random_hex()?);
        let named = identity.map(std::path::absolute).transpose();
        let named = named.map_err(|e| Failure::caused(Code::File, &e))?;
        let identity = identity_path(root, named.as_deref(), FOLDER)?;
        let keys = Keys::new(&staging.join("keys")).with_identity(identity.clone());
        let store = Store::create_in(&staging, &origin, keys, open_bucket(storage.as_ref())?).await?;
        store.keys().create(holder.as_str(), KeyRole::Approver)?;
        let now = now();
        let statements = [
            key_statement(&store, SYSTEM_HOLDER, KeyRole::Builder, now)?,
            key_statement(&store, SYSTEM_HOLDER, KeyRole::Router, now)?,
            key_statement(&store, holder.as_str(), KeyRole::Approver, now)?,
        ];
        store.commit(&statements, store.builder()).await?;
        let config = Config {
            version: 1,
            origin: origin.clone(),
            approver: holder.to_string(),
            serve: "127.0.0.1:0".to_owned(),
            gateway: "127.0.0.1:0".to_owned(),
            identity: named,
            witness_max_age: None,
            index: None,
            storage,
            signers: BTreeMap::new(),
        };
        let text = toml::to_string(&config).map_err(|e| Failure::caused(Code::Internal, &e))?;
        files::replace(&staging.join("config.toml"), text.as_bytes())?;
        let ledger_key = store.ledger().verifier().to_string();
        store.index().close().await;
        std::fs::rename(&staging, &folder).context("rename to", &folder)?;
        files::sync_directory(root)?;
        Ok(Initialised {
            folder,
            origin,
            ledger_key,
            approver: holder.to_string(),
            entries: statements.len() as u64,
            identity,
        })
    }

    /// Opens the project of `start` or of the nearest folder above it.
    /// `program` is the `lineal` binary.
    pub async fn open(start: &Path, program: PathBuf) -> Result<Self, Failure> {
        let place = Place::find(start)?;
        let store = Store::open_in(&place.root.join(FOLDER), place.keys, &place.index, place.bucket).await?;
        Ok(Self::of(place.root, place.config, store, program))
    }

    /// [`Project::open`] for who only checks: also with an index that cannot be used, and where nothing can be written.
    pub async fn open_to_check(start: &Path, program: PathBuf) -> Result<Self, Failure> {
        let place = Place::find(start)?;
        let folder = place.root.join(FOLDER);
        let store = Store::open_to_check(&folder, place.keys, &place.index, place.bucket).await?;
        Ok(Self::of(place.root, place.config, store, program))
    }

    /// [`Project::open`] with an index that is made anew from the ledger, whatever the one that is there is like.
    pub async fn open_rebuilt(start: &Path, program: PathBuf) -> Result<Self, Failure> {
        let place = Place::find(start)?;
        let folder = place.root.join(FOLDER);
        let store = Store::open_rebuilt(&folder, place.keys, &place.index, place.bucket).await?;
        Ok(Self::of(place.root, place.config, store, program))
    }

    fn of(root: PathBuf, config: Config, store: Store, program: PathBuf) -> Self {
        let launcher = Launcher::new(&program, [SANDBOX_LAUNCH]);
        Self { root, store, config, program, launcher }
    }

    /// `.lineal/`.
    pub fn folder(&self) -> PathBuf {
        self.root.join(FOLDER)
    }

    /// A folder for what may be lost: work directories, caches.
    pub fn scratch(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.folder().join("work").join(name);
        files::create_directory(&path)?;
        Ok(path)
    }
}

/// Where a project is, before it is opened.
struct Place {
    root: PathBuf,
    config: Config,
    keys: Keys,
    index: IndexLocation,
    bucket: Option<Bucket>,
}

impl Place {
    /// The project of `start` or of the nearest folder above it.
    fn find(start: &Path) -> Result<Self, Failure> {
        let start = std::fs::canonicalize(start).context("open", start)?;
        let root = start.ancestors().find(|folder| folder.join(FOLDER).is_dir()).ok_or_else(|| {
            Failure::new(
                Code::ProjectAbsent,
                format!("there is no Lineal project in `{}` or above it; run `lineal init`", start.display()),
            )
        })?;
        let config = read_config(&root.join(FOLDER).join("config.toml"))?;
        let keys = Keys::new(&root.join(FOLDER).join("keys"))
            .with_identity(identity_path(root, config.identity.as_deref(), FOLDER)?)
            .with_tokens(tokens(root, &config.signers)?);
        let index = match &config.index {
            Some(url) => IndexLocation::Postgres(url.clone()),
            None => IndexLocation::File(root.join(FOLDER).join("index.db")),
        };
        let bucket = open_bucket(config.storage.as_ref())?;
        Ok(Self { root: root.to_owned(), config, keys, index, bucket })
    }
}

/// Now, by the system clock: the time of every decision that this crate makes.
pub fn now() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_ms(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}

/// 16 random hex digits.
pub fn random_hex() -> Result<String, Failure> {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes).map_err(|e| Failure::new(Code::Internal, format!("no randomness: {e}")))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// The bucket at `location`, with the keys in the environment.
fn open_bucket(location: Option<&BucketLocation>) -> Result<Option<Bucket>, Failure> {
    let Some(location) = location else { return Ok(None) };
    let credentials =
        BucketCredentials::from_environment().map_err(|e| Failure::caused(Code::Storage, &e))?;
    Ok(Some(Bucket::open(location, &credentials)?))
}

fn key_statement(store: &Store, holder: &str, role: KeyRole, now: Timestamp) -> Result<Statement, Failure> {
    let signer = store.keys().load(holder, role)?;
    let key = signer.public_key();
    Ok(Statement {
        subject: vec![Subject::new(format!("key/{holder}"), key.id())],
        predicate: Predicate::Key(KeyRecord {
            holder: holder.to_owned(),
            role,
            state: KeyState::Active,
            public_key: key.to_pem(),
            replaces: None,
            reason: None,
            stated_at: now,
        }),
    })
}

/// Where the identity file is, or would be made: as the environment says, as the settings say, or below the user's
/// configuration folder. Never in `folder` below `root`, which has the key files: who gets a copy of that must not get
/// what opens them.
pub(crate) fn identity_path(
    root: &Path,
    configured: Option<&Path>,
    folder: &str,
) -> Result<PathBuf, Failure> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let path = variable(IDENTITY_VARIABLE)
        .or_else(|| configured.map(Path::to_owned))
        .or_else(|| Some(variable("XDG_CONFIG_HOME")?.join("lineal/identity.txt")))
        .or_else(|| Some(std::env::home_dir()?.join(".config/lineal/identity.txt")));
    let path = path.ok_or_else(|| {
        let text = format!("no place for the identity file: set HOME or {IDENTITY_VARIABLE}");
        Failure::new(Code::Key, text)
    })?;
    // A relative path must not mean another file in every folder.
    let path = root.join(path);
    if path.starts_with(root.join(folder)) {
        let text =
            format!("the identity file `{}` must not be in `{folder}`, whose keys it opens", path.display());
        return Err(Failure::new(Code::Key, text));
    }
    Ok(path)
}

/// The keys in tokens that the settings name. Paths to PINs may be relative to the project.
fn tokens(
    root: &Path,
    signers: &BTreeMap<String, String>,
) -> Result<BTreeMap<(String, KeyRole), Pkcs11Uri>, Failure> {
    let mut tokens = BTreeMap::new();
    for (name, uri) in signers {
        let place = match name.as_str() {
            "builder" => (SYSTEM_HOLDER.to_owned(), KeyRole::Builder),
            "router" => (SYSTEM_HOLDER.to_owned(), KeyRole::Router),
            other => match other.strip_suffix(".approver") {
                Some(holder) if !holder.is_empty() => (holder.to_owned(), KeyRole::Approver),
                Some(_) | None => {
                    let text = format!("`signers.{name}`: expected `builder`, `router` or `HOLDER.approver`");
                    return Err(Failure::new(Code::Config, text));
                }
            },
        };
        let mut uri: Pkcs11Uri = uri.parse().map_err(|e| Failure::caused(Code::Config, &e))?;
        uri.pin_file = root.join(&uri.pin_file);
        tokens.insert(place, uri);
    }
    Ok(tokens)
}

fn read_config(path: &Path) -> Result<Config, Failure> {
    let wrong =
        |reason: String| Failure::new(Code::Config, format!("`{}` cannot be used: {reason}", path.display()));
    let bytes =
        files::read_limited(path, CONFIG_LIMIT_BYTES).map_err(|e| wrong(crate::failure::chain(&e)))?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8".to_owned()))?;
    // The whole error would repeat the line, which may hold the password of a database.
    let config: Config = toml::from_str(&text).map_err(|e| {
        let line = e.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        wrong(format!("line {line}: {}", e.message()))
    })?;
    if config.version != 1 {
        return Err(wrong(format!(
            "version {} is not understood; this build reads version 1",
            config.version
        )));
    }
    Ok(config)
}

#[cfg(test)]
mod tests;
