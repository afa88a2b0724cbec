//! MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256 (RFC 8489 §14.5, §14.6), and the keys they use (§9.2.2).
//!
//! Tags are compared in constant time.

use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::message::{ATTRIBUTE_HEADER, HEADER_LENGTH, Message, padded};

/// Which digest a long-term password is stored under (RFC 8489 §18.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PasswordDigest {
    /// PASSWORD-ALGORITHM 1: what every RFC 5389 client uses.
    Md5,
    /// PASSWORD-ALGORITHM 2.
    Sha256,
}

/// A long-term credential's key: digest of `username:realm:password` (RFC 8489 §9.2.2).
/// Its `Debug` form hides the bytes, and two are compared in constant time.
#[derive(Clone)]
pub struct LongTermKey {
    bytes: [u8; 32],
    digest: PasswordDigest,
}

impl LongTermKey {
    /// Derives the key. The strings are used as they are: OpaqueString preparation is the caller's.
    pub fn derive(digest: PasswordDigest, username: &[u8], realm: &[u8], password: &[u8]) -> Self {
        match digest {
            PasswordDigest::Md5 => LongTermKey::from_md5(joined::<Md5>(username, realm, password).into()),
            PasswordDigest::Sha256 => LongTermKey {
                bytes: joined::<Sha256>(username, realm, password).into(),
                digest: PasswordDigest::Sha256,
            },
        }
    }

    /// A key that was derived with MD5 elsewhere, as coturn's databases hold it.
    pub fn from_md5(key: [u8; 16]) -> Self {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&key);
        LongTermKey { bytes, digest: PasswordDigest::Md5 }
    }

    /// A key that was derived with SHA-256 elsewhere.
    pub fn from_sha256(bytes: [u8; 32]) -> Self {
        LongTermKey { bytes, digest: PasswordDigest::Sha256 }
    }

    /// The 16 or 32 bytes.
    pub fn bytes(&self) -> &[u8] {
        match self.digest {
            PasswordDigest::Md5 => &self.bytes[..16],
            PasswordDigest::Sha256 => &self.bytes,
        }
    }

    /// How it was derived.
    pub fn digest(&self) -> PasswordDigest {
        self.digest
    }
}

impl PartialEq for LongTermKey {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && bool::from(self.bytes.ct_eq(&other.bytes))
    }
}

impl Eq for LongTermKey {}

impl fmt::Debug for LongTermKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "LongTermKey({:?}, [redacted])", self.digest)
    }
}

/// Which integrity attributes a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// Neither: the message is not authenticated.
    None,
    /// MESSAGE-INTEGRITY alone.
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256, which decides when both are present (RFC 8489 §9.2.4).
    Sha256,
}

/// Why a message's integrity did not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntegrityError {
    /// The attribute is absent.
    #[error("the message carries no integrity attribute")]
    Missing,
    /// The tag has a length the RFC does not allow.
    #[error("the integrity tag has a forbidden length")]
    WrongLength,
    /// The tag is not the one this key gives.
    #[error("the integrity tag does not match")]
    Mismatch,
}

impl Message<'_> {
    /// Which integrity attribute decides.
    pub fn integrity(&self) -> Integrity {
        if self.integrity_sha256().is_some() {
            Integrity::Sha256
        } else if self.integrity_sha1().is_some() {
            Integrity::Sha1
        } else {
            Integrity::None
        }
    }

    /// Whether MESSAGE-INTEGRITY is there, be it alone or in front of MESSAGE-INTEGRITY-SHA256.
    pub fn has_sha1(&self) -> bool {
        self.integrity_sha1().is_some()
    }

    /// Checks the integrity attribute that decides with `key` (RFC 8489 §9.2.4).
    pub fn verify_integrity(&self, key: &[u8]) -> Result<(), IntegrityError> {
        match self.integrity() {
            Integrity::None => Err(IntegrityError::Missing),
            Integrity::Sha1 => self.verify_sha1(key),
            Integrity::Sha256 => self.verify_sha256(key),
        }
    }

    /// Checks MESSAGE-INTEGRITY: exactly 20 bytes (RFC 8489 §14.5).
    pub fn verify_sha1(&self, key: &[u8]) -> Result<(), IntegrityError> {
        let (at, tag) = self.integrity_sha1().ok_or(IntegrityError::Missing)?;
        if tag.len() != SHA1_LENGTH {
            return Err(IntegrityError::WrongLength);
        }
        let end = at + ATTRIBUTE_HEADER + SHA1_LENGTH;
        matches(&sha1_tag(key, self.bytes(), at, end), tag)
    }

    /// Checks MESSAGE-INTEGRITY-SHA256: 16 to 32 bytes, a multiple of four (RFC 8489 §14.6).
    pub fn verify_sha256(&self, key: &[u8]) -> Result<(), IntegrityError> {
        let (at, tag) = self.integrity_sha256().ok_or(IntegrityError::Missing)?;
        if !(16..=SHA256_LENGTH).contains(&tag.len()) || !tag.len().is_multiple_of(4) {
            return Err(IntegrityError::WrongLength);
        }
        let end = at + ATTRIBUTE_HEADER + padded(tag.len());
        matches(&sha256_tag(key, self.bytes(), at, end)[..tag.len()], tag)
    }
}

/// HMAC-SHA1 over `message[..covered]` with the length field set as if the message ended at `end`.
pub(crate) fn sha1_tag(key: &[u8], message: &[u8], covered: usize, end: usize) -> [u8; SHA1_LENGTH] {
    tag::<Hmac<Sha1>>(key, message, covered, end).into()
}

/// HMAC-SHA256, likewise.
pub(crate) fn sha256_tag(key: &[u8], message: &[u8], covered: usize, end: usize) -> [u8; SHA256_LENGTH] {
    tag::<Hmac<Sha256>>(key, message, covered, end).into()
}

fn tag<M: Mac + KeyInit>(key: &[u8], message: &[u8], covered: usize, end: usize) -> hmac::digest::Output<M> {
    // HMAC takes a key of any length, so a refusal cannot happen; an empty key then fails to verify.
    let mut mac = M::new_from_slice(key).unwrap_or_else(|_| M::new(&Default::default()));
    let length = (end - HEADER_LENGTH) as u16;
    mac.update(&message[..2]);
    mac.update(&length.to_be_bytes());
    mac.update(&message[4..covered]);
    mac.finalize().into_bytes()
}

fn matches(expected: &[u8], received: &[u8]) -> Result<(), IntegrityError> {
    if bool::from(expected.ct_eq(received)) { Ok(()) } else { Err(IntegrityError::Mismatch) }
}

fn joined<D: Digest>(username: &[u8], realm: &[u8], password: &[u8]) -> hmac::digest::Output<D> {
    let mut digest = D::new();
    digest.update(username);
    digest.update(b":");
    digest.update(realm);
    digest.update(b":");
    digest.update(password);
    digest.finalize()
}

/// Bytes of a MESSAGE-INTEGRITY tag.
pub(crate) const SHA1_LENGTH: usize = 20;
/// Bytes of an untruncated MESSAGE-INTEGRITY-SHA256 tag.
pub(crate) const SHA256_LENGTH: usize = 32;
