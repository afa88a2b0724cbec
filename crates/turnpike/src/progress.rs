//! How far long work has come: a bar on a terminal, a plain line now and then elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Work that is going on, on standard error.
pub(crate) struct Progress {
    what: String,
    done: u64,
    total: Option<u64>,
    is_terminal: bool,
    begun: Instant,
    shown: Instant,
    is_drawn: bool,
}

impl Progress {
    /// Work on so many rows, if that is known; `what` is what will have been done to them.
    pub(crate) fn new(what: &str, total: Option<u64>) -> Self {
        let now = now();
        Progress {
            what: what.to_owned(),
            done: 0,
            total,
            is_terminal: io::stderr().is_terminal(),
            begun: now,
            shown: now,
            is_drawn: false,
        }
    }

    /// So many more are done.
    pub(crate) fn advance(&mut self, rows: u64) {
        self.done += rows;
        let (now, interval) = (now(), if self.is_terminal { REDRAW } else { REPEAT });
        if now.duration_since(self.shown) < interval {
            return;
        }
        self.shown = now;
        let line = self.line(now);
        if self.is_terminal {
            self.is_drawn = true;
            write_out(&format!("\r\u{1b}[K{line}"));
        } else {
            write_out(&format!("{line}\n"));
        }
    }

    /// Says something, above the bar.
    pub(crate) fn say(&mut self, text: &str) {
        self.wipe();
        write_out(&format!("{text}\n"));
    }

    /// Ends with a line that says how many there were, and returns that.
    pub(crate) fn finish(mut self) -> u64 {
        self.wipe();
        write_out(&format!("{} {} rows\n", self.what, self.done));
        self.done
    }

    fn wipe(&mut self) {
        if self.is_drawn {
            write_out("\r\u{1b}[K");
            self.is_drawn = false;
        }
    }

    fn line(&self, now: Instant) -> String {
        let seconds = now.duration_since(self.begun).as_secs_f64().max(0.001);
        let rate = self.done as f64 / seconds;
        let Some(total) = self.total.filter(|total| *total > 0) else {
            return format!("{} {} rows, {rate:.0} a second", self.what, self.done);
        };
        let part = (self.done as f64 / total as f64).min(1.0);
        let filled = (part * BAR as f64) as usize;
        let bar = if self.is_terminal {
            format!("[{}{}] ", "#".repeat(filled), "-".repeat(BAR - filled))
        } else {
            String::new()
        };
        format!("{bar}{:.0} %: {} {} of {total} rows, {rate:.0} a second", part * 100.0, self.what, self.done)
    }
}

/// The tools' clock; the server's is the worker's.
fn now() -> Instant {
    Instant::now()
}

fn write_out(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

const BAR: usize = 30;
const REDRAW: Duration = Duration::from_millis(100);
const REPEAT: Duration = Duration::from_secs(10);
