//! Attributes of RFC 5780, NAT behaviour discovery.

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
    /// Asks for the response at another port of the client (RFC 5780 §7.5).
    ResponsePort (u16) = RESPONSE_PORT, 4,
        |value| Ok(ResponsePort(u16::from_be_bytes([value[0], value[1]]))),
        |this| { let [high, low] = this.0.to_be_bytes(); [high, low, 0, 0] };
}
