//! Passwords: how they are asked for, made, stored for people who log in to the console, and compared.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::randomness::random;
use anyhow::anyhow;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use turnpike_store::hex;

/// Where a password comes from that is not on the command line.
pub(crate) trait Input {
    /// Whether somebody can be asked.
    fn is_terminal(&self) -> bool;

    /// One line: typed unseen, and twice if it is to be `repeated`; or the next of standard input.
    ///
    /// # Errors
    /// The two differ, the line is too long or is no text, or nothing can be read.
    fn secret(&mut self, what: &str, repeated: bool) -> io::Result<String>;
}

/// Standard input.
pub(crate) struct StandardInput;

impl Input for StandardInput {
    fn is_terminal(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    fn secret(&mut self, what: &str, repeated: bool) -> io::Result<String> {
        if !io::stdin().is_terminal() {
            return read_line();
        }
        let _unseen = Unseen::begin()?;
        let first = ask(what)?;
        if repeated && ask("Once more")? != first {
            return Err(io::Error::other("the two are not the same"));
        }
        Ok(first)
    }
}

/// While this lives, the terminal does not show what is typed.
struct Unseen(Termios);

impl Unseen {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut unseen = before.clone();
        unseen.local_modes.remove(LocalModes::ECHO);
        unseen.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Flush, &unseen)?;
        Ok(Unseen(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

fn ask(what: &str) -> io::Result<String> {
    let mut terminal = io::stderr().lock();
    write!(terminal, "{what}: ")?;
    terminal.flush()?;
    read_line()
}

fn read_line() -> io::Result<String> {
    let mut line = Vec::new();
    io::Read::take(io::stdin().lock(), LONGEST_LINE + 1).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.len() as u64 > LONGEST_LINE {
        return Err(io::Error::other("the line is too long"));
    }
    let line = String::from_utf8(line).map_err(|_| io::Error::other("the line is not UTF-8"))?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// A secret of 256 random bits.
pub(crate) fn new_secret() -> anyhow::Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(random::<32>()?))
}

/// The form in which a console user's password is stored: Argon2id.
///
/// # Errors
/// The system gives no random bytes.
pub fn hash(password: &str) -> anyhow::Result<String> {
    let hashed = hasher()?.hash_password_with_salt(password.as_bytes(), &random::<16>()?);
    Ok(hashed.map_err(|error| anyhow!("the password cannot be stored: {error}"))?.to_string())
}

/// The form that coturn stores and reads: `$5$`, eight bytes of salt, and the SHA-256 of salt and password. Against
/// somebody who has it and guesses it is weak.
///
/// # Errors
/// The system gives no random bytes.
pub fn hash_for_coturn(password: &str) -> anyhow::Result<String> {
    let salt = random::<8>()?;
    Ok(format!("$5${}${}", hex::encode(&salt), salted(&salt, password)))
}

/// Whether a password is the stored one: in either form, or in clear, as coturn stores it too.
pub fn verify(stored: &str, password: &str) -> bool {
    if stored.starts_with("$argon2") {
        return Argon2::default().verify_password(password.as_bytes(), stored).is_ok();
    }
    let (expected, found) = match stored.strip_prefix("$5$") {
        None => (stored.to_owned(), password.to_owned()),
        Some(rest) => {
            let Some((salt, digest)) = rest.split_once('$') else { return false };
            let Some(salt) = hex::decode::<8>(salt) else { return false };
            (digest.to_ascii_lowercase(), salted(&salt, password))
        }
    };
    !stored.is_empty() && bool::from(expected.as_bytes().ct_eq(found.as_bytes()))
}

/// Whether a stored password is in clear.
pub fn is_clear(stored: &str) -> bool {
    !stored.starts_with("$5$") && !stored.starts_with("$argon2")
}

fn hasher() -> anyhow::Result<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| anyhow!("Argon2: {error}"))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn salted(salt: &[u8], password: &str) -> String {
    hex::encode(&Sha256::new().chain_update(salt).chain_update(password).finalize())
}

const LONGEST_LINE: u64 = 4096;
/// OWASP's recommendation of 2024: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_verified_in_each_form_and_another_one_in_none() {
        let forms = [hash("geheim").unwrap(), hash_for_coturn("geheim").unwrap(), "geheim".to_owned()];
        for stored in &forms {
            assert!(verify(stored, "geheim"), "{stored}");
            for wrong in ["Geheim", "geheim ", "", stored.as_str()] {
                assert!(wrong == "geheim" || !verify(stored, wrong), "{stored} {wrong:?}");
            }
        }
        assert!(forms[0].starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && forms[0].len() <= 127);
        assert_ne!(hash_for_coturn("geheim").unwrap(), forms[1], "the salt is another one each time");
        assert_eq!(forms.map(|stored| is_clear(&stored)), [false, false, true]);
    }

    #[test]
    fn what_coturn_has_stored_is_verified() {
        let stored = "$5$2f482a58cf39c2dd$a137b16e8ea39443756c1b3c8a75fd46e18f062650355892ad48388ce5a0bbba";
        assert!(verify(stored, "x") && !verify(stored, "y"));
        assert!(verify(&stored.to_ascii_uppercase(), "x"));
    }

    #[test]
    fn damaged_forms_let_nobody_in() {
        for stored in
            ["", "$5$", "$5$00$", "$5$2f482a58cf39c2dd", "$argon2id$", "$argon2id$v=19$m=1,t=1,p=1$$"]
        {
            for password in ["", "x", stored] {
                assert!(!verify(stored, password), "{stored:?} {password:?}");
            }
        }
    }
}
