//! Key files, and the encrypted form of a database password in a MySQL connection string. It is coturn's, and no more
//! than a veil: one key makes one key stream, so that two passwords under it betray each other.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use turnpike_store::password_cipher;

use crate::randomness;

/// Encrypts a password.
pub(super) fn encrypt(key_file: &Path, password: &str) -> anyhow::Result<String> {
    Ok(password_cipher::encrypt(&read_key(key_file)?, password))
}

/// Decrypts what [`encrypt`] made.
pub(super) fn decrypt(key_file: &Path, sealed: &str) -> anyhow::Result<String> {
    let opened = password_cipher::decrypt(&read_key(key_file)?, sealed);
    let text = opened.filter(|text| !text.contains(char::is_control));
    text.context("no text comes out: -v takes base64 as -E prints it, and the key file it was made with")
}

/// Makes a key file, which its owner alone can read.
pub(super) fn make_key_file(path: &Path) -> anyhow::Result<()> {
    let key = randomness::random::<16>()?;
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = made.with_context(|| {
        format!(
            "cannot make {}; a file that is there would be lost with all that it decrypts",
            path.display()
        )
    })?;
    file.write_all(&key).and_then(|()| file.sync_all()).with_context(|| format!("writing {}", path.display()))
}

/// The key in a file: its first 16 bytes, as coturn reads it.
pub(super) fn read_key(path: &Path) -> anyhow::Result<[u8; 16]> {
    let file = File::open(path).with_context(|| format!("cannot open the key file {}", path.display()))?;
    let mut key = Vec::new();
    file.take(16).read_to_end(&mut key).with_context(|| format!("reading {}", path.display()))?;
    let length = key.len();
    key.try_into().map_err(|_| anyhow::anyhow!("{} has {length} bytes; a key has 16", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_comes_back_and_wrong_keys_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (directory.path().join("a"), directory.path().join("b"));
        make_key_file(&first).unwrap();
        assert!(make_key_file(&first).is_err(), "a key file is never overwritten");
        std::fs::write(&second, [7; 16]).unwrap();
        let sealed = encrypt(&first, "geheim, 機密").unwrap();
        assert_eq!(decrypt(&first, &sealed).unwrap(), "geheim, 機密");
        assert!(decrypt(&second, &sealed).is_err());
        assert!(decrypt(&first, "!").is_err());
        std::fs::write(&second, [7; 15]).unwrap();
        assert!(encrypt(&second, "x").unwrap_err().to_string().contains("15 bytes"));
    }

    #[test]
    fn the_form_is_coturns() {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("key");
        std::fs::write(&key, b"abc\n\0efghijklmnopq").unwrap();
        // As coturn's tool encrypts it with this key.
        assert_eq!(encrypt(&key, "secret").unwrap(), "FaxJdJvH");
    }
}
