//! Who may allocate: static users and TURN REST secrets, side by side (RFC 8489 §9.2).
//!
//! A REST username carries its own expiry: `expiry:user`, `user:expiry` or just `expiry`, and its password is
//! base64(HMAC-SHA1(secret, username)). Any number of secrets is tried, and none shuts out static users.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use turnpike_wire::{LongTermKey, Message, PasswordDigest};

use crate::reason::Reason;
use crate::time::UnixTime;

/// Everyone who may allocate, as one unchanging snapshot.
pub struct Credentials {
    realm: Arc<str>,
    users: HashMap<Box<str>, LongTermKey>,
    secrets: Vec<RestSecret>,
    separator: char,
    anonymous: bool,
}

/// An authenticated user. It lives as long as the allocations it made.
#[derive(Debug)]
pub struct User {
    name: Box<str>,
    account: Range<usize>,
    realm: Arc<str>,
    key: Option<LongTermKey>,
}

/// Why credentials were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CredentialRefusal {
    pub(crate) reason: Reason,
    pub(crate) expired_since: Option<Duration>,
}

impl Credentials {
    /// Nobody yet; `realm` is what clients are told and keys are derived with.
    pub fn new(realm: &str) -> Self {
        Credentials {
            realm: realm.into(),
            users: HashMap::new(),
            secrets: Vec::new(),
            separator: ':',
            anonymous: false,
        }
    }

    /// Lets everybody in without a password.
    pub fn anonymous(realm: &str) -> Self {
        Credentials { anonymous: true, ..Credentials::new(realm) }
    }

    /// Adds a static user by password.
    pub fn add_user(&mut self, name: &str, password: &str) {
        let realm = self.realm.as_bytes();
        let key = LongTermKey::derive(PasswordDigest::Md5, name.as_bytes(), realm, password.as_bytes());
        self.users.insert(name.into(), key);
    }

    /// Adds a static user by the MD5 key that coturn stores.
    pub fn add_user_key(&mut self, name: &str, key: [u8; 16]) {
        self.users.insert(name.into(), LongTermKey::from_md5(key));
    }

    /// Adds a TURN REST secret.
    pub fn add_secret(&mut self, secret: &[u8]) {
        self.secrets.push(RestSecret(secret.into()));
    }

    /// Sets what stands between expiry and user in a REST username; a colon unless set.
    pub fn set_separator(&mut self, separator: char) {
        self.separator = separator;
    }

    /// The realm.
    pub fn realm(&self) -> &Arc<str> {
        &self.realm
    }

    /// Whether no password is asked for.
    pub fn is_anonymous(&self) -> bool {
        self.anonymous
    }

    /// The user everybody is when no password is asked for.
    pub(crate) fn nobody(&self) -> Arc<User> {
        Arc::new(User { name: "".into(), account: 0..0, realm: self.realm.clone(), key: None })
    }

    /// Finds the key that `message`'s integrity verifies with, and whose it is.
    pub(crate) fn authenticate(
        &self,
        message: &Message<'_>,
        username: &[u8],
        now: UnixTime,
    ) -> Result<Arc<User>, CredentialRefusal> {
        let refuse = |reason| CredentialRefusal { reason, expired_since: None };
        let name = usable_name(username).ok_or(refuse(Reason::UnknownUser))?;
        let known = self.users.get(name);
        // An unknown name costs one verification as well, so that timing does not tell.
        let absent = LongTermKey::from_md5([0; 16]);
        let fits = message.verify_integrity(known.unwrap_or(&absent).bytes()).is_ok();
        if let (Some(key), true) = (known, fits) {
            return Ok(self.user(name, 0..name.len(), key.clone()));
        }
        match (RestName::parse(name, self.separator), known) {
            (Some(rest), _) if !self.secrets.is_empty() => self.authenticate_rest(message, name, rest, now),
            (_, Some(_)) => Err(refuse(Reason::WrongPassword)),
            _ => Err(refuse(Reason::UnknownUser)),
        }
    }

    fn authenticate_rest(
        &self,
        message: &Message<'_>,
        name: &str,
        rest: RestName,
        now: UnixTime,
    ) -> Result<Arc<User>, CredentialRefusal> {
        let keys = self.secrets.iter().map(|secret| secret.key(name, &self.realm));
        let key = keys
            .into_iter()
            .find(|key| message.verify_integrity(key.bytes()).is_ok())
            .ok_or(CredentialRefusal { reason: Reason::WrongSecret, expired_since: None })?;
        if rest.expiry.0 < now.0 {
            let expired_since = Some(Duration::from_secs(now.0 - rest.expiry.0));
            return Err(CredentialRefusal { reason: Reason::Expired, expired_since });
        }
        Ok(self.user(name, rest.account, key))
    }

    fn user(&self, name: &str, account: Range<usize>, key: LongTermKey) -> Arc<User> {
        Arc::new(User { name: name.into(), account, realm: self.realm.clone(), key: Some(key) })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("realm", &self.realm)
            .field("users", &self.users.len())
            .field("secrets", &self.secrets.len())
            .field("anonymous", &self.anonymous)
            .finish()
    }
}

impl User {
    /// The whole username.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The part of the name that stays the same from one REST credential to the next: what quotas and usage
    /// are counted by. A name that is nothing but an expiry is an account of its own, as in coturn; else everybody
    /// with such a name would share one quota.
    pub fn account(&self) -> &str {
        self.name.get(self.account.clone()).filter(|account| !account.is_empty()).unwrap_or(&self.name)
    }

    /// The realm it belongs to.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// The key its requests are verified with; `None` when no password is asked for.
    pub(crate) fn key(&self) -> Option<&LongTermKey> {
        self.key.as_ref()
    }
}

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

struct RestSecret(Box<[u8]>);

impl RestSecret {
    fn key(&self, username: &str, realm: &str) -> LongTermKey {
        let password = rest_password(&self.0, username);
        let (username, realm) = (username.as_bytes(), realm.as_bytes());
        LongTermKey::derive(PasswordDigest::Md5, username, realm, password.as_bytes())
    }
}

/// A name that can be somebody's: UTF-8, not empty, without NUL.
fn usable_name(username: &[u8]) -> Option<&str> {
    let name = core::str::from_utf8(username).ok()?;
    (!name.is_empty() && !name.contains('\0')).then_some(name)
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
