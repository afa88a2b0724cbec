//! What the two processes say to each other over the line. The first words never change their place, so that programs of
//! different versions understand that they do not understand each other.

use std::fmt;
use std::net::SocketAddr;

use turnpike_turn::HANDOVER_VERSION;
use turnpike_turn::codec::{Reader, Value};

/// Who hands over, and what with: the first parcel. The listening sockets go along, group by group.
#[derive(PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) process: u32,
    pub(super) threads: u16,
    pub(super) nonce_key: [u8; 16],
    /// The listening sockets: as many of each address as there are threads.
    pub(super) groups: Vec<(Kind, SocketAddr)>,
}

/// What a listening socket takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Datagrams,
    Connections,
}

/// Why a greeting is not understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoGreeting {
    /// The other process is of another version.
    Version(u16),
    Damaged,
}

impl Greeting {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        HANDOVER_VERSION.write(&mut bytes);
        self.process.write(&mut bytes);
        self.threads.write(&mut bytes);
        self.nonce_key.write(&mut bytes);
        self.groups.write(&mut bytes);
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, NoGreeting> {
        let mut reader = Reader::new(bytes.strip_prefix(&MAGIC).ok_or(NoGreeting::Damaged)?);
        match u16::read(&mut reader) {
            Some(HANDOVER_VERSION) => {}
            Some(other) => return Err(NoGreeting::Version(other)),
            None => return Err(NoGreeting::Damaged),
        }
        let read = |reader: &mut Reader<'_>| {
            Some(Greeting {
                process: Value::read(reader)?,
                threads: Value::read(reader)?,
                nonce_key: Value::read(reader)?,
                groups: Value::read(reader)?,
            })
        };
        read(&mut reader).filter(|_| reader.is_at_end()).ok_or(NoGreeting::Damaged)
    }
}

impl fmt::Debug for Greeting {
    /// Without the key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Greeting").field("process", &self.process).finish_non_exhaustive()
    }
}

impl Value for Kind {
    fn write(&self, to: &mut Vec<u8>) {
        (*self == Kind::Connections).write(to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(if bool::read(from)? { Kind::Connections } else { Kind::Datagrams })
    }
}

/// A whole value and nothing else.
pub(super) fn only<T: Value>(bytes: &[u8]) -> Option<T> {
    let mut reader = Reader::new(bytes);
    T::read(&mut reader).filter(|_| reader.is_at_end())
}

pub(super) fn bytes_of(value: &impl Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.write(&mut bytes);
    bytes
}

/// From the old process: [`Greeting`].
pub(super) const GREETING: u8 = 1;
/// From the new one: it is ready, and these of the groups are its own from here on.
pub(super) const READY: u8 = 2;
/// From the new one: it does not take over, and this is why.
pub(super) const REFUSED: u8 = 3;
/// From a worker of the old one, in the order of their numbers.
pub(super) const ESTATE: u8 = 4;
/// From the new one: it has everything.
pub(super) const TAKEN: u8 = 5;
/// From the old one: serve.
pub(super) const GO: u8 = 6;
/// From the new one: it does.
pub(super) const SERVING: u8 = 7;
/// From the old one, later: a session that it kept has ended.
pub(super) const ENDED: u8 = 8;

const MAGIC: [u8; 8] = *b"TPKHANDS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_understood_and_nothing_else_is() {
        let greeting = Greeting {
            process: 7,
            threads: 2,
            nonce_key: [3; 16],
            groups: vec![(Kind::Datagrams, "192.0.2.1:3478".parse().unwrap())],
        };
        let bytes = greeting.to_bytes();
        assert_eq!(Greeting::from_bytes(&bytes), Ok(greeting));
        for length in 0..bytes.len() {
            assert_eq!(Greeting::from_bytes(&bytes[..length]), Err(NoGreeting::Damaged));
        }
        let mut newer = bytes;
        newer[9] += 1;
        newer.truncate(10);
        assert_eq!(Greeting::from_bytes(&newer), Err(NoGreeting::Version(HANDOVER_VERSION + 1)));
    }
}
