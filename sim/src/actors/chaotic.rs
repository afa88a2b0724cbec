//! Chaotic clients: right and wrong requests in any order, attributes missing, malformed or contradictory,
//! credentials of others, retransmissions long after.

use std::net::SocketAddr;

use turnpike_wire::attributes::{
    AdditionalAddressFamily, ChannelNumber, Data, DontFragment, EvenPort, Lifetime, MobilityTicket, Nonce,
    Realm, RequestedAddressFamily, RequestedTransport, ReservationToken, Username, XorPeerAddress,
    XorRelayedAddress,
};
use turnpike_wire::{
    AttributeType, Class, Family, Message, MessageWriter, Method, SecurityFeatures, TransactionId,
    channel_data_header,
};

use super::{Actor, Surroundings, endpoints, keep, some_peer};
use crate::model::{Algorithm, long_term_key, rest_password, user_hash};
use crate::network::Datagram;
use crate::random::Random;
use crate::settings::{SECRETS, USERS};

/// One 5-tuple and what it remembers.
#[derive(Debug)]
pub(crate) struct Chaotic {
    address: SocketAddr,
    server: SocketAddr,
    username: String,
    password: String,
    realm: String,
    nonce: Vec<u8>,
    /// PASSWORD-ALGORITHMS of the last challenge.
    algorithms: Vec<u8>,
    peers: Vec<SocketAddr>,
    sent: Vec<Vec<u8>>,
    allocated: bool,
}

impl Chaotic {
    /// A client that knows nothing yet.
    pub(crate) fn new(surroundings: &mut Surroundings<'_>) -> Self {
        let (address, server) = endpoints(surroundings.random, surroundings.rumours);
        let (username, password) = some_credentials(surroundings);
        Chaotic {
            address,
            server,
            username,
            password,
            realm: String::new(),
            nonce: Vec::new(),
            algorithms: Vec::new(),
            peers: Vec::new(),
            sent: Vec::new(),
            allocated: false,
        }
    }

    fn craft(&mut self, surroundings: &mut Surroundings<'_>) -> Vec<u8> {
        let random = &mut *surroundings.random;
        let wish = if self.allocated { random.below(100) } else { random.below(140) };
        match wish {
            0..=11 => self.send_indication(surroundings),
            12..=29 => self.channel_data(random),
            30..=41 => self.request(surroundings, Method::REFRESH, &mut refresh),
            42..=57 => self.request(surroundings, Method::CREATE_PERMISSION, &mut create_permission),
            58..=77 => self.request(surroundings, Method::CHANNEL_BIND, &mut channel_bind),
            78..=82 => self.request(surroundings, Method::BINDING, &mut |_, _, _| {}),
            83..=85 => {
                let method = Method::new(random.below(16) as u16);
                self.request(surroundings, method, &mut |_, _, _| {})
            }
            86..=88 => self.odd_class(random),
            _ => self.request(surroundings, Method::ALLOCATE, &mut allocate),
        }
    }

    fn request(
        &mut self,
        surroundings: &mut Surroundings<'_>,
        method: Method,
        add: &mut dyn FnMut(&mut MessageWriter<'_>, &mut Surroundings<'_>, &mut Vec<SocketAddr>),
    ) -> Vec<u8> {
        let id = TransactionId(surroundings.random.bytes());
        let mut buffer = [0; 2048];
        let mut writer = MessageWriter::new(&mut buffer, Class::Request, method, id);
        add(&mut writer, surroundings, &mut self.peers);
        let random = &mut *surroundings.random;
        if random.chance(25) {
            let kind = *random.pick(&[0x0003, 0x0024, 0x0025, 0x7FFE, 0x8888, 0x001D, 0x001E]);
            writer.add_raw(AttributeType(kind), b"odd");
        }
        self.authenticate(&mut writer, surroundings);
        if surroundings.random.chance(400) {
            writer.fingerprint();
        }
        writer.finish().expect("a large buffer").to_vec()
    }

    /// Mostly right.
    fn authenticate(&mut self, writer: &mut MessageWriter<'_>, surroundings: &mut Surroundings<'_>) {
        let random = &mut *surroundings.random;
        if self.nonce.is_empty() || random.chance(30) {
            return;
        }
        let (mut username, mut password) = (self.username.clone(), self.password.clone());
        let (mut realm, mut nonce) = (self.realm.clone(), self.nonce.clone());
        match random.below(300) {
            0..=4 => password = "wrong".into(),
            5..=8 => username = "nobody".into(),
            9 => username = "\0ada".into(),
            10..=12 => realm = "elsewhere".into(),
            13..=16 => nonce = random.pick_some(&surroundings.rumours.nonces).cloned().unwrap_or_default(),
            17..=18 => nonce = random.blob(29),
            19..=28 => (username, password) = some_credentials(surroundings),
            29 => username = String::new(),
            _ => {}
        }
        let random = &mut *surroundings.random;
        let left_out = random.below(200);
        // Mostly where it is offered.
        let offered =
            SecurityFeatures::from_nonce(&nonce).is_some_and(|features| features.username_anonymity);
        let hashed = random.chance(if offered { 400 } else { 20 });
        if hashed {
            let mut hash = user_hash(&username, &realm);
            hash.truncate(if random.chance(20) { 31 } else { 32 });
            writer.add_raw(AttributeType::USERHASH, &hash);
        }
        if left_out != 0 && (!hashed || random.chance(20)) {
            writer.add(&Username(username.as_bytes()));
        }
        if left_out != 1 {
            writer.add(&Realm(realm.as_bytes()));
        }
        if left_out != 2 {
            writer.add(&Nonce(&nonce));
        }
        let algorithm = self.choose(writer, random);
        let key = long_term_key(algorithm, &username, &realm, &password);
        match random.below(20) {
            0..=11 => writer.integrity_sha1_with(&key),
            12..=17 => writer.integrity_sha256_with(&key),
            _ => writer.integrity_sha1_with(&key).integrity_sha256_with(&key),
        };
        if random.chance(10) {
            // What follows the integrity must not count.
            writer.add(&Lifetime(0)).add(&Username(b"grace"));
        }
    }

    /// Takes up what was offered, half of it, something else, or nothing; says what is to be signed with.
    fn choose(&self, writer: &mut MessageWriter<'_>, random: &mut Random) -> Algorithm {
        let sha256 = self.algorithms.starts_with(&[0, Algorithm::Sha256 as u8]) && random.chance(700);
        let algorithm = if sha256 { Algorithm::Sha256 } else { Algorithm::Md5 };
        let mut list = self.algorithms.clone();
        let mut choice = vec![0, algorithm as u8, 0, 0];
        let (mut lists, mut chooses) = (true, true);
        match random.below(100) {
            0..=39 => return Algorithm::Md5,
            40 => lists = false,
            41 => chooses = false,
            42 => list = list.iter().rev().copied().collect(),
            43 => list.truncate(4),
            44 => list.extend([0, 3, 0, 0]),
            45 => choice = vec![0, 3, 0, 0],
            46 => choice = vec![0, 2, 0, 1, 0, 0, 0, 0],
            47 => list = random.blob(8),
            48 => choice = random.blob(4),
            _ => {}
        }
        if lists {
            writer.add_raw(AttributeType::PASSWORD_ALGORITHMS, &list);
        }
        if chooses {
            writer.add_raw(AttributeType::PASSWORD_ALGORITHM, &choice);
        }
        if random.chance(20) { Algorithm::Md5 } else { algorithm }
    }

    fn send_indication(&mut self, surroundings: &mut Surroundings<'_>) -> Vec<u8> {
        let mut buffer = [0; 2048];
        let random = &mut *surroundings.random;
        let id = TransactionId(random.bytes());
        let mut writer = MessageWriter::new(&mut buffer, Class::Indication, Method::SEND, id);
        let known = random.pick_some(&self.peers).copied().filter(|_| random.chance(850));
        let peer = known.unwrap_or_else(|| some_peer(random, surroundings.rumours));
        let length = random.below(120) as usize;
        let data = random.blob(length);
        if !random.chance(30) {
            writer.add(&XorPeerAddress(peer));
        }
        if random.chance(100) {
            writer.add(&DontFragment);
        }
        if random.chance(20) {
            writer.add_raw(AttributeType(0x7000), &[]);
        }
        if !random.chance(30) {
            writer.add(&Data(&data));
        }
        if random.chance(300) {
            writer.fingerprint();
        }
        writer.finish().expect("a large buffer").to_vec()
    }

    fn channel_data(&mut self, random: &mut Random) -> Vec<u8> {
        let length = random.below(100) as usize;
        let claimed = if random.chance(30) { length + 1 } else { length };
        let mut bytes = channel_data_header(some_channel(random), claimed as u16).to_vec();
        bytes.extend(random.blob(length));
        if random.chance(100) {
            bytes.extend([0; 3]);
        }
        bytes
    }

    /// Responses and indications where requests belong.
    fn odd_class(&mut self, random: &mut Random) -> Vec<u8> {
        let class = *random.pick(&[Class::Indication, Class::Success, Class::Error]);
        let method = *random.pick(&[Method::BINDING, Method::ALLOCATE, Method::DATA, Method::REFRESH]);
        let mut buffer = [0; 64];
        let writer = MessageWriter::new(&mut buffer, class, method, TransactionId(random.bytes()));
        writer.finish().expect("a large buffer").to_vec()
    }

    fn learn(&mut self, surroundings: &mut Surroundings<'_>, message: &Message<'_>) {
        if let (Ok(Some(Realm(realm))), Ok(Some(Nonce(nonce)))) = (message.get(), message.get()) {
            self.realm = String::from_utf8_lossy(realm).into();
            self.nonce = nonce.to_vec();
            self.algorithms = message.value(AttributeType::PASSWORD_ALGORITHMS).unwrap_or_default().to_vec();
            keep(&mut surroundings.rumours.nonces, nonce.to_vec(), 16);
        }
        if let Ok(Some(ReservationToken(token))) = message.get() {
            keep(&mut surroundings.rumours.tokens, token, 6);
        }
        if let Ok(Some(MobilityTicket(ticket))) = message.get() {
            keep(&mut surroundings.rumours.tickets, ticket.to_vec(), 16);
        }
        if let Ok(Some(XorRelayedAddress(relayed))) = message.get() {
            self.allocated = true;
            keep(&mut surroundings.rumours.relayed, relayed, 24);
        }
        if message.method() == Method::ALLOCATE && message.class() == Class::Error {
            self.allocated = super::error_of(message.bytes()) == Some(437);
        }
    }
}

impl Actor for Chaotic {
    fn wake(&mut self, surroundings: &mut Surroundings<'_>) -> u64 {
        let random = &mut *surroundings.random;
        if random.chance(15) {
            self.address.set_port(random.between(40_000, 40_015) as u16);
            self.allocated = false;
        }
        if random.chance(10) {
            (self.username, self.password) = some_credentials(surroundings);
        }
        let again = surroundings.random.chance(80);
        let bytes = match surroundings.random.pick_some(&self.sent).filter(|_| again) {
            Some(sent) => sent.clone(),
            None => self.craft(surroundings),
        };
        keep(&mut self.sent, bytes.clone(), 8);
        surroundings.send(self.address, self.server, bytes);
        surroundings.pause()
    }

    fn receive(&mut self, surroundings: &mut Surroundings<'_>, datagram: &Datagram) -> bool {
        if datagram.to != self.address || datagram.from != self.server {
            return false;
        }
        if let Ok(message) = Message::parse(&datagram.bytes) {
            self.learn(surroundings, &message);
        }
        true
    }
}

fn allocate(writer: &mut MessageWriter<'_>, surroundings: &mut Surroundings<'_>, _: &mut Vec<SocketAddr>) {
    let random = &mut *surroundings.random;
    match random.below(60) {
        0 => {}
        1 => drop(writer.add(&RequestedTransport(6))),
        2 => drop(writer.add_raw(AttributeType::REQUESTED_TRANSPORT, &[17])),
        _ => drop(writer.add(&RequestedTransport::UDP)),
    }
    match random.below(30) {
        0..=2 => drop(writer.add(&EvenPort { reserve: false })),
        3..=6 => drop(writer.add(&EvenPort { reserve: true })),
        7 => drop(writer.add_raw(AttributeType::EVEN_PORT, &[0x80, 0])),
        8..=11 => {
            let token = random.pick_some(&surroundings.rumours.tokens).copied();
            writer.add(&ReservationToken(token.unwrap_or_default()));
        }
        _ => {}
    }
    match random.below(40) {
        0..=3 => drop(writer.add(&RequestedAddressFamily(Family::Ipv4))),
        4..=9 => drop(writer.add(&RequestedAddressFamily(Family::Ipv6))),
        10 => drop(writer.add_raw(AttributeType::REQUESTED_ADDRESS_FAMILY, &[3, 0, 0, 0])),
        11..=12 | 15..=17 => drop(writer.add(&AdditionalAddressFamily(Family::Ipv6))),
        13 => drop(writer.add(&AdditionalAddressFamily(Family::Ipv4))),
        18 => drop(writer.add_raw(AttributeType(0x8032), &[2, 0, 0, 0])),
        14 => drop(writer.add_raw(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[9, 0, 0, 0])),
        _ => {}
    }
    lifetime(writer, random);
    if random.chance(50) {
        writer.add(&DontFragment);
    }
    match random.below(40) {
        0..=9 => drop(writer.add(&MobilityTicket(b""))),
        10 => drop(writer.add(&MobilityTicket(b"early"))),
        _ => {}
    }
}

fn refresh(writer: &mut MessageWriter<'_>, surroundings: &mut Surroundings<'_>, _: &mut Vec<SocketAddr>) {
    let random = &mut *surroundings.random;
    if random.chance(250) {
        writer.add(&Lifetime(0));
    } else {
        lifetime(writer, random);
    }
    match random.below(20) {
        0..=1 => drop(writer.add(&RequestedAddressFamily(Family::Ipv4))),
        2..=3 => drop(writer.add(&RequestedAddressFamily(Family::Ipv6))),
        4 => drop(writer.add_raw(AttributeType::REQUESTED_ADDRESS_FAMILY, &[7, 0, 0, 0])),
        _ => {}
    }
    if random.chance(350) {
        let mut ticket = random.pick_some(&surroundings.rumours.tickets).cloned().unwrap_or_default();
        if random.chance(50) {
            crate::network::damage(&mut ticket, random);
        }
        writer.add(&MobilityTicket(&ticket));
    }
}

fn lifetime(writer: &mut MessageWriter<'_>, random: &mut Random) {
    match random.below(20) {
        0..=3 => drop(writer.add(&Lifetime(random.below(8000) as u32))),
        4 => drop(writer.add(&Lifetime(u32::MAX))),
        5 => drop(writer.add_raw(AttributeType::LIFETIME, &[0, 0])),
        _ => {}
    }
}

fn create_permission(
    writer: &mut MessageWriter<'_>,
    surroundings: &mut Surroundings<'_>,
    peers: &mut Vec<SocketAddr>,
) {
    let count = *surroundings.random.pick(&[1, 1, 1, 2, 3, 5, 0]);
    for _ in 0..count {
        add_peer(writer, surroundings, peers);
    }
}

fn channel_bind(
    writer: &mut MessageWriter<'_>,
    surroundings: &mut Surroundings<'_>,
    peers: &mut Vec<SocketAddr>,
) {
    let random = &mut *surroundings.random;
    match random.below(40) {
        0 => {}
        1 => drop(writer.add_raw(AttributeType::CHANNEL_NUMBER, &[0x40, 0])),
        2..=3 => drop(writer.add(&ChannelNumber(random.below(65_536) as u16))),
        _ => drop(writer.add(&ChannelNumber(some_channel(random)))),
    }
    add_peer(writer, surroundings, peers);
}

fn add_peer(
    writer: &mut MessageWriter<'_>,
    surroundings: &mut Surroundings<'_>,
    peers: &mut Vec<SocketAddr>,
) {
    let random = &mut *surroundings.random;
    if random.chance(15) {
        writer.add_raw(AttributeType::XOR_PEER_ADDRESS, &[0, 3, 1, 2, 3, 4]);
        return;
    }
    let peer = some_peer(random, surroundings.rumours);
    writer.add(&XorPeerAddress(peer));
    keep(peers, peer, 10);
}

fn some_channel(random: &mut Random) -> u16 {
    if random.chance(50) { 0x5000 } else { 0x4000 + random.below(5) as u16 }
}

/// Static, REST in three shapes, expired, or made with a secret nobody has.
fn some_credentials(surroundings: &mut Surroundings<'_>) -> (String, String) {
    let random = &mut *surroundings.random;
    if random.chance(550) {
        let (name, password) = *random.pick(&USERS);
        return (name.into(), password.into());
    }
    let expiry = surroundings.unix + if random.chance(100) { 5 } else { 7200 }
        - if random.chance(100) { 60 } else { 0 };
    let name = match random.below(5) {
        0..=2 => format!("{expiry}:{}", random.pick(&["x", "y", "y:z", ""])),
        3 => format!("x:{expiry}"),
        _ => expiry.to_string(),
    };
    let secret = if random.chance(100) { "guess" } else { random.pick(&SECRETS) };
    let password = rest_password(secret, &name);
    (name, password)
}
