//! A world of files in which configurations are read.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use turnpike_config::{Command, Environment, Loaded, load};

#[derive(Default)]
pub(crate) struct World {
    pub(crate) files: HashMap<PathBuf, Vec<u8>>,
}

impl World {
    pub(crate) fn with(path: &str, text: &str) -> Self {
        World { files: HashMap::from([(path.into(), text.as_bytes().to_vec())]) }
    }
}

impl Environment for World {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn host_name(&self) -> String {
        "relay1".to_owned()
    }
}

pub(crate) fn words(line: &str) -> Vec<OsString> {
    line.split_ascii_whitespace().map(OsString::from).collect()
}

pub(crate) fn run_in(world: &World, line: &str) -> Result<Loaded, String> {
    match load(words(line), world) {
        Ok(Command::Run(loaded)) => Ok(loaded),
        Ok(other) => Err(format!("{other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

pub(crate) fn run(line: &str) -> Result<Loaded, String> {
    run_in(&World::default(), line)
}

pub(crate) fn file(text: &str) -> Result<Loaded, String> {
    run_in(&World::with("/etc/turnserver.conf", text), "")
}

pub(crate) fn refusal(line: &str) -> String {
    run(line).err().unwrap_or_else(|| panic!("{line} is accepted"))
}
