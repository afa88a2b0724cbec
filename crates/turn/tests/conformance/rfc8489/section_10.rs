//! RFC 8489 §10: ALTERNATE-SERVER.

use std::net::SocketAddr;

use turnpike_turn::{AlternateServer, AlternateServers, OwnListener, Reason, Transport};
use turnpike_wire::attributes::{
    AlternateDomain, AlternateServer as Attribute, EvenPort, RequestedTransport,
};
use turnpike_wire::{AttributeType, Integrity, Method, PasswordDigest};

use crate::harness::{Caller, LISTENER, LISTENER_V6, Reply, Setup, World, address, request};

const CALLER: &str = "203.0.113.1:4000";
const CALLER_V6: &str = "[2001:db8:1::1]:4000";

fn servers(addresses: &[&str]) -> Vec<AlternateServer> {
    addresses.iter().map(|text| AlternateServer { address: address(text), domain: None }).collect()
}

fn world(lists: AlternateServers) -> World {
    Setup::new().config(|config| config.alternate_servers = lists).build()
}

/// A caller that comes by this transport, who has not been challenged yet.
fn by(transport: Transport, from: &str) -> Caller {
    let mut caller = Caller::new(from);
    caller.client.tuple.transport = transport;
    caller
}

/// By a request that is answered here in any case.
#[track_caller]
fn fetch_nonce(world: &mut World, caller: &mut Caller) {
    if caller.signs {
        let challenge = world.receive(caller.client, &request(Method::REFRESH, |_| {})).expect_error(401);
        caller.take_nonce(&challenge);
    }
}

/// Where an Allocate is sent; `None` where it is granted.
#[track_caller]
fn sent_to(world: &mut World, caller: &mut Caller) -> Option<SocketAddr> {
    fetch_nonce(world, caller);
    let reply = caller.allocate_with(world, |_| {}).expect_reply();
    match reply.number() {
        None => {
            caller.refresh(world, 0).expect_success();
            None
        }
        Some(300) => Some(reply.expect::<Attribute>().0),
        other => panic!("300 or success was expected, not {other:?}"),
    }
}

#[test]
fn whoever_signed_the_request_gets_a_signed_answer_and_a_forger_none() {
    // Conformance 28. `Caller::request_as` checks the signature of each answer.
    for algorithm in [None, Some(PasswordDigest::Sha256)] {
        let mut world =
            world(AlternateServers { any: servers(&["198.51.100.1:3478"]), ..AlternateServers::default() });
        let mut caller = Caller::new(CALLER);
        caller.algorithm = algorithm;
        fetch_nonce(&mut world, &mut caller);
        let mut forger = caller.clone().named("alice", "wrong");
        let refusal = forger.allocate_with(&mut world, |_| {}).expect_error(401);
        assert!(!refusal.has(AttributeType::ALTERNATE_SERVER));
        let reply = caller.allocate_with(&mut world, |_| {}).expect_error(300);
        assert_eq!(reply.expect::<Attribute>().0, address("198.51.100.1:3478"));
        assert_ne!(reply.message().integrity(), Integrity::None);
        assert_eq!(world.server.stats().refused(Reason::TryAlternate), 1);
        assert!(world.attempts.is_empty(), "nothing was opened for it");
        forger.nonce = b"of another server".to_vec();
        let id = world.transaction();
        let stale = forger.request_as(&mut world, id, Method::ALLOCATE, |_| {}).expect_error(438);
        assert!(!stale.has(AttributeType::ALTERNATE_SERVER));
    }
}

#[test]
fn whoever_did_not_is_told_at_once_in_few_bytes_and_within_the_budget_of_strangers() {
    let mut setup = Setup::new();
    setup.config.alternate_servers.any = servers(&["198.51.100.1:3478"]);
    setup.config.software = Some("not for strangers".into());
    (setup.config.challenge_rate, setup.config.challenge_burst) = (1, 3);
    let mut world = setup.build();
    let caller = Caller::new(CALLER);
    let bare = request(Method::ALLOCATE, |writer| {
        writer.add(&RequestedTransport::UDP);
    });
    for _ in 0..3 {
        let reply = world.receive(caller.client, &bare).expect_error(300);
        assert_eq!(reply.bytes.len(), 40, "header, ERROR-CODE and ALTERNATE-SERVER");
    }
    world.receive(caller.client, &bare).expect_drop(Reason::RateLimited);
}

#[test]
fn where_nobody_needs_credentials_everybody_is_told_at_once() {
    let mut setup = Setup::with_credentials(turnpike_turn::Credentials::anonymous("example.org"));
    setup.config.alternate_servers.any = servers(&["198.51.100.1:3478"]);
    let mut world = setup.build();
    let mut caller = Caller::new(CALLER).anonymous();
    assert_eq!(sent_to(&mut world, &mut caller), Some(address("198.51.100.1:3478")));
}

#[test]
fn servers_take_turns_within_the_family_of_the_request() {
    // Conformance 28.
    let all = ["198.51.100.1:3478", "[2001:db8:2::1]:3478", "198.51.100.2:3479", "[2001:db8:2::2]:3478"];
    let mut world = world(AlternateServers { any: servers(&all), ..AlternateServers::default() });
    let (mut four, mut six) = (Caller::new(CALLER), Caller::new(CALLER_V6));
    let mut visits: Vec<SocketAddr> = Vec::new();
    for _ in 0..4 {
        visits.push(sent_to(&mut world, &mut four).expect("an alternate"));
        visits.push(sent_to(&mut world, &mut six).expect("an alternate"));
    }
    let expected: Vec<SocketAddr> = all.iter().chain(&all).map(|text| address(text)).collect();
    assert_eq!(visits, expected);
}

#[test]
fn without_a_server_of_the_family_of_the_request_the_client_is_served() {
    let mut world =
        world(AlternateServers { any: servers(&["[2001:db8:2::1]:3478"]), ..AlternateServers::default() });
    assert_eq!(sent_to(&mut world, &mut Caller::new(CALLER)), None);
    assert!(sent_to(&mut world, &mut Caller::new(CALLER_V6)).is_some());
}

#[test]
fn nobody_is_sent_to_where_he_asked() {
    let lists = |addresses| AlternateServers { any: servers(addresses), ..AlternateServers::default() };
    let mut alone = world(lists(&[LISTENER, LISTENER_V6]));
    assert_eq!(sent_to(&mut alone, &mut Caller::new(CALLER)), None);
    assert_eq!(sent_to(&mut alone, &mut Caller::new(CALLER_V6)), None);
    let mut among = world(lists(&[LISTENER, "198.51.100.1:3478"]));
    for _ in 0..3 {
        let to = sent_to(&mut among, &mut Caller::new(CALLER));
        assert_eq!(to, Some(address("198.51.100.1:3478")));
    }
}

#[test]
fn each_transport_has_its_list_before_the_general_one() {
    let [udp, tcp, tls, any] = ["198.51.100.1:1", "198.51.100.2:2", "198.51.100.3:3", "198.51.100.4:4"];
    let full = AlternateServers {
        udp: servers(&[udp]),
        tcp: servers(&[tcp]),
        tls: servers(&[tls]),
        any: servers(&[any]),
        own: Vec::new(),
    };
    let without_udp = AlternateServers { udp: Vec::new(), ..full.clone() };
    let without_any = AlternateServers { any: Vec::new(), ..without_udp.clone() };
    let transports = [Transport::Udp, Transport::Dtls, Transport::Tcp, Transport::Tls];
    for (lists, expected) in [
        (full, [Some(udp), Some(udp), Some(tcp), Some(tls)]),
        (without_udp, [Some(any), Some(tls), Some(tcp), Some(tls)]),
        (without_any, [None, Some(tls), Some(tcp), Some(tls)]),
    ] {
        for (transport, expected) in transports.into_iter().zip(expected) {
            let mut world = world(lists.clone());
            let to = sent_to(&mut world, &mut by(transport, CALLER));
            assert_eq!(to, expected.map(address), "{transport}");
        }
    }
}

#[test]
fn datagram_clients_are_spread_over_further_listeners_and_served_there() {
    let own = |bound: &str, told: &str| OwnListener {
        bound: address(bound),
        told: AlternateServer { address: address(told), domain: None },
    };
    // The second one is behind a one-to-one NAT.
    let listeners = [("192.0.2.10:3480", "192.0.2.10:3480"), ("192.0.2.10:3481", "203.0.113.99:3481")];
    let lists = AlternateServers {
        own: listeners.map(|(bound, told)| own(bound, told)).to_vec(),
        ..AlternateServers::default()
    };
    let mut world = world(AlternateServers { any: servers(&["198.51.100.4:4"]), ..lists });
    for transport in [Transport::Udp, Transport::Dtls] {
        for (_, told) in listeners {
            assert_eq!(sent_to(&mut world, &mut by(transport, CALLER)), Some(address(told)));
        }
        for (bound, _) in listeners {
            let mut caller = by(transport, CALLER);
            caller.client.tuple.server = address(bound);
            assert_eq!(sent_to(&mut world, &mut caller), None, "who arrived there is served");
        }
        // None of that family: the next list's turn.
        assert_eq!(sent_to(&mut world, &mut by(transport, CALLER_V6)), None);
    }
    let mut connected = by(Transport::Tcp, CALLER);
    assert_eq!(sent_to(&mut world, &mut connected), Some(address("198.51.100.4:4")));
}

#[test]
fn a_name_goes_with_the_address_where_there_is_a_certificate_to_compare() {
    // §14.16; conformance 28 and 174.
    let named =
        AlternateServer { address: address("198.51.100.1:5349"), domain: Some("b.example.org".into()) };
    let lists = AlternateServers { any: vec![named], ..AlternateServers::default() };
    for (transport, secure) in
        [(Transport::Udp, false), (Transport::Tcp, false), (Transport::Tls, true), (Transport::Dtls, true)]
    {
        let mut world = world(lists.clone());
        let mut caller = by(transport, CALLER);
        fetch_nonce(&mut world, &mut caller);
        let reply: Reply = caller.allocate_with(&mut world, |_| {}).expect_error(300);
        assert_eq!(reply.expect::<Attribute>().0, address("198.51.100.1:5349"));
        let name = reply.get::<AlternateDomain<'_>>().map(|AlternateDomain(name)| name.to_vec());
        assert_eq!(name, secure.then(|| b"b.example.org".to_vec()), "{transport}");
    }
}

#[test]
fn the_other_server_judges_the_rest_of_the_request_and_nothing_but_allocate_is_redirected() {
    let mut world =
        world(AlternateServers { any: servers(&["198.51.100.1:3478"]), ..AlternateServers::default() });
    let mut caller = Caller::new(CALLER);
    fetch_nonce(&mut world, &mut caller);
    caller
        .allocate_with(&mut world, |writer| {
            writer.add(&EvenPort { reserve: true });
        })
        .expect_error(300);
    caller.request(&mut world, Method::ALLOCATE, |_| {}).expect_error(300);
    let unknown = AttributeType(0x7ABC);
    caller
        .allocate_with(&mut world, |writer| {
            writer.add_raw(unknown, &[]);
        })
        .expect_error(420);
    Caller::new(CALLER).anonymous().request(&mut world, Method::BINDING, |_| {}).expect_success();
    caller.refresh(&mut world, 600).expect_error(437);
}

#[test]
fn allocations_made_before_a_list_was_given_live_on() {
    let mut world = world(AlternateServers::default());
    let mut caller = Caller::new(CALLER);
    let id = world.transaction();
    caller.fetch_nonce(&mut world);
    let ask = |world: &mut World, caller: &Caller| {
        caller.request_as(world, id, Method::ALLOCATE, |writer| {
            writer.add(&RequestedTransport::UDP);
        })
    };
    ask(&mut world, &caller).expect_success();
    let config = Setup::new().config(|config| config.alternate_servers.any = servers(&["198.51.100.1:3478"]));
    world.server.handle_config(std::sync::Arc::new(config.config));
    // A retransmission of what was granted is answered as before.
    ask(&mut world, &caller).expect_success();
    caller.refresh(&mut world, 600).expect_success();
    caller
        .request(&mut world, Method::ALLOCATE, |writer| {
            writer.add(&RequestedTransport::UDP);
        })
        .expect_error(437);
}
