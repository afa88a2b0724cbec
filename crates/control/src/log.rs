//! The log: one record a line, to standard output, a file, syslog or the journal.
//!
//! Whoever writes never waits once the log has a thread of its own: records go through a bounded queue. What does not fit
//! and what cannot be written is lost, counted, and said when it goes on.

mod file;
mod format;
mod journal;
mod syslog;
mod vocabulary;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::ZonedDateTime;

pub use file::SizeRotation;
pub(crate) use format::quoted;
pub use format::{Entry, LogFormat};
use format::{Record, Style};
pub use journal::{JOURNAL_SOCKET, stdout_is_journal};
pub use syslog::Facility;
pub use vocabulary::{EventName, Field, Value};
use writer::{Sink, Stream, Writer};

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
        /// When it is begun anew because of its size.
        rotation: Option<SizeRotation>,
        /// Whether records also go to standard output.
        also_stdout: bool,
    },
    /// syslog, and standard output as well if asked for.
    Syslog {
        /// Where the daemon listens.
        socket: PathBuf,
        /// As which part of the system.
        facility: Facility,
        /// Whether records also go to standard output.
        also_stdout: bool,
    },
    /// The journal, and standard output as well if asked for.
    Journal {
        /// Where it listens.
        socket: PathBuf,
        /// Whether records also go to standard output.
        also_stdout: bool,
    },
}

/// How to log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Where to.
    pub destination: LogDestination,
    /// In which form.
    pub format: LogFormat,
    /// The least level that is written.
    pub min_level: Level,
    /// A strftime pattern in which `%f` stands for milliseconds, or `None` for seconds since start; of coturn's form.
    pub timestamp: Option<String>,
}

/// The log. Shared by reference. Nothing on the packet path may write one.
#[derive(Debug)]
pub struct Log {
    min_level: AtomicU8,
    format: LogFormat,
    is_on_stream: bool,
    started: Instant,
    /// Writes in place of the thread, until there is one.
    writer: Mutex<Option<Writer>>,
    thread: OnceLock<Arc<Thread>>,
    lost: Arc<AtomicU64>,
}

/// The way to the log's thread.
#[derive(Debug)]
struct Thread {
    queue: SyncSender<Job>,
    /// Records that did not fit into the queue and were not told of.
    overrun: AtomicU64,
    reopen: AtomicBool,
}

enum Job {
    Write(Box<Record>),
    /// Look whether something else is to be done.
    Look,
    /// Say when everything before this was written.
    Flush(SyncSender<()>),
}

impl Log {
    /// Opens the log. Until [`Log::start`] it is written by whoever has something to say.
    ///
    /// # Errors
    /// The file cannot be opened for appending.
    pub fn open(options: LogOptions) -> io::Result<Self> {
        let started = Instant::now();
        let (sink, stream) = open(&options.destination)?;
        let lost = Arc::new(AtomicU64::new(0));
        let is_on_stream = matches!(sink, Sink::None);
        let style = Style { format: options.format, timestamp: options.timestamp };
        let writer = Writer { style, sink, stream, started, lost: lost.clone(), trouble: None };
        Ok(Log {
            min_level: AtomicU8::new(options.min_level as u8),
            format: options.format,
            is_on_stream,
            started,
            writer: Mutex::new(Some(writer)),
            thread: OnceLock::new(),
            lost,
        })
    }

    /// Gives the log a thread of its own: from here on nobody waits for it. Once is enough.
    ///
    /// # Errors
    /// The system gives no thread; the log goes on as before.
    pub fn start(&self) -> io::Result<()> {
        let mut writer = self.writer();
        if writer.is_none() {
            return Ok(());
        }
        let (queue, jobs) = sync_channel(QUEUE);
        let way = Arc::new(Thread { queue, overrun: AtomicU64::new(0), reopen: AtomicBool::new(false) });
        let (hand_over, taken) = sync_channel(1);
        let its_way = Arc::downgrade(&way);
        thread::Builder::new().name("log".into()).spawn(move || {
            let Ok(writer) = taken.recv() else { return };
            let look = || its_way.upgrade();
            run(writer, &jobs, look);
        })?;
        if let Some(writer) = writer.take() {
            let _ = hand_over.send(writer);
        }
        let _ = self.thread.set(way);
        Ok(())
    }

    /// Closes and opens the file again, for log rotation, and says so in the log.
    pub fn reopen(&self) {
        match self.thread.get() {
            Some(thread) => {
                thread.reopen.store(true, Ordering::Release);
                // If the queue is full, the thread is about to look anyway.
                let _ = thread.queue.try_send(Job::Look);
            }
            None => {
                if let Some(writer) = self.writer().as_mut() {
                    writer.reopen();
                }
            }
        }
    }

    /// Waits until everything was written, but not for ever: whoever reads it may be stuck.
    pub fn flush(&self) {
        let Some(thread) = self.thread.get() else { return };
        let (done, waited) = sync_channel(1);
        let (mut job, deadline) = (Job::Flush(done), Instant::now() + LAST_WORDS);
        while let Err(TrySendError::Full(back)) = thread.queue.try_send(job) {
            if Instant::now() > deadline {
                return;
            }
            job = back;
            thread::sleep(Duration::from_millis(10));
        }
        let _ = waited.recv_timeout(LAST_WORDS);
    }

    /// Writes what people are told.
    pub fn write(&self, level: Level, message: &str) {
        if level >= self.min_level() {
            self.put(Entry::message(level, message));
        }
    }

    /// Writes what people and programs are told.
    pub fn write_entry(&self, entry: Entry) {
        if entry.level >= self.min_level() {
            self.put(entry);
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

    /// The least level that is written.
    pub fn min_level(&self) -> Level {
        Level::ALL[usize::from(self.min_level.load(Ordering::Relaxed)).min(Level::ALL.len() - 1)]
    }

    /// Sets it.
    pub fn set_min_level(&self, level: Level) {
        self.min_level.store(level as u8, Ordering::Relaxed);
    }

    /// The form of records.
    pub fn format(&self) -> LogFormat {
        self.format
    }

    /// Whether records go where they may be read when nobody saw the terminal.
    pub fn is_in_file(&self) -> bool {
        !self.is_on_stream
    }

    /// Lines that could not be written since start.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn put(&self, entry: Entry) {
        let record = Record { time: ZonedDateTime::now(), uptime: self.started.elapsed(), entry };
        if self.thread.get().is_none()
            && let Some(writer) = self.writer().as_mut()
        {
            writer.write(&[record]);
            return;
        }
        // Whoever lost the race with `start` finds the thread now.
        let Some(thread) = self.thread.get() else { return };
        if thread.queue.try_send(Job::Write(Box::new(record))).is_err() {
            thread.overrun.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn writer(&self) -> MutexGuard<'_, Option<Writer>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Level {
    /// From the least on.
    pub const ALL: [Level; 4] = [Level::Debug, Level::Info, Level::Warning, Level::Error];

    /// The word in the record.
    pub const fn word(self) -> &'static str {
        match self {
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warning => "WARNING",
            Level::Error => "ERROR",
        }
    }

    /// The word in structured formats, in `log-min-level` and in commands.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

fn open(destination: &LogDestination) -> io::Result<(Sink, Option<Stream>)> {
    let beside = |also_stdout: &bool| also_stdout.then_some(Stream::Output);
    Ok(match destination {
        LogDestination::Stdout => (Sink::None, Some(Stream::Output)),
        LogDestination::Stderr => (Sink::None, Some(Stream::Error)),
        LogDestination::File { path, dated, rotation, also_stdout } => {
            let file = file::LogFile::open(path, *dated, *rotation)?;
            (Sink::File(file), beside(also_stdout))
        }
        LogDestination::Syslog { socket, facility, also_stdout } => {
            (Sink::Syslog(syslog::Syslog::new(socket.clone(), *facility)), beside(also_stdout))
        }
        LogDestination::Journal { socket, also_stdout } => {
            (Sink::Journal(journal::Journal::new(socket.clone())), beside(also_stdout))
        }
    })
}

/// Writes what comes, many records at once if many wait, until there is no log any more.
fn run(mut writer: Writer, jobs: &Receiver<Job>, way: impl Fn() -> Option<Arc<Thread>>) {
    let mut records = Vec::with_capacity(BATCH);
    while let Ok(first) = jobs.recv() {
        let mut next = Some(first);
        let mut flushed = None;
        while let Some(job) = next {
            match job {
                Job::Write(record) => records.push(*record),
                Job::Look => {}
                Job::Flush(done) => {
                    flushed = Some(done);
                    break;
                }
            }
            next = if records.len() < BATCH { jobs.try_recv().ok() } else { None };
        }
        writer.write(&records);
        records.clear();
        if let Some(way) = way() {
            let overrun = way.overrun.swap(0, Ordering::Relaxed);
            if overrun > 0 {
                writer.say_overrun(overrun);
            }
            if way.reopen.swap(false, Ordering::Acquire) {
                writer.reopen();
            }
        }
        if let Some(done) = flushed {
            let _ = done.send(());
        }
    }
}

/// Records that may wait to be written.
const QUEUE: usize = 8192;
/// Records that are written at once.
const BATCH: usize = 256;
/// How long the end of the process waits for its last lines.
const LAST_WORDS: Duration = Duration::from_secs(2);
