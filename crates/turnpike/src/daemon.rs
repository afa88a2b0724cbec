//! `daemon`: a server that stays behind when the command that started it returns.
//!
//! coturn's parent returns before its child has tried anything. Here it waits until the child serves, or has failed and
//! said why on the terminal that is still there, and ends with the child's exit status.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use rustix::process::{Pid, WaitOptions, setsid, waitpid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use turnpike_net::{Forked, fork};

/// Which half of a server that detaches this is.
#[derive(Debug)]
pub enum Detached {
    /// The one that somebody waits for; it is to end with this status.
    Parent(ExitCode),
    /// The one that is to serve.
    Child(Waiting),
}

/// Somebody waits to hear whether this process serves. If it ends before it says so, he learns that too.
#[derive(Debug)]
pub struct Waiting(PipeWriter);

/// Splits the process; the half that waits returns when it knows what became of the other.
///
/// # Errors
/// The process cannot be split.
pub fn detach() -> io::Result<Detached> {
    let (reader, writer) = io::pipe()?;
    match fork()? {
        Forked::Parent(child) => {
            // With this writer open, the end of the other one would not be heard.
            drop(writer);
            Ok(Detached::Parent(wait_for(child, reader)?))
        }
        Forked::Child => {
            drop(reader);
            // A session of its own: what the terminal's keys and its end send to everybody there does not reach it.
            setsid()?;
            dup2_stdin(File::open("/dev/null")?)?;
            Ok(Detached::Child(Waiting(writer)))
        }
    }
}

/// Whether a supervisor waits for this very process: one that returned would be over for it, and with it the service.
pub fn is_supervised() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

impl Waiting {
    /// Lets go of the terminal and says that all is well.
    ///
    /// # Errors
    /// There is no `/dev/null`. That nobody waits any more is no failure.
    pub fn serves(mut self) -> io::Result<()> {
        let nowhere = File::options().write(true).open("/dev/null")?;
        // A file is kept: it was named on purpose, and nobody waits for its end as readers of a pipe do.
        if !is_file(io::stdout())? {
            dup2_stdout(&nowhere)?;
        }
        if !is_file(io::stderr())? {
            dup2_stderr(&nowhere)?;
        }
        let _ = self.0.write_all(&[SERVES]);
        Ok(())
    }
}

/// Waits until the child says that it serves, or is gone.
fn wait_for(child: i32, mut reader: PipeReader) -> io::Result<ExitCode> {
    let mut word = [0];
    if reader.read(&mut word)? == 1 {
        return Ok(ExitCode::SUCCESS);
    }
    let status = waitpid(Pid::from_raw(child), WaitOptions::empty())?;
    let code = status.and_then(|(_, status)| status.exit_status()).and_then(|code| u8::try_from(code).ok());
    // Ended by a signal, or by itself with 0 without having served: both no success.
    Ok(ExitCode::from(code.filter(|code| *code != 0).unwrap_or(FAILED)))
}

fn is_file(stream: impl AsFd) -> io::Result<bool> {
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(stream)?.st_mode);
    Ok(kind == rustix::fs::FileType::RegularFile)
}

const SERVES: u8 = b'+';
/// As for every fatal error at start.
const FAILED: u8 = 255;
