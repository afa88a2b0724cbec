//! Attributes of RFC 8656, RFC 6062 and RFC 8016.

use super::{
    Attribute, AttributeError, AttributeType, address_attributes, bytes_attributes, fixed_attributes,
};
use crate::address::{Family, decode_xored, encode_xored};
use crate::error_code::ErrorNumber;
use crate::message::TransactionId;

address_attributes! {
    /// A peer's address (RFC 8656 §18.3).
    XorPeerAddress = XOR_PEER_ADDRESS, decode_xored, encode_xored;
    /// A relayed transport address (RFC 8656 §18.5).
    XorRelayedAddress = XOR_RELAYED_ADDRESS, decode_xored, encode_xored;
}

bytes_attributes! {
    /// The payload of a Send or Data indication (RFC 8656 §18.4).
    Data = DATA, max 65_535;
    /// Proof of owning an allocation, to move it to another 5-tuple (RFC 8016 §3.3).
    MobilityTicket = MOBILITY_TICKET, max 65_535;
}

fixed_attributes! {
    /// A channel's number; the two reserved bytes are ignored (RFC 8656 §18.1).
    ChannelNumber (u16) = CHANNEL_NUMBER, 4,
        |value| Ok(ChannelNumber(u16::from_be_bytes([value[0], value[1]]))),
        |this| { let [high, low] = this.0.to_be_bytes(); [high, low, 0, 0] };
    /// Seconds an allocation has to live (RFC 8656 §18.2).
    Lifetime (u32) = LIFETIME, 4, |value| Ok(Lifetime(u32::from_be_bytes(value))), |this| this.0.to_be_bytes();
    /// Kilobytes a second a client asks for: RFC 5766's abandoned attribute, still sent by coturn's client.
    Bandwidth (u32) = BANDWIDTH, 4, |value| Ok(Bandwidth(u32::from_be_bytes(value))), |this| this.0.to_be_bytes();
    /// Asks for an even relayed port, and with `reserve` for the next one too (RFC 8656 §18.7).
    EvenPort { /// Whether to reserve the next higher port.
               pub reserve: bool } = EVEN_PORT, 1,
        |value| Ok(EvenPort { reserve: value[0] & 0x80 != 0 }), |this| [u8::from(this.reserve) << 7];
    /// The transport between server and peer, an IP protocol number; reserved bytes are ignored
    /// (RFC 8656 §18.8).
    RequestedTransport (u8) = REQUESTED_TRANSPORT, 4,
        |value| Ok(RequestedTransport(value[0])), |this| [this.0, 0, 0, 0];
    /// Asks that datagrams to the peer are not fragmented (RFC 8656 §18.9).
    DontFragment () = DONT_FRAGMENT, 0, |_value| Ok(DontFragment), |_this| [];
    /// Names a reserved relayed transport address (RFC 8656 §18.10).
    ReservationToken ([u8; 8]) = RESERVATION_TOKEN, 8, |value| Ok(ReservationToken(value)), |this| this.0;
    /// The family of the relayed transport address (RFC 8656 §18.6).
    RequestedAddressFamily (Family) = REQUESTED_ADDRESS_FAMILY, 4,
        |value| family(value[0]).map(RequestedAddressFamily), |this| [this.0.number(), 0, 0, 0];
    /// Asks for a second relayed transport address, of this family (RFC 8656 §18.11).
    AdditionalAddressFamily (Family) = ADDITIONAL_ADDRESS_FAMILY, 4,
        |value| family(value[0]).map(AdditionalAddressFamily), |this| [this.0.number(), 0, 0, 0];
    /// Names a TCP connection to a peer (RFC 6062 §6.2.1).
    ConnectionId (u32) = CONNECTION_ID, 4,
        |value| Ok(ConnectionId(u32::from_be_bytes(value))), |this| this.0.to_be_bytes();
    /// An ICMP error a peer's side sent (RFC 8656 §18.13, whose figure gives the type 7 bits and the code 9).
    Icmp { /// ICMP or ICMPv6 type, below 128 as all types of errors are; the higher bit is not sent.
           pub kind: u8,
           /// Its code.
           pub code: u8,
           /// The MTU for "fragmentation needed" and "packet too big", else zero.
           pub error_data: u32 } = ICMP, 8,
        |value| {
            let [_, _, kind, code, d0, d1, d2, d3] = value;
            // No ICMP code needs the ninth bit.
            if kind & 1 != 0 { return Err(AttributeError::Range); }
            Ok(Icmp { kind: kind >> 1, code, error_data: u32::from_be_bytes([d0, d1, d2, d3]) })
        },
        |this| {
            let [d0, d1, d2, d3] = this.error_data.to_be_bytes();
            [0, 0, this.kind << 1, this.code, d0, d1, d2, d3]
        };
}

impl RequestedTransport {
    /// UDP.
    pub const UDP: RequestedTransport = RequestedTransport(17);
    /// TCP (RFC 6062 §4.1).
    pub const TCP: RequestedTransport = RequestedTransport(6);
}

/// Why one of the two families of a dual allocation could not be had (RFC 8656 §18.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressErrorCode<'a> {
    /// The family that is missing.
    pub family: Family,
    /// 440 or 508.
    pub number: ErrorNumber,
    /// A phrase for people; may be empty.
    pub reason: &'a str,
}

impl<'a> Attribute<'a> for AddressErrorCode<'a> {
    const TYPE: AttributeType = AttributeType::ADDRESS_ERROR_CODE;

    fn decode(value: &'a [u8], _: &TransactionId) -> Result<Self, AttributeError> {
        let (&[first, _, class, number], reason) =
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
        Ok(AddressErrorCode { family: family(first)?, number, reason })
    }

    fn length(&self) -> usize {
        4 + self.reason.len()
    }

    fn encode(&self, value: &mut [u8], _: &TransactionId) {
        let number = self.number.number();
        value[..4].copy_from_slice(&[self.family.number(), 0, (number / 100) as u8, (number % 100) as u8]);
        value[4..].copy_from_slice(self.reason.as_bytes());
    }
}

fn family(number: u8) -> Result<Family, AttributeError> {
    Family::from_number(number).ok_or(AttributeError::Family)
}
