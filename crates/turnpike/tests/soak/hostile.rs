//! Packets that nobody should send.

use std::net::SocketAddr;

use turnpike_fuzz_targets::{Random, TARGETS, mutate};
use turnpike_wire::attributes::{ChannelNumber, Data, Lifetime, RequestedTransport, XorPeerAddress};
use turnpike_wire::{AttributeType, Class, Method};

use crate::wire::{message, signed};

/// Makes them, the same ones from the same seed and nonce.
pub(crate) struct Hostile {
    random: Random,
    templates: Vec<Vec<u8>>,
    /// What the attacker with an allocation was given; it is sent from elsewhere, too.
    pub(crate) nonce: Vec<u8>,
    /// One in so many packets of strangers may be as large as UDP allows.
    pub(crate) large_one_in: usize,
}

impl Hostile {
    pub(crate) fn new(seed: u64) -> Self {
        let messages = TARGETS.iter().find(|target| target.name == "message").unwrap();
        let templates = (messages.seeds)().into_iter().map(|(_, bytes)| bytes).collect();
        Hostile { random: Random::new(seed), templates, nonce: Vec::new(), large_one_in: LARGE_ONE_IN }
    }

    /// Anybody can send it.
    pub(crate) fn packet_of_a_stranger(&mut self) -> Vec<u8> {
        if self.random.one_in(self.large_one_in) {
            return self.garbage(65_507);
        }
        let id = self.id();
        match self.random.below(16) {
            0..=2 => self.garbage(600),
            3..=5 => {
                let mut packet = self.template();
                mutate(&mut packet, &mut self.random, 2048);
                packet
            }
            6 => {
                let mut packet = self.template();
                packet.truncate(self.random.below(packet.len()));
                packet
            }
            7 => {
                let mut packet = self.template();
                let at = 4 + self.random.below(4);
                packet[at] ^= 1 << self.random.below(8);
                packet
            }
            8 | 9 => self.answer_or_indication(id),
            10 | 11 => self.channel_data(),
            12 | 13 => message(Class::Request, Method::ALLOCATE, id, |writer| {
                writer.add(&RequestedTransport::UDP);
            }),
            14 => self.signed_badly(id),
            _ => self.wrong_credentials(id),
        }
    }

    /// By a client with credentials and an allocation: signed rightly, and wrong in everything else.
    pub(crate) fn packet_of_a_client(&mut self) -> Vec<u8> {
        let id = self.id();
        match self.random.below(4) {
            0 => self.channel_data(),
            1 => self.send_indication(id),
            _ => self.signed_badly(id),
        }
    }

    /// By a peer without a permission.
    pub(crate) fn packet_of_a_peer(&mut self) -> Vec<u8> {
        if self.random.one_in(3) { self.template() } else { self.garbage(300) }
    }

    pub(crate) fn id(&mut self) -> [u8; 12] {
        let mut id = [0; 12];
        self.random.fill(&mut id);
        id
    }

    fn template(&mut self) -> Vec<u8> {
        self.templates[self.random.below(self.templates.len())].clone()
    }

    fn garbage(&mut self, longest: usize) -> Vec<u8> {
        let length = self.random.below(longest + 1);
        self.random.blob(length)
    }

    fn answer_or_indication(&mut self, id: [u8; 12]) -> Vec<u8> {
        let class = [Class::Success, Class::Error, Class::Indication][self.random.below(3)];
        let method = Method::new(self.random.below(16) as u16);
        let data = self.garbage(64);
        message(class, method, id, |writer| {
            writer.add(&XorPeerAddress(([127, 0, 0, 2], 9).into())).add(&Data(&data));
        })
    }

    fn channel_data(&mut self) -> Vec<u8> {
        let mut packet = self.garbage(200);
        packet.splice(0..0, [0x40 | self.random.below(64) as u8, self.random.next_u64() as u8, 0, 0]);
        let length = packet.len() - 4 + if self.random.one_in(4) { self.random.below(1000) } else { 0 };
        packet[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        packet
    }

    fn send_indication(&mut self, id: [u8; 12]) -> Vec<u8> {
        let peer = peer(&mut self.random);
        let data = self.garbage(64);
        let mut packet = message(Class::Indication, Method::SEND, id, |writer| {
            writer.add(&XorPeerAddress(peer)).add(&Data(&data));
        });
        if self.random.one_in(2) {
            mutate(&mut packet, &mut self.random, 2048);
        }
        packet
    }

    /// A request with attributes of any type and value under a right signature.
    fn signed_badly(&mut self, id: [u8; 12]) -> Vec<u8> {
        const METHODS: [Method; 5] = [
            Method::ALLOCATE,
            Method::REFRESH,
            Method::CREATE_PERMISSION,
            Method::CHANNEL_BIND,
            Method::BINDING,
        ];
        let method = METHODS[self.random.below(METHODS.len())];
        let nonce = std::mem::take(&mut self.nonce);
        let random = &mut self.random;
        let packet = signed(method, id, &nonce, |writer| {
            let peer = XorPeerAddress(peer(random));
            match method {
                Method::ALLOCATE => writer.add(&RequestedTransport::UDP),
                // Half of them delete the allocation, and the next Allocate makes another.
                Method::REFRESH if random.one_in(2) => writer.add(&Lifetime(0)),
                Method::REFRESH => writer.add(&Lifetime(random.next_u64() as u32)),
                Method::CHANNEL_BIND => writer.add(&ChannelNumber(random.next_u64() as u16)).add(&peer),
                _ => writer.add(&peer),
            };
            for _ in 0..random.below(3) {
                let length = random.below(40);
                let value = random.blob(length);
                let high = if random.one_in(2) { 0x8000 } else { 0 };
                writer.add_raw(AttributeType(high | random.below(0x40) as u16), &value);
            }
        });
        self.nonce = nonce;
        packet
    }

    /// Integrity that holds for nobody.
    fn wrong_credentials(&mut self, id: [u8; 12]) -> Vec<u8> {
        let nonce = self.nonce.clone();
        let mut packet = signed(Method::REFRESH, id, &nonce, |writer| {
            writer.add(&Lifetime(600));
        });
        if let Some(last) = packet.last_mut() {
            *last ^= 1;
        }
        packet
    }
}

/// In the long run.
pub(crate) const LARGE_ONE_IN: usize = 3000;

/// A peer the server may send to, on this host.
fn peer(random: &mut Random) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, random.next_u64() as u8], random.next_u64() as u16))
}
