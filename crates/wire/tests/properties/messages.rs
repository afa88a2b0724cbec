//! Whole messages: header, integrity, fingerprint, and what damage does to them.

use proptest::collection::vec;
use proptest::prelude::*;
use turnpike_wire::{
    AttributeType, BufferTooSmall, Class, HEADER_LENGTH, Integrity, LongTermKey, Message, MessageWriter,
    Method, PasswordDigest, TransactionId,
};

type Parts = (Class, Method, TransactionId, Vec<(AttributeType, Vec<u8>)>);

fn parts() -> impl Strategy<Value = Parts> {
    let class =
        prop_oneof![Just(Class::Request), Just(Class::Indication), Just(Class::Success), Just(Class::Error)];
    let ordinary = |kind: &u16| ![0x0008, 0x001C, 0x8028].contains(kind);
    let kind = any::<u16>().prop_filter("protects the message", ordinary).prop_map(AttributeType);
    let attributes = vec((kind, vec(any::<u8>(), 0..60)), 0..8);
    let method = (0..0x1000_u16).prop_map(Method::new);
    (class, method, any::<[u8; 12]>().prop_map(TransactionId), attributes)
}

fn write<'b>(room: &'b mut [u8], parts: &Parts, protect: bool) -> Result<&'b [u8], BufferTooSmall> {
    let (class, method, id, attributes) = parts;
    let mut writer = MessageWriter::new(room, *class, *method, *id);
    for (kind, value) in attributes {
        writer.add_raw(*kind, value);
    }
    if protect {
        writer.integrity_sha1(&key()).integrity_sha256_with(key().bytes()).fingerprint();
    }
    writer.finish()
}

fn key() -> LongTermKey {
    LongTermKey::derive(PasswordDigest::Md5, b"user", b"realm", b"password")
}

proptest! {
    #[test]
    fn what_is_written_is_read(parts in parts(), protect: bool) {
        let mut room = [0xAA; 1024];
        let message = Message::parse(write(&mut room, &parts, protect).unwrap()).unwrap();
        let (class, method, id, attributes) = parts;
        prop_assert_eq!((message.class(), message.method(), message.transaction_id()), (class, method, id));
        let read: Vec<_> = message.attributes().map(|it| (it.kind, it.value.to_vec())).collect();
        prop_assert_eq!(read, attributes);
        prop_assert_eq!(message.integrity(), if protect { Integrity::Sha256 } else { Integrity::None });
        prop_assert_eq!(message.fingerprint_is_valid(), protect.then_some(true));
        prop_assert_eq!(message.verify_sha1(key().bytes()).is_ok(), protect);
        prop_assert_eq!(message.verify_sha256(key().bytes()).is_ok(), protect);
    }

    #[test]
    fn one_changed_bit_breaks_the_integrity(parts in parts(), at: prop::sample::Index, bit in 0..8_u8) {
        let mut room = [0; 1024];
        let mut bytes = write(&mut room, &parts, true).unwrap().to_vec();
        // Of what MESSAGE-INTEGRITY-SHA256 covers. A change of its own type takes it out, and the SHA-1 one decides.
        let at = at.index(bytes.len() - SHA256_AND_FINGERPRINT);
        bytes[at] ^= 1 << bit;
        if let Ok(message) = Message::parse(&bytes) {
            prop_assert!(message.verify_integrity(key().bytes()).is_err(), "byte {at}");
            prop_assert_ne!(message.fingerprint_is_valid(), Some(true), "byte {}", at);
        }
    }

    #[test]
    fn a_message_that_was_cut_off_or_drawn_out_is_none(parts in parts(), cut: prop::sample::Index, surplus in 1..9_usize) {
        let mut room = [0; 1024];
        let mut bytes = write(&mut room, &parts, true).unwrap().to_vec();
        prop_assert!(Message::parse(&bytes[..cut.index(bytes.len())]).is_err());
        bytes.resize(bytes.len() + surplus, 0);
        prop_assert!(Message::parse(&bytes).is_err());
    }

    #[test]
    fn without_room_there_is_an_error_and_no_half_message(parts in parts(), protect: bool, room in 0..1024_usize) {
        let mut enough = [0; 1024];
        let length = write(&mut enough, &parts, protect).unwrap().len();
        let mut room = vec![0xAA; room];
        prop_assert_eq!(write(&mut room, &parts, protect).is_ok(), length <= room.len());
    }

    #[test]
    fn no_bytes_make_reading_panic(head in any::<[u8; 2]>(), id: [u8; 12], body in vec(any::<u8>(), 0..300)) {
        let mut bytes = vec![head[0] & 0x3F, head[1]];
        let body = &body[..body.len() & !3];
        bytes.extend_from_slice(&(body.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&0x2112_A442_u32.to_be_bytes());
        bytes.extend_from_slice(&id);
        bytes.extend_from_slice(body);
        if let Ok(message) = Message::parse(&bytes) {
            let end = message.attributes().map(|it| it.offset + it.value.len()).max().unwrap_or(HEADER_LENGTH);
            prop_assert!(end <= bytes.len());
            let _ = (message.fingerprint_is_valid(), message.verify_integrity(b"key"));
        }
    }
}

const SHA256_AND_FINGERPRINT: usize = 36 + 8;
