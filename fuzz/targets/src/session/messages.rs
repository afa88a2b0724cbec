//! What callers say: messages that are right in most respects.

use std::net::SocketAddr;

use turnpike_wire::attributes::{
    AdditionalAddressFamily, ChannelNumber, ConnectionId, Data, DontFragment, EvenPort, Lifetime,
    MobilityTicket, Nonce, PasswordAlgorithm, PasswordAlgorithms, Realm, RequestedAddressFamily,
    RequestedTransport, ReservationToken, UserHash, Username, XorPeerAddress,
};
use turnpike_wire::{
    Class, Family, LongTermKey, MessageWriter, Method, PasswordDigest, TransactionId, channel_data_header,
};

use super::world::{Caller, World};
use crate::attribute::AnyAttribute;
use crate::input::Input;

impl World {
    /// A message of any class and method, signed as its caller would; damaged before (the signature then holds)
    /// or after it was signed.
    pub(super) fn message(&mut self, caller: usize, input: &mut Input<'_>, damaged: bool) -> Vec<u8> {
        let flags = input.byte();
        let (class, method) = kind(input, flags);
        let id = transaction(input, flags);
        let token = self.token;
        let mut room = vec![0; 4096];
        let mut writer = MessageWriter::new(&mut room, class, method, id);
        match method {
            Method::CONNECT => _ = writer.add(&XorPeerAddress(self.reachable_peer(input))),
            Method::CONNECTION_BIND => _ = writer.add(&ConnectionId(self.connections.name(input.byte()))),
            _ => add_usual(&mut writer, method, (token, &self.ticket), input),
        }
        if damaged {
            AnyAttribute::from_input(input).write(&mut writer);
        }
        self.callers[caller].sign(&mut writer, flags);
        let length = writer.finish().map_or(0, <[u8]>::len);
        room.truncate(length);
        if damaged && flags & 1 != 0 && !room.is_empty() {
            let at = usize::from(input.number_u16()) % room.len();
            room[at] ^= input.byte();
        }
        room
    }

    pub(super) fn send_indication(&mut self, caller: usize, input: &mut Input<'_>) -> Vec<u8> {
        let flags = input.byte();
        let peer = self.reachable_peer(input);
        let mut room = vec![0; 1024];
        let id = TransactionId([flags; 12]);
        let mut writer = MessageWriter::new(&mut room, Class::Indication, Method::SEND, id);
        writer.add(&XorPeerAddress(peer)).add(&Data(input.blob()));
        writer.add_some((flags & 4 != 0).then_some(&DontFragment));
        if flags & 8 != 0 {
            AnyAttribute::from_input(input).write(&mut writer);
        }
        if self.callers[caller].fingerprint {
            writer.fingerprint();
        }
        let length = writer.finish().map_or(0, <[u8]>::len);
        room.truncate(length);
        room
    }

    /// A peer from the usual set, or another client's relayed address.
    fn reachable_peer(&self, input: &mut Input<'_>) -> SocketAddr {
        let index = usize::from(input.byte());
        match self.open.get(index % 16) {
            Some(open) if index >= 128 => open.local,
            _ => peer(input),
        }
    }
}

impl Caller {
    fn sign(&self, writer: &mut MessageWriter<'_>, flags: u8) {
        // One message in eight is not signed, and one in eight with the wrong password.
        if flags & 0x70 != 0 {
            let password = if flags & 0x70 == 0x70 { "wrong" } else { self.password };
            if self.modern {
                writer
                    .add(&UserHash::of(self.username.as_bytes(), b"example.org"))
                    .add(&PasswordAlgorithms::SHA256_THEN_MD5)
                    .add(&PasswordAlgorithm { algorithm: PasswordAlgorithm::SHA256, parameters: &[] });
            } else {
                writer.add(&Username(self.username.as_bytes()));
            }
            writer.add(&Realm(b"example.org")).add(&Nonce(&self.nonce));
            let digest = if self.modern { PasswordDigest::Sha256 } else { PasswordDigest::Md5 };
            let key =
                LongTermKey::derive(digest, self.username.as_bytes(), b"example.org", password.as_bytes());
            if self.sha256 || self.modern {
                writer.integrity_sha256_with(key.bytes());
            } else {
                writer.integrity_sha1(&key);
            }
        }
        if self.fingerprint {
            writer.fingerprint();
        }
    }
}

fn kind(input: &mut Input<'_>, flags: u8) -> (Class, Method) {
    const METHODS: [Method; 8] = [
        Method::ALLOCATE,
        Method::REFRESH,
        Method::CREATE_PERMISSION,
        Method::CHANNEL_BIND,
        Method::BINDING,
        Method::ALLOCATE,
        Method::CONNECT,
        Method::CONNECTION_BIND,
    ];
    let choice = input.byte();
    if choice < 0xE0 {
        return (Class::Request, METHODS[usize::from(choice) % METHODS.len()]);
    }
    let class = [Class::Request, Class::Indication, Class::Success, Class::Error][usize::from(choice & 3)];
    (class, Method::new(u16::from(flags) & 0x1F))
}

fn transaction(input: &mut Input<'_>, flags: u8) -> TransactionId {
    let mut id = [flags & 0x0F; 12];
    id[0] = input.byte();
    TransactionId(id)
}

/// The attributes a method usually comes with.
fn add_usual(
    writer: &mut MessageWriter<'_>,
    method: Method,
    (token, ticket): ([u8; 8], &[u8]),
    input: &mut Input<'_>,
) {
    let choice = input.byte();
    match method {
        Method::ALLOCATE => {
            writer.add(if choice % 8 == 7 { &RequestedTransport::TCP } else { &RequestedTransport::UDP });
            match choice >> 5 {
                0 => _ = writer.add(&EvenPort { reserve: choice & 1 != 0 }),
                1 => _ = writer.add(&ReservationToken(token)),
                2 => _ = writer.add(&RequestedAddressFamily(Family::Ipv6)),
                3 => _ = writer.add(&Lifetime(input.number_u32())),
                4 => _ = writer.add(&AdditionalAddressFamily(Family::Ipv6)),
                5 => _ = writer.add(&MobilityTicket(&[])),
                6 => {
                    writer.add(&AdditionalAddressFamily(Family::Ipv6)).add(&MobilityTicket(&[]));
                }
                _ => {}
            }
        }
        Method::REFRESH => {
            let seconds = if choice.is_multiple_of(2) { 0 } else { u32::from(input.number_u16()) };
            writer.add(&Lifetime(seconds));
            if choice >= 0xC0 {
                let family = if choice & 2 == 0 { Family::Ipv4 } else { Family::Ipv6 };
                writer.add(&RequestedAddressFamily(family));
            }
            if choice & 0x18 == 0x18 {
                writer.add(&MobilityTicket(ticket));
            }
        }
        Method::CREATE_PERMISSION => {
            for _ in 0..choice % 4 {
                writer.add(&XorPeerAddress(peer(input)));
            }
        }
        Method::CHANNEL_BIND => {
            let number = 0x4000 + u16::from(choice % 8) + if choice >= 0xF0 { 0x1000 } else { 0 };
            writer.add(&ChannelNumber(number)).add(&XorPeerAddress(peer(input)));
        }
        _ => {}
    }
}

/// ChannelData on one of few channels, with a length that is mostly right.
pub(super) fn channel_data(input: &mut Input<'_>) -> Vec<u8> {
    let choice = input.byte();
    let data = input.blob();
    let length = if choice & 0x80 == 0 { data.len() as u16 } else { input.number_u16() };
    let mut packet = channel_data_header(0x4000 + u16::from(choice % 8), length).to_vec();
    packet.extend_from_slice(data);
    packet
}

/// One of few peers, so that permissions and data meet; or any address.
pub(super) fn peer(input: &mut Input<'_>) -> SocketAddr {
    let choice = input.byte();
    if choice >= 0xF0 {
        return input.address();
    }
    let host = choice % 6;
    let port = 5000 + u16::from(choice / 64);
    match host {
        0..=3 => SocketAddr::from(([8, 8, 8, host], port)),
        4 => SocketAddr::from(([0x2600, 1, 0, 0, 0, 0, 0, 7], port)),
        _ => SocketAddr::from(([0, 0, 0, 0, 0, 0xFFFF, 0x0808, 0x0801], port)),
    }
}
