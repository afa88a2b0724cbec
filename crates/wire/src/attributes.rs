//! The attributes of a STUN message (RFC 8489 §14, RFC 8656 §18, RFC 6062 §6.2, RFC 5780 §7, RFC 8016 §3.3,
//! RFC 7635 §6): their numbers, and a type for each that reads and writes its value.

mod discovery;
mod stun;
mod third_party;
mod turn;

pub use discovery::{
    ChangeRequest, ChangedAddress, OtherAddress, Padding, ResponseOrigin, ResponsePort, SourceAddress,
};
pub use stun::{
    AlternateDomain, AlternateServer, ErrorCode, MappedAddress, Nonce, Origin, PasswordAlgorithm,
    PasswordAlgorithms, Realm, Software, UnknownAttributes, UserHash, Username, XorMappedAddress,
};
pub use third_party::{AccessToken, ThirdPartyAuthorization};
pub use turn::{
    AdditionalAddressFamily, AddressErrorCode, Bandwidth, ChannelNumber, ConnectionId, Data, DontFragment,
    EvenPort, Icmp, Lifetime, MobilityTicket, RequestedAddressFamily, RequestedTransport, ReservationToken,
    XorPeerAddress, XorRelayedAddress,
};

use crate::message::TransactionId;

/// A value that can be read from and written to an attribute.
pub trait Attribute<'a>: Sized {
    /// Its number.
    const TYPE: AttributeType;
    /// Reads a value (padding excluded). `id` is the message's transaction id, which xored addresses need.
    fn decode(value: &'a [u8], id: &TransactionId) -> Result<Self, AttributeError>;
    /// Bytes of the value, padding excluded.
    fn length(&self) -> usize;
    /// Writes the value into exactly [`Attribute::length`] bytes.
    fn encode(&self, value: &mut [u8], id: &TransactionId);
}

/// Why an attribute's value cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// The value is too short, too long, or of a length the attribute cannot have.
    #[error("the value has a length this attribute cannot have")]
    Length,
    /// An address family other than IPv4 and IPv6.
    #[error("the address family is neither IPv4 nor IPv6")]
    Family,
    /// A field holds a number outside its range.
    #[error("a field is out of its range")]
    Range,
    /// Text that is not UTF-8.
    #[error("the text is not UTF-8")]
    Text,
}

/// An attribute's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttributeType(pub u16);

impl AttributeType {
    /// Whether a receiver that does not know the attribute must refuse the message (RFC 8489 §14).
    pub const fn is_comprehension_required(self) -> bool {
        self.0 < 0x8000
    }

    /// The name in the RFCs (RFC 3489's and ICE's included), or `None` for a number this library has no name
    /// for.
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(kind, _)| *kind == self).map(|(_, name)| *name)
    }
}

macro_rules! attribute_types {
    ($($constant:ident = $number:literal, $name:literal;)*) => {
        impl AttributeType {
            $(#[doc = $name] pub const $constant: AttributeType = AttributeType($number);)*
        }
        const NAMES: &[(AttributeType, &str)] = &[$((AttributeType::$constant, $name)),*];
    };
}

attribute_types! {
    MAPPED_ADDRESS = 0x0001, "MAPPED-ADDRESS";
    RESPONSE_ADDRESS = 0x0002, "RESPONSE-ADDRESS";
    CHANGE_REQUEST = 0x0003, "CHANGE-REQUEST";
    SOURCE_ADDRESS = 0x0004, "SOURCE-ADDRESS";
    CHANGED_ADDRESS = 0x0005, "CHANGED-ADDRESS";
    USERNAME = 0x0006, "USERNAME";
    PASSWORD = 0x0007, "PASSWORD";
    MESSAGE_INTEGRITY = 0x0008, "MESSAGE-INTEGRITY";
    ERROR_CODE = 0x0009, "ERROR-CODE";
    UNKNOWN_ATTRIBUTES = 0x000A, "UNKNOWN-ATTRIBUTES";
    REFLECTED_FROM = 0x000B, "REFLECTED-FROM";
    CHANNEL_NUMBER = 0x000C, "CHANNEL-NUMBER";
    LIFETIME = 0x000D, "LIFETIME";
    BANDWIDTH = 0x0010, "BANDWIDTH";
    XOR_PEER_ADDRESS = 0x0012, "XOR-PEER-ADDRESS";
    DATA = 0x0013, "DATA";
    REALM = 0x0014, "REALM";
    NONCE = 0x0015, "NONCE";
    XOR_RELAYED_ADDRESS = 0x0016, "XOR-RELAYED-ADDRESS";
    REQUESTED_ADDRESS_FAMILY = 0x0017, "REQUESTED-ADDRESS-FAMILY";
    EVEN_PORT = 0x0018, "EVEN-PORT";
    REQUESTED_TRANSPORT = 0x0019, "REQUESTED-TRANSPORT";
    DONT_FRAGMENT = 0x001A, "DONT-FRAGMENT";
    ACCESS_TOKEN = 0x001B, "ACCESS-TOKEN";
    MESSAGE_INTEGRITY_SHA256 = 0x001C, "MESSAGE-INTEGRITY-SHA256";
    PASSWORD_ALGORITHM = 0x001D, "PASSWORD-ALGORITHM";
    USERHASH = 0x001E, "USERHASH";
    XOR_MAPPED_ADDRESS = 0x0020, "XOR-MAPPED-ADDRESS";
    RESERVATION_TOKEN = 0x0022, "RESERVATION-TOKEN";
    PRIORITY = 0x0024, "PRIORITY";
    USE_CANDIDATE = 0x0025, "USE-CANDIDATE";
    PADDING = 0x0026, "PADDING";
    RESPONSE_PORT = 0x0027, "RESPONSE-PORT";
    CONNECTION_ID = 0x002A, "CONNECTION-ID";
    ADDITIONAL_ADDRESS_FAMILY = 0x8000, "ADDITIONAL-ADDRESS-FAMILY";
    ADDRESS_ERROR_CODE = 0x8001, "ADDRESS-ERROR-CODE";
    PASSWORD_ALGORITHMS = 0x8002, "PASSWORD-ALGORITHMS";
    ALTERNATE_DOMAIN = 0x8003, "ALTERNATE-DOMAIN";
    ICMP = 0x8004, "ICMP";
    SOFTWARE = 0x8022, "SOFTWARE";
    ALTERNATE_SERVER = 0x8023, "ALTERNATE-SERVER";
    TRANSACTION_TRANSMIT_COUNTER = 0x8025, "TRANSACTION-TRANSMIT-COUNTER";
    CACHE_TIMEOUT = 0x8027, "CACHE-TIMEOUT";
    FINGERPRINT = 0x8028, "FINGERPRINT";
    ICE_CONTROLLED = 0x8029, "ICE-CONTROLLED";
    ICE_CONTROLLING = 0x802A, "ICE-CONTROLLING";
    RESPONSE_ORIGIN = 0x802B, "RESPONSE-ORIGIN";
    OTHER_ADDRESS = 0x802C, "OTHER-ADDRESS";
    THIRD_PARTY_AUTHORIZATION = 0x802E, "THIRD-PARTY-AUTHORIZATION";
    ORIGIN = 0x802F, "ORIGIN";
    MOBILITY_TICKET = 0x8030, "MOBILITY-TICKET";
}

/// Declares attributes whose value is an address, plain or xored.
macro_rules! address_attributes {
    ($($(#[$doc:meta])* $name:ident = $constant:ident, $decode:ident, $encode:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(pub core::net::SocketAddr);

        impl Attribute<'_> for $name {
            const TYPE: AttributeType = AttributeType::$constant;

            fn decode(value: &[u8], id: &TransactionId) -> Result<Self, AttributeError> {
                $decode(value, id).map($name)
            }

            fn length(&self) -> usize {
                crate::address::length(&self.0)
            }

            fn encode(&self, value: &mut [u8], id: &TransactionId) {
                $encode(&self.0, value, id);
            }
        }
    )*};
}

/// Declares attributes whose value is bytes of bounded length.
macro_rules! bytes_attributes {
    ($($(#[$doc:meta])* $name:ident = $constant:ident, max $max:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name<'a>(pub &'a [u8]);

        impl<'a> Attribute<'a> for $name<'a> {
            const TYPE: AttributeType = AttributeType::$constant;

            fn decode(value: &'a [u8], _: &TransactionId) -> Result<Self, AttributeError> {
                if value.len() > $max { Err(AttributeError::Length) } else { Ok($name(value)) }
            }

            fn length(&self) -> usize {
                self.0.len()
            }

            fn encode(&self, value: &mut [u8], _: &TransactionId) {
                value.copy_from_slice(self.0);
            }
        }
    )*};
}

/// Declares attributes whose value has a fixed number of bytes, given how to read and write them.
macro_rules! fixed_attributes {
    ($($(#[$doc:meta])* $name:ident $body:tt = $constant:ident, $length:literal,
       |$in:ident| $decode:expr, |$self:ident| $encode:expr;)*) => {$(
        fixed_attributes!(@struct $(#[$doc])* $name $body);

        impl Attribute<'_> for $name {
            const TYPE: AttributeType = AttributeType::$constant;

            fn decode(value: &[u8], _: &TransactionId) -> Result<Self, AttributeError> {
                let $in: [u8; $length] = value.try_into().map_err(|_| AttributeError::Length)?;
                $decode
            }

            fn length(&self) -> usize {
                $length
            }

            fn encode(&self, value: &mut [u8], _: &TransactionId) {
                let $self = self;
                let bytes: [u8; $length] = $encode;
                value.copy_from_slice(&bytes);
            }
        }
    )*};
    (@struct $(#[$doc:meta])* $name:ident ()) => {
        $(#[$doc])* #[derive(Clone, Copy, Debug, PartialEq, Eq)] pub struct $name;
    };
    (@struct $(#[$doc:meta])* $name:ident ($field:ty)) => {
        $(#[$doc])* #[derive(Clone, Copy, Debug, PartialEq, Eq)] pub struct $name(pub $field);
    };
    (@struct $(#[$doc:meta])* $name:ident {$($fields:tt)*}) => {
        $(#[$doc])* #[derive(Clone, Copy, Debug, PartialEq, Eq)] pub struct $name {$($fields)*}
    };
}

use {address_attributes, bytes_attributes, fixed_attributes};

fn plain(value: &[u8], _: &TransactionId) -> Result<core::net::SocketAddr, AttributeError> {
    crate::address::decode(value)
}

fn write_plain(address: &core::net::SocketAddr, value: &mut [u8], _: &TransactionId) {
    crate::address::encode(address, value);
}
