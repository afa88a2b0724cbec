//! A file of JSON lines. It may be moved away at any time: whoever is gone is made anew.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Failure, Keeper, SessionRecord};

/// Adds records to a file.
#[derive(Debug)]
pub struct FileKeeper {
    path: PathBuf,
    open: Option<File>,
}

impl FileKeeper {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// It cannot be opened for appending.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(FileKeeper { path: path.to_owned(), open: Some(append(path)?) })
    }

    fn add(&mut self, lines: &str) -> io::Result<()> {
        let file = match self.open.take() {
            Some(file) if is_at(&file, &self.path) => file,
            _ => append(&self.path)?,
        };
        let mut file = file;
        let before = file.metadata()?;
        let written = file.write_all(lines.as_bytes());
        if written.is_err() && before.is_file() {
            // All or nothing: what the disk had room for would come a second time.
            file.set_len(before.len())?;
        }
        self.open = Some(file);
        written
    }
}

impl Keeper for FileKeeper {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn kind(&self) -> &'static str {
        "file"
    }

    fn keep(&mut self, records: &[Arc<SessionRecord>]) -> Result<(), Failure> {
        let mut lines = String::with_capacity(records.len() * 512);
        for record in records {
            record.write_json(&mut lines);
            lines.push('\n');
        }
        self.add(&lines).map_err(|error| Failure::Later(error.to_string()))
    }
}

/// Who called whom is nobody else's business.
fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Value;

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (path, old) = (directory.path().join("records"), directory.path().join("records.1"));
        let mut keeper = FileKeeper::open(&path).unwrap();
        let record = Arc::new(SessionRecord(vec!["x".into(), Value::Number(2)]));
        keeper.keep(&[record.clone(), record.clone()]).unwrap();
        std::fs::rename(&path, &old).unwrap();
        keeper.keep(&[record]).unwrap();
        let lines = |path: &Path| std::fs::read_to_string(path).unwrap().lines().count();
        assert_eq!((lines(&old), lines(&path)), (2, 1));
        assert_eq!(path.metadata().unwrap().mode() & 0o007, 0);
    }

    #[test]
    fn a_full_disk_is_no_end() {
        let mut keeper = FileKeeper::open(Path::new("/dev/full")).unwrap();
        let record = Arc::new(SessionRecord(vec!["x".into()]));
        assert!(matches!(keeper.keep(&[record]), Err(Failure::Later(_))));
    }
}
