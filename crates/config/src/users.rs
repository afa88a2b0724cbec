//! Users that the configuration names.

use crate::values::Secret;

/// A user with a lasting password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticUser {
    /// The name.
    pub name: String,
    /// The password, or what was made of it.
    pub password: Password,
}

/// A password or the key derived from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// In clear.
    Clear(Secret),
    /// MD5 of `name:realm:password`, written `0x` and 32 hex digits.
    Key(HiddenKey),
}

/// A key that is not shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HiddenKey(pub [u8; 16]);

impl std::fmt::Debug for HiddenKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("[redacted]")
    }
}
