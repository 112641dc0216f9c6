//! Where the story is played: types commands, shows or checks what they answer.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Mode;
use super::folder;
use crate::roles::Roles;
use crate::shell::{quoted, tail};

/// From here on a person wants to know how long it took.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// The project's folder, the binary and what was seen so far.
pub(super) struct Stage {
    /// The project.
    pub(super) folder: PathBuf,
    /// Processes in the background.
    pub(super) roles: Roles,
    binary: PathBuf,
    mode: Mode,
    facts: u64,
}

/// What a command answered.
pub(super) struct Answer {
    /// As it was typed.
    command: String,
    /// What it printed with `--json`; null if a person is watching.
    json: Value,
    /// How long it took.
    elapsed: Duration,
}

impl Stage {
    pub(super) fn new(folder: PathBuf, binary: PathBuf, mode: Mode) -> Self {
        Self { roles: Roles::new(&folder, &binary), folder, binary, mode, facts: 0 }
    }

    /// Facts that held so far.
    pub(super) fn facts(&self) -> u64 {
        self.facts
    }

    pub(super) fn heading(&self, number: usize, title: &str) {
        println!("\n{number}. {title}");
        if self.mode == Mode::Show {
            println!("{}", "=".repeat(title.len() + 3));
        }
    }

    pub(super) fn chapter_ended(&self, elapsed: Duration) {
        if self.mode == Mode::Check {
            println!("   {:.1} s", elapsed.as_secs_f64());
        }
    }

    /// A sentence for a person.
    pub(super) fn say(&self, text: &str) {
        if self.mode == Mode::Show {
            println!("\n{text}");
        }
    }

    /// Runs `lineal` with these arguments, which must succeed.
    pub(super) fn lineal(&mut self, typed: &[&str]) -> Result<Answer> {
        self.exits(0, typed)
    }

    /// Runs `lineal` with these arguments, which must end with this code.
    pub(super) fn exits(&mut self, code: i32, typed: &[&str]) -> Result<Answer> {
        let command = self.show_command(typed, "");
        let started = Instant::now();
        let (found, json, output) = match self.mode {
            Mode::Show => {
                // What was printed before must not come after what the command prints.
                std::io::stdout().flush()?;
                let status = self.command(typed)?.status().context("cannot start lineal")?;
                (status.code(), Value::Null, String::new())
            }
            Mode::Check => self.run_json(typed)?,
        };
        let elapsed = started.elapsed();
        if found != Some(code) {
            let found = found.map_or("a signal".to_owned(), |found| format!("exit code {found}"));
            bail!("`{command}` ended with {found}, expected {code}\n{}", tail(&output));
        }
        if self.mode == Mode::Show {
            let time = if elapsed > WORTH_TELLING {
                format!("{:.1} s", elapsed.as_secs_f64())
            } else {
                String::new()
            };
            let code = if code == 0 { String::new() } else { format!("exit code {code}") };
            let told: Vec<String> = [code, time].into_iter().filter(|text| !text.is_empty()).collect();
            if !told.is_empty() {
                println!("({})", told.join(", "));
            }
        }
        Ok(Answer { command, json, elapsed })
    }

    /// What a reading command says, without showing it: for names that the next command needs.
    pub(super) fn read(&self, typed: &[&str]) -> Result<Value> {
        let (code, json, output) = self.run_json(typed)?;
        if code != Some(0) {
            bail!("`lineal {}` failed\n{}", typed.join(" "), tail(&output));
        }
        Ok(json)
    }

    /// Starts a long-running role and waits until it listens.
    pub(super) fn start(&mut self, role: &'static str) -> Result<()> {
        self.show_command(&[role], " &");
        self.roles.start(role).map(|_| ())
    }

    /// Holds `claim` against the answer, if this is a check.
    pub(super) fn check(
        &mut self,
        answer: &Answer,
        claim: &str,
        holds: impl FnOnce(&Value) -> bool,
    ) -> Result<()> {
        self.fact(claim, || Ok(holds(&answer.json)))
            .with_context(|| format!("`{}` answered {}", answer.command, shortened(&answer.json)))
    }

    /// Holds `claim` against how long the command took, if this is a check.
    pub(super) fn check_time(&mut self, answer: &Answer, claim: &str, limit: Duration) -> Result<()> {
        self.fact(claim, || Ok(answer.elapsed < limit))
            .with_context(|| format!("`{}` took {:.1} s", answer.command, answer.elapsed.as_secs_f64()))
    }

    /// Counts `claim` if `holds`, fails if not; asks only if this is a check.
    pub(super) fn fact(&mut self, claim: &str, holds: impl FnOnce() -> Result<bool>) -> Result<()> {
        if self.mode == Mode::Show {
            return Ok(());
        }
        if !holds()? {
            bail!("does not hold: {claim}");
        }
        self.facts += 1;
        println!("   ok: {claim}");
        Ok(())
    }

    fn show_command(&self, typed: &[&str], end: &str) -> String {
        let words: Vec<String> = typed.iter().map(|word| quoted(word)).collect();
        let command = format!("lineal {}", words.join(" "));
        match self.mode {
            Mode::Show => println!("\n$ {command}{end}"),
            Mode::Check => println!("   $ {command}{end}"),
        }
        command
    }

    /// Names with `*` and `[...]` are expanded as a shell does.
    fn command(&self, typed: &[&str]) -> Result<Command> {
        let mut command = Command::new(&self.binary);
        command.current_dir(&self.folder);
        for word in typed {
            command.args(folder::expand(&self.folder, word)?);
        }
        Ok(command)
    }

    /// Exit code, JSON of standard output or else of standard error, and everything that was printed.
    fn run_json(&self, typed: &[&str]) -> Result<(Option<i32>, Value, String)> {
        let mut command = self.command(typed)?;
        let output = command.arg("--json").stdin(Stdio::null()).output().context("cannot start lineal")?;
        let json =
            [&output.stdout, &output.stderr].into_iter().find_map(|bytes| serde_json::from_slice(bytes).ok());
        let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        Ok((output.status.code(), json.unwrap_or_default(), String::from_utf8_lossy(&text).into_owned()))
    }
}

impl Answer {
    /// The answer in JSON.
    pub(super) fn json(&self) -> &Value {
        &self.json
    }
}

fn shortened(json: &Value) -> String {
    tail(&serde_json::to_string_pretty(json).unwrap_or_default())
}
