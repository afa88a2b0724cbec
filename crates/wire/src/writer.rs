//! Writing a STUN message into the caller's buffer.
//!
//! Running out of room is remembered and reported once, by [`MessageWriter::finish`], so that building a
//! response reads as a plain list of attributes.

use crate::attributes::{Attribute, AttributeType};
use crate::fingerprint;
use crate::integrity::{self, LongTermKey};
use crate::message::{ATTRIBUTE_HEADER, HEADER_LENGTH, MAGIC_COOKIE, TransactionId, padded};
use crate::method::{Class, Method, join};

/// Builds one message front to back.
#[derive(Debug)]
pub struct MessageWriter<'b> {
    buffer: &'b mut [u8],
    length: usize,
    transaction_id: TransactionId,
    overflowed: bool,
}

/// The buffer has no room for the whole message, or the message would exceed 65,535 bytes of attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the buffer is too small for the message")]
pub struct BufferTooSmall;

impl<'b> MessageWriter<'b> {
    /// Starts a message with the magic cookie.
    pub fn new(buffer: &'b mut [u8], class: Class, method: Method, transaction_id: TransactionId) -> Self {
        let mut writer = MessageWriter { buffer, length: HEADER_LENGTH, transaction_id, overflowed: false };
        match writer.buffer.first_chunk_mut::<HEADER_LENGTH>() {
            Some(header) => {
                header[..2].copy_from_slice(&join(class, method).to_be_bytes());
                header[2..4].fill(0);
                header[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
                header[8..].copy_from_slice(&transaction_id.0);
            }
            None => writer.overflowed = true,
        }
        writer
    }

    /// Appends an attribute; its padding is zero (RFC 8489 §14).
    pub fn add<'a, A: Attribute<'a>>(&mut self, attribute: &A) -> &mut Self {
        let transaction_id = self.transaction_id;
        if let Some(value) = self.reserve(A::TYPE, attribute.length()) {
            attribute.encode(value, &transaction_id);
        }
        self
    }

    /// Appends `attribute` if there is one.
    pub fn add_some<'a, A: Attribute<'a>>(&mut self, attribute: Option<&A>) -> &mut Self {
        if let Some(attribute) = attribute {
            self.add(attribute);
        }
        self
    }

    /// Appends an attribute of any type with this value.
    pub fn add_raw(&mut self, kind: AttributeType, value: &[u8]) -> &mut Self {
        if let Some(room) = self.reserve(kind, value.len()) {
            room.copy_from_slice(value);
        }
        self
    }

    /// Appends MESSAGE-INTEGRITY keyed by a long-term key (RFC 8489 §14.5).
    pub fn integrity_sha1(&mut self, key: &LongTermKey) -> &mut Self {
        self.integrity_sha1_with(key.bytes())
    }

    /// Appends MESSAGE-INTEGRITY keyed by arbitrary bytes: a short-term password or an OAuth key.
    pub fn integrity_sha1_with(&mut self, key: &[u8]) -> &mut Self {
        let covered = self.length;
        if self.reserve(AttributeType::MESSAGE_INTEGRITY, integrity::SHA1_LENGTH).is_some() {
            let tag = integrity::sha1_tag(key, self.buffer, covered, self.length);
            self.buffer[covered + ATTRIBUTE_HEADER..self.length].copy_from_slice(&tag);
        }
        self
    }

    /// Appends an untruncated MESSAGE-INTEGRITY-SHA256 (RFC 8489 §14.6).
    pub fn integrity_sha256_with(&mut self, key: &[u8]) -> &mut Self {
        let covered = self.length;
        if self.reserve(AttributeType::MESSAGE_INTEGRITY_SHA256, integrity::SHA256_LENGTH).is_some() {
            let tag = integrity::sha256_tag(key, self.buffer, covered, self.length);
            self.buffer[covered + ATTRIBUTE_HEADER..self.length].copy_from_slice(&tag);
        }
        self
    }

    /// Appends FINGERPRINT, which must be the last attribute (RFC 8489 §14.7).
    pub fn fingerprint(&mut self) -> &mut Self {
        let covered = self.length;
        if self.reserve(AttributeType::FINGERPRINT, fingerprint::LENGTH).is_some() {
            let message_type = u16::from_be_bytes([self.buffer[0], self.buffer[1]]);
            let value = fingerprint::of(message_type, covered, &self.buffer[4..covered]);
            self.buffer[covered + ATTRIBUTE_HEADER..self.length].copy_from_slice(&value.to_be_bytes());
        }
        self
    }

    /// The whole message.
    pub fn finish(self) -> Result<&'b [u8], BufferTooSmall> {
        if self.overflowed {
            return Err(BufferTooSmall);
        }
        self.buffer.get(..self.length).ok_or(BufferTooSmall)
    }

    /// Bytes written so far, header included.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Writes an attribute's header and zero padding, updates the message's length field, and hands out
    /// the room for the value.
    fn reserve(&mut self, kind: AttributeType, length: usize) -> Option<&mut [u8]> {
        let start = self.length + ATTRIBUTE_HEADER;
        let end = start + padded(length);
        let fits = end <= self.buffer.len() && end - HEADER_LENGTH <= usize::from(u16::MAX);
        if self.overflowed || !fits {
            self.overflowed = true;
            return None;
        }
        self.buffer[self.length..self.length + 2].copy_from_slice(&kind.0.to_be_bytes());
        self.buffer[self.length + 2..start].copy_from_slice(&(length as u16).to_be_bytes());
        self.buffer[start + length..end].fill(0);
        self.length = end;
        let body = (end - HEADER_LENGTH) as u16;
        self.buffer[2..4].copy_from_slice(&body.to_be_bytes());
        Some(&mut self.buffer[start..start + length])
    }
}
