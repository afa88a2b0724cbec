//! Attributes of RFC 8489.

use sha2::{Digest, Sha256};

use super::{
    Attribute, AttributeError, AttributeType, address_attributes, bytes_attributes, fixed_attributes, plain,
    write_plain,
};
use crate::address::{decode_xored, encode_xored};
use crate::error_code::ErrorNumber;
use crate::message::{TransactionId, padded};

address_attributes! {
    /// The client's address as the server sees it, unhidden: for classic clients (RFC 8489 §14.1).
    MappedAddress = MAPPED_ADDRESS, plain, write_plain;
    /// The client's address as the server sees it (RFC 8489 §14.2).
    XorMappedAddress = XOR_MAPPED_ADDRESS, decode_xored, encode_xored;
    /// Where to try instead (RFC 8489 §14.15).
    AlternateServer = ALTERNATE_SERVER, plain, write_plain;
}

bytes_attributes! {
    /// Who asks: at most 508 bytes of UTF-8 (RFC 8489 §14.3).
    Username = USERNAME, max 508;
    /// The realm of long-term credentials: at most 763 bytes (RFC 8489 §14.9).
    Realm = REALM, max 763;
    /// The server's nonce: at most 763 bytes (RFC 8489 §14.10).
    Nonce = NONCE, max 763;
    /// What software speaks: at most 763 bytes (RFC 8489 §14.14).
    Software = SOFTWARE, max 763;
    /// The domain name that ALTERNATE-SERVER's certificate must bear: at most 255 bytes (RFC 8489 §14.16).
    AlternateDomain = ALTERNATE_DOMAIN, max 255;
    /// The web origin a request comes from, as coturn and its clients use it.
    Origin = ORIGIN, max 763;
}

fixed_attributes! {
    /// SHA-256 of `username:realm`, in place of USERNAME (RFC 8489 §14.4).
    UserHash ([u8; 32]) = USERHASH, 32, |value| Ok(UserHash(value)), |this| this.0;
}

impl UserHash {
    /// The hash of a user's name in a realm, both prepared with OpaqueString by the caller.
    pub fn of(username: &[u8], realm: &[u8]) -> Self {
        let mut digest = Sha256::new();
        digest.update(username);
        digest.update(b":");
        digest.update(realm);
        UserHash(digest.finalize().into())
    }
}

/// Why a request was refused (RFC 8489 §14.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode<'a> {
    /// 300 to 699.
    pub number: ErrorNumber,
    /// A phrase for people; may be empty, at most 763 bytes.
    pub reason: &'a str,
}

impl<'a> Attribute<'a> for ErrorCode<'a> {
    const TYPE: AttributeType = AttributeType::ERROR_CODE;

    fn decode(value: &'a [u8], _: &TransactionId) -> Result<Self, AttributeError> {
        let (&[_, _, class, number], reason) =
            value.split_first_chunk::<4>().ok_or(AttributeError::Length)?;
        if reason.len() > 763 {
            return Err(AttributeError::Length);
        }
        let class = u16::from(class & 0x07);
        if !(3..=6).contains(&class) || number > 99 {
            return Err(AttributeError::Range);
        }
        let number = ErrorNumber::new(class * 100 + u16::from(number)).ok_or(AttributeError::Range)?;
        let reason = core::str::from_utf8(reason).map_err(|_| AttributeError::Text)?;
        Ok(ErrorCode { number, reason })
    }

    fn length(&self) -> usize {
        4 + self.reason.len()
    }

    fn encode(&self, value: &mut [u8], _: &TransactionId) {
        let number = self.number.number();
        value[..4].copy_from_slice(&[0, 0, (number / 100) as u8, (number % 100) as u8]);
        value[4..].copy_from_slice(self.reason.as_bytes());
    }
}

/// The comprehension-required attributes the server did not understand (RFC 8489 §14.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownAttributes<'a>(&'a [u8]);

impl<'a> UnknownAttributes<'a> {
    /// Makes the attribute from big-endian pairs of bytes, one pair a type; a trailing odd byte is left out.
    pub fn from_be_bytes(pairs: &'a [u8]) -> Self {
        UnknownAttributes(&pairs[..pairs.len() & !1])
    }

    /// The types listed.
    pub fn types(&self) -> impl Iterator<Item = AttributeType> + 'a {
        self.0.chunks_exact(2).map(|pair| AttributeType(u16::from_be_bytes([pair[0], pair[1]])))
    }
}

impl<'a> Attribute<'a> for UnknownAttributes<'a> {
    const TYPE: AttributeType = AttributeType::UNKNOWN_ATTRIBUTES;

    fn decode(value: &'a [u8], _: &TransactionId) -> Result<Self, AttributeError> {
        if value.len().is_multiple_of(2) { Ok(UnknownAttributes(value)) } else { Err(AttributeError::Length) }
    }

    fn length(&self) -> usize {
        self.0.len()
    }

    fn encode(&self, value: &mut [u8], _: &TransactionId) {
        value.copy_from_slice(self.0);
    }
}

/// The password algorithm a client chose (RFC 8489 §14.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordAlgorithm<'a> {
    /// 1 is MD5, 2 is SHA-256 (RFC 8489 §18.5).
    pub algorithm: u16,
    /// Parameters; none are defined for 1 and 2.
    pub parameters: &'a [u8],
}

impl PasswordAlgorithm<'_> {
    /// MD5 (RFC 8489 §18.5.1.1).
    pub const MD5: u16 = 1;
    /// SHA-256 (RFC 8489 §18.5.1.2).
    pub const SHA256: u16 = 2;

    fn split(value: &[u8]) -> Result<(PasswordAlgorithm<'_>, &[u8]), AttributeError> {
        let (&[a0, a1, l0, l1], rest) = value.split_first_chunk::<4>().ok_or(AttributeError::Length)?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let parameters = rest.get(..length).ok_or(AttributeError::Length)?;
        let rest = rest.get(padded(length)..).unwrap_or_default();
        Ok((PasswordAlgorithm { algorithm: u16::from_be_bytes([a0, a1]), parameters }, rest))
    }
}

impl<'a> Attribute<'a> for PasswordAlgorithm<'a> {
    const TYPE: AttributeType = AttributeType::PASSWORD_ALGORITHM;

    fn decode(value: &'a [u8], _: &TransactionId) -> Result<Self, AttributeError> {
        let (algorithm, rest) = PasswordAlgorithm::split(value)?;
        if rest.is_empty() { Ok(algorithm) } else { Err(AttributeError::Length) }
    }

    fn length(&self) -> usize {
        4 + self.parameters.len()
    }

    fn encode(&self, value: &mut [u8], _: &TransactionId) {
        value[..2].copy_from_slice(&self.algorithm.to_be_bytes());
        value[2..4].copy_from_slice(&(self.parameters.len() as u16).to_be_bytes());
        value[4..].copy_from_slice(self.parameters);
    }
}

/// The password algorithms a server offers, best first (RFC 8489 §14.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordAlgorithms<'a>(&'a [u8]);

impl<'a> PasswordAlgorithms<'a> {
    /// SHA-256 before MD5, in wire form.
    pub const SHA256_THEN_MD5: PasswordAlgorithms<'static> = PasswordAlgorithms(&[
        0,
        PasswordAlgorithm::SHA256 as u8,
        0,
        0,
        0,
        PasswordAlgorithm::MD5 as u8,
        0,
        0,
    ]);
    /// MD5 alone: where not every user has a key of another kind.
    pub const MD5: PasswordAlgorithms<'static> = PasswordAlgorithms(&[0, PasswordAlgorithm::MD5 as u8, 0, 0]);

    /// The list in order.
    pub fn iter(&self) -> impl Iterator<Item = PasswordAlgorithm<'a>> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let (algorithm, after) = PasswordAlgorithm::split(rest).ok()?;
            rest = after;
            Some(algorithm)
        })
    }
}

impl<'a> Attribute<'a> for PasswordAlgorithms<'a> {
    const TYPE: AttributeType = AttributeType::PASSWORD_ALGORITHMS;

    fn decode(value: &'a [u8], _: &TransactionId) -> Result<Self, AttributeError> {
        let mut rest = value;
        while !rest.is_empty() {
            rest = PasswordAlgorithm::split(rest)?.1;
        }
        Ok(PasswordAlgorithms(value))
    }

    fn length(&self) -> usize {
        self.0.len()
    }

    fn encode(&self, value: &mut [u8], _: &TransactionId) {
        value.copy_from_slice(self.0);
    }
}
