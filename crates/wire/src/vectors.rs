//! The published sample messages of RFC 5769 §2 and RFC 8489 Appendix B.1, and the checks they are for.
//!
//! They are here rather than among the tests because `turnutils_rfc5769check` runs them too.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::attributes::{
    Attribute, AttributeType, Nonce, PasswordAlgorithm, Realm, Software, UserHash, Username, XorMappedAddress,
};
use crate::integrity::{Integrity, IntegrityError, LongTermKey, PasswordDigest};
use crate::message::{Message, ParseError};
use crate::method::{Class, Method};
use crate::writer::{BufferTooSmall, MessageWriter};

/// A published message with what is published about it.
#[derive(Clone, Copy, Debug)]
pub struct Vector {
    /// Where it stands and what it is.
    pub name: &'static str,
    /// The message.
    pub bytes: &'static [u8],
    /// What its integrity attribute is keyed with.
    pub credential: Credential,
    /// The byte its attributes are padded with.
    pub padding: u8,
    /// Whether a message says what the text around this one says it does.
    pub expect: fn(&Message<'_>) -> bool,
}

/// What protects a sample message.
#[derive(Clone, Copy, Debug)]
pub enum Credential {
    /// The password itself is the key (RFC 8489 §9.1.1).
    ShortTerm {
        /// After OpaqueString.
        password: &'static str,
    },
    /// RFC 8489 §9.2.2.
    LongTerm {
        /// Which digest makes the key.
        digest: PasswordDigest,
        /// After OpaqueString.
        username: &'static str,
        /// After OpaqueString.
        realm: &'static str,
        /// After OpaqueString.
        password: &'static str,
    },
}

/// What a sample message showed to be wrong with this library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VectorError {
    /// It was refused.
    #[error("the message cannot be read: {0}")]
    Parse(#[from] ParseError),
    /// Something else was read than what was published.
    #[error("the message was read wrongly")]
    Contents,
    /// FINGERPRINT did not hold, or held where it must not.
    #[error("FINGERPRINT is judged wrongly")]
    Fingerprint,
    /// The integrity did not hold.
    #[error("the integrity is refused: {0}")]
    Integrity(#[from] IntegrityError),
    /// The integrity held although a byte was changed.
    #[error("a changed message passes the integrity check")]
    ChangeUnnoticed,
    /// It could not be written again.
    #[error("the message cannot be written: {0}")]
    Write(#[from] BufferTooSmall),
    /// It was written differently.
    #[error("the message is written differently")]
    Rewritten,
}

/// Reads the message, compares what it says, verifies integrity and FINGERPRINT, sees that a changed byte is
/// noticed, and writes it again: byte for byte where the sample pads with zeros as this library does.
pub fn check(vector: &Vector) -> Result<(), VectorError> {
    let message = Message::parse(vector.bytes)?;
    if !(vector.expect)(&message) {
        return Err(VectorError::Contents);
    }
    if message.fingerprint_is_valid() == Some(false) {
        return Err(VectorError::Fingerprint);
    }
    vector.credential.with_key(|key| {
        message.verify_integrity(key)?;
        check_change_is_noticed(&message, key)?;
        check_rewriting(vector, &message, key)
    })
}

impl Credential {
    /// Calls `use_key` with the bytes of the key.
    pub fn with_key<T>(&self, use_key: impl FnOnce(&[u8]) -> T) -> T {
        match *self {
            Credential::ShortTerm { password } => use_key(password.as_bytes()),
            Credential::LongTerm { digest, username, realm, password } => {
                let (username, realm, password) =
                    (username.as_bytes(), realm.as_bytes(), password.as_bytes());
                use_key(LongTermKey::derive(digest, username, realm, password).bytes())
            }
        }
    }
}

fn check_change_is_noticed(message: &Message<'_>, key: &[u8]) -> Result<(), VectorError> {
    let mut changed = [0; LONGEST];
    let changed = changed.get_mut(..message.bytes().len()).ok_or(BufferTooSmall)?;
    changed.copy_from_slice(message.bytes());
    // The transaction id: whatever it is, the message stays well-formed.
    changed[8] ^= 1;
    let changed = Message::parse(changed)?;
    if changed.verify_integrity(key) != Err(IntegrityError::Mismatch) {
        return Err(VectorError::ChangeUnnoticed);
    }
    if changed.fingerprint_is_valid() == Some(true) {
        return Err(VectorError::Fingerprint);
    }
    Ok(())
}

fn check_rewriting(vector: &Vector, message: &Message<'_>, key: &[u8]) -> Result<(), VectorError> {
    let mut buffer = [0xAA; LONGEST];
    let mut writer =
        MessageWriter::new(&mut buffer, message.class(), message.method(), message.transaction_id());
    for attribute in message.attributes() {
        writer.add_raw(attribute.kind, attribute.value);
    }
    match message.integrity() {
        Integrity::Sha256 => writer.integrity_sha256_with(key),
        Integrity::Sha1 | Integrity::None => writer.integrity_sha1_with(key),
    };
    if message.fingerprint_is_valid().is_some() {
        writer.fingerprint();
    }
    let written = Message::parse(writer.finish()?)?;
    written.verify_integrity(key)?;
    let is_same = written.attributes().eq(message.attributes())
        && written.fingerprint_is_valid() == message.fingerprint_is_valid()
        && (vector.padding != 0 || written.bytes() == message.bytes());
    if is_same { Ok(()) } else { Err(VectorError::Rewritten) }
}

fn expect_sample_request(message: &Message<'_>) -> bool {
    is_binding(message, Class::Request)
        && has(message, Software(b"STUN test client"))
        && message.value(AttributeType::PRIORITY) == Some(&[0x6e, 0x00, 0x01, 0xff])
        && message.value(AttributeType::ICE_CONTROLLED)
            == Some(&[0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36])
        && has(message, Username(b"evtj:h6vY"))
        && message.attributes().count() == 4
        && message.fingerprint_is_valid().is_some()
}

fn expect_ipv4_response(message: &Message<'_>) -> bool {
    expect_response(message, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)))
}

fn expect_ipv6_response(message: &Message<'_>) -> bool {
    let ip = Ipv6Addr::new(0x2001, 0xdb8, 0x1234, 0x5678, 0x11, 0x2233, 0x4455, 0x6677);
    expect_response(message, IpAddr::V6(ip))
}

fn expect_response(message: &Message<'_>, mapped: IpAddr) -> bool {
    is_binding(message, Class::Success)
        && has(message, Software(b"test vector"))
        && has(message, XorMappedAddress(SocketAddr::new(mapped, 32853)))
        && message.attributes().count() == 2
        && message.fingerprint_is_valid().is_some()
}

fn expect_long_term_request(message: &Message<'_>) -> bool {
    is_binding(message, Class::Request)
        && has(message, Username(MATRIX.as_bytes()))
        && has(message, Nonce(b"f//499k954d6OL34oL9FSTvy64sA"))
        && has(message, Realm(b"example.org"))
        && message.attributes().count() == 3
}

fn expect_sha256_request(message: &Message<'_>) -> bool {
    is_binding(message, Class::Request)
        && has(message, UserHash::of(MATRIX.as_bytes(), b"example.org"))
        && has(message, Nonce(b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA"))
        && has(message, Realm(b"example.org"))
        && has(message, PasswordAlgorithm { algorithm: PasswordAlgorithm::SHA256, parameters: &[] })
        && message.attributes().count() == 4
        && message.integrity() == Integrity::Sha256
}

fn is_binding(message: &Message<'_>, class: Class) -> bool {
    message.class() == class && message.method() == Method::BINDING
}

fn has<'b, A: Attribute<'b> + PartialEq>(message: &Message<'b>, expected: A) -> bool {
    message.get::<A>() == Ok(Some(expected))
}

/// Every sample message.
pub const ALL: &[Vector] = &[
    Vector {
        name: "RFC 5769 §2.1, request with short-term authentication",
        bytes: SAMPLE_REQUEST,
        credential: SHORT_TERM,
        padding: b' ',
        expect: expect_sample_request,
    },
    Vector {
        name: "RFC 5769 §2.2, IPv4 response",
        bytes: SAMPLE_IPV4_RESPONSE,
        credential: SHORT_TERM,
        padding: b' ',
        expect: expect_ipv4_response,
    },
    Vector {
        name: "RFC 5769 §2.3, IPv6 response",
        bytes: SAMPLE_IPV6_RESPONSE,
        credential: SHORT_TERM,
        padding: b' ',
        expect: expect_ipv6_response,
    },
    Vector {
        name: "RFC 5769 §2.4, request with long-term authentication",
        bytes: SAMPLE_LONG_TERM_REQUEST,
        credential: Credential::LongTerm {
            digest: PasswordDigest::Md5,
            username: MATRIX,
            realm: "example.org",
            password: "TheMatrIX",
        },
        padding: 0,
        expect: expect_long_term_request,
    },
    // As corrected by the RFC's erratum: the message printed in the RFC counts its own header in the length
    // field and lacks PASSWORD-ALGORITHM.
    Vector {
        name: "RFC 8489 B.1, request with MESSAGE-INTEGRITY-SHA256 and USERHASH",
        bytes: SAMPLE_SHA256_REQUEST,
        credential: Credential::LongTerm {
            digest: PasswordDigest::Sha256,
            username: MATRIX,
            realm: "example.org",
            password: "TheMatrIX",
        },
        padding: 0,
        expect: expect_sha256_request,
    },
];

/// The user of the long-term samples, in katakana.
const MATRIX: &str = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";
const SHORT_TERM: Credential = Credential::ShortTerm { password: "VOkJxbRl1RmTxUk/WvJxBt" };
/// Room for the longest of them.
const LONGEST: usize = 164;

// One line for the header, then one attribute a line, broken where it is long.
#[rustfmt::skip]
const SAMPLE_REQUEST: &[u8] = &[
    0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87,
        0xdf, 0xae,
    0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e, 0x20, 0x74, 0x65, 0x73, 0x74, 0x20, 0x63, 0x6c, 0x69, 0x65,
        0x6e, 0x74,
    0x00, 0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff,
    0x80, 0x29, 0x00, 0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36,
    0x00, 0x06, 0x00, 0x09, 0x65, 0x76, 0x74, 0x6a, 0x3a, 0x68, 0x36, 0x76, 0x59, 0x20, 0x20, 0x20,
    0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf, 0xd8, 0xcb, 0x56, 0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3,
        0xf2, 0x49, 0xc1, 0xb5, 0x71, 0xa2,
    0x80, 0x28, 0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf,
];
#[rustfmt::skip]
const SAMPLE_IPV4_RESPONSE: &[u8] = &[
    0x01, 0x01, 0x00, 0x3c, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87,
        0xdf, 0xae,
    0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63, 0x74, 0x6f, 0x72, 0x20,
    0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43,
    0x00, 0x08, 0x00, 0x14, 0x2b, 0x91, 0xf5, 0x99, 0xfd, 0x9e, 0x90, 0xc3, 0x8c, 0x74, 0x89, 0xf9, 0x2a, 0xf9,
        0xba, 0x53, 0xf0, 0x6b, 0xe7, 0xd7,
    0x80, 0x28, 0x00, 0x04, 0xc0, 0x7d, 0x4c, 0x96,
];
#[rustfmt::skip]
const SAMPLE_IPV6_RESPONSE: &[u8] = &[
    0x01, 0x01, 0x00, 0x48, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87,
        0xdf, 0xae,
    0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63, 0x74, 0x6f, 0x72, 0x20,
    0x00, 0x20, 0x00, 0x14, 0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25,
        0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9,
    0x00, 0x08, 0x00, 0x14, 0xa3, 0x82, 0x95, 0x4e, 0x4b, 0xe6, 0x7b, 0xf1, 0x17, 0x84, 0xc9, 0x7c, 0x82, 0x92,
        0xc2, 0x75, 0xbf, 0xe3, 0xed, 0x41,
    0x80, 0x28, 0x00, 0x04, 0xc8, 0xfb, 0x0b, 0x4c,
];
#[rustfmt::skip]
const SAMPLE_LONG_TERM_REQUEST: &[u8] = &[
    0x00, 0x01, 0x00, 0x60, 0x21, 0x12, 0xa4, 0x42, 0x78, 0xad, 0x34, 0x33, 0xc6, 0xad, 0x72, 0xc0, 0x29, 0xda,
        0x41, 0x2e,
    0x00, 0x06, 0x00, 0x12, 0xe3, 0x83, 0x9e, 0xe3, 0x83, 0x88, 0xe3, 0x83, 0xaa, 0xe3, 0x83, 0x83, 0xe3, 0x82,
        0xaf, 0xe3, 0x82, 0xb9, 0x00, 0x00,
    0x00, 0x15, 0x00, 0x1c, 0x66, 0x2f, 0x2f, 0x34, 0x39, 0x39, 0x6b, 0x39, 0x35, 0x34, 0x64, 0x36, 0x4f, 0x4c,
        0x33, 0x34, 0x6f, 0x4c, 0x39, 0x46, 0x53, 0x54, 0x76, 0x79, 0x36, 0x34, 0x73, 0x41,
    0x00, 0x14, 0x00, 0x0b, 0x65, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x2e, 0x6f, 0x72, 0x67, 0x00,
    0x00, 0x08, 0x00, 0x14, 0xf6, 0x70, 0x24, 0x65, 0x6d, 0xd6, 0x4a, 0x3e, 0x02, 0xb8, 0xe0, 0x71, 0x2e, 0x85,
        0xc9, 0xa2, 0x8c, 0xa8, 0x96, 0x66,
];
#[rustfmt::skip]
const SAMPLE_SHA256_REQUEST: &[u8] = &[
    0x00, 0x01, 0x00, 0x90, 0x21, 0x12, 0xa4, 0x42, 0x78, 0xad, 0x34, 0x33, 0xc6, 0xad, 0x72, 0xc0, 0x29, 0xda,
        0x41, 0x2e,
    0x00, 0x1e, 0x00, 0x20, 0x4a, 0x3c, 0xf3, 0x8f, 0xef, 0x69, 0x92, 0xbd, 0xa9, 0x52, 0xc6, 0x78, 0x04, 0x17,
        0xda, 0x0f, 0x24, 0x81, 0x94, 0x15, 0x56, 0x9e, 0x60, 0xb2, 0x05, 0xc4, 0x6e, 0x41, 0x40, 0x7f, 0x17, 0x04,
    0x00, 0x15, 0x00, 0x29, 0x6f, 0x62, 0x4d, 0x61, 0x74, 0x4a, 0x6f, 0x73, 0x32, 0x41, 0x41, 0x41, 0x43, 0x66,
        0x2f, 0x2f, 0x34, 0x39, 0x39, 0x6b, 0x39, 0x35, 0x34, 0x64, 0x36, 0x4f, 0x4c, 0x33, 0x34, 0x6f, 0x4c, 0x39,
        0x46, 0x53, 0x54, 0x76, 0x79, 0x36, 0x34, 0x73, 0x41, 0x00, 0x00, 0x00,
    0x00, 0x14, 0x00, 0x0b, 0x65, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x2e, 0x6f, 0x72, 0x67, 0x00,
    0x00, 0x1d, 0x00, 0x04, 0x00, 0x02, 0x00, 0x00,
    0x00, 0x1c, 0x00, 0x20, 0xb5, 0xc7, 0xbf, 0x00, 0x5b, 0x6c, 0x52, 0xa2, 0x1c, 0x51, 0xc5, 0xe8, 0x92, 0xf8,
        0x19, 0x24, 0x13, 0x62, 0x96, 0xcb, 0x92, 0x7c, 0x43, 0x14, 0x93, 0x09, 0x27, 0x8c, 0xc6, 0x51, 0x8e, 0x65,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_published_message_is_read_verified_and_written_again() {
        for vector in ALL {
            assert_eq!(check(vector), Ok(()), "{}", vector.name);
        }
    }

    #[test]
    fn a_vector_with_a_wrong_byte_anywhere_is_noticed() {
        for vector in ALL {
            // Without its header FINGERPRINT is no longer one, and what follows the integrity counts for nothing.
            let fingerprint = Message::parse(vector.bytes).unwrap().fingerprint_is_valid().is_some();
            let header = if fingerprint { vector.bytes.len() - 8..vector.bytes.len() - 4 } else { 0..0 };
            for at in (0..vector.bytes.len()).filter(|at| !header.contains(at)) {
                let mut bytes = [0; LONGEST];
                bytes[..vector.bytes.len()].copy_from_slice(vector.bytes);
                bytes[at] ^= 0x20;
                let noticed = match Message::parse(&bytes[..vector.bytes.len()]) {
                    Err(_) => true,
                    Ok(message) => {
                        message.fingerprint_is_valid() == Some(false)
                            || vector.credential.with_key(|key| message.verify_integrity(key).is_err())
                    }
                };
                assert!(noticed, "{}: byte {at}", vector.name);
            }
        }
    }
}
