//! Everything that reaches the terminal: results on standard output, the rest on standard error.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lineal_app::{Code, Event, Failure};
use serde::Serialize;

use crate::cli::Arguments;

/// Wrong arguments, for a caller that asked for JSON, and their exit code.
pub(crate) fn usage_as_json(text: &str) -> ExitCode {
    let text = text.trim_end().strip_prefix("error: ").unwrap_or(text.trim_end());
    let printer = Printer { json: true, quiet: true, bar: Mutex::new(None) };
    printer.failure(&Failure::new(Code::Usage, text))
}

/// Widest line of a table.
const WIDTH: usize = 100;
/// Least width of a last column, even if the table gets wider for it.
const LAST_COLUMN: usize = 7;
const TICK: Duration = Duration::from_millis(120);

/// Where and how to print.
#[derive(Debug)]
pub(crate) struct Printer {
    json: bool,
    quiet: bool,
    /// The bar of the work under way; replaced by events, which come one at a time.
    bar: Mutex<Option<ProgressBar>>,
}

impl Printer {
    pub(crate) fn new(arguments: &Arguments) -> Self {
        Self { json: arguments.json, quiet: arguments.quiet, bar: Mutex::new(None) }
    }

    /// Prints a result: as JSON, or as the text that `human` makes.
    pub(crate) fn result<T: Serialize>(&self, value: &T, human: impl FnOnce() -> String) {
        if self.json {
            let text = serde_json::to_string_pretty(value).unwrap_or_default();
            self.line(&text);
        } else if !self.quiet {
            self.line(human().trim_end());
        }
    }

    /// Prints text that is the same in every mode. A reader that went away (`| head`) is no failure.
    pub(crate) fn line(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    /// Tells something while work goes on.
    #[expect(clippy::print_stderr, reason = "the one place that prints messages")]
    pub(crate) fn note(&self, text: &str) {
        if self.quiet {
            return;
        }
        match self.bar.lock().ok().and_then(|bar| bar.clone()) {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// Prints a failure and yields its exit code.
    #[expect(clippy::print_stderr, reason = "the one place that prints failures")]
    pub(crate) fn failure(&self, failure: &Failure) -> ExitCode {
        if self.json {
            let value = serde_json::json!({"code": failure.code, "error": failure.message});
            eprintln!("{value}");
        } else {
            eprintln!("lineal: {} [{}]", failure.message, failure.code);
        }
        ExitCode::from(failure.code.exit())
    }

    /// Shows progress on a terminal, if the work takes long enough to be seen.
    pub(crate) fn event(&self, event: Event) {
        if self.quiet || self.json || !std::io::stderr().is_terminal() {
            return;
        }
        let Ok(mut bar) = self.bar.lock() else { return };
        match event {
            Event::Began { what, total } => *bar = Some(new_bar(what, total)),
            Event::Advanced { by } => {
                if let Some(bar) = bar.as_ref() {
                    bar.inc(by);
                }
            }
            Event::Ended => {
                if let Some(bar) = bar.take() {
                    bar.finish_and_clear();
                }
            }
        }
    }
}

fn new_bar(what: String, total: u64) -> ProgressBar {
    let (bar, template) = if total == 0 {
        (ProgressBar::new_spinner(), "{spinner} {msg} {elapsed}")
    } else {
        (ProgressBar::new(total), "{msg} [{bar:40}] {percent}% {eta}")
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar.enable_steady_tick(TICK);
    bar
}

/// Lays rows out in columns that fit [`WIDTH`]; the last column takes what is left and is cut.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let columns = header.len();
    let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let used: usize = widths[..columns - 1].iter().map(|w| w + 2).sum();
    widths[columns - 1] = widths[columns - 1].min(WIDTH.saturating_sub(used).max(LAST_COLUMN));
    let mut text = String::new();
    let header: Vec<String> = header.iter().map(|h| (*h).to_owned()).collect();
    for row in std::iter::once(&header).chain(rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{:<width$}", cut(cell, *width)));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(3)).chain("...".chars()).collect()
}

/// `1.2 MB` of a number of bytes.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
