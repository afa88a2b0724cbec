//! Cutting a byte stream into messages (RFC 8489 §6.2.2, RFC 8656 §12.5): STUN is framed by its own length
//! field, ChannelData by its length padded to a multiple of four.

use crate::channel_data::CHANNEL_HEADER;
use crate::message::{HEADER_LENGTH, MAGIC_COOKIE, padded};

/// What stands at the front of a stream's unread bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A whole message: its bytes are `..length`, and the next frame starts at `consumed` (padding follows
    /// ChannelData).
    Whole {
        /// Bytes of the message itself.
        length: usize,
        /// Bytes to take off the stream.
        consumed: usize,
    },
    /// More bytes are needed; at least this many in all.
    Partial {
        /// Bytes from the frame's start that must be there before asking again makes sense.
        needed: usize,
    },
    /// Neither STUN nor ChannelData: the stream cannot be followed any further.
    Invalid,
}

/// Looks at the front of `bytes`.
///
/// However a stream arrives, the same frames come out of it, because more bytes can only turn
/// [`Frame::Partial`] into something else. STUN without the magic cookie is refused as early as it shows:
/// whoever does not speak STUN must not make us wait for 64 KiB.
pub fn next_frame(bytes: &[u8]) -> Frame {
    let Some(&first) = bytes.first() else {
        return Frame::Partial { needed: CHANNEL_HEADER };
    };
    let Some(&[_, _, high, low]) = bytes.first_chunk::<4>() else {
        return if first & 0x80 == 0 { Frame::Partial { needed: CHANNEL_HEADER } } else { Frame::Invalid };
    };
    if first & 0xC0 == 0 && !begins_like_cookie(&bytes[4..]) {
        return Frame::Invalid;
    }
    let field = usize::from(u16::from_be_bytes([high, low]));
    let (length, consumed) = match first & 0xC0 {
        0x00 if field.is_multiple_of(4) => (HEADER_LENGTH + field, HEADER_LENGTH + field),
        0x40 => (CHANNEL_HEADER + field, CHANNEL_HEADER + padded(field)),
        _ => return Frame::Invalid,
    };
    if bytes.len() < consumed {
        return Frame::Partial { needed: consumed };
    }
    Frame::Whole { length, consumed }
}

/// Whether these bytes, the fifth of a STUN message and on, are the magic cookie as far as they go.
fn begins_like_cookie(bytes: &[u8]) -> bool {
    bytes.iter().zip(MAGIC_COOKIE.to_be_bytes()).all(|(byte, expected)| *byte == expected)
}
