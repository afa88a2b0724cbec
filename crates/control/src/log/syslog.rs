//! syslog, by the local socket that every daemon of that name listens on (RFC 3164, in the shape of glibc's `syslog`).
//! The daemon is never waited for long: it may be stuck, and then the log of everything else goes on.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use super::Level;
use super::format::{Record, Style};

/// Which part of a system speaks (RFC 5424 §6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

#[derive(Debug)]
pub(crate) struct Syslog {
    path: PathBuf,
    facility: Facility,
    socket: Option<UnixDatagram>,
}

impl Facility {
    /// Where programs are that name none, and coturn.
    pub const USER: Facility = Facility(1);

    /// The one of this name, `LOG_` before it or not, in whatever case.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let name = name.strip_prefix("log_").unwrap_or(&name);
        FACILITIES.iter().find(|(known, _)| *known == name).map(|(_, number)| Facility(*number))
    }
}

impl Syslog {
    pub(crate) fn new(path: PathBuf, facility: Facility) -> Self {
        Syslog { path, facility, socket: None }
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Hands one record over.
    ///
    /// # Errors
    /// Nobody takes it; the next one is tried on a new connection.
    pub(crate) fn send(&mut self, record: &Record, style: &Style) -> io::Result<()> {
        let mut text = format!(
            "<{}>{} {IDENTIFIER}[{}]: ",
            self.facility.0 * 8 + record.entry.level.severity(),
            record.time.strftime("%b %e %H:%M:%S"),
            std::process::id()
        );
        // With its own time and level as in a file: coturn does so, and scripts read it.
        style.line(record, &mut text);
        text.truncate(text.floor_char_boundary(LONGEST.min(text.len() - 1)));
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => connect(&self.path)?,
        };
        socket.send(text.as_bytes())?;
        self.socket = Some(socket);
        Ok(())
    }
}

impl Level {
    /// As syslog and the journal count (RFC 5424 §6.2.1).
    pub(crate) const fn severity(self) -> u8 {
        match self {
            Level::Debug => 7,
            Level::Info => 6,
            Level::Warning => 4,
            Level::Error => 3,
        }
    }
}

/// Connected, so that a daemon which was started anew is noticed.
pub(crate) fn connect(path: &std::path::Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.connect(path)?;
    Ok(socket)
}

/// The name that records bear.
pub(crate) const IDENTIFIER: &str = "turnserver";
/// How long a daemon that does not read is waited for.
const PATIENCE: Duration = Duration::from_millis(200);
/// What daemons take at least; longer records are cut.
pub(crate) const LONGEST: usize = 8000;
const FACILITIES: &[(&str, u8)] = &[
    ("auth", 4),
    ("authpriv", 10),
    ("cron", 9),
    ("daemon", 3),
    ("ftp", 11),
    ("kern", 0),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
    ("lpr", 6),
    ("mail", 2),
    ("news", 7),
    ("syslog", 5),
    ("user", 1),
    ("uucp", 8),
];
