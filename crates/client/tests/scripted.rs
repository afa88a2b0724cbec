//! A client against a server that answers by script, byte for byte: no sockets, a clock made of numbers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use turnpike_client::{
    AllocateOptions, Allocated, BindingOptions, Client, ClientConfig, Credentials, DiscardReason, Event,
    Failure, Port, Transport,
};
use turnpike_wire::attributes::{
    AlternateServer, ChannelNumber, Data, ErrorCode, Lifetime, Nonce, Realm, RequestedTransport,
    ReservationToken, Username, XorMappedAddress, XorPeerAddress, XorRelayedAddress,
};
use turnpike_wire::{
    AttributeType, Class, ErrorNumber, Integrity, LongTermKey, Message, MessageWriter, Method,
    PasswordDigest, TransactionId,
};

const PEER: &str = "192.0.2.7:4000";
const RELAYED: &str = "203.0.113.1:50000";
const START: Duration = Duration::from_secs(1000);

/// What the server's answer is signed with.
enum Signature {
    None,
    Sha1,
    WrongKey,
}

struct World {
    client: Client,
    now: Duration,
}

impl World {
    fn new(change: impl FnOnce(&mut ClientConfig)) -> Self {
        let mut config = ClientConfig {
            credentials: Some(Credentials { username: "ada".into(), password: "lovelace".into() }),
            ..ClientConfig::default()
        };
        change(&mut config);
        World { client: Client::new(Arc::new(config), [7; 16]), now: START }
    }

    fn sent(&mut self) -> Option<Vec<u8>> {
        let mut buffer = [0; 4096];
        let length = self.client.poll_transmit(&mut buffer)?;
        Some(buffer[..length].to_vec())
    }

    /// The one message that is waiting.
    fn expect(&mut self, method: Method) -> Vec<u8> {
        let bytes = self.sent().expect("something to send");
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.class(), message.method()), (Class::Request, method));
        assert_eq!(message.fingerprint_is_valid(), Some(true));
        bytes
    }

    fn answer(
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

    fn challenge(&mut self, request: &[u8], number: ErrorNumber, nonce: &str) -> Option<Event> {
        self.answer(request, Class::Error, Signature::None, |writer| {
            writer
                .add(&ErrorCode { number, reason: "no" })
                .add(&Realm(b"example.org"))
                .add(&Nonce(nonce.as_bytes()));
        })
    }

    /// Goes through the usual two rounds.
    fn allocate(&mut self, options: AllocateOptions) -> Allocated {
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

    fn advance_to(&mut self, seconds: f64) {
        self.now = START + Duration::from_secs_f64(seconds);
        self.client.handle_timeout(self.now);
    }
}

fn grant(writer: &mut MessageWriter<'_>) {
    writer
        .add(&XorRelayedAddress(RELAYED.parse().unwrap()))
        .add(&XorMappedAddress("198.51.100.9:1234".parse().unwrap()))
        .add(&Lifetime(600));
}

fn key(digest: PasswordDigest) -> LongTermKey {
    LongTermKey::derive(digest, b"ada", b"example.org", b"lovelace")
}

fn build(
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
        Signature::WrongKey => _ = writer.integrity_sha1_with(b"guess"),
    }
    writer.fingerprint();
    writer.finish().unwrap().to_vec()
}

fn failure(event: Option<Event>) -> Failure {
    match event {
        Some(Event::Failed { failure, .. }) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_challenge_is_answered_with_a_signed_request_of_a_new_transaction() {
    let mut world = World::new(|_| {});
    let asked = world.client.allocate(world.now, AllocateOptions::default()).unwrap();
    let first = world.expect(Method::ALLOCATE);
    let first = Message::parse(&first).unwrap();
    assert_eq!(first.integrity(), Integrity::None);
    assert_eq!(first.get::<RequestedTransport>(), Ok(Some(RequestedTransport::UDP)));

    assert_eq!(world.challenge(first.bytes(), ErrorNumber::UNAUTHENTICATED, "n1"), None);
    let second = world.expect(Method::ALLOCATE);
    let second = Message::parse(&second).unwrap();
    assert_ne!(second.transaction_id(), first.transaction_id());
    assert_eq!(second.get::<Username<'_>>(), Ok(Some(Username(b"ada"))));
    assert_eq!(second.get::<Nonce<'_>>(), Ok(Some(Nonce(b"n1"))));
    second.verify_integrity(key(PasswordDigest::Md5).bytes()).unwrap();

    let event = world.answer(second.bytes(), Class::Success, Signature::Sha1, grant);
    let Some(Event::Allocated(allocated)) = event else { panic!("{event:?}") };
    assert_eq!(allocated.request, asked);
    assert_eq!(allocated.relayed, RELAYED.parse::<SocketAddr>().unwrap());
    assert_eq!(allocated.lifetime, 600);
    assert_eq!(world.client.relayed(), Some(allocated.relayed));
    assert_eq!(world.client.requests_under_way(), 0);
}

#[test]
fn a_known_nonce_saves_the_next_request_its_challenge() {
    let mut world = World::new(|_| {});
    world.allocate(AllocateOptions::default());
    world.client.create_permission(world.now, &["192.0.2.7".parse().unwrap()]).unwrap();
    let request = world.expect(Method::CREATE_PERMISSION);
    Message::parse(&request).unwrap().verify_integrity(key(PasswordDigest::Md5).bytes()).unwrap();
    let event = world.answer(&request, Class::Success, Signature::Sha1, |_| {});
    assert!(matches!(event, Some(Event::PermissionsCreated { .. })));
}

#[test]
fn a_stale_nonce_is_replaced_a_few_times_and_then_reported() {
    let mut world = World::new(|_| {});
    world.allocate(AllocateOptions::default());
    world.client.refresh(world.now, None, None).unwrap();
    for nonce in ["n2", "n3", "n4"] {
        let request = world.expect(Method::REFRESH);
        assert_eq!(world.challenge(&request, ErrorNumber::STALE_NONCE, nonce), None);
    }
    let request = world.expect(Method::REFRESH);
    let parsed = Message::parse(&request).unwrap();
    assert_eq!(parsed.get::<Nonce<'_>>(), Ok(Some(Nonce(b"n4"))));
    let event = world.challenge(&request, ErrorNumber::STALE_NONCE, "n5");
    assert!(matches!(failure(event), Failure::Refused { number: ErrorNumber::STALE_NONCE, .. }));
}

#[test]
fn rejected_credentials_are_not_tried_again() {
    let mut world = World::new(|_| {});
    world.client.allocate(world.now, AllocateOptions::default()).unwrap();
    let first = world.expect(Method::ALLOCATE);
    assert_eq!(world.challenge(&first, ErrorNumber::UNAUTHENTICATED, "n1"), None);
    let second = world.expect(Method::ALLOCATE);
    let event = world.challenge(&second, ErrorNumber::UNAUTHENTICATED, "n2");
    assert_eq!(failure(event), Failure::CredentialsRejected { realm: "example.org".into() });
    assert_eq!(world.sent(), None);
}

#[test]
fn a_challenge_without_credentials_to_answer_it_fails_by_name() {
    let mut world = World::new(|config| config.credentials = None);
    world.client.allocate(world.now, AllocateOptions::default()).unwrap();
    let first = world.expect(Method::ALLOCATE);
    let event = world.challenge(&first, ErrorNumber::UNAUTHENTICATED, "n1");
    assert_eq!(failure(event), Failure::NoCredentials { realm: "example.org".into() });
}

#[test]
fn an_answer_that_is_not_from_the_server_leaves_the_request_waiting() {
    let mut world = World::new(|_| {});
    world.allocate(AllocateOptions::default());
    world.client.refresh(world.now, None, None).unwrap();
    let request = world.expect(Method::REFRESH);
    let lifetime = |writer: &mut MessageWriter<'_>| _ = writer.add(&Lifetime(0));
    let refused = |writer: &mut MessageWriter<'_>| {
        writer.add(&ErrorCode { number: ErrorNumber::ALLOCATION_MISMATCH, reason: "" });
    };
    let unprotected = Some(Event::Discarded(DiscardReason::Unprotected));
    assert_eq!(world.answer(&request, Class::Success, Signature::None, lifetime), unprotected);
    assert_eq!(world.answer(&request, Class::Error, Signature::None, refused), unprotected);
    let forged = Some(Event::Discarded(DiscardReason::BadIntegrity));
    assert_eq!(world.answer(&request, Class::Success, Signature::WrongKey, lifetime), forged);
    assert_eq!(world.client.requests_under_way(), 1);
    assert!(world.client.relayed().is_some());

    let event = world.answer(&request, Class::Success, Signature::Sha1, |writer| {
        writer.add(&Lifetime(1200));
    });
    assert!(matches!(event, Some(Event::Refreshed { lifetime: 1200, .. })));
    let again = world.answer(&request, Class::Success, Signature::Sha1, |_| {});
    assert_eq!(again, Some(Event::Discarded(DiscardReason::UnknownTransaction)));
}

#[test]
fn an_unanswered_request_is_sent_seven_times_over_datagrams_and_given_up() {
    let mut world = World::new(|_| {});
    world.client.binding(world.now, BindingOptions::default()).unwrap();
    let mut times = Vec::new();
    let mut first = None;
    let event = loop {
        if let Some(bytes) = world.sent() {
            times.push((world.now - START).as_millis());
            assert_eq!(*first.get_or_insert_with(|| bytes.clone()), bytes);
        }
        if let Some(event) = world.client.poll_event() {
            break event;
        }
        world.now = world.client.poll_timeout().expect("a timer while a request waits");
        world.client.handle_timeout(world.now);
    };
    assert_eq!(times, [0, 500, 1500, 3500, 7500, 15500, 31500]);
    assert_eq!((world.now - START).as_millis(), 39_500);
    assert_eq!(failure(Some(event)), Failure::TimedOut);
    assert_eq!(world.client.poll_timeout(), None);
}

#[test]
fn a_stream_carries_each_request_once() {
    let mut world = World::new(|config| config.transport = Transport::Stream);
    world.client.binding(world.now, BindingOptions::default()).unwrap();
    assert!(world.sent().is_some());
    world.now = world.client.poll_timeout().unwrap();
    assert_eq!((world.now - START).as_millis(), 39_500);
    world.client.handle_timeout(world.now);
    assert_eq!(world.sent(), None);
    assert_eq!(failure(world.client.poll_event()), Failure::TimedOut);
}

#[test]
fn data_arrives_as_a_range_of_the_input() {
    let mut world = World::new(|_| {});
    world.allocate(AllocateOptions::default());
    let peer: SocketAddr = PEER.parse().unwrap();
    let early = [0x40, 0x01, 0, 2, 8, 9];
    let unknown = Some(Event::Discarded(DiscardReason::UnknownChannel));
    assert_eq!(world.client.handle_input(world.now, &early), unknown);

    world.client.bind_channel(world.now, 0x4001, peer).unwrap();
    let request = world.expect(Method::CHANNEL_BIND);
    let parsed = Message::parse(&request).unwrap();
    assert_eq!(parsed.get::<ChannelNumber>(), Ok(Some(ChannelNumber(0x4001))));
    assert_eq!(parsed.get::<XorPeerAddress>(), Ok(Some(XorPeerAddress(peer))));
    let data = Some(Event::Data { peer, channel: Some(0x4001), span: 4..6 });
    // The server may relay before its answer to ChannelBind arrives.
    assert_eq!(world.client.handle_input(world.now, &early), data);
    world.answer(&request, Class::Success, Signature::Sha1, |_| {});
    assert_eq!(world.client.handle_input(world.now, &early), data);

    let id = TransactionId([3; 12]);
    let indication = build(Class::Indication, Method::DATA, id, Signature::None, |writer| {
        writer.add(&XorPeerAddress(peer)).add(&Data(b"hello"));
    });
    let event = world.client.handle_input(world.now, &indication);
    let Some(Event::Data { peer: from, channel: None, span }) = event else { panic!("{event:?}") };
    assert_eq!((from, &indication[span]), (peer, b"hello".as_slice()));

    let lying = [0x40, 0x01, 0, 9, 1];
    let bad = Some(Event::Discarded(DiscardReason::BadChannelData));
    assert_eq!(world.client.handle_input(world.now, &lying), bad);
}

#[test]
fn channel_data_is_padded_on_streams_only() {
    let mut buffer = [0xFF; 64];
    let datagram = World::new(|_| {});
    assert_eq!(datagram.client.write_channel_data(0x4000, b"hello", &mut buffer), Ok(9));
    assert_eq!(buffer[..9], [0x40, 0, 0, 5, b'h', b'e', b'l', b'l', b'o']);
    let stream = World::new(|config| config.transport = Transport::Stream);
    assert_eq!(stream.client.write_channel_data(0x4000, b"hello", &mut buffer), Ok(12));
    assert_eq!(buffer[9..12], [0, 0, 0]);
    assert!(stream.client.write_channel_data(0x4000, &[0; 62], &mut buffer).is_err());
}

#[test]
fn send_indications_name_the_peer_and_carry_the_data() {
    let mut world = World::new(|_| {});
    let mut buffer = [0; 256];
    let peer: SocketAddr = "[2001:db8::7]:9".parse().unwrap();
    let length = world.client.write_send_indication(peer, b"hi", &mut buffer).unwrap();
    let message = Message::parse(&buffer[..length]).unwrap();
    assert_eq!((message.class(), message.method()), (Class::Indication, Method::SEND));
    assert_eq!(message.get::<XorPeerAddress>(), Ok(Some(XorPeerAddress(peer))));
    assert_eq!(message.get::<Data<'_>>(), Ok(Some(Data(b"hi"))));
}

#[test]
fn everything_the_server_holds_is_refreshed_before_it_ends() {
    let mut world = World::new(|_| {});
    world.allocate(AllocateOptions::default());
    world.client.create_permission(world.now, &["192.0.2.8".parse().unwrap()]).unwrap();
    let request = world.expect(Method::CREATE_PERMISSION);
    world.answer(&request, Class::Success, Signature::Sha1, |_| {});
    world.client.bind_channel(world.now, 0x4000, PEER.parse().unwrap()).unwrap();
    let request = world.expect(Method::CHANNEL_BIND);
    world.answer(&request, Class::Success, Signature::Sha1, |_| {});

    world.advance_to(239.0);
    assert_eq!(world.sent(), None);
    world.advance_to(240.0);
    let permission = world.expect(Method::CREATE_PERMISSION);
    let channel = world.expect(Method::CHANNEL_BIND);
    assert_eq!(world.sent(), None);
    world.answer(&permission, Class::Success, Signature::Sha1, |_| {});
    world.answer(&channel, Class::Success, Signature::Sha1, |_| {});

    world.advance_to(480.0);
    for method in [Method::CREATE_PERMISSION, Method::CHANNEL_BIND] {
        let request = world.expect(method);
        world.answer(&request, Class::Success, Signature::Sha1, |_| {});
    }
    world.advance_to(540.0);
    let refresh = world.expect(Method::REFRESH);
    assert_eq!(Message::parse(&refresh).unwrap().get::<Lifetime>(), Ok(None));
    let event = world.answer(&refresh, Class::Success, Signature::Sha1, |writer| {
        writer.add(&Lifetime(600));
    });
    assert!(matches!(event, Some(Event::Refreshed { lifetime: 600, .. })));
    assert!(world.client.relayed().is_some());
}

#[test]
fn without_keep_alive_the_allocation_ends_when_its_time_is_up() {
    let mut world = World::new(|config| config.keep_alive = false);
    world.allocate(AllocateOptions::default());
    assert_eq!(world.client.poll_timeout(), Some(START + Duration::from_secs(600)));
    world.advance_to(599.9);
    assert_eq!((world.sent(), world.client.poll_event()), (None, None));
    world.advance_to(600.0);
    assert_eq!(world.client.poll_event(), Some(Event::Expired));
    assert_eq!(world.client.relayed(), None);
}

#[test]
fn deleting_what_the_server_has_forgotten_succeeds() {
    let mut world = World::new(|_| {});
    world.allocate(AllocateOptions::default());
    world.client.delete(world.now).unwrap();
    let request = world.expect(Method::REFRESH);
    assert_eq!(Message::parse(&request).unwrap().get::<Lifetime>(), Ok(Some(Lifetime(0))));
    let event = world.answer(&request, Class::Error, Signature::Sha1, |writer| {
        writer.add(&ErrorCode { number: ErrorNumber::ALLOCATION_MISMATCH, reason: "" });
    });
    assert!(matches!(event, Some(Event::Deleted { .. })));
    assert_eq!(world.client.relayed(), None);
}

#[test]
fn an_alternate_server_is_reported_with_whether_it_can_be_trusted() {
    let elsewhere: SocketAddr = "198.51.100.5:3478".parse().unwrap();
    let redirect = |writer: &mut MessageWriter<'_>| {
        writer
            .add(&ErrorCode { number: ErrorNumber::TRY_ALTERNATE, reason: "" })
            .add(&AlternateServer(elsewhere));
    };
    let mut world = World::new(|_| {});
    world.client.allocate(world.now, AllocateOptions::default()).unwrap();
    let first = world.expect(Method::ALLOCATE);
    let event = world.answer(&first, Class::Error, Signature::None, redirect);
    let expected = Failure::TryAlternate { server: elsewhere, authenticated: false, domain: None };
    assert_eq!(failure(event), expected);

    world.allocate(AllocateOptions::default());
    world.client.refresh(world.now, None, None).unwrap();
    let request = world.expect(Method::REFRESH);
    let event = world.answer(&request, Class::Error, Signature::Sha1, redirect);
    let expected = Failure::TryAlternate { server: elsewhere, authenticated: true, domain: None };
    assert_eq!(failure(event), expected);
}

#[test]
fn a_reserved_port_is_claimed_by_its_token() {
    let mut world = World::new(|_| {});
    let token = ReservationToken(*b"8 bytes.");
    world
        .client
        .allocate(world.now, AllocateOptions { port: Port::Reserved(token), ..Default::default() })
        .unwrap();
    let request = world.expect(Method::ALLOCATE);
    let parsed = Message::parse(&request).unwrap();
    assert_eq!(parsed.get(), Ok(Some(token)));
    assert!(!parsed.has(AttributeType::EVEN_PORT));
    let event = world.answer(&request, Class::Success, Signature::None, |writer| {
        grant(writer);
        writer.add(&ReservationToken(*b"another."));
    });
    let Some(Event::Allocated(allocated)) = event else { panic!("{event:?}") };
    assert_eq!(allocated.reservation, Some(ReservationToken(*b"another.")));
}

#[test]
fn refusals_carry_the_servers_words() {
    let mut world = World::new(|_| {});
    world.client.allocate(world.now, AllocateOptions { dont_fragment: true, ..Default::default() }).unwrap();
    let request = world.expect(Method::ALLOCATE);
    let event = world.answer(&request, Class::Error, Signature::None, |writer| {
        writer
            .add(&ErrorCode { number: ErrorNumber::UNKNOWN_ATTRIBUTE, reason: "Unknown Attribute  " })
            .add_raw(AttributeType::UNKNOWN_ATTRIBUTES, &[0x00, 0x1A]);
    });
    let failure = failure(event);
    assert_eq!(failure.to_string(), "error 420 (Unknown Attribute)");
    let Failure::Refused { unknown_attributes, .. } = failure else { panic!() };
    assert_eq!(*unknown_attributes, [AttributeType::DONT_FRAGMENT]);
}

#[test]
fn damaged_input_is_dropped_with_a_reason_and_never_panics() {
    let mut world = World::new(|_| {});
    world.allocate(AllocateOptions::default());
    world.client.bind_channel(world.now, 0x4000, PEER.parse().unwrap()).unwrap();
    let request = world.expect(Method::CHANNEL_BIND);
    let parsed = Message::parse(&request).unwrap();
    let mut response =
        build(Class::Success, parsed.method(), parsed.transaction_id(), Signature::Sha1, |_| {});
    // Without FINGERPRINT, so that damage gets as far as the integrity check.
    response.truncate(response.len() - 8);
    response[3] -= 8;
    let mut state = 1u64;
    for round in 0..200_000 {
        let mut bytes = response.clone();
        for _ in 0..=round % 3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] ^= 1 << (state >> 30 & 7);
        }
        bytes.truncate(bytes.len() - (state >> 60) as usize % 3);
        if bytes == response {
            continue;
        }
        let event = world.client.handle_input(world.now, &bytes);
        assert!(matches!(event, Some(Event::Discarded(_))), "round {round}: {event:?}");
    }
    assert_eq!(world.client.requests_under_way(), 1);
    let event = world.client.handle_input(world.now, &response);
    assert!(matches!(event, Some(Event::ChannelBound { channel: 0x4000, .. })));
}

#[test]
fn a_client_is_small() {
    assert!(size_of::<Client>() <= 192, "{} bytes", size_of::<Client>());
}
