//! A client that knows its credentials.

use std::net::SocketAddr;

use turnpike_turn::{Client, FiveTuple, Link, Transport};
use turnpike_wire::attributes::{
    ChannelNumber, Data, Lifetime, Nonce, PasswordAlgorithm, Realm, RequestedAddressFamily,
    RequestedTransport, UserHash, Username, XorPeerAddress, XorRelayedAddress,
};
use turnpike_wire::{
    AttributeType, Class, Family, Integrity, LongTermKey, MessageWriter, Method, PasswordDigest,
    TransactionId,
};

use super::{LISTENER, LISTENER_V6, Outcome, Reply, World, address, channel_data, indication, message};

#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) client: Client,
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) realm: String,
    pub(crate) nonce: Vec<u8>,
    /// Whether it sends FINGERPRINT.
    pub(crate) fingerprint: bool,
    /// Whether it signs with MESSAGE-INTEGRITY-SHA256.
    pub(crate) sha256: bool,
    /// The password algorithm it chooses; `None` for a client that knows none.
    pub(crate) algorithm: Option<PasswordDigest>,
    /// PASSWORD-ALGORITHMS as the last challenge had it.
    pub(crate) algorithms: Vec<u8>,
    /// Whether it sends USERHASH in place of USERNAME.
    pub(crate) hashed: bool,
    /// Whether it signs at all.
    pub(crate) signs: bool,
}

impl Caller {
    /// alice, calling from this address.
    pub(crate) fn new(from: &str) -> Self {
        let client = address(from);
        let server = address(if client.is_ipv4() { LISTENER } else { LISTENER_V6 });
        let tuple = FiveTuple { transport: Transport::Udp, server, client };
        Caller {
            client: Client { link: Link(1), tuple },
            username: "alice".into(),
            password: "wonderland".into(),
            realm: "example.org".into(),
            nonce: Vec::new(),
            fingerprint: false,
            sha256: false,
            algorithm: None,
            algorithms: Vec::new(),
            hashed: false,
            signs: true,
        }
    }

    pub(crate) fn named(mut self, username: &str, password: &str) -> Self {
        (self.username, self.password) = (username.into(), password.into());
        self
    }

    pub(crate) fn with_fingerprint(mut self) -> Self {
        self.fingerprint = true;
        self
    }

    /// As a client of RFC 8489 that chooses this algorithm.
    pub(crate) fn choosing(mut self, algorithm: PasswordDigest) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    /// Without credentials.
    pub(crate) fn anonymous(mut self) -> Self {
        self.signs = false;
        self
    }

    pub(crate) fn key(&self) -> LongTermKey {
        let [username, realm, password] =
            [&self.username, &self.realm, &self.password].map(|it| it.as_bytes());
        LongTermKey::derive(self.algorithm.unwrap_or(PasswordDigest::Md5), username, realm, password)
    }

    /// A request with credentials and integrity.
    pub(crate) fn signed(
        &self,
        id: TransactionId,
        method: Method,
        build: impl FnOnce(&mut MessageWriter<'_>),
    ) -> Vec<u8> {
        message(Class::Request, method, id, |writer| {
            build(writer);
            if self.signs {
                self.sign(writer);
            }
            if self.fingerprint {
                writer.fingerprint();
            }
        })
    }

    /// Adds credentials and integrity.
    pub(crate) fn sign(&self, writer: &mut MessageWriter<'_>) {
        self.name(writer);
        if self.answered_with() == Integrity::Sha256 {
            writer.integrity_sha256_with(self.key().bytes());
        } else {
            writer.integrity_sha1(&self.key());
        }
    }

    /// Adds credentials without integrity.
    pub(crate) fn name(&self, writer: &mut MessageWriter<'_>) {
        if self.hashed {
            writer.add(&UserHash::of(self.username.as_bytes(), self.realm.as_bytes()));
        } else {
            writer.add(&Username(self.username.as_bytes()));
        }
        writer.add(&Realm(self.realm.as_bytes())).add(&Nonce(&self.nonce));
        if let Some(algorithm) = self.algorithm {
            let algorithm = match algorithm {
                PasswordDigest::Md5 => PasswordAlgorithm::MD5,
                PasswordDigest::Sha256 => PasswordAlgorithm::SHA256,
            };
            writer
                .add_raw(AttributeType::PASSWORD_ALGORITHMS, &self.algorithms)
                .add(&PasswordAlgorithm { algorithm, parameters: &[] });
        }
    }

    /// Which integrity it sends and is to be answered with.
    fn answered_with(&self) -> Integrity {
        if self.sha256 || self.algorithm.is_some() { Integrity::Sha256 } else { Integrity::Sha1 }
    }

    /// Asks without credentials, and keeps the nonce of the challenge.
    #[track_caller]
    pub(crate) fn fetch_nonce(&mut self, world: &mut World) {
        let id = world.transaction();
        let bare = message(Class::Request, Method::ALLOCATE, id, |_| {});
        self.take_nonce(&world.receive(self.client, &bare).expect_error(401));
    }

    /// Sends a request as a client does: with a nonce, and again when the nonce is stale. The response's
    /// integrity is checked.
    #[track_caller]
    pub(crate) fn request(
        &mut self,
        world: &mut World,
        method: Method,
        build: impl Fn(&mut MessageWriter<'_>),
    ) -> Outcome {
        if self.nonce.is_empty() && self.signs {
            self.fetch_nonce(world);
        }
        let id = world.transaction();
        let outcome = self.request_as(world, id, method, &build);
        match outcome {
            Outcome::Reply(reply) if reply.number() == Some(438) => {
                // As browsers do, and so a name may lead to another realm.
                let Realm(realm) = reply.expect();
                self.realm = String::from_utf8_lossy(realm).into_owned();
                self.take_nonce(&reply);
                let id = world.transaction();
                self.request_as(world, id, method, build)
            }
            outcome => outcome,
        }
    }

    /// Sends one request under this transaction id.
    #[track_caller]
    pub(crate) fn request_as(
        &self,
        world: &mut World,
        id: TransactionId,
        method: Method,
        build: impl Fn(&mut MessageWriter<'_>),
    ) -> Outcome {
        let packet = self.signed(id, method, build);
        let outcome = world.receive(self.client, &packet);
        if let Outcome::Reply(reply) = &outcome {
            assert_eq!(reply.to, self.client, "RFC 8489 §6.3.1: back to where it came from");
            assert_eq!(reply.message().transaction_id(), id);
            assert_eq!(reply.message().method(), method);
            self.check_integrity(reply);
        }
        outcome
    }

    /// RFC 8489 §9.2.4: everything but a challenge is signed, with neither REALM, NONCE nor USERNAME.
    #[track_caller]
    pub(crate) fn check_integrity(&self, reply: &Reply) {
        let message = reply.message();
        if !self.signs || matches!(reply.number(), Some(401 | 438)) {
            assert_eq!(message.integrity(), Integrity::None);
            return;
        }
        assert_eq!(message.integrity(), self.answered_with(), "error {:?}", reply.number());
        assert_eq!(message.has_sha1(), message.integrity() == Integrity::Sha1, "one of the two alone");
        assert_eq!(message.verify_integrity(self.key().bytes()), Ok(()), "the response's integrity");
        for kind in [AttributeType::USERNAME, AttributeType::REALM, AttributeType::NONCE] {
            assert!(!message.has(kind), "{kind:?}");
        }
    }

    #[track_caller]
    pub(crate) fn take_nonce(&mut self, reply: &Reply) {
        let Nonce(nonce) = reply.expect();
        self.nonce = nonce.to_vec();
        let algorithms = reply.message().value(AttributeType::PASSWORD_ALGORITHMS);
        self.algorithms = algorithms.unwrap_or_default().to_vec();
    }

    /// Allocates, and returns the relayed transport address.
    #[track_caller]
    pub(crate) fn allocate(&mut self, world: &mut World) -> SocketAddr {
        let XorRelayedAddress(relayed) = self.allocate_with(world, |_| {}).expect_success().expect();
        relayed
    }

    /// Likewise with an IPv6 relayed address.
    #[track_caller]
    pub(crate) fn allocate_v6(&mut self, world: &mut World) -> SocketAddr {
        let build = |writer: &mut MessageWriter<'_>| {
            writer.add(&RequestedAddressFamily(Family::Ipv6));
        };
        let XorRelayedAddress(relayed) = self.allocate_with(world, build).expect_success().expect();
        relayed
    }

    /// An Allocate for UDP with further attributes.
    #[track_caller]
    pub(crate) fn allocate_with(
        &mut self,
        world: &mut World,
        build: impl Fn(&mut MessageWriter<'_>),
    ) -> Outcome {
        self.request(world, Method::ALLOCATE, |writer| {
            writer.add(&RequestedTransport::UDP);
            build(writer);
        })
    }

    #[track_caller]
    pub(crate) fn refresh(&mut self, world: &mut World, seconds: u32) -> Outcome {
        self.request(world, Method::REFRESH, |writer| {
            writer.add(&Lifetime(seconds));
        })
    }

    #[track_caller]
    pub(crate) fn permit(&mut self, world: &mut World, peers: &[&str]) -> Outcome {
        self.request(world, Method::CREATE_PERMISSION, |writer| {
            for peer in peers {
                writer.add(&XorPeerAddress(address(peer)));
            }
        })
    }

    #[track_caller]
    pub(crate) fn bind(&mut self, world: &mut World, number: u16, peer: &str) -> Outcome {
        self.request(world, Method::CHANNEL_BIND, |writer| {
            writer.add(&ChannelNumber(number)).add(&XorPeerAddress(address(peer)));
        })
    }

    /// A Send indication.
    pub(crate) fn send(&self, world: &mut World, peer: &str, data: &[u8]) -> Outcome {
        let packet = indication(Method::SEND, |writer| {
            writer.add(&XorPeerAddress(address(peer))).add(&Data(data));
        });
        world.receive(self.client, &packet)
    }

    /// ChannelData.
    pub(crate) fn send_on(&self, world: &mut World, number: u16, data: &[u8]) -> Outcome {
        world.receive(self.client, &channel_data(number, data))
    }
}
