//! The end of the log's queue: lines go to a file or a daemon, and to a terminal or pipe beside it.
//!
//! Invariant: what takes nothing costs its own lines alone. They are counted, and when it takes some again it is told how
//! many are missing.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::ZonedDateTime;

use super::Level;
use super::file::LogFile;
use super::format::{Entry, Record, Style, TIME};
use super::journal::Journal;
use super::syslog::Syslog;
use super::vocabulary::{EventName, Field};

#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) style: Style,
    pub(crate) sink: Sink,
    pub(crate) stream: Option<Stream>,
    pub(crate) started: Instant,
    /// All lines that ever were lost.
    pub(crate) lost: Arc<AtomicU64>,
    pub(crate) trouble: Option<Trouble>,
}

/// What is more than a stream of lines.
#[derive(Debug)]
pub(crate) enum Sink {
    None,
    File(LogFile),
    Syslog(Syslog),
    Journal(Journal),
}

/// A terminal or pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Output,
    Error,
}

/// A sink that takes nothing.
#[derive(Debug)]
pub(crate) struct Trouble {
    lost: u64,
    since: ZonedDateTime,
    why: String,
    again: Instant,
}

impl Writer {
    /// Writes records, in their order.
    pub(crate) fn write(&mut self, records: &[Record]) {
        let Some(last) = records.last() else { return };
        let mut lines = String::with_capacity(records.len() * 256);
        records.iter().for_each(|record| self.style.line(record, &mut lines));
        let failed = match &mut self.sink {
            Sink::None => None,
            Sink::File(_) => self.write_to_file(&lines, records.len() as u64, &last.time),
            Sink::Syslog(_) | Sink::Journal(_) => self.send_to_daemon(records),
        };
        if let Some(stream) = self.stream {
            stream.write(&lines);
        }
        if let Some(why) = failed {
            self.tell_trouble(&why);
        }
    }

    /// Opens the file anew, for those who move it away.
    pub(crate) fn reopen(&mut self) {
        let now = ZonedDateTime::now();
        let entry = match &mut self.sink {
            Sink::File(file) => match file.reopen(&now) {
                Ok(()) => Entry::message(Level::Info, "The log was reopened (SIGHUP)"),
                Err(error) => Entry::message(Level::Error, &format!("cannot reopen the log: {error}")),
            },
            _ => Entry::message(Level::Info, "The log was reopened (SIGHUP)"),
        };
        self.say(entry);
    }

    /// Says something of the log itself.
    pub(crate) fn say(&mut self, entry: Entry) {
        let record = self.record(entry);
        self.write(&[record]);
    }

    /// Says how many lines did not even come here.
    pub(crate) fn say_overrun(&mut self, count: u64) {
        self.lost.fetch_add(count, Ordering::Relaxed);
        self.say(lost(count, format!("{count} log lines were lost: the log is too slow")));
    }

    fn write_to_file(&mut self, lines: &str, count: u64, now: &ZonedDateTime) -> Option<String> {
        let missing = self.missing();
        let Sink::File(file) = &mut self.sink else { return None };
        let told = match missing {
            Some(missing) => file.append(&missing, now),
            None => Ok(()),
        };
        let written = match told {
            Ok(()) => file.append(lines, now),
            Err((_, error)) => Err((count, error)),
        };
        match written {
            Ok(()) => {
                self.trouble = None;
                None
            }
            Err((lost, error)) => self.note_trouble(lost, now, &error),
        }
    }

    fn send_to_daemon(&mut self, records: &[Record]) -> Option<String> {
        let mut began = None;
        for record in records {
            if let Some(trouble) = &mut self.trouble
                && Instant::now() < trouble.again
            {
                trouble.lost += 1;
                self.lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let told = match self.missing_record() {
                Some(missing) => self.sink.send(&missing, &self.style),
                None => Ok(()),
            };
            match told.and_then(|()| self.sink.send(record, &self.style)) {
                Ok(()) => self.trouble = None,
                Err(error) => began = self.note_trouble(1, &record.time, &error).or(began),
            }
        }
        began
    }

    /// Counts what was lost; says why if that is news.
    fn note_trouble(&mut self, lost: u64, now: &ZonedDateTime, error: &io::Error) -> Option<String> {
        self.lost.fetch_add(lost, Ordering::Relaxed);
        let again = Instant::now() + PAUSE;
        if let Some(trouble) = &mut self.trouble {
            trouble.lost += lost;
            trouble.again = again;
            return None;
        }
        let why = error.to_string();
        self.trouble = Some(Trouble { lost, since: now.clone(), why: why.clone(), again });
        Some(why)
    }

    /// On what is left: the stream, or else standard error, which a supervisor may keep.
    fn tell_trouble(&self, why: &str) {
        let text = format!(
            "cannot write the log to {}: {why}; calls go on, and lines are lost until it can be written again",
            self.sink.name()
        );
        let mut line = String::new();
        self.style.line(&self.record(Entry::message(Level::Error, &text)), &mut line);
        self.stream.unwrap_or(Stream::Error).write(&line);
    }

    /// The line that tells of those that are missing, if any are.
    fn missing(&self) -> Option<String> {
        let mut line = String::new();
        self.style.line(&self.missing_record()?, &mut line);
        Some(line)
    }

    fn missing_record(&self) -> Option<Record> {
        let Trouble { lost: count, since, why, .. } = self.trouble.as_ref()?;
        let text = format!("{count} log lines were lost since {}: {why}", since.strftime(TIME));
        Some(self.record(lost(*count, text)))
    }

    fn record(&self, entry: Entry) -> Record {
        Record { time: ZonedDateTime::now(), uptime: self.started.elapsed(), entry }
    }
}

impl Sink {
    fn send(&mut self, record: &Record, style: &Style) -> io::Result<()> {
        match self {
            Sink::Syslog(syslog) => syslog.send(record, style),
            Sink::Journal(journal) => journal.send(record, style),
            Sink::None | Sink::File(_) => Ok(()),
        }
    }

    fn name(&self) -> String {
        match self {
            Sink::None => String::new(),
            Sink::File(file) => file.path().display().to_string(),
            Sink::Syslog(syslog) => format!("syslog ({})", syslog.path().display()),
            Sink::Journal(journal) => format!("the journal ({})", journal.path().display()),
        }
    }
}

impl Stream {
    /// Whoever does not read any more, or has gone, misses it; there is nowhere left to say so.
    fn write(self, lines: &str) {
        let _ = match self {
            Stream::Output => io::stdout().lock().write_all(lines.as_bytes()),
            Stream::Error => io::stderr().lock().write_all(lines.as_bytes()),
        };
    }
}

fn lost(count: u64, message: String) -> Entry {
    Entry {
        level: Level::Warning,
        event: EventName::LinesLost,
        message,
        fields: vec![(Field::Count, count.into())],
    }
}

/// How long a daemon that took nothing is left alone.
const PAUSE: Duration = Duration::from_secs(1);
