//! The credential by which a server tries itself: nobody else can have it, and it opens nothing to anybody else.
//!
//! Its secret is made at start and never leaves the process. A name says until when it is good, a minute at most; it is
//! looked at only when it comes from an address of this very host, and what it makes counts in a realm of its own, so
//! that a quota that is used up does not make a server ill. All rules for peers hold for it as for everybody: what it
//! sends goes from one of its own allocations to another.

use std::fmt;
use std::time::Duration;

use turnpike_wire::{LongTermKey, Message, PasswordDigest};

use crate::rest_credentials::rest_password;
use crate::time::UnixTime;
use crate::user::User;

/// What such credentials are made from.
pub struct SelfTest {
    secret: [u8; 32],
}

impl SelfTest {
    /// From 32 bytes that nobody can guess.
    pub fn new(secret: [u8; 32]) -> Self {
        SelfTest { secret }
    }

    /// A name and its password, good for so long from `now`, a minute at most.
    pub fn mint(&self, now: UnixTime, lifetime: Duration) -> (String, String) {
        let name = format!("{PREFIX}{}", now.0 + lifetime.min(LONGEST).as_secs());
        let password = rest_password(&self.secret, &name);
        (name, password)
    }

    /// Whom a request is from, if it bears such a name and is signed with the key that goes with it.
    pub(crate) fn authenticate(
        &self,
        message: &Message<'_>,
        name: &str,
        (realm, digest): (&str, PasswordDigest),
        now: UnixTime,
    ) -> Option<User> {
        let expiry: u64 = name.strip_prefix(PREFIX)?.parse().ok()?;
        let is_good = (now.0..=now.0 + LONGEST.as_secs()).contains(&expiry);
        let password = is_good.then(|| rest_password(&self.secret, name))?;
        let key = LongTermKey::derive(digest, name.as_bytes(), realm.as_bytes(), password.as_bytes());
        message.verify_integrity(key.bytes()).ok()?;
        Some(User::of_self_test(name, 0..PREFIX.len() - 1, key))
    }
}

impl fmt::Debug for SelfTest {
    /// Without the secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SelfTest([redacted])")
    }
}

/// The realm of such users. No realm that somebody has set is called so: parentheses would look odd to everybody.
pub(crate) const REALM: &str = "(self-test)";
/// What their names begin with.
const PREFIX: &str = "self-test/";
const LONGEST: Duration = Duration::from_secs(60);
