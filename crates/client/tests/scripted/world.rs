//! A client and its clock, and a server that answers by script.

use std::sync::Arc;
use std::time::Duration;

use turnpike_client::{AllocateOptions, Allocated, Client, ClientConfig, Credentials, Event, Failure};
use turnpike_wire::attributes::{ErrorCode, Lifetime, Nonce, Realm, XorMappedAddress, XorRelayedAddress};
use turnpike_wire::{
    Class, ErrorNumber, LongTermKey, Message, MessageWriter, Method, PasswordDigest, TransactionId,
};

pub(crate) const PEER: &str = "192.0.2.7:4000";
pub(crate) const RELAYED: &str = "203.0.113.1:50000";
pub(crate) const START: Duration = Duration::from_secs(1000);

/// What the server's answer is signed with.
pub(crate) enum Signature {
    None,
    Sha1,
    Sha256,
    WrongKey,
}

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) now: Duration,
}

impl World {
    pub(crate) fn new(change: impl FnOnce(&mut ClientConfig)) -> Self {
        let mut config = ClientConfig {
            credentials: Some(Credentials { username: "ada".into(), password: "lovelace".into() }),
            ..ClientConfig::default()
        };
        change(&mut config);
        World { client: Client::new(Arc::new(config), [7; 16]), now: START }
    }

    pub(crate) fn sent(&mut self) -> Option<Vec<u8>> {
        let mut buffer = [0; 4096];
        let length = self.client.poll_transmit(&mut buffer)?;
        Some(buffer[..length].to_vec())
    }

    /// The one message that is waiting.
    pub(crate) fn expect(&mut self, method: Method) -> Vec<u8> {
        let bytes = self.sent().expect("something to send");
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.class(), message.method()), (Class::Request, method));
        assert_eq!(message.fingerprint_is_valid(), Some(true));
        bytes
    }

    pub(crate) fn answer(
        &mut self,
        request: &[u8],
        class: Class,
        signature: Signature,
        fill: impl FnOnce(&mut MessageWriter<'_>),
    ) -> Option<Event> {
        let request = Message::parse(request).unwrap();
        let response = build(class, request.method(), request.transaction_id(), signature, fill);
        self.client.handle_input(self.now, &response)
    }

    pub(crate) fn challenge(&mut self, request: &[u8], number: ErrorNumber, nonce: &str) -> Option<Event> {
        self.answer(request, Class::Error, Signature::None, |writer| {
            writer
                .add(&ErrorCode { number, reason: "no" })
                .add(&Realm(b"example.org"))
                .add(&Nonce(nonce.as_bytes()));
        })
    }

    /// Goes through the usual two rounds.
    pub(crate) fn allocate(&mut self, options: AllocateOptions) -> Allocated {
        self.client.allocate(self.now, options).unwrap();
        let first = self.expect(Method::ALLOCATE);
        assert_eq!(self.challenge(&first, ErrorNumber::UNAUTHENTICATED, "n1"), None);
        let second = self.expect(Method::ALLOCATE);
        let event = self.answer(&second, Class::Success, Signature::Sha1, grant);
        match event {
            Some(Event::Allocated(allocated)) => *allocated,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn advance_to(&mut self, seconds: f64) {
        self.now = START + Duration::from_secs_f64(seconds);
        self.client.handle_timeout(self.now);
    }
}

pub(crate) fn grant(writer: &mut MessageWriter<'_>) {
    writer
        .add(&XorRelayedAddress(RELAYED.parse().unwrap()))
        .add(&XorMappedAddress("198.51.100.9:1234".parse().unwrap()))
        .add(&Lifetime(600));
}

pub(crate) fn key(digest: PasswordDigest) -> LongTermKey {
    LongTermKey::derive(digest, b"ada", b"example.org", b"lovelace")
}

pub(crate) fn build(
    class: Class,
    method: Method,
    id: TransactionId,
    signature: Signature,
    fill: impl FnOnce(&mut MessageWriter<'_>),
) -> Vec<u8> {
    let mut buffer = [0; 2048];
    let mut writer = MessageWriter::new(&mut buffer, class, method, id);
    fill(&mut writer);
    match signature {
        Signature::None => {}
        Signature::Sha1 => _ = writer.integrity_sha1(&key(PasswordDigest::Md5)),
        Signature::Sha256 => _ = writer.integrity_sha256_with(key(PasswordDigest::Sha256).bytes()),
        Signature::WrongKey => _ = writer.integrity_sha1_with(b"guess"),
    }
    writer.fingerprint();
    writer.finish().unwrap().to_vec()
}

pub(crate) fn failure(event: Option<Event>) -> Failure {
    match event {
        Some(Event::Failed { failure, .. }) => failure,
        other => panic!("{other:?}"),
    }
}
