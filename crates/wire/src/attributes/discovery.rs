//! Attributes of RFC 5780, NAT behaviour discovery, and what RFC 3489 had for them.

use super::{
    Attribute, AttributeError, AttributeType, address_attributes, bytes_attributes, fixed_attributes, plain,
    write_plain,
};
use crate::message::TransactionId;

address_attributes! {
    /// The address the response was sent from (RFC 5780 §7.3).
    ResponseOrigin = RESPONSE_ORIGIN, plain, write_plain;
    /// The server's other address and port (RFC 5780 §7.4).
    OtherAddress = OTHER_ADDRESS, plain, write_plain;
    /// RESPONSE-ORIGIN for classic clients (RFC 3489 §11.2.5).
    SourceAddress = SOURCE_ADDRESS, plain, write_plain;
    /// OTHER-ADDRESS for classic clients (RFC 3489 §11.2.3).
    ChangedAddress = CHANGED_ADDRESS, plain, write_plain;
}

bytes_attributes! {
    /// Filler that makes a message as large as a test needs (RFC 5780 §7.6).
    Padding = PADDING, max 65_528;
}

fixed_attributes! {
    /// Asks for the response from another address or port (RFC 5780 §7.2).
    ChangeRequest { /// From the other IP address.
                    pub ip: bool,
                    /// From the other port.
                    pub port: bool } = CHANGE_REQUEST, 4,
        |value| Ok(ChangeRequest { ip: value[3] & 0x04 != 0, port: value[3] & 0x02 != 0 }),
        |this| [0, 0, 0, u8::from(this.ip) << 2 | u8::from(this.port) << 1];
}

/// Asks for the response at another port of the client (RFC 5780 §7.5).
///
/// The RFC's "two bytes of padding" are read by some as part of the value and by others as the padding every
/// attribute has: both lengths are understood, the longer one is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponsePort(pub u16);

impl Attribute<'_> for ResponsePort {
    const TYPE: AttributeType = AttributeType::RESPONSE_PORT;

    fn decode(value: &[u8], _: &TransactionId) -> Result<Self, AttributeError> {
        match *value {
            [high, low] | [high, low, _, _] => Ok(ResponsePort(u16::from_be_bytes([high, low]))),
            _ => Err(AttributeError::Length),
        }
    }

    fn length(&self) -> usize {
        4
    }

    fn encode(&self, value: &mut [u8], _: &TransactionId) {
        let [high, low] = self.0.to_be_bytes();
        value.copy_from_slice(&[high, low, 0, 0]);
    }
}
