//! RFC 7635: third-party authorisation. [`Bearer`] is a client that has got a token from its authorisation server.

mod section_6;
mod section_7;
mod section_9;

use turnpike_turn::{Credentials, MacKey, OAuthKey, OAuthKeys, Token, TokenCipher, TokenKey};
use turnpike_wire::attributes::{Lifetime, Nonce, Realm, RequestedTransport, Username};
use turnpike_wire::{AttributeType, Class, Integrity, MessageWriter, Method};

use crate::harness::{Caller, Outcome, Setup, World, message};

/// A client with a token.
#[derive(Clone)]
struct Bearer {
    caller: Caller,
    kid: String,
    /// The value of ACCESS-TOKEN; empty for a request without it.
    token: Vec<u8>,
    mac_key: Vec<u8>,
    /// Whether it signs with MESSAGE-INTEGRITY-SHA256.
    sha256: bool,
}

impl Bearer {
    /// With a fresh token of the key `north`, good for this many seconds.
    fn new(world: &World, lifetime: u32) -> Self {
        let caller = Caller::new("203.0.113.1:4000");
        let bearer =
            Bearer { caller, kid: "north".into(), token: Vec::new(), mac_key: vec![7; 20], sha256: false };
        bearer.with_token_of(world.now.unix.0, lifetime)
    }

    /// With a token made in this second, for the key it has.
    fn with_token_of(mut self, made: u64, lifetime: u32) -> Self {
        self.token = sealed(&north(), &self.mac_key, made, lifetime, SERVER);
        self
    }

    /// With another token and another key in it, made now.
    fn renew(&mut self, world: &World, lifetime: u32) {
        self.mac_key.iter_mut().for_each(|byte| *byte ^= 0x55);
        self.token = sealed(&north(), &self.mac_key, world.now.unix.0, lifetime, SERVER);
    }

    /// Without a token, but with its key.
    fn without_token(&self) -> Self {
        Bearer { token: Vec::new(), ..self.clone() }
    }

    /// Sends a request, with a fresh nonce if need be. The response's integrity is checked.
    #[track_caller]
    fn request(
        &mut self,
        world: &mut World,
        method: Method,
        build: impl Fn(&mut MessageWriter<'_>),
    ) -> Outcome {
        if self.caller.nonce.is_empty() {
            self.caller.fetch_nonce(world);
        }
        let mut outcome = self.request_once(world, method, &build);
        if let Outcome::Reply(reply) = &outcome
            && reply.number() == Some(438)
        {
            self.caller.take_nonce(reply);
            outcome = self.request_once(world, method, build);
        }
        outcome
    }

    #[track_caller]
    fn request_once(
        &self,
        world: &mut World,
        method: Method,
        build: impl Fn(&mut MessageWriter<'_>),
    ) -> Outcome {
        let id = world.transaction();
        let packet = message(Class::Request, method, id, |writer| {
            build(writer);
            writer.add(&Username(self.kid.as_bytes()));
            self.sign(writer);
        });
        let outcome = world.receive(self.caller.client, &packet);
        if let Outcome::Reply(reply) = &outcome {
            let challenged = matches!(reply.number(), Some(401 | 438));
            let expected = match (challenged, self.sha256) {
                (true, _) => Integrity::None,
                (false, true) => Integrity::Sha256,
                (false, false) => Integrity::Sha1,
            };
            assert_eq!(reply.message().integrity(), expected, "error {:?}", reply.number());
            assert!(
                challenged || reply.message().verify_integrity(&self.mac_key).is_ok(),
                "signed with our key"
            );
        }
        outcome
    }

    /// Adds realm, nonce, token and integrity.
    fn sign(&self, writer: &mut MessageWriter<'_>) {
        writer.add(&Realm(self.caller.realm.as_bytes())).add(&Nonce(&self.caller.nonce));
        if !self.token.is_empty() {
            writer.add_raw(AttributeType::ACCESS_TOKEN, &self.token);
        }
        match self.sha256 {
            true => writer.integrity_sha256_with(&self.mac_key),
            false => writer.integrity_sha1_with(&self.mac_key),
        };
    }

    #[track_caller]
    fn allocate(&mut self, world: &mut World) -> Outcome {
        self.request(world, Method::ALLOCATE, |writer| {
            writer.add(&RequestedTransport::UDP);
        })
    }

    /// Asks for this many seconds more.
    #[track_caller]
    fn refresh(&mut self, world: &mut World, seconds: u32) -> Outcome {
        self.request(world, Method::REFRESH, |writer| {
            writer.add(&Lifetime(seconds));
        })
    }
}

/// A server that knows alice, a REST secret and the keys `north` and `union`.
fn setup() -> Setup {
    let mut credentials = crate::harness::credentials();
    credentials.add_secret(b"secret");
    credentials.set_oauth(keys());
    Setup::with_credentials(credentials)
}

/// One that knows the keys alone.
fn bearers_alone() -> Setup {
    let mut credentials = Credentials::new("example.org");
    credentials.set_oauth(keys());
    Setup::with_credentials(credentials)
}

/// `north` for A256GCM, `union` for A128GCM in a realm of its own.
fn keys() -> OAuthKeys {
    let mut keys = OAuthKeys::new(SERVER);
    keys.insert("north", OAuthKey { key: north(), timestamp: 0, lifetime: 0, realm: None });
    let realm = Some("north.gov".into());
    keys.insert("union", OAuthKey { key: union(), timestamp: 0, lifetime: 0, realm });
    keys
}

fn north() -> TokenKey {
    TokenKey::new(TokenCipher::A256Gcm, &[0x11; 32]).expect("32 bytes")
}

fn union() -> TokenKey {
    TokenKey::new(TokenCipher::A128Gcm, &[0x22; 16]).expect("16 bytes")
}

/// The value of ACCESS-TOKEN.
fn sealed(key: &TokenKey, mac_key: &[u8], made: u64, lifetime: u32, server: &str) -> Vec<u8> {
    let mac_key = MacKey::new(mac_key).expect("a key");
    key.seal(&Token { mac_key, timestamp: made << 16, lifetime }, &[0x33; 12], server.as_bytes())
}

const SERVER: &str = "turn.example.org";
