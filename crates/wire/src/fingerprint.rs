//! FINGERPRINT (RFC 8489 §14.7): CRC-32 of everything before it, told apart from other protocols by an xor.

use crate::message::{ATTRIBUTE_HEADER, HEADER_LENGTH};

/// The value for a message of type `message_type` whose FINGERPRINT attribute starts at `at`; `rest` is
/// the message from its fifth byte up to there. The length field is counted as if the message ended with it.
pub(crate) fn of(message_type: u16, at: usize, rest: &[u8]) -> u32 {
    let length = (at + ATTRIBUTE_HEADER + LENGTH - HEADER_LENGTH) as u16;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&message_type.to_be_bytes());
    crc.update(&length.to_be_bytes());
    crc.update(rest);
    crc.finalize() ^ XOR
}

/// The value for a message given in parts, header first and without FINGERPRINT itself; the header's length field
/// already counts it.
pub fn fingerprint_over<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    parts.into_iter().for_each(|part| crc.update(part));
    crc.finalize() ^ XOR
}

/// Bytes of the value.
pub(crate) const LENGTH: usize = 4;
/// "STUN" in ASCII.
const XOR: u32 = 0x5354_554E;
