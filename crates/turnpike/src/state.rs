//! The state directory of `turnpike up`: where the generated secret is kept between runs.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::randomness::random;
use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A directory that only its owner can read.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
}

/// A TURN REST secret and where it came from.
#[derive(Debug)]
pub struct KeptSecret {
    /// The secret: 43 characters that stand for 256 random bits.
    pub secret: String,
    /// The file that holds it.
    pub path: PathBuf,
    /// Whether this call made it.
    pub is_new: bool,
}

impl StateDirectory {
    /// Where state is kept when nobody says otherwise: `/var/lib/turnpike` for root, else `turnpike` under
    /// `$XDG_STATE_HOME` or `~/.local/state`.
    pub fn default_path() -> PathBuf {
        let from_env =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(state) = from_env("XDG_STATE_HOME") {
            return state.join("turnpike");
        }
        match from_env("HOME") {
            Some(home) if home != Path::new("/") && !is_root() => home.join(".local/state/turnpike"),
            _ => PathBuf::from("/var/lib/turnpike"),
        }
    }

    /// Opens the directory, making it (0700) if it is missing.
    ///
    /// # Errors
    /// It cannot be made, or others may write to it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| {
            format!("cannot make the state directory {}; choose another with --state-dir", path.display())
        })?;
        let mode = fs::metadata(path)?.permissions().mode();
        if mode & 0o022 != 0 {
            bail!(
                "others may write to the state directory {}; run: chmod 700 {}",
                path.display(),
                path.display()
            );
        }
        Ok(StateDirectory { path: path.to_owned() })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The secret kept here, made now if there is none yet.
    ///
    /// # Errors
    /// The file cannot be read or written, is empty, or can be read by others.
    pub fn secret(&self) -> anyhow::Result<KeptSecret> {
        let path = self.path.join("secret");
        match Self::read_secret(&path) {
            Ok(secret) => return Ok(KeptSecret { secret, path, is_new: false }),
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(error),
        }
        let secret = URL_SAFE_NO_PAD.encode(random::<32>()?);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot write the secret to {}", path.display()))?;
        file.write_all(format!("{secret}\n").as_bytes())?;
        Ok(KeptSecret { secret, path, is_new: true })
    }

    /// Reads a secret file: one line, readable by nobody else.
    ///
    /// # Errors
    /// As [`StateDirectory::secret`].
    pub fn read_secret(path: &Path) -> anyhow::Result<String> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mode = fs::metadata(path)?.permissions().mode();
        if mode & 0o077 != 0 {
            bail!("others can read the secret in {}; run: chmod 600 {}", path.display(), path.display());
        }
        let secret = text.trim();
        if secret.is_empty() {
            bail!("{} is empty; delete it and a new secret is made", path.display());
        }
        Ok(secret.to_owned())
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| std::os::unix::fs::MetadataExt::uid(&process) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> PathBuf {
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        std::env::temp_dir().join(format!("turnpike-state-{:x}", u64::from_ne_bytes(random)))
    }

    #[test]
    fn the_secret_is_made_once_kept_private_and_found_again() {
        let path = fresh();
        let first = StateDirectory::open(&path).unwrap().secret().unwrap();
        assert!(first.is_new && first.secret.len() == 43);
        assert_eq!(fs::metadata(&first.path).unwrap().permissions().mode() & 0o777, 0o600);
        let second = StateDirectory::open(&path).unwrap().secret().unwrap();
        assert!(!second.is_new);
        assert_eq!(first.secret, second.secret);
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused_with_the_remedy() {
        let path = fresh();
        let state = StateDirectory::open(&path).unwrap();
        let kept = state.secret().unwrap();
        fs::set_permissions(&kept.path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = state.secret().unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(StateDirectory::open(&path).unwrap_err().to_string().contains("chmod 700"));
        fs::remove_dir_all(path).unwrap();
    }
}
