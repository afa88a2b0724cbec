//! TURN REST credentials: a name that carries its own expiry, and a password that a shared secret makes of it.

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use turnpike_wire::{LongTermKey, PasswordDigest};

use crate::time::UnixTime;

/// A REST username taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestName {
    /// The second after which it is refused.
    pub expiry: UnixTime,
    /// Where the stable part stands in the name; may be empty.
    pub account: Range<usize>,
}

impl RestName {
    /// Reads the three shapes. Separators after the first belong to the user when the expiry comes first;
    /// when it comes last, those before the last do.
    pub fn parse(name: &str, separator: char) -> Option<Self> {
        let rest_name = |digits: &str, account| {
            let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let expiry = digits.parse().ok().filter(|_| all_digits)?;
            Some(RestName { expiry: UnixTime(expiry), account })
        };
        let Some((first, after)) = name.split_once(separator) else {
            return rest_name(name, 0..0);
        };
        rest_name(first, name.len() - after.len()..name.len()).or_else(|| {
            let (account, last) = name.rsplit_once(separator)?;
            rest_name(last, 0..account.len())
        })
    }
}

/// The password that belongs to a REST username: base64(HMAC-SHA1(secret, username)).
pub fn rest_password(secret: &[u8], username: &str) -> String {
    // HMAC takes a key of any length.
    let mut mac = Hmac::<Sha1>::new_from_slice(secret).unwrap_or_else(|_| Hmac::new(&Default::default()));
    mac.update(username.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// A secret that such passwords are made with.
pub(crate) struct RestSecret(pub(crate) Box<[u8]>);

impl RestSecret {
    pub(crate) fn key(&self, username: &str, realm: &str, digest: PasswordDigest) -> LongTermKey {
        let password = rest_password(&self.0, username);
        LongTermKey::derive(digest, username.as_bytes(), realm.as_bytes(), password.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Option<(u64, &str)> {
        let rest = RestName::parse(name, ':')?;
        Some((rest.expiry.0, &name[rest.account]))
    }

    #[test]
    fn the_three_shapes_of_rest_names_are_read() {
        assert_eq!(parse("1700000000:alice"), Some((1_700_000_000, "alice")));
        assert_eq!(parse("alice:1700000000"), Some((1_700_000_000, "alice")));
        assert_eq!(parse("1700000000"), Some((1_700_000_000, "")));
    }

    #[test]
    fn further_separators_belong_to_the_user() {
        assert_eq!(parse("1700000000:@alice:example.org"), Some((1_700_000_000, "@alice:example.org")));
        assert_eq!(parse("@alice:example.org:1700000000"), Some((1_700_000_000, "@alice:example.org")));
        assert_eq!(parse("1700000000:1800000000"), Some((1_700_000_000, "1800000000")));
    }

    #[test]
    fn names_without_a_usable_number_are_no_rest_names() {
        for name in ["alice", "alice:", ":", "", "+5:alice", "-1", "99999999999999999999999:alice", "0x10"] {
            assert_eq!(parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_rest_password_is_the_padded_base64_of_the_hmac() {
        assert_eq!(rest_password(b"secret", "1700000000:alice").len(), 28);
        assert!(rest_password(b"secret", "1700000000:alice").ends_with('='));
        assert_ne!(rest_password(b"secret", "a"), rest_password(b"other", "a"));
    }
}
