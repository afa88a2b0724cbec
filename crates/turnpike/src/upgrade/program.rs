//! The program that a process runs, how it was started, and what another one says of itself.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use turnpike_net::Line;
use turnpike_turn::HANDOVER_VERSION;

/// A program and its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    arguments: Vec<OsString>,
}

/// Why a program cannot take over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It cannot be started, or is no program of this kind.
    Unknown(String),
    /// It does not read what this one writes.
    Version(String),
}

impl Program {
    /// What this process runs: what stands at its path when it is started again. The path by which it was called, so
    /// that a link leads to where it leads then; else, where that was looked for, the file's own.
    pub(crate) fn of_this_process() -> Self {
        let mut arguments = std::env::args_os();
        let called = arguments.next().map(PathBuf::from).filter(|path| path.components().count() > 1);
        let path = called.and_then(|path| std::path::absolute(path).ok());
        let path = path.or_else(|| std::env::current_exe().ok()).unwrap_or_default();
        Program { path, arguments: arguments.collect() }
    }

    /// The same arguments to another program.
    pub(crate) fn at(&self, path: &Path) -> Self {
        Program { path: path.to_owned(), arguments: self.arguments.clone() }
    }

    /// Starts it with an end of a line as its standard input. `port` is where clients come in by default.
    pub(super) fn start(&self, line: Line, port: u16) -> io::Result<Child> {
        Command::new(&self.path)
            .args(&self.arguments)
            .env(VARIABLE, port.to_string())
            // It is another process that the supervisor is to watch.
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(line)))
            .spawn()
    }

    /// Asks the program which handover it knows. It is not started otherwise: one that knows nothing of handovers would
    /// listen beside this process and be sent its clients.
    pub(super) fn check(&self) -> Result<(), Unfit> {
        let path = self.path.display();
        let said =
            ask(&self.path).map_err(|error| Unfit::Unknown(format!("{path} does not start: {error}")))?;
        let number = said.trim().strip_prefix(HANDOVER_WORD).map(str::trim);
        match number.map(|number| number.trim().to_owned()) {
            Some(number) if number == HANDOVER_VERSION.to_string() => Ok(()),
            Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) && !number.is_empty() => {
                Err(Unfit::Version(format!(
                    "{path} takes over from programs that write version {number}, and this one writes {HANDOVER_VERSION}"
                )))
            }
            _ => Err(Unfit::Unknown(format!("{path} is no program that can take over from this one"))),
        }
    }
}

/// What a program says to [`HANDOVER_FLAG`].
pub fn handover_line() -> String {
    format!("{HANDOVER_WORD} {HANDOVER_VERSION}\n")
}

/// The port of the process that hands over to this one, if there is such a one.
pub(crate) fn port_of_predecessor() -> Option<u16> {
    std::env::var(VARIABLE).ok()?.parse().ok()
}

fn ask(path: &Path) -> io::Result<String> {
    let mut child = Command::new(path)
        .arg(HANDOVER_FLAG)
        .env_remove(VARIABLE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let pipe = child.stdout.take();
    let reader = thread::spawn(move || {
        let mut said = String::new();
        pipe.map(|pipe| pipe.take(LONGEST).read_to_string(&mut said));
        said
    });
    let began = Instant::now();
    while child.try_wait()?.is_none() {
        if began.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not say which handover it knows"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(reader.join().unwrap_or_default())
}

/// The only argument to which a program says which version of the handover it knows.
pub const HANDOVER_FLAG: &str = "--handover-version";
/// What goes before the number then.
const HANDOVER_WORD: &str = "turnpike handover";
/// Tells a new process that its standard input is the line to the old one, and that one's port.
const VARIABLE: &str = "TURNPIKE_HANDOVER";
/// For an answer that takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are looked at.
const LONGEST: u64 = 1024;
