//! What a step runs in: a Python environment or the base system, with a digest of what really is installed.
//!
//! The digest covers the interpreter, its standard library and every file below the environment's `lib/` (byte code
//! caches left out): what is there, not what a lock file says. Unchanged files are recognised by a stat cache.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use lineal_blob::blob::digest_of_file;
use lineal_blob::files::{self, Context, FileError};
use lineal_blob::tree::StatCache;
use lineal_engine::pipeline::{Env, EnvName, Pipeline};
use lineal_engine::plan::{Cpu, IMAGE_BASE};
use lineal_facts::digest::Hasher;
use lineal_facts::{Digest, Timestamp};
use lineal_sandbox::{Access, Mount};
use lineal_step::machine;
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::project::Project;

/// Where an environment is mounted inside the sandbox, wherever it is on the host.
pub const MOUNT_POINT: &str = "/lineal/env";
/// Threads that numeric libraries are given: their number changes results.
const THREADS: u32 = 1;
const CONFIG_LIMIT_BYTES: u64 = 64 << 10;

/// A Python environment that can be mounted.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Digest of everything in it.
    pub digest: Digest,
    /// What must be visible for it to work.
    pub mounts: Vec<Mount>,
}

/// The Python environments of a pipeline, the base system and the processor.
#[derive(Debug, Clone)]
pub struct Environments {
    /// By name.
    pub by_name: BTreeMap<EnvName, Environment>,
    /// The base system: distribution and C library.
    pub base: String,
    /// Processor class and threads: both change floating-point results.
    pub cpu: Cpu,
}

/// The parts that the digest is made of.
#[derive(Serialize)]
struct Parts {
    version: &'static str,
    python: String,
    interpreter: Digest,
    standard_library: Digest,
    packages: Digest,
}

impl Environments {
    /// Looks at the Python environments that the steps of `pipeline` run in, relative to `folder`. What an image is says
    /// its digest; whether it is here matters to steps that execute.
    pub fn resolve(
        project: &Project,
        folder: &Path,
        pipeline: &Pipeline,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let used: BTreeSet<&EnvName> = pipeline.steps().iter().filter_map(|step| step.env.as_ref()).collect();
        let mut by_name = BTreeMap::new();
        for (name, env) in pipeline.envs.iter().filter(|(name, _)| used.contains(name)) {
            let location = match env {
                Env::Python(python) => folder.join(python),
                Env::Image(_) => continue,
            };
            let environment = at(project, &location, now).map_err(|e| {
                Failure::new(
                    e.code,
                    format!("environment `{name}` (`{}`): {}", location.display(), e.message),
                )
            })?;
            by_name.insert(name.clone(), environment);
        }
        let base = with_reader(project, Path::new("/"), now, |reader| reader.base())?;
        Ok(Self { by_name, base, cpu: cpu() })
    }

    /// The environments of a pipeline whose steps run on machines that nobody can look at before: all are images.
    pub fn elsewhere(pipeline: &Pipeline, cpu: Cpu) -> Result<Self, Failure> {
        for step in pipeline.steps() {
            let problem = match step.env.as_ref().map(|name| (name, pipeline.envs.get(name))) {
                Some((_, Some(Env::Image(_)))) => continue,
                None => format!("step `{}` has no `env`", step.name),
                Some((name, _)) => {
                    format!("`env: {name}` of step `{}` is a folder of its author's machine", step.name)
                }
            };
            let text =
                format!("{problem}; on a cluster a step runs in an image: `envs: {{NAME: {{image: ...}}}}`");
            return Err(Failure::new(Code::Environment, text));
        }
        Ok(Self { by_name: BTreeMap::new(), base: IMAGE_BASE.to_owned(), cpu })
    }
}

/// One environment by its folder.
pub fn at(project: &Project, location: &Path, now: Timestamp) -> Result<Environment, Failure> {
    with_reader(project, location, now, |reader| reader.environment(location))
}

/// Every place has a stat cache of its own, so that looking at a small environment does not read a large one's.
fn with_reader<T>(
    project: &Project,
    location: &Path,
    now: Timestamp,
    look: impl FnOnce(&mut Reader<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let name = Digest::of(location.as_os_str().as_encoded_bytes()).short();
    let path = project.scratch("environments")?.join(format!("{name}.json"));
    let mut cache = StatCache::load(&path);
    let mut reader = Reader { cache: &mut cache, now_s: now.unix_ms() / 1000, misses: 0 };
    let found = look(&mut reader)?;
    if reader.misses > 0 {
        cache.save(&path)?;
    }
    Ok(found)
}

struct Reader<'a> {
    cache: &'a mut StatCache,
    now_s: i64,
    misses: u64,
}

impl Reader<'_> {
    fn environment(&mut self, location: &Path) -> Result<Environment, Failure> {
        let missing = |what: &str| {
            Failure::new(
                Code::Environment,
                format!("{what}; make it with `python3 -m venv` and install its lock file"),
            )
        };
        let config_path = location.join("pyvenv.cfg");
        if !config_path.is_file() {
            return Err(missing(&format!("there is no Python environment in `{}`", location.display())));
        }
        let config =
            String::from_utf8_lossy(&files::read_limited(&config_path, CONFIG_LIMIT_BYTES)?).into_owned();
        let setting = |key: &str| {
            config
                .lines()
                .find_map(|line| line.split_once('=').filter(|(k, _)| k.trim() == key))
                .map(|(_, v)| v.trim())
        };
        let home = setting("home").ok_or_else(|| missing("pyvenv.cfg names no home"))?;
        let interpreter =
            fs::canonicalize(location.join("bin/python")).map_err(|_| missing("its interpreter is gone"))?;
        let prefix = Path::new(home).parent().unwrap_or(Path::new("/usr")).to_owned();
        let library = self.standard_library(&prefix, &interpreter)?;
        let parts = Parts {
            version: "1",
            python: setting("version").unwrap_or("unknown").to_owned(),
            interpreter: self.file(&interpreter)?,
            standard_library: library,
            packages: self.folder(&location.join("lib"), &|_| false)?,
        };
        let document =
            lineal_facts::json::canonical(&parts).map_err(|e| Failure::caused(Code::Internal, &e))?;
        let root = fs::canonicalize(location).context("read", location)?;
        let mut mounts = vec![read_only(&root, Path::new(MOUNT_POINT))];
        if !prefix.starts_with("/usr")
            || prefix.starts_with("/usr/local") && !Path::new("/usr/local").is_dir()
        {
            mounts.push(read_only(&prefix, &prefix));
        }
        Ok(Environment { digest: Digest::of(&document), mounts })
    }

    /// `<prefix>/lib/pythonX.Y` without packages installed there, plus the shared interpreter library.
    fn standard_library(&mut self, prefix: &Path, interpreter: &Path) -> Result<Digest, Failure> {
        let name = interpreter.file_name().and_then(|n| n.to_str()).unwrap_or("python3").to_owned();
        let library = prefix.join("lib").join(&name);
        if !library.is_dir() {
            return Err(Failure::new(
                Code::Environment,
                format!("its standard library is not in `{}`", library.display()),
            ));
        }
        self.folder(&library, &|name| matches!(name, "site-packages" | "dist-packages" | "test"))
    }

    /// Digest over relative paths and contents of all files below `root`, links as their target text.
    fn folder(&mut self, root: &Path, skip: &dyn Fn(&str) -> bool) -> Result<Digest, Failure> {
        let mut lines = Vec::new();
        self.collect(root, root, skip, &mut lines)?;
        lines.sort();
        let mut hasher = Hasher::default();
        for line in lines {
            hasher.update(line.as_bytes());
            hasher.update(b"\n");
        }
        Ok(hasher.finish())
    }

    fn collect(
        &mut self,
        root: &Path,
        folder: &Path,
        skip: &dyn Fn(&str) -> bool,
        lines: &mut Vec<String>,
    ) -> Result<(), FileError> {
        for entry in fs::read_dir(folder).context("list", folder)? {
            let entry = entry.context("list", folder)?;
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // pip's list of installed files has digests of scripts that hold the environment's own path; the files
            // that count are hashed here anyway.
            let listed = name == "RECORD" && folder.extension().is_some_and(|e| e == "dist-info");
            let cached = name == "__pycache__" || name.ends_with(".pyc");
            if listed || cached || (folder == root && skip(&name)) {
                continue;
            }
            let kind = entry.file_type().context("read", &path)?;
            let relative = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            if kind.is_dir() {
                self.collect(root, &path, skip, lines)?;
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).context("read", &path)?;
                lines.push(format!("{relative} -> {}", target.display()));
            } else if kind.is_file() {
                lines.push(format!("{relative} {}", self.file(&path)?));
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Result<Digest, FileError> {
        let metadata = fs::metadata(path).context("read", path)?;
        if let Some(digest) = self.cache.get(path, &metadata) {
            return Ok(digest);
        }
        let digest = digest_of_file(path)?;
        self.cache.insert(path, &metadata, digest, self.now_s);
        self.misses += 1;
        Ok(digest)
    }

    /// Distribution and C library of the base system.
    fn base(&mut self) -> Result<String, Failure> {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let field = |key: &str| {
            release
                .lines()
                .find_map(|l| l.strip_prefix(key)?.strip_prefix('='))
                .map_or("unknown", |v| v.trim_matches('"'))
                .to_owned()
        };
        let library = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6", "/lib/libc.so.6"]
            .iter()
            .map(PathBuf::from)
            .find(|p| p.exists());
        let digest = library.map(|path| self.file(&path)).transpose()?;
        let libc = digest.map_or_else(|| "unknown".to_owned(), |d| d.to_string());
        Ok(format!("{} {} libc {libc}", field("ID"), field("VERSION_ID")))
    }
}

fn read_only(source: &Path, target: &Path) -> Mount {
    Mount { source: source.to_owned(), target: target.to_owned(), access: Access::ReadOnly }
}

/// The processor of this machine, and the threads that libraries are given.
pub fn cpu() -> Cpu {
    Cpu::new(machine::cpu_class(), THREADS)
}

#[cfg(test)]
mod tests;
