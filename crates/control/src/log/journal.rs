//! The journal of systemd, by its own protocol: each record with its fields, so that `journalctl TURNPIKE_EVENT=...`
//! finds them. <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>

use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::format::{Record, Style};
use super::syslog::{IDENTIFIER, LONGEST, connect};
use super::vocabulary::Value;

#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Journal {
    pub(crate) fn new(path: PathBuf) -> Self {
        Journal { path, socket: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Hands one record over.
    ///
    /// # Errors
    /// Nobody takes it; the next one is tried on a new connection.
    pub(crate) fn send(&mut self, record: &Record, style: &Style) -> io::Result<()> {
        let entry = entry(record, style);
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => connect(&self.path)?,
        };
        socket.send(&entry)?;
        self.socket = Some(socket);
        Ok(())
    }
}

/// Whether the journal reads what goes to standard output: systemd tells services by `JOURNAL_STREAM`, which whoever
/// they start inherits, so the file is compared too.
pub fn stdout_is_journal() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else { return false };
    let Ok(stdout) = std::fs::metadata("/proc/self/fd/1") else { return false };
    stream.to_str() == Some(format!("{}:{}", stdout.dev(), stdout.ino()).as_str())
}

fn entry(record: &Record, style: &Style) -> Vec<u8> {
    let mut message = String::new();
    style.body(record, &mut message);
    message.truncate(message.floor_char_boundary(LONGEST));
    let mut entry = Vec::with_capacity(512);
    add(&mut entry, "MESSAGE", &message);
    add(&mut entry, "PRIORITY", &record.entry.level.severity().to_string());
    add(&mut entry, "SYSLOG_IDENTIFIER", IDENTIFIER);
    add(&mut entry, "TURNPIKE_EVENT", record.entry.event.word());
    for (field, value) in &record.entry.fields {
        let name = format!("TURNPIKE_{}", field.word().to_ascii_uppercase());
        match value {
            Value::Text(text) => add(&mut entry, &name, text),
            Value::Number(number) => add(&mut entry, &name, &number.to_string()),
        }
    }
    entry
}

/// A value with an end of line in it is told with its length.
fn add(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

/// Where systemd's journal listens.
pub const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_two_lines_stays_one_value() {
        let mut entry = Vec::new();
        add(&mut entry, "A", "plain");
        add(&mut entry, "B", "x\nPRIORITY=0");
        assert_eq!(entry, b"A=plain\nB\n\x0c\0\0\0\0\0\0\0x\nPRIORITY=0\n");
    }
}
