//! How values are written down for another process: fixed order, big-endian numbers, counts before lists.
//!
//! Invariants: reading what was written gives the same value and nothing is left over; reading anything else gives
//! `None`, never a panic, and never takes more memory than a constant times the bytes there are.

use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use turnpike_wire::{ErrorNumber, Family, TransactionId};

use crate::time::{Timestamp, UnixTime};
use crate::tuple::{Client, FiveTuple, Link, SessionId, Transport};

/// What can be written down.
pub trait Value: Sized {
    /// Appends it.
    fn write(&self, to: &mut Vec<u8>);

    /// Takes it from the front of what is left; `None` if that is something else.
    fn read(from: &mut Reader<'_>) -> Option<Self>;
}

/// What is left to be read.
#[derive(Debug)]
pub struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    /// All of these bytes.
    pub fn new(bytes: &'b [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// Whether nothing is left.
    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left.
    pub fn rest(&self) -> &'b [u8] {
        self.rest
    }

    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// How many elements a list has. Each takes a byte at least, so that a lie about it costs nothing.
    fn count(&mut self) -> Option<usize> {
        let count = u32::read(self)? as usize;
        (count <= self.rest.len()).then_some(count)
    }
}

/// A structure whose fields are values: written in the order they are named in.
macro_rules! value {
    ($name:ty { $($field:ident),* $(,)? }) => {
        impl $crate::handover::codec::Value for $name {
            fn write(&self, to: &mut Vec<u8>) {
                $($crate::handover::codec::Value::write(&self.$field, to);)*
            }

            fn read(from: &mut $crate::handover::codec::Reader<'_>) -> Option<Self> {
                Some(Self { $($field: $crate::handover::codec::Value::read(from)?,)* })
            }
        }
    };
}
pub(crate) use value;

macro_rules! number {
    ($($name:ty),*) => {$(
        impl Value for $name {
            fn write(&self, to: &mut Vec<u8>) {
                to.extend_from_slice(&self.to_be_bytes());
            }

            fn read(from: &mut Reader<'_>) -> Option<Self> {
                let (bytes, rest) = from.rest.split_first_chunk()?;
                from.rest = rest;
                Some(<$name>::from_be_bytes(*bytes))
            }
        }
    )*};
}
number!(u8, u16, u32, u64);

impl Value for bool {
    fn write(&self, to: &mut Vec<u8>) {
        to.push(u8::from(*self));
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        match u8::read(from)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl<const N: usize> Value for [u8; N] {
    fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        from.take(N)?.try_into().ok()
    }
}

impl<T: Value> Value for Option<T> {
    fn write(&self, to: &mut Vec<u8>) {
        self.is_some().write(to);
        if let Some(value) = self {
            value.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        match bool::read(from)? {
            true => T::read(from).map(Some),
            false => Some(None),
        }
    }
}

impl<T: Value> Value for Vec<T> {
    fn write(&self, to: &mut Vec<u8>) {
        (self.len() as u32).write(to);
        self.iter().for_each(|value| value.write(to));
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let count = from.count()?;
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(T::read(from)?);
        }
        Some(values)
    }
}

impl<A: Value, B: Value> Value for (A, B) {
    fn write(&self, to: &mut Vec<u8>) {
        self.0.write(to);
        self.1.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some((A::read(from)?, B::read(from)?))
    }
}

/// Bytes at once, unlike a list of numbers.
fn write_bytes(bytes: &[u8], to: &mut Vec<u8>) {
    (bytes.len() as u32).write(to);
    to.extend_from_slice(bytes);
}

fn read_bytes<'b>(from: &mut Reader<'b>) -> Option<&'b [u8]> {
    let count = from.count()?;
    from.take(count)
}

impl Value for Arc<[u8]> {
    fn write(&self, to: &mut Vec<u8>) {
        write_bytes(self, to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        read_bytes(from).map(Into::into)
    }
}

impl Value for Box<[u8]> {
    fn write(&self, to: &mut Vec<u8>) {
        write_bytes(self, to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        read_bytes(from).map(Into::into)
    }
}

impl Value for Box<str> {
    fn write(&self, to: &mut Vec<u8>) {
        write_bytes(self.as_bytes(), to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        core::str::from_utf8(read_bytes(from)?).ok().map(Into::into)
    }
}

impl Value for IpAddr {
    fn write(&self, to: &mut Vec<u8>) {
        match self {
            IpAddr::V4(ip) => {
                to.push(4);
                ip.octets().write(to);
            }
            IpAddr::V6(ip) => {
                to.push(6);
                ip.octets().write(to);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        match u8::read(from)? {
            4 => <[u8; 4]>::read(from).map(IpAddr::from),
            6 => <[u8; 16]>::read(from).map(IpAddr::from),
            _ => None,
        }
    }
}

impl Value for SocketAddr {
    fn write(&self, to: &mut Vec<u8>) {
        self.ip().write(to);
        self.port().write(to);
        if let SocketAddr::V6(address) = self {
            address.scope_id().write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let mut address = SocketAddr::new(IpAddr::read(from)?, u16::read(from)?);
        if let SocketAddr::V6(address) = &mut address {
            address.set_scope_id(u32::read(from)?);
        }
        Some(address)
    }
}

impl Value for Transport {
    fn write(&self, to: &mut Vec<u8>) {
        to.push(*self as u8);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let number = u8::read(from)?;
        let all = [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Dtls];
        all.into_iter().find(|transport| *transport as u8 == number)
    }
}

impl Value for Family {
    fn write(&self, to: &mut Vec<u8>) {
        (*self == Family::Ipv6).write(to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(if bool::read(from)? { Family::Ipv6 } else { Family::Ipv4 })
    }
}

impl Value for ErrorNumber {
    fn write(&self, to: &mut Vec<u8>) {
        self.number().write(to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        ErrorNumber::new(u16::read(from)?)
    }
}

/// A number or bytes under a name.
macro_rules! named {
    ($($name:ident),*) => {$(
        impl Value for $name {
            fn write(&self, to: &mut Vec<u8>) {
                self.0.write(to);
            }

            fn read(from: &mut Reader<'_>) -> Option<Self> {
                Value::read(from).map($name)
            }
        }
    )*};
}
named!(Timestamp, UnixTime, Link, TransactionId);

impl Value for SessionId {
    fn write(&self, to: &mut Vec<u8>) {
        self.number().write(to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        u64::read(from).map(SessionId::from_number)
    }
}

value!(FiveTuple { transport, server, client });
value!(Client { link, tuple });

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &impl Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        value.write(&mut bytes);
        bytes
    }

    #[test]
    fn what_was_written_is_read_again() {
        let address: SocketAddr = "192.0.2.7:3478".parse().unwrap();
        let mut scoped: SocketAddr = "[fe80::1]:9".parse().unwrap();
        if let SocketAddr::V6(scoped) = &mut scoped {
            scoped.set_scope_id(3);
        }
        let value = (vec![address, scoped], Some((Box::<str>::from("名"), 7_u64)));
        let bytes = written(&value);
        let mut reader = Reader::new(&bytes);
        assert_eq!(Value::read(&mut reader), Some(value));
        assert!(reader.is_at_end());
    }

    #[test]
    fn a_list_that_claims_to_be_longer_than_all_there_is_costs_nothing() {
        assert_eq!(Vec::<u64>::read(&mut Reader::new(&[0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3])), None);
        assert_eq!(Box::<str>::read(&mut Reader::new(&[0, 0, 0, 1, 0xFF])), None, "no text");
        assert_eq!(bool::read(&mut Reader::new(&[2])), None);
    }
}
