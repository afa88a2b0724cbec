//! A log file: appended to, begun anew each day or when it has grown to its limit, opened anew on request.
//!
//! Invariant: what cannot be written is given up and counted; a line that was torn by a full disk is ended before the
//! next one.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::ZonedDateTime;

/// When a file is begun anew because of its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeRotation {
    /// Bytes that it does not grow beyond.
    pub bytes: u64,
    /// How many old ones are kept, numbered from 1.
    pub kept: u32,
}

#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    dated: bool,
    rotation: Option<SizeRotation>,
    open: Option<OpenFile>,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    path: PathBuf,
    /// Bytes in it, as far as they are ours.
    size: u64,
    /// Whether the last line has no end.
    torn: bool,
}

impl LogFile {
    /// Opens it.
    ///
    /// # Errors
    /// It cannot be opened for appending.
    pub(crate) fn open(path: &Path, dated: bool, rotation: Option<SizeRotation>) -> io::Result<Self> {
        // The date would be put behind a folder's name just as well, and nobody would look for the log beside it.
        if path.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let mut file = LogFile { path: path.to_owned(), dated, rotation, open: None };
        file.reopen(&ZonedDateTime::now())?;
        Ok(file)
    }

    /// Closes and opens it again.
    ///
    /// # Errors
    /// It cannot be opened; what is written then goes on to the one that is open.
    pub(crate) fn reopen(&mut self, now: &ZonedDateTime) -> io::Result<()> {
        self.open = Some(OpenFile::append(self.path_today(now))?);
        Ok(())
    }

    /// Where it is, for people.
    pub(crate) fn path(&self) -> &Path {
        self.open.as_ref().map_or(&self.path, |open| &open.path)
    }

    /// Adds whole lines, all of the same day.
    ///
    /// # Errors
    /// How many of the lines were not written wholly, and why.
    pub(crate) fn append(&mut self, lines: &str, now: &ZonedDateTime) -> Result<(), (u64, io::Error)> {
        let path = self.path_today(now);
        if self.open.as_ref().is_none_or(|open| open.path != path)
            && let Ok(file) = OpenFile::append(path)
        {
            self.open = Some(file);
        }
        match (&mut self.open, self.rotation) {
            (Some(open), Some(rotation)) => open.write_in_files(lines, rotation),
            (Some(open), None) => open.write(lines),
            (None, _) => Err((count(lines), io::ErrorKind::NotFound.into())),
        }
    }

    fn path_today(&self, now: &ZonedDateTime) -> PathBuf {
        if self.dated {
            dated_path(&self.path, &now.strftime("%Y-%m-%d").to_string())
        } else {
            self.path.clone()
        }
    }
}

impl OpenFile {
    fn append(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        Ok(OpenFile { file, path, size, torn: false })
    }

    /// Begins a new file before each line that this one has no room for.
    fn write_in_files(&mut self, lines: &str, rotation: SizeRotation) -> Result<(), (u64, io::Error)> {
        let mut rest = lines;
        while !rest.is_empty() {
            let room = rotation.bytes.saturating_sub(self.size);
            let fitting = whole_lines(rest, usize::try_from(room).unwrap_or(usize::MAX));
            if fitting == 0 && self.size > 0 {
                self.begin_anew(rotation);
                continue;
            }
            // A line that is longer than a file may be has one of its own.
            let length =
                if fitting > 0 { fitting } else { rest.find('\n').map_or(rest.len(), |end| end + 1) };
            let (now, later) = rest.split_at(length);
            self.write(now).map_err(|(lost, error)| (lost + count(later), error))?;
            rest = later;
        }
        Ok(())
    }

    fn write(&mut self, lines: &str) -> Result<(), (u64, io::Error)> {
        if self.torn {
            self.file.write_all(b"\n").map_err(|error| (count(lines), error))?;
            self.torn = false;
        }
        let mut rest = lines.as_bytes();
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(self.tear(lines, rest, io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    self.size += written as u64;
                    rest = &rest[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.tear(lines, rest, error)),
            }
        }
        Ok(())
    }

    fn tear(&mut self, lines: &str, rest: &[u8], error: io::Error) -> (u64, io::Error) {
        let written = lines.len() - rest.len();
        self.torn = written > 0 && lines.as_bytes()[written - 1] != b'\n';
        (rest.iter().filter(|byte| **byte == b'\n').count() as u64, error)
    }

    /// Gives it the number 1, and what had a number the next one. If that cannot be done, it is tried again after as much
    /// has been written once more.
    fn begin_anew(&mut self, rotation: SizeRotation) {
        for number in (1..rotation.kept).rev() {
            let _ = fs::rename(numbered(&self.path, number), numbered(&self.path, number + 1));
        }
        let moved = match rotation.kept {
            0 => fs::remove_file(&self.path),
            _ => fs::rename(&self.path, numbered(&self.path, 1)),
        };
        match moved.and_then(|()| OpenFile::append(self.path.clone())) {
            Ok(new) => *self = new,
            Err(_) => self.size = 0,
        }
    }
}

/// The length of the whole lines that fit into so many bytes.
fn whole_lines(lines: &str, room: usize) -> usize {
    if lines.len() <= room {
        return lines.len();
    }
    lines.as_bytes()[..room].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

fn count(lines: &str) -> u64 {
    lines.bytes().filter(|byte| *byte == b'\n').count() as u64
}

/// `turn.log` becomes `turn.log.1`.
fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
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

    #[test]
    fn the_date_goes_before_the_extension() {
        assert_eq!(dated_path(Path::new("/x/turn.log"), "2026-01-02"), Path::new("/x/turn_2026-01-02.log"));
        assert_eq!(dated_path(Path::new("/x/turn"), "2026-01-02"), Path::new("/x/turn_2026-01-02"));
    }

    #[test]
    fn a_file_that_has_grown_is_numbered_and_only_so_many_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("turn.log");
        let now = ZonedDateTime::now();
        let mut file = LogFile::open(&path, false, Some(SizeRotation { bytes: 20, kept: 2 })).unwrap();
        file.append("first line\n", &now).unwrap();
        // Of lines that come together each has its place, and one that is longer than a file has one of its own.
        file.append("2\nthis line is longer than a file may be\n4\nthird line\n", &now).unwrap();
        file.append("fourth line\n", &now).unwrap();
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(read("turn.log"), "fourth line\n");
        assert_eq!(read("turn.log.1"), "4\nthird line\n");
        assert_eq!(read("turn.log.2"), "this line is longer than a file may be\n");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_full_disk_costs_the_lines_alone_and_says_how_many() {
        let now = ZonedDateTime::now();
        let mut file = LogFile::open(Path::new("/dev/full"), false, None).unwrap();
        let (lost, error) = file.append("one\ntwo\n", &now).unwrap_err();
        assert_eq!((lost, error.raw_os_error()), (2, Some(28)));
    }

    #[test]
    fn a_line_that_was_torn_is_ended_before_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("turn.log");
        let mut open = OpenFile::append(path.clone()).unwrap();
        open.write("whole\n").unwrap();
        open.file.write_all(b"to").unwrap();
        let lost = open.tear("torn\nlost\n", b"rn\nlost\n", io::ErrorKind::StorageFull.into());
        assert_eq!(lost.0, 2);
        open.write("after\n").unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "whole\nto\nafter\n");
    }
}
