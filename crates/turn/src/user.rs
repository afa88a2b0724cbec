//! An authenticated user, and what his requests are signed with.

use std::ops::Range;
use std::sync::Arc;

use turnpike_wire::{LongTermKey, PasswordDigest};

use crate::oauth::SessionKey;
use crate::self_test;
use crate::time::UnixTime;

/// An authenticated user. It lives as long as the allocations it made.
#[derive(Debug)]
pub struct User {
    pub(crate) name: Box<str>,
    pub(crate) account: Range<usize>,
    pub(crate) realm: Arc<str>,
    pub(crate) key: Option<Key>,
    /// Of a REST credential: the second after which it is no good.
    pub(crate) expires: Option<UnixTime>,
    /// Whether it is this server, trying itself.
    pub(crate) self_test: bool,
}

/// What a user's requests are signed with.
#[derive(Clone, Debug)]
pub(crate) enum Key {
    /// Made from name and password.
    LongTerm(LongTermKey),
    /// Out of an access token.
    Session(Box<SessionKey>),
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

    /// Whether it is the server itself, trying whether it works: nobody whose sessions anybody wants a record of.
    pub fn is_self_test(&self) -> bool {
        self.self_test
    }

    pub(crate) fn of_self_test(name: &str, account: Range<usize>, key: LongTermKey) -> Self {
        let (realm, key) = (self_test::REALM.into(), Some(Key::LongTerm(key)));
        User { name: name.into(), account, realm, key, expires: None, self_test: true }
    }

    /// The second after which the REST credential it came in with is no good.
    pub(crate) fn expires(&self) -> Option<UnixTime> {
        self.expires
    }

    /// The key its requests are verified with; `None` when no password is asked for.
    pub(crate) fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// What its access token gave it, if that is how it came in.
    pub(crate) fn session_key(&self) -> Option<&SessionKey> {
        match &self.key {
            Some(Key::Session(key)) => Some(key),
            _ => None,
        }
    }

    /// Whether what one has made is the other's. A token says nothing of who bears it, and a client renews it, perhaps
    /// under another kid; so any bearer counts as the one who holds the 5-tuple.
    pub(crate) fn is_same(&self, other: &User) -> bool {
        let bears = |user: &User| user.session_key().is_some();
        let is_named = self.name == other.name && self.realm == other.realm;
        bears(self) == bears(other) && (bears(self) || is_named)
    }
}

impl Key {
    /// What goes into the HMAC.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Key::LongTerm(key) => key.bytes(),
            Key::Session(key) => key.mac.bytes(),
        }
    }

    /// Whether it is the one that goes with this password algorithm. A key from a token goes with any, while it is good.
    pub(crate) fn suits(&self, digest: PasswordDigest, now: UnixTime) -> bool {
        match self {
            Key::LongTerm(key) => key.digest() == digest,
            Key::Session(key) => !key.is_expired(now),
        }
    }
}
