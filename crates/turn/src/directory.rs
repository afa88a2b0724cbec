//! Users who are kept outside, in a database: what is at hand of them, and what must be asked for.
//!
//! A directory never waits: it says what it knows, or that somebody has to ask. Then the request is parked
//! ([`crate::inquiries`]) and worked on again once there is an answer.

use std::fmt;

use turnpike_wire::{LongTermKey, PasswordDigest};

/// What is at hand of users who are kept outside. Shared by all workers; looked at when somebody wants to allocate,
/// never for a packet.
pub trait Directory: fmt::Debug + Send + Sync {
    /// What is known of this user; whoever cannot wait is told what was known of him last.
    fn find(&self, realm: &str, name: &str, may_wait: bool) -> Found;

    /// Whether every user of this realm has a SHA-256 key, so that challenges may offer it. When that changes, nonces
    /// that were issued before are good no more.
    fn all_have_sha256(&self, realm: &str) -> bool {
        let _ = realm;
        false
    }

    /// Whether the store cannot be asked now, so that what it would say of anybody is not known.
    fn is_unreachable(&self) -> bool {
        false
    }
}

/// What a directory says.
#[derive(Clone, Debug)]
pub enum Found {
    /// The user's keys.
    Keys(StoredKeys),
    /// There is no such user.
    Nobody,
    /// Nobody knows, because the store cannot be reached: the client's next try may do better.
    Unavailable,
    /// Nobody knows yet.
    Ask,
}

/// A user's keys as a store has them.
#[derive(Clone)]
pub struct StoredKeys {
    pub(crate) md5: LongTermKey,
    pub(crate) sha256: Option<LongTermKey>,
    /// Whether they may have changed since, so that it is worth asking again before they refuse somebody.
    pub(crate) aged: bool,
}

impl StoredKeys {
    /// The MD5 key that coturn stores, and the SHA-256 key if there is one.
    pub fn new(md5: [u8; 16], sha256: Option<[u8; 32]>) -> Self {
        let sha256 = sha256.map(LongTermKey::from_sha256);
        StoredKeys { md5: LongTermKey::from_md5(md5), sha256, aged: false }
    }

    /// The same, of a while ago.
    #[must_use]
    pub fn aged(self, aged: bool) -> Self {
        StoredKeys { aged, ..self }
    }

    pub(crate) fn of(&self, digest: PasswordDigest) -> Option<&LongTermKey> {
        match digest {
            PasswordDigest::Md5 => Some(&self.md5),
            PasswordDigest::Sha256 => self.sha256.as_ref(),
        }
    }
}

impl fmt::Debug for StoredKeys {
    /// Without the keys.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("StoredKeys").field("aged", &self.aged).finish_non_exhaustive()
    }
}
