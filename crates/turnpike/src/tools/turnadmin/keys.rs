//! The keys that are stored of a user instead of his password.

use anyhow::anyhow;
use turnpike_opaque_string::prepare;
use turnpike_store::{Row, StoredUser};
use turnpike_wire::{LongTermKey, PasswordDigest};

/// A user with both keys of his password (RFC 8489 §9.2.2), all three texts prepared as the server prepares them.
///
/// # Errors
/// One of them holds a character that no client can send.
pub(in super::super) fn user(name: &str, realm: &str, password: &str) -> anyhow::Result<Row> {
    let name = prepare(name).map_err(|why| anyhow!("no user can be called {name:?}: {why}"))?;
    let realm = match realm {
        "" => "".into(),
        realm => prepare(realm).map_err(|why| anyhow!("no realm can be called {realm:?}: {why}"))?,
    };
    // Which character it is would tell a part of the password.
    let refused = "the password has a character that no password may have (RFC 8265, OpaqueString)";
    let password = prepare(password).map_err(|_| anyhow!(refused))?;
    let key = |digest| LongTermKey::derive(digest, name.as_bytes(), realm.as_bytes(), password.as_bytes());
    let (md5, sha256) = (key(PasswordDigest::Md5), key(PasswordDigest::Sha256));
    let hmackey = md5.bytes().try_into().map_err(|_| anyhow!("an MD5 key has 16 bytes"))?;
    let user = StoredUser { hmackey, sha256: sha256.bytes().try_into().ok() };
    Ok(Row::User { realm: realm.into_owned(), name: name.into_owned(), user })
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnpike_store::hex;

    #[test]
    fn the_keys_are_those_of_the_rfc_and_of_coturn() {
        let Row::User { user, .. } = user("user", "realm", "pass").unwrap() else { panic!() };
        // MD5 of user:realm:pass, the example of RFC 5389 §15.4.
        assert_eq!(hex::encode(&user.hmackey), "8493fbc53ba582fb4c044c456bdc40eb");
        assert_eq!(user.sha256.unwrap()[..4], sha2_of("user:realm:pass")[..4]);
    }

    #[test]
    fn one_name_is_one_user_however_it_is_typed() {
        assert_eq!(user("u\u{308}", "r", "p").unwrap(), user("ü", "r", "p").unwrap());
        let error = user("a", "r", "geheim\u{378}").unwrap_err().to_string();
        assert!(!error.contains("geheim"), "{error}");
    }

    fn sha2_of(text: &str) -> Vec<u8> {
        use sha2::{Digest, Sha256};
        Sha256::digest(text).to_vec()
    }
}
