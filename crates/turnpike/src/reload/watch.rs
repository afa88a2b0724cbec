//! The thread that reloads when it is asked to, and looks now and then whether a file has changed.
//!
//! A file is looked at where its name leads to in the end, so that a link that is turned to another file, as certbot and
//! Kubernetes do it, is a change.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;
use std::{fs, io, thread};

use turnpike_config::ConfigWatch;

use super::{Asked, Refused};
use crate::operations::Operations;

/// Starts it; it goes on until the process ends.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn start(operations: Arc<Operations>, asked: Receiver<Asked>) -> io::Result<()> {
    let mut seen = Stamps::of(&operations);
    thread::Builder::new().name("reload".into()).spawn(move || {
        loop {
            match asked.recv_timeout(LOOK_EVERY) {
                Ok(Asked) => {
                    seen = Stamps::of(&operations);
                    // The log says how it went.
                    let _ = operations.reload("SIGUSR2");
                }
                Err(RecvTimeoutError::Timeout) => {
                    let now = Stamps::of(&operations);
                    if now != seen {
                        // Whoever replaces them writes one after the other.
                        thread::sleep(SETTLE);
                        let settled = Stamps::of(&operations);
                        heed(&operations, &seen, &settled);
                        seen = settled;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    })?;
    Ok(())
}

/// What the files look like from outside.
#[derive(Debug, PartialEq, Eq)]
struct Stamps {
    configuration: Option<Stamp>,
    others: Vec<Option<Stamp>>,
}

/// A file that is written to, or replaced, gets another one.
type Stamp = (u64, i64, i64, u64);

impl Stamps {
    fn of(operations: &Operations) -> Self {
        let (configuration, others) = operations.watched_files();
        Stamps {
            configuration: configuration.as_deref().and_then(stamp),
            others: others.iter().map(|path| stamp(path)).collect(),
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}

/// Does about files that have changed what the operator wants done.
fn heed(operations: &Operations, before: &Stamps, now: &Stamps) {
    let watch = operations.rulebook.read(|parts| parts.settings.config_watch);
    match watch {
        ConfigWatch::Apply => {
            let _ = operations.reload("a file has changed");
        }
        _ => {
            if before.others != now.others {
                operations.reload_certificates();
            }
            if watch == ConfigWatch::Tell && before.configuration != now.configuration {
                tell(operations);
            }
        }
    }
}

/// Says what a reload would change.
fn tell(operations: &Operations) {
    let log = &operations.log;
    match operations.preview_reload() {
        Ok(outcome) => outcome.to_string().lines().for_each(|line| {
            log.info(&format!("The configuration file has changed: {}", line.trim_start()));
        }),
        Err(Refused { problems }) => problems.iter().for_each(|problem| {
            log.warning(&format!("The configuration file has changed and would be refused: {problem}"));
        }),
    }
}

impl Operations {
    /// Reads the certificate's files again, and nothing else.
    fn reload_certificates(&self) {
        let Some(certificates) = &self.certificates else { return };
        let settings = self.rulebook.read(|parts| parts.settings.clone());
        match certificates.read(&settings) {
            Ok(fresh) => {
                let chain = fresh.chain().display().to_string();
                certificates.take(fresh);
                self.log.info(&format!("The certificate {chain} was read again; new connections get it"));
            }
            Err(error) => {
                let text = format!("The certificate was not read again, the old one stays: {error:#}");
                self.log.error(&text);
            }
        }
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(2);
const SETTLE: Duration = Duration::from_millis(500);
