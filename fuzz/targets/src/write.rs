//! Writing arbitrary attributes into a buffer of arbitrary size, and reading them.

use turnpike_wire::{
    BufferTooSmall, Class, Integrity, LongTermKey, Message, MessageWriter, Method, PasswordDigest,
    RawAttribute, TransactionId,
};

use crate::attribute::AnyAttribute;
use crate::input::Input;
use crate::must;

/// What was written is read, and nothing else; without room there is an error rather than half a message.
pub fn write(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let script = Script::from_input(&mut input);
    let mut room = vec![0xAA; script.room];
    let Ok(written) = script.write(&mut room) else {
        // With room enough it fits, unless the length field cannot say it.
        let mut room = vec![0xAA; 80_000];
        if let Ok(written) = script.write(&mut room) {
            assert!(written.len() > script.room, "there was room for {} bytes", written.len());
            script.check(written);
        }
        return;
    };
    script.check(written);
    for cut in [written.len() - 1, written.len() - 4, script.room % written.len()] {
        assert!(Message::parse(&written[..cut]).is_err(), "a message that was cut off is none");
    }
}

struct Script<'i> {
    class: Class,
    method: Method,
    id: TransactionId,
    attributes: Vec<AnyAttribute<'i>>,
    integrity: Integrity,
    fingerprint: bool,
    room: usize,
}

impl<'i> Script<'i> {
    fn from_input(input: &mut Input<'i>) -> Self {
        let flags = input.byte();
        let class = [Class::Request, Class::Indication, Class::Success, Class::Error][usize::from(flags & 3)];
        let integrity =
            [Integrity::None, Integrity::Sha1, Integrity::Sha256][usize::from(flags >> 2 & 3) % 3];
        let room = if flags & 0x20 != 0 { usize::from(input.number_u16()) } else { 66_000 };
        let (method, id) = (Method::new(input.number_u16()), TransactionId(input.array()));
        let mut attributes = Vec::new();
        while !input.is_empty() && attributes.len() < MOST_ATTRIBUTES {
            attributes.push(AnyAttribute::from_input(input));
        }
        Script { class, method, id, attributes, integrity, fingerprint: flags & 0x10 != 0, room }
    }

    fn key() -> LongTermKey {
        LongTermKey::derive(PasswordDigest::Sha256, b"user", b"realm", b"password")
    }

    fn write<'b>(&self, room: &'b mut [u8]) -> Result<&'b [u8], BufferTooSmall> {
        let mut writer = MessageWriter::new(room, self.class, self.method, self.id);
        self.attributes.iter().for_each(|attribute| attribute.write(&mut writer));
        match self.integrity {
            Integrity::None => {}
            Integrity::Sha1 => drop(writer.integrity_sha1(&Script::key())),
            Integrity::Sha256 => drop(writer.integrity_sha256_with(Script::key().bytes())),
        }
        if self.fingerprint {
            writer.fingerprint();
        }
        writer.finish()
    }

    fn check(&self, written: &[u8]) {
        let message = must(Message::parse(written), "what was written can be read");
        assert_eq!((message.class(), message.method()), (self.class, self.method));
        assert_eq!(message.transaction_id(), self.id);
        assert_eq!(message.integrity(), self.integrity);
        assert_eq!(message.fingerprint_is_valid(), self.fingerprint.then_some(true));
        let verified = message.verify_integrity(Script::key().bytes());
        assert_eq!(verified.is_ok(), self.integrity != Integrity::None);
        let mut end = 20;
        let mut read = message.attributes();
        for attribute in &self.attributes {
            let RawAttribute { value, offset, .. } =
                read.next().unwrap_or_else(|| panic!("{attribute:?} is missing"));
            let again = must(attribute.read_again(value, &self.id), "a value that was written can be read");
            assert_eq!(again, *attribute);
            assert_eq!(offset, end + 4);
            end = offset + value.len().next_multiple_of(4);
            let padding = &written[offset + value.len()..end];
            assert!(padding.iter().all(|byte| *byte == 0), "padding is zero");
        }
        assert_eq!(read.next(), None);
    }
}

const MOST_ATTRIBUTES: usize = 64;
