//! Every attribute type: write, parse, and the same value comes out, wherever in a message it stands.

use std::net::SocketAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use turnpike_wire::attributes::*;
use turnpike_wire::{
    Attribute, AttributeType, Class, ErrorNumber, Family, Message, MessageWriter, Method, TransactionId,
};

/// Writes an attribute between two others and reads it again by its type.
macro_rules! survives {
    ($name:ident $value:tt, $id:expr, $before:expr) => {{
        let attribute = $name $value;
        let written = between($id, $before, |writer| {
            writer.add(&attribute);
        });
        let message = Message::parse(&written).unwrap();
        prop_assert_eq!(message.attributes().count(), 3);
        prop_assert_eq!(message.value($name::TYPE).map(<[u8]>::len), Some(attribute.length()));
        prop_assert_eq!(message.get::<$name>(), Ok(Some(attribute)));
    }};
}

fn between(id: [u8; 12], before: &[u8], add: impl FnOnce(&mut MessageWriter<'_>)) -> Vec<u8> {
    let mut room = vec![0xAA; 70_000];
    let mut writer = MessageWriter::new(&mut room, Class::Request, Method::BINDING, TransactionId(id));
    writer.add_raw(OTHER, before);
    add(&mut writer);
    writer.add_raw(OTHER, b"after");
    writer.finish().unwrap().to_vec()
}

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::Ipv4), Just(Family::Ipv6)]
}

fn error_number() -> impl Strategy<Value = ErrorNumber> {
    (300..700_u16).prop_map(|number| ErrorNumber::new(number).unwrap())
}

proptest! {
    #[test]
    fn addresses_survive(address: SocketAddr, id: [u8; 12], before in vec(any::<u8>(), 0..9)) {
        // Flow information and scope are not sent.
        let address = SocketAddr::new(address.ip(), address.port());
        survives!(MappedAddress(address), id, &before);
        survives!(XorMappedAddress(address), id, &before);
        survives!(XorPeerAddress(address), id, &before);
        survives!(XorRelayedAddress(address), id, &before);
        survives!(AlternateServer(address), id, &before);
        survives!(ResponseOrigin(address), id, &before);
        survives!(OtherAddress(address), id, &before);
    }

    #[test]
    fn xored_addresses_hide_the_plain_ones(address: SocketAddr, id: [u8; 12]) {
        let mut room = [0; 128];
        let mut writer = MessageWriter::new(&mut room, Class::Success, Method::BINDING, TransactionId(id));
        writer.add(&XorMappedAddress(address)).add(&MappedAddress(address));
        let message = Message::parse(writer.finish().unwrap()).unwrap();
        let [hidden, plain] =
            [XorMappedAddress::TYPE, MappedAddress::TYPE].map(|kind| message.value(kind).unwrap());
        prop_assert_eq!(u16::from_be_bytes([hidden[2], hidden[3]]), address.port() ^ 0x2112);
        prop_assert_ne!(&hidden[4..8], &plain[4..8]);
    }

    #[test]
    fn bytes_of_any_allowed_length_survive(bytes in vec(any::<u8>(), 0..764), id: [u8; 12]) {
        survives!(Username(&bytes[..bytes.len().min(508)]), id, &[]);
        survives!(AlternateDomain(&bytes[..bytes.len().min(255)]), id, &[]);
        survives!(Realm(&bytes), id, &[]);
        survives!(Nonce(&bytes), id, &[]);
        survives!(Software(&bytes), id, &[]);
        survives!(Origin(&bytes), id, &[]);
        survives!(MobilityTicket(&bytes), id, &[]);
        survives!(ThirdPartyAuthorization(&bytes), id, &[]);
        let unknown = UnknownAttributes::from_be_bytes(&bytes);
        let written = between(id, &[], |writer| _ = writer.add(&unknown));
        prop_assert_eq!(Message::parse(&written).unwrap().get(), Ok(Some(unknown)));
    }

    #[test]
    fn large_payloads_survive(bytes in vec(any::<u8>(), 0..65_000), id: [u8; 12]) {
        survives!(Data(&bytes), id, &[]);
        survives!(Padding(&bytes), id, &[]);
    }

    #[test]
    fn values_that_are_too_long_are_refused(surplus in 1..200_usize) {
        let id = TransactionId::default();
        let bytes = vec![b'x'; 763 + surplus];
        prop_assert!(Realm::decode(&bytes, &id).is_err());
        prop_assert!(Nonce::decode(&bytes, &id).is_err());
        prop_assert!(Software::decode(&bytes, &id).is_err());
        prop_assert!(Username::decode(&bytes[..508 + surplus], &id).is_err());
        prop_assert!(AlternateDomain::decode(&bytes[..255 + surplus], &id).is_err());
    }

    #[test]
    fn numbers_and_flags_survive(
        long: u32, short: u16, byte: u8, token: [u8; 8], hash: [u8; 32], flags: [bool; 2], id: [u8; 12],
    ) {
        survives!(Lifetime(long), id, &[]);
        survives!(Bandwidth(long), id, &[]);
        survives!(ConnectionId(long), id, &[]);
        survives!(ChannelNumber(short), id, &[]);
        survives!(ResponsePort(short), id, &[]);
        survives!(RequestedTransport(byte), id, &[]);
        survives!(ReservationToken(token), id, &[]);
        survives!(UserHash(hash), id, &[]);
        survives!(EvenPort { reserve: flags[0] }, id, &[]);
        survives!(ChangeRequest { ip: flags[0], port: flags[1] }, id, &[]);
        survives!(Icmp { kind: byte & 0x7F, code: byte, error_data: long }, id, &[]);
        let written = between(id, &[], |writer| _ = writer.add(&DontFragment));
        prop_assert_eq!(Message::parse(&written).unwrap().get(), Ok(Some(DontFragment)));
    }

    #[test]
    fn families_and_errors_survive(family in family(), number in error_number(), reason in ".{0,190}", id: [u8; 12]) {
        survives!(RequestedAddressFamily(family), id, &[]);
        survives!(AdditionalAddressFamily(family), id, &[]);
        survives!(ErrorCode { number, reason: &reason }, id, &[]);
        survives!(AddressErrorCode { family, number, reason: &reason }, id, &[]);
    }

    #[test]
    fn lists_and_tokens_survive(
        algorithm: u16, parameters in vec(any::<u8>(), 0..100), nonce in vec(any::<u8>(), 0..100), id: [u8; 12],
    ) {
        survives!(PasswordAlgorithm { algorithm, parameters: &parameters }, id, &[]);
        let offered = PasswordAlgorithms::SHA256_THEN_MD5;
        let written = between(id, &[], |writer| _ = writer.add(&offered));
        prop_assert_eq!(Message::parse(&written).unwrap().get(), Ok(Some(offered)));
        survives!(AccessToken { nonce: &nonce, sealed: &parameters }, id, &[]);
    }

    #[test]
    fn fixed_values_of_another_length_are_refused(bytes in vec(any::<u8>(), 0..40)) {
        let id = TransactionId::default();
        prop_assert_eq!(Lifetime::decode(&bytes, &id).is_ok(), bytes.len() == 4);
        prop_assert_eq!(ChannelNumber::decode(&bytes, &id).is_ok(), bytes.len() == 4);
        prop_assert_eq!(ReservationToken::decode(&bytes, &id).is_ok(), bytes.len() == 8);
        prop_assert_eq!(UserHash::decode(&bytes, &id).is_ok(), bytes.len() == 32);
        prop_assert_eq!(DontFragment::decode(&bytes, &id).is_ok(), bytes.is_empty());
        prop_assert_eq!(EvenPort::decode(&bytes, &id).is_ok(), bytes.len() == 1);
    }
}

/// An optional attribute that nobody knows.
const OTHER: AttributeType = AttributeType(0xFFFE);
