//! The log: one record a line, in coturn's form `TIME LEVEL message`, to standard output, a file, or both.
//!
//! Invariant: a message is one line. Control characters, which a username may hold, are shown escaped, so that
//! nobody can forge a record.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jiff::ZonedDateTime;

/// How much a record matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For finding faults in the server itself.
    Debug,
    /// What happens.
    Info,
    /// What an operator may want to change.
    Warning,
    /// What does not work.
    Error,
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogDestination {
    /// Standard output alone.
    Stdout,
    /// Standard error alone, where standard output belongs to something else.
    Stderr,
    /// A file, and standard output as well if asked for.
    File {
        /// The path as configured.
        path: PathBuf,
        /// Whether the date is put into the file's name, and a new file begun each day.
        dated: bool,
        /// Whether records also go to standard output.
        also_stdout: bool,
    },
}

/// How to log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Where to.
    pub destination: LogDestination,
    /// The least level that is written.
    pub min_level: Level,
    /// A strftime pattern in which `%f` stands for milliseconds, or `None` for seconds since start.
    pub timestamp: Option<String>,
}

/// The log. Shared by reference; every record takes a lock, so nothing on the packet path may write one.
#[derive(Debug)]
pub struct Log {
    options: LogOptions,
    started: Instant,
    open: Mutex<Option<OpenFile>>,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    path: PathBuf,
}

impl Log {
    /// Opens the log.
    ///
    /// # Errors
    /// The file cannot be opened for appending.
    pub fn open(options: LogOptions) -> io::Result<Self> {
        // The date would be put behind a folder's name just as well, and nobody would look for the log beside it.
        if let LogDestination::File { path, .. } = &options.destination
            && path.is_dir()
        {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let log = Log { options, started: Instant::now(), open: Mutex::new(None) };
        log.reopen()?;
        Ok(log)
    }

    /// Closes and opens the file again, for log rotation.
    ///
    /// # Errors
    /// The file cannot be opened; records then go on to the one that is open.
    pub fn reopen(&self) -> io::Result<()> {
        if let Some(path) = self.path_today(&ZonedDateTime::now()) {
            *self.lock() = Some(OpenFile::append(path)?);
        }
        Ok(())
    }

    /// Writes a record.
    pub fn write(&self, level: Level, message: &str) {
        if level < self.options.min_level {
            return;
        }
        let now = ZonedDateTime::now();
        let line = self.line(&now, level, message);
        let mut open = self.lock();
        if let Some(path) = self.path_today(&now)
            && open.as_ref().is_none_or(|open| open.path != path)
            && let Ok(file) = OpenFile::append(path)
        {
            *open = Some(file);
        }
        // A log that cannot be written must not stop the server; there is nowhere left to say so.
        if let Some(open) = open.as_mut() {
            let _ = open.file.write_all(line.as_bytes());
        }
        match self.options.destination {
            LogDestination::Stdout | LogDestination::File { also_stdout: true, .. } => {
                let _ = io::stdout().lock().write_all(line.as_bytes());
            }
            LogDestination::Stderr => {
                let _ = io::stderr().lock().write_all(line.as_bytes());
            }
            LogDestination::File { also_stdout: false, .. } => {}
        }
    }

    /// An [`Level::Info`] record.
    pub fn info(&self, message: &str) {
        self.write(Level::Info, message);
    }

    /// A [`Level::Warning`] record.
    pub fn warning(&self, message: &str) {
        self.write(Level::Warning, message);
    }

    /// A [`Level::Error`] record.
    pub fn error(&self, message: &str) {
        self.write(Level::Error, message);
    }

    /// Whether records go to a file, which may be read when nobody saw the terminal.
    pub fn is_in_file(&self) -> bool {
        matches!(self.options.destination, LogDestination::File { .. })
    }

    fn line(&self, now: &ZonedDateTime, level: Level, message: &str) -> String {
        let mut line = match &self.options.timestamp {
            Some(format) => {
                let format = format.replace("%f", &format!("{:03}", now.millisecond()));
                now.strftime(&format).to_string()
            }
            None => format!("{}:", self.started.elapsed().as_secs()),
        };
        let _ = write!(line, " {} ", level.word());
        for character in message.chars() {
            if character.is_control() {
                line.extend(character.escape_default());
            } else {
                line.push(character);
            }
        }
        line.push('\n');
        line
    }

    /// The file to write to today; `None` when there is none.
    fn path_today(&self, now: &ZonedDateTime) -> Option<PathBuf> {
        let LogDestination::File { path, dated, .. } = &self.options.destination else { return None };
        Some(if *dated { dated_path(path, &now.strftime("%Y-%m-%d").to_string()) } else { path.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Option<OpenFile>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Level {
    /// The word in the record.
    pub const fn word(self) -> &'static str {
        match self {
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warning => "WARNING",
            Level::Error => "ERROR",
        }
    }
}

impl OpenFile {
    fn append(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        Ok(OpenFile { file, path })
    }
}

/// Puts the date before the extension: `turn.log` becomes `turn_2026-11-24.log`.
fn dated_path(path: &Path, date: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = match path.extension() {
        Some(extension) => format!("{stem}_{date}.{}", extension.to_string_lossy()),
        None => format!("{stem}_{date}"),
    };
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(timestamp: Option<&str>) -> Log {
        Log {
            options: LogOptions {
                destination: LogDestination::Stdout,
                min_level: Level::Info,
                timestamp: timestamp.map(str::to_owned),
            },
            started: Instant::now(),
            open: Mutex::new(None),
        }
    }

    #[test]
    fn a_record_is_time_level_and_message() {
        let now: ZonedDateTime = "2026-11-24T10:20:30.5+01:00[+01:00]".parse().unwrap();
        let line = log(Some("%FT%T.%f%z")).line(&now, Level::Info, "Total auth threads: 1");
        assert_eq!(line, "2026-11-24T10:20:30.500+0100 INFO Total auth threads: 1\n");
        assert_eq!(log(None).line(&now, Level::Error, "x"), "0: ERROR x\n");
    }

    #[test]
    fn a_message_cannot_forge_a_second_record() {
        let line = log(None).line(&ZonedDateTime::now(), Level::Info, "user <a\n2026 INFO b\u{1b}[31m>");
        assert_eq!(line, "0: INFO user <a\\n2026 INFO b\\u{1b}[31m>\n");
    }

    #[test]
    fn the_date_goes_before_the_extension() {
        assert_eq!(dated_path(Path::new("/x/turn.log"), "2026-01-02"), Path::new("/x/turn_2026-01-02.log"));
        assert_eq!(dated_path(Path::new("/x/turn"), "2026-01-02"), Path::new("/x/turn_2026-01-02"));
    }
}
