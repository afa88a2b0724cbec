//! What the two processes say to each other over the line. The first words never change their place, so that programs of
//! different versions understand that they do not understand each other.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use turnpike_turn::HANDOVER_VERSION;
use turnpike_turn::codec::{Reader, Value};
use turnpike_xdp::{Heirloom, Point};

/// Who hands over, and what with: the first parcel. The listening sockets go along, group by group.
#[derive(PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) process: u32,
    pub(super) threads: u16,
    pub(super) nonce_key: [u8; 16],
    /// The listening sockets: as many of each address as there are threads.
    pub(super) groups: Vec<(Kind, SocketAddr)>,
    /// The program in the kernel, whose descriptors come behind the sockets.
    pub(super) kernel: Option<Kernel>,
}

/// What is known of the program in the kernel: [`Heirloom`] without its descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    program: u64,
    is_xdp: bool,
    flows: u32,
    names: Vec<Box<str>>,
    chosen: Vec<u32>,
    places: Vec<u32>,
    /// How many descriptors it has.
    pub(super) descriptors: u16,
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
        self.kernel.write(&mut bytes);
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
                kernel: Value::read(reader)?,
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

impl Kernel {
    pub(super) fn of(heirloom: &Heirloom) -> Self {
        let Heirloom { program, point, flows, names, chosen, places, descriptors } = heirloom;
        Kernel {
            program: *program,
            is_xdp: *point == Point::Xdp,
            flows: *flows,
            names: names.iter().map(|name| name.as_str().into()).collect(),
            chosen: chosen.clone(),
            places: places.clone(),
            descriptors: descriptors.len() as u16,
        }
    }

    pub(super) fn with(self, descriptors: Vec<OwnedFd>) -> Heirloom {
        let Kernel { program, is_xdp, flows, names, chosen, places, .. } = self;
        let point = if is_xdp { Point::Xdp } else { Point::Tc };
        let names = names.into_iter().map(String::from).collect();
        Heirloom { program, point, flows, names, chosen, places, descriptors }
    }
}

impl Value for Kernel {
    fn write(&self, to: &mut Vec<u8>) {
        let Kernel { program, is_xdp, flows, names, chosen, places, descriptors } = self;
        program.write(to);
        is_xdp.write(to);
        flows.write(to);
        names.write(to);
        chosen.write(to);
        places.write(to);
        descriptors.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Kernel {
            program: Value::read(from)?,
            is_xdp: Value::read(from)?,
            flows: Value::read(from)?,
            names: Value::read(from)?,
            chosen: Value::read(from)?,
            places: Value::read(from)?,
            descriptors: Value::read(from)?,
        })
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
            kernel: Some(Kernel {
                program: 9,
                is_xdp: true,
                flows: 100,
                names: vec!["eth0".into()],
                chosen: vec![2],
                places: vec![2, 3],
                descriptors: 9,
            }),
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
