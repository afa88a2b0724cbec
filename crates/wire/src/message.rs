//! Reading a STUN message (RFC 8489 §5, §6.3): a checked view over the received bytes.
//!
//! Invariant: a [`Message`] exists only if its header is sound and every attribute lies within it, so
//! walking the attributes cannot run out of bounds.

use crate::attributes::{Attribute, AttributeError, AttributeType};
use crate::fingerprint;
use crate::method::{Class, Method, split};

/// The 96 bits that tie a response to its request (RFC 8489 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct TransactionId(pub [u8; 12]);

/// A received message, borrowed from the bytes it arrived in.
#[derive(Clone, Copy, Debug)]
pub struct Message<'b> {
    bytes: &'b [u8],
    /// Where the ordinary attributes end: at the first of MESSAGE-INTEGRITY, MESSAGE-INTEGRITY-SHA256,
    /// FINGERPRINT, or at the end of the message.
    body_end: usize,
    integrity: Option<usize>,
    integrity_sha256: Option<usize>,
    fingerprint: Option<usize>,
}

/// Why bytes are not a STUN message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Fewer than the 20 bytes of a header.
    #[error("shorter than a STUN header")]
    TooShort,
    /// The first two bits are not zero.
    #[error("the first two bits are not zero")]
    NotStun,
    /// The magic cookie is missing: not an RFC 8489 message (it may be an RFC 3489 one).
    #[error("the magic cookie is missing")]
    NoMagicCookie,
    /// The length field is no multiple of four, or differs from the bytes that follow the header.
    #[error("the length field does not match the message")]
    WrongLength,
    /// An attribute runs over the end of the message.
    #[error("an attribute runs over the end of the message")]
    TruncatedAttribute,
}

impl<'b> Message<'b> {
    /// Reads a message that fills `bytes` exactly, as a UDP datagram must (RFC 8489 §6.3).
    pub fn parse(bytes: &'b [u8]) -> Result<Self, ParseError> {
        let Some(header) = bytes.first_chunk::<HEADER_LENGTH>() else {
            return Err(ParseError::TooShort);
        };
        if header[0] & 0xC0 != 0 {
            return Err(ParseError::NotStun);
        }
        if header[4..8] != MAGIC_COOKIE.to_be_bytes() {
            return Err(ParseError::NoMagicCookie);
        }
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if !length.is_multiple_of(4) || length != bytes.len() - HEADER_LENGTH {
            return Err(ParseError::WrongLength);
        }
        let mut message = Message {
            bytes,
            body_end: bytes.len(),
            integrity: None,
            integrity_sha256: None,
            fingerprint: None,
        };
        message.locate_integrity()?;
        Ok(message)
    }

    /// Walks all attributes once, checks that each lies within the message, and notes where the ones that
    /// protect it stand. After MESSAGE-INTEGRITY only -SHA256 and FINGERPRINT count, after -SHA256 only
    /// FINGERPRINT, after FINGERPRINT nothing (RFC 8489 §14.5-14.7).
    fn locate_integrity(&mut self) -> Result<(), ParseError> {
        let mut at = HEADER_LENGTH;
        while at < self.bytes.len() {
            let (kind, length) = attribute_header(self.bytes, at).ok_or(ParseError::TruncatedAttribute)?;
            let next = at + ATTRIBUTE_HEADER + padded(length);
            if next > self.bytes.len() {
                return Err(ParseError::TruncatedAttribute);
            }
            if self.fingerprint.is_none() {
                let protecting = match kind {
                    AttributeType::MESSAGE_INTEGRITY if self.integrity_sha256.is_none() => {
                        self.integrity.get_or_insert(at);
                        true
                    }
                    AttributeType::MESSAGE_INTEGRITY_SHA256 => {
                        self.integrity_sha256.get_or_insert(at);
                        true
                    }
                    AttributeType::FINGERPRINT => {
                        self.fingerprint = Some(at);
                        true
                    }
                    _ => false,
                };
                if protecting {
                    self.body_end = self.body_end.min(at);
                }
            }
            at = next;
        }
        Ok(())
    }

    /// Request, indication, success or error.
    pub fn class(&self) -> Class {
        split(self.message_type()).0
    }

    /// The method.
    pub fn method(&self) -> Method {
        split(self.message_type()).1
    }

    /// The transaction id.
    pub fn transaction_id(&self) -> TransactionId {
        let mut id = [0; 12];
        id.copy_from_slice(&self.bytes[8..HEADER_LENGTH]);
        TransactionId(id)
    }

    /// The message's bytes, header included.
    pub fn bytes(&self) -> &'b [u8] {
        self.bytes
    }

    /// The ordinary attributes in order: those before any MESSAGE-INTEGRITY, MESSAGE-INTEGRITY-SHA256 and
    /// FINGERPRINT. Later ones are ignored, as RFC 8489 §14.5 demands.
    pub fn attributes(&self) -> Attributes<'b> {
        Attributes { bytes: self.bytes, at: HEADER_LENGTH, end: self.body_end }
    }

    /// The value of the first ordinary attribute of this type, undecoded.
    pub fn value(&self, kind: AttributeType) -> Option<&'b [u8]> {
        self.attributes().find(|attribute| attribute.kind == kind).map(|attribute| attribute.value)
    }

    /// Whether an ordinary attribute of this type is present.
    pub fn has(&self, kind: AttributeType) -> bool {
        self.value(kind).is_some()
    }

    /// The first ordinary attribute of type `A`, decoded; `None` when it is absent.
    pub fn get<A: Attribute<'b>>(&self) -> Result<Option<A>, AttributeError> {
        match self.value(A::TYPE) {
            Some(value) => A::decode(value, &self.transaction_id()).map(Some),
            None => Ok(None),
        }
    }

    /// Whether the FINGERPRINT, if there is one, is right; `None` without one. One that is not the last
    /// attribute or not four bytes long is wrong (RFC 8489 §14.7).
    pub fn fingerprint_is_valid(&self) -> Option<bool> {
        let (at, value) = self.value_at(self.fingerprint?)?;
        let is_last = at + ATTRIBUTE_HEADER + fingerprint::LENGTH == self.bytes.len();
        let expected = fingerprint::of(self.message_type(), at, &self.bytes[4..at]);
        Some(is_last && value == expected.to_be_bytes())
    }

    /// Offset and value of MESSAGE-INTEGRITY, if present.
    pub(crate) fn integrity_sha1(&self) -> Option<(usize, &'b [u8])> {
        self.value_at(self.integrity?)
    }

    /// Offset and value of MESSAGE-INTEGRITY-SHA256, if present.
    pub(crate) fn integrity_sha256(&self) -> Option<(usize, &'b [u8])> {
        self.value_at(self.integrity_sha256?)
    }

    pub(crate) fn message_type(&self) -> u16 {
        u16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    fn value_at(&self, at: usize) -> Option<(usize, &'b [u8])> {
        let (_, length) = attribute_header(self.bytes, at)?;
        let value = self.bytes.get(at + ATTRIBUTE_HEADER..at + ATTRIBUTE_HEADER + length)?;
        Some((at, value))
    }
}

/// One attribute, undecoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawAttribute<'b> {
    /// Its type.
    pub kind: AttributeType,
    /// Its value without padding.
    pub value: &'b [u8],
    /// Where its value begins, counted from the message's first byte.
    pub offset: usize,
}

/// Iterator over attributes.
#[derive(Clone, Debug)]
pub struct Attributes<'b> {
    bytes: &'b [u8],
    at: usize,
    end: usize,
}

impl<'b> Iterator for Attributes<'b> {
    type Item = RawAttribute<'b>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let (kind, length) = attribute_header(self.bytes, self.at)?;
        let offset = self.at + ATTRIBUTE_HEADER;
        let value = self.bytes.get(offset..offset + length)?;
        self.at = offset + padded(length);
        Some(RawAttribute { kind, value, offset })
    }
}

fn attribute_header(bytes: &[u8], at: usize) -> Option<(AttributeType, usize)> {
    let header = bytes.get(at..at + ATTRIBUTE_HEADER)?;
    let kind = u16::from_be_bytes([header[0], header[1]]);
    let length = u16::from_be_bytes([header[2], header[3]]);
    Some((AttributeType(kind), usize::from(length)))
}

/// A value's length with its padding to a multiple of four.
pub(crate) const fn padded(length: usize) -> usize {
    (length + 3) & !3
}

/// Bytes of a STUN header.
pub const HEADER_LENGTH: usize = 20;
/// The fixed 32 bits that mark an RFC 8489 message.
pub const MAGIC_COOKIE: u32 = 0x2112_A442;
/// Bytes of type and length before each attribute's value.
pub(crate) const ATTRIBUTE_HEADER: usize = 4;
