//! Finds a configuration file where coturn looks for it.

use std::io;
use std::path::{Path, PathBuf};

use crate::load::Environment;

/// A file that was found, and its content.
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

/// Looks for `name`. A name that begins with `/` or `~` is opened as it stands; any other is looked for in coturn's
/// folders, the working directory first. `None`: it is nowhere.
///
/// # Errors
/// A file is there, but cannot be read: a later one is not taken in its stead, for it would say something else.
pub(crate) fn find(environment: &dyn Environment, name: &str) -> Result<Option<Found>, (PathBuf, io::Error)> {
    for path in candidates(name) {
        match environment.read(&path) {
            Ok(bytes) => return Ok(Some(Found { path, bytes })),
            Err(error) if is_absence(&error) => {}
            Err(error) => return Err((path, error)),
        }
    }
    Ok(None)
}

/// Where the file of this name is, by the same rules; the name itself where it is nowhere.
pub fn locate(environment: &dyn Environment, name: &str) -> PathBuf {
    let found = candidates(name).into_iter().find(|path| environment.read(path).is_ok());
    found.unwrap_or_else(|| name.into())
}

fn candidates(name: &str) -> Vec<PathBuf> {
    if name.starts_with(['/', '~']) {
        return vec![name.into()];
    }
    let names = std::iter::once(name).chain(name.strip_prefix("etc/"));
    names.flat_map(|name| FOLDERS.map(|folder| Path::new(folder).join(name))).collect()
}

fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
    )
}

const FOLDERS: [&str; 15] = [
    "",
    "turnserver",
    "coturn",
    "etc",
    "etc/turnserver",
    "etc/coturn",
    "../etc",
    "../etc/turnserver",
    "../etc/coturn",
    "/etc",
    "/etc/turnserver",
    "/etc/coturn",
    "/usr/local/etc",
    "/usr/local/etc/turnserver",
    "/usr/local/etc/coturn",
];
