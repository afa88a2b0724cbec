//! Parsing anything, and writing again what could be parsed.

use turnpike_wire::{
    Attribute, AttributeType, ChannelData, Integrity, LongTermKey, Message, MessageWriter, PasswordDigest,
    RawAttribute, SecurityFeatures, channel_data_header, classify,
};

use crate::attribute::AnyAttribute;
use crate::must;

/// No bytes make reading panic, and a message that was read is the same after it has been written again.
pub fn message(bytes: &[u8]) {
    let _ = bytes.first().map(|first| classify(*first));
    let _ = SecurityFeatures::from_nonce(bytes);
    if let Ok(ChannelData { channel, data }) = ChannelData::parse(bytes) {
        assert_eq!(channel_data_header(channel, data.len() as u16), bytes[..4]);
        assert_eq!(data, &bytes[4..4 + data.len()]);
    }
    let Ok(message) = Message::parse(bytes) else { return };
    look_at(&message);
    write_again(&message);
    write_values_again(&message);
}

fn look_at(message: &Message<'_>) {
    assert_eq!(message.bytes().len() % 4, 0);
    let _ = (message.class(), message.method().name(), message.integrity(), message.fingerprint_is_valid());
    for key in [&b""[..], b"key", &[7; 200]] {
        let _ = (message.verify_integrity(key), message.verify_sha1(key), message.verify_sha256(key));
    }
    let mut end = 20;
    for RawAttribute { kind, value, offset } in message.attributes() {
        assert_eq!(offset, end + 4, "attributes follow each other");
        assert_eq!(&message.bytes()[offset..offset + value.len()], value);
        end = offset + value.len().next_multiple_of(4);
        assert!(!matches!(
            kind,
            AttributeType::MESSAGE_INTEGRITY
                | AttributeType::MESSAGE_INTEGRITY_SHA256
                | AttributeType::FINGERPRINT
        ));
        assert!(message.has(kind) && message.value(kind).is_some());
        let _ = (kind.name(), kind.is_comprehension_required());
    }
    assert!(end <= message.bytes().len());
    for attribute in AnyAttribute::all_of(message) {
        let text = format!("{attribute:?}");
        assert!(!text.is_empty());
        match attribute {
            AnyAttribute::UnknownAttributes(unknown) => assert!(unknown.types().count() <= 32_768),
            AnyAttribute::PasswordAlgorithms(algorithms) => assert!(algorithms.iter().count() <= 16_384),
            _ => {}
        }
    }
}

/// With the same attributes, and integrity and FINGERPRINT of our own.
fn write_again(message: &Message<'_>) {
    let mut room = vec![0xAA; message.bytes().len() + 128];
    let id = message.transaction_id();
    let mut writer = MessageWriter::new(&mut room, message.class(), message.method(), id);
    for attribute in message.attributes() {
        writer.add_raw(attribute.kind, attribute.value);
    }
    let key = LongTermKey::derive(PasswordDigest::Md5, b"user", b"realm", b"password");
    match message.integrity() {
        Integrity::None => {}
        Integrity::Sha1 => drop(writer.integrity_sha1(&key)),
        Integrity::Sha256 => drop(writer.integrity_sha256_with(key.bytes())),
    }
    writer.fingerprint();
    // Integrity and FINGERPRINT may carry a full message beyond what its length field can say.
    let Ok(written) = writer.finish() else {
        assert!(message.bytes().len() > 65_000, "there was room");
        return;
    };
    let again = must(Message::parse(written), "what was written can be read");
    assert_eq!((again.class(), again.method()), (message.class(), message.method()));
    assert_eq!(again.transaction_id(), id);
    assert_eq!(again.integrity(), message.integrity());
    assert_eq!(again.fingerprint_is_valid(), Some(true));
    assert_eq!(again.verify_integrity(key.bytes()).is_ok(), message.integrity() != Integrity::None);
    assert!(again.verify_integrity(b"another").is_err());
    assert!(again.attributes().eq(message.attributes()));
}

/// Each value that can be read, written by its type.
fn write_values_again(message: &Message<'_>) {
    let id = message.transaction_id();
    let mut room = vec![0xAA; message.bytes().len() + 64];
    for attribute in AnyAttribute::all_of(message) {
        let mut writer = MessageWriter::new(&mut room, message.class(), message.method(), id);
        attribute.write(&mut writer);
        let written = must(writer.finish(), "one attribute of a message has room where the message had");
        let again = must(Message::parse(written), "what was written can be read");
        let values: Vec<&[u8]> = again.attributes().map(|attribute| attribute.value).collect();
        let read = must(attribute.read_again(values[0], &id), "the value is readable");
        assert_eq!((read, values.len()), (attribute, 1));
    }
    // The first of a type counts, whatever follows.
    if let Ok(Some(value)) = message.get::<turnpike_wire::attributes::XorPeerAddress>() {
        assert_eq!(message.value(turnpike_wire::attributes::XorPeerAddress::TYPE).map(<[u8]>::len), {
            Some(if value.0.is_ipv4() { 8 } else { 20 })
        });
    }
}
