//! A PostgreSQL server for tests: Debian's, in a folder of its own, gone with the process that started it.
//!
//! It listens on a Unix socket in that folder only, syncs as in production, and does not sort text by bytes: what
//! depends on that must say so. `xtask` includes this file too.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Names the server that tests use instead of starting one.
pub(crate) const VARIABLE: &str = "LINEAL_TEST_POSTGRES";
/// The password of the one user.
pub(crate) const PASSWORD: &str = "correct-horse";

/// Where Debian keeps the programs of each version; they are not on the `PATH`.
const VERSIONS: &str = "/usr/lib/postgresql";
const MISSING: &str =
    "PostgreSQL is not installed; `cargo xtask setup` does that (Debian's package `postgresql`)";
/// The server refuses to run as root.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// Starts the server, says so, waits until its input ends, and cleans up. Its input is a pipe from the process that
/// wants the server: it ends when that process does, however it ends.
const KEEPER: &str = r#"
"$BIN/initdb" -D "$DIR/data" -U lineal --pwfile="$DIR/password" --auth=scram-sha-256 --no-sync -E UTF8 \
    --locale=C.UTF-8 --locale-provider=icu --icu-locale=en-US >"$DIR/log" 2>&1 &&
"$BIN/pg_ctl" -D "$DIR/data" -l "$DIR/log" -w -t 60 -o "-k $DIR -c max_connections=300 $SETTINGS" \
    start >>"$DIR/log" 2>&1 &&
echo ready || cat "$DIR/log"
exec >&-
read -r _
"$BIN/pg_ctl" -D "$DIR/data" -m immediate stop >>"$DIR/log" 2>&1
rm -rf "$DIR"
"#;

/// A running server; dropping it stops it.
pub(crate) struct Server {
    keeper: Child,
    url: String,
}

impl Server {
    /// Starts a server.
    pub(crate) fn start() -> Result<Self, String> {
        Self::start_with("-c listen_addresses=", &[])
    }

    /// Starts a server with these settings; its folder holds `files` too, and is the one above its working directory.
    pub(crate) fn start_with(settings: &str, files: &[(&str, Vec<u8>)]) -> Result<Self, String> {
        let programs = programs().ok_or(MISSING)?;
        let folder = tempfile::Builder::new().prefix("lineal-pg").tempdir().map_err(|e| e.to_string())?;
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER]).env("BIN", programs).env("DIR", folder.path()).env("SETTINGS", settings);
        // An interrupt from the keyboard is for the tests; the keeper sees that they ended.
        keeper.current_dir("/").process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let user = unprivileged();
        if let Some((user, group)) = user {
            chown(folder.path(), Some(user), Some(group)).map_err(|e| e.to_string())?;
            keeper.uid(user).gid(group);
        }
        let password = ("password", PASSWORD.into());
        for (name, content) in files.iter().chain([&password]) {
            let path = folder.path().join(name);
            fs::write(&path, content).map_err(|e| e.to_string())?;
            fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(|e| e.to_string())?;
            if let Some((user, group)) = user {
                chown(&path, Some(user), Some(group)).map_err(|e| e.to_string())?;
            }
        }
        let mut keeper = keeper.spawn().map_err(|e| format!("cannot start sh: {e}"))?;
        // The keeper removes it, also if this process cannot.
        let folder = folder.keep();
        let output = keeper.stdout.take().ok_or("the keeper has no output")?;
        let said: Vec<String> = BufReader::new(output).lines().map_while(Result::ok).collect();
        if said.last().map(String::as_str) != Some("ready") {
            return Err(format!("PostgreSQL did not start:\n{}", said.join("\n")));
        }
        let url = format!("postgres://lineal:{PASSWORD}@localhost/postgres?host={}", folder.display());
        Ok(Self { keeper, url })
    }

    /// The address of its database.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// The folder with the programs of the latest version.
pub(crate) fn programs() -> Option<PathBuf> {
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let folders = fs::read_dir(VERSIONS).ok()?.flatten().map(|entry| entry.path());
    let installed =
        folders.filter(|path| path.join("bin/initdb").exists() && path.join("bin/postgres").exists());
    Some(installed.max_by_key(|path| version(path))?.join("bin"))
}

/// User and group to run the server as; `None` if this process may be its user.
fn unprivileged() -> Option<(u32, u32)> {
    let id = Command::new("id").arg("-u").output().ok()?;
    if id.stdout.trim_ascii() != b"0" {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let find = |user: &&str| {
        let fields: Vec<&str> =
            passwd.lines().map(|l| l.split(':').collect()).find(|f: &Vec<&str>| f[0] == *user)?;
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    };
    USERS.iter().find_map(find)
}
