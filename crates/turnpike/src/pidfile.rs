//! The file with the process id, for start scripts.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use turnpike_control::Log;

/// A file that says which process serves.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Makes the file, empty, while there is still the right to; what stands in the way is a warning.
    pub(crate) fn create(path: &Path, log: &Log) -> Option<Self> {
        match File::create(path) {
            Ok(file) => Some(PidFile { path: path.to_owned(), file }),
            Err(error) => {
                log.warning(&format!("cannot write the process id to {}: {error}", path.display()));
                None
            }
        }
    }

    /// Writes the process id, once the process serves.
    pub(crate) fn write(&mut self, log: &Log) {
        if let Err(error) = self.file.write_all(own_line().as_bytes()) {
            log.warning(&format!("cannot write the process id to {}: {error}", self.path.display()));
        }
    }

    /// Takes it away, or at least the process id out of it where this user may not take it away. One that tells of another
    /// process by now is left alone.
    pub(crate) fn remove(self) {
        let is_ours = fs::read_to_string(&self.path).is_ok_and(|text| text == own_line());
        if is_ours && fs::remove_file(&self.path).is_err() {
            let _: io::Result<()> = self.file.set_len(0);
        }
    }
}

fn own_line() -> String {
    format!("{}\n", std::process::id())
}
