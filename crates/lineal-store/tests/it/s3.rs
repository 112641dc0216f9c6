//! An S3 server for tests: versitygw over a folder of its own, gone with the process that started it.
//!
//! It keeps objects as files, so that a test can change one behind everybody's back. `xtask` includes this file too, and
//! so do the tests of the binary.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Names the server that tests use instead of starting one, and its folder: `http://127.0.0.1:PORT FOLDER`.
pub(crate) const VARIABLE: &str = "LINEAL_TEST_S3";
/// The keys to it.
pub(crate) const ACCESS: &str = "lineal-test";
pub(crate) const SECRET: &str = "correct-horse-battery";
/// The one bucket.
pub(crate) const BUCKET: &str = "lineal";

const MISSING: &str = "versitygw is not there; `cargo xtask setup` builds it";
/// It takes no port 0: it does not say which one it got. So one that is free just now is tried, and then another.
const ATTEMPTS: usize = 5;
/// What it says when it listens.
const READY: &str = "listening on";

/// Starts the server, passes on what it says first, waits until its input ends, and cleans up. Its input is a pipe from
/// the process that wants the server: it ends when that process does, however it ends.
const KEEPER: &str = r#"
"$PROGRAM" --port "127.0.0.1:$PORT" posix "$DIR/buckets" 2>&1 &
server=$!
exec >&-
read -r order && [ "$order" = kill ] && kill -9 $server && read -r _
kill -9 $server 2>/dev/null
[ -n "$KEEP" ] || rm -rf "$DIR"
"#;

/// A running server; dropping it stops it.
pub(crate) struct S3Server {
    keeper: Child,
    folder: PathBuf,
    port: u16,
}

impl S3Server {
    /// Starts the server that `cargo xtask setup` built below `target`.
    pub(crate) fn start(target: &Path) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("lineal-s3").tempdir().map_err(|e| e.to_string())?;
        let server = Self::start_over(target, folder.path(), "")?;
        // The keeper removes it, also if this process cannot.
        let _ = folder.keep();
        Ok(server)
    }

    /// Starts the server over a folder that may hold objects already; it stays if `keep` is not empty.
    pub(crate) fn start_over(target: &Path, folder: &Path, keep: &str) -> Result<Self, String> {
        let program = target.join("xtask/versitygw/versitygw");
        if !program.exists() {
            return Err(MISSING.to_owned());
        }
        fs::create_dir_all(folder.join("buckets").join(BUCKET)).map_err(|e| e.to_string())?;
        let mut failed = String::new();
        for _ in 0..ATTEMPTS {
            match Self::start_once(&program, folder, keep) {
                Ok(server) => return Ok(server),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn start_once(program: &Path, folder: &Path, keep: &str) -> Result<Self, String> {
        let port = free_port()?;
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER]).env("PROGRAM", program).env("DIR", folder).env("PORT", port.to_string());
        keeper.env("KEEP", keep);
        keeper.env("ROOT_ACCESS_KEY_ID", ACCESS).env("ROOT_SECRET_ACCESS_KEY", SECRET);
        // An interrupt from the keyboard is for the tests; the keeper sees that they ended.
        keeper.current_dir("/").process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = keeper.spawn().map_err(|e| format!("cannot start sh: {e}"))?;
        let mut output = BufReader::new(keeper.stdout.take().ok_or("the keeper has no output")?);
        let mut said = String::new();
        while !said.contains(READY) {
            if output.read_line(&mut said).map_err(|e| e.to_string())? == 0 {
                let _ = keeper.kill();
                let _ = keeper.wait();
                return Err(format!("the S3 server did not start:\n{said}"));
            }
        }
        // What it says from now on is read and dropped, so that it never waits for a reader.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Ok(Self { keeper, folder: folder.to_owned(), port })
    }

    /// Kills it; the folder stays until this is dropped.
    #[allow(dead_code, reason = "not everybody who includes this file does that")]
    pub(crate) fn kill(&mut self) {
        let told = self.keeper.stdin.as_mut().map(|input| input.write_all(b"kill\n"));
        assert!(told.is_some_and(|told| told.is_ok()), "the keeper is gone");
    }

    /// Where it is, as in [`VARIABLE`].
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{} {}", self.port, self.folder.display())
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn free_port() -> Result<u16, String> {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    port.map(|address| address.port()).map_err(|e| e.to_string())
}
