//! A server in a box: a clock that moves when told, a worker that opens relays, clients that authenticate.

mod caller;
mod connections;
mod outcome;
mod setup;
mod world;

use std::net::SocketAddr;

use turnpike_wire::{Class, MessageWriter, Method, TransactionId};

pub(crate) use caller::Caller;
pub(crate) use connections::Connecting;
pub(crate) use outcome::{Outcome, Reply};
pub(crate) use setup::{Setup, credentials, range};
pub(crate) use world::{World, carry_out};

/// Builds a message of any class.
pub(crate) fn message(
    class: Class,
    method: Method,
    id: TransactionId,
    build: impl FnOnce(&mut MessageWriter<'_>),
) -> Vec<u8> {
    let mut buffer = vec![0; 70_000];
    let mut writer = MessageWriter::new(&mut buffer, class, method, id);
    build(&mut writer);
    writer.finish().expect("room").to_vec()
}

/// An unsigned request.
pub(crate) fn request(method: Method, build: impl FnOnce(&mut MessageWriter<'_>)) -> Vec<u8> {
    message(Class::Request, method, TransactionId([0xA5; 12]), build)
}

/// An indication.
pub(crate) fn indication(method: Method, build: impl FnOnce(&mut MessageWriter<'_>)) -> Vec<u8> {
    message(Class::Indication, method, TransactionId([0x5A; 12]), build)
}

/// A ChannelData message without padding.
pub(crate) fn channel_data(number: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = turnpike_wire::channel_data_header(number, data.len() as u16).to_vec();
    bytes.extend_from_slice(data);
    bytes
}

/// A transport address from its text.
pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().expect("a transport address")
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.roll() % limit as u64) as usize
    }
}

pub(crate) const SECOND: std::time::Duration = std::time::Duration::from_secs(1);
/// A peer on the public Internet.
pub(crate) const PEER: &str = "8.8.8.8:7000";
/// Another.
pub(crate) const OTHER_PEER: &str = "9.9.9.9:7000";
/// One with an IPv6 address.
pub(crate) const PEER_V6: &str = "[2606:4700::1111]:7000";
/// Where the server listens.
pub(crate) const LISTENER: &str = "192.0.2.10:3478";
pub(crate) const LISTENER_V6: &str = "[2001:db8::10]:3478";
/// Where the server relays.
pub(crate) const RELAY: &str = "192.0.2.10";
pub(crate) const RELAY_V6: &str = "2001:db8::10";
