//! STUN and TURN messages as bytes, and bytes as messages.
//!
//! The whole message layer of RFC 8489 (STUN), RFC 8656 (TURN), RFC 6062 (TCP allocations), RFC 5780
//! (NAT behaviour discovery), RFC 8016 (mobility) and RFC 7635 (third-party authorisation).
//!
//! Reading borrows from the received bytes; writing goes into the caller's buffer. Nothing here allocates,
//! reads a clock, or touches a socket, and no input can make it panic.
#![no_std]

mod address;
pub mod attributes;
mod channel_data;
mod classify;
mod error_code;
mod fingerprint;
pub mod framing;
mod integrity;
mod message;
mod method;
mod security_features;
pub mod vectors;
mod writer;

pub use address::Family;
pub use attributes::{Attribute, AttributeError, AttributeType};
pub use channel_data::{CHANNEL_HEADER, ChannelData, ChannelDataError, channel_data_header};
pub use classify::{FirstByte, classify};
pub use error_code::ErrorNumber;
pub use fingerprint::fingerprint_over;
pub use integrity::{Integrity, IntegrityError, LongTermKey, PasswordDigest};
pub use message::{
    Attributes, HEADER_LENGTH, MAGIC_COOKIE, Message, ParseError, RawAttribute, TransactionId,
};
pub use method::{Class, Method};
pub use security_features::{NONCE_COOKIE, SecurityFeatures};
pub use writer::{BufferTooSmall, MessageWriter};
