//! RFC 6062 §5.4: receiving a ConnectionBind request.

use turnpike_turn::{PeerConnectionId, Reason, Transport, Way};
use turnpike_wire::attributes::ConnectionId;
use turnpike_wire::{AttributeType, Method};

use crate::harness::{Caller, Outcome, PEER, SECOND, Setup, World, request};

const CALLER: &str = "203.0.113.1:4000";
const DATA: &str = "203.0.113.1:5000";

/// A client with a connection that waits for it.
fn connected() -> (World, Caller, PeerConnectionId) {
    let mut world = Setup::new().build();
    let mut caller = Caller::by_tcp(CALLER);
    caller.allocate_tcp(&mut world);
    let connection = caller.connect_well(&mut world, PEER);
    (world, caller, connection)
}

#[test]
fn a_bind_splices_the_clients_connection_with_the_peers() {
    // Conformance 130, 131.
    for transport in [Transport::Tcp, Transport::Tls] {
        let (mut world, caller, connection) = connected();
        let mut data = caller.again_from(DATA).over(transport);
        data.bind_connection(&mut world, connection).expect_success();
        assert_eq!(world.spliced, [(data.client, connection)]);
        assert!(world.closed.is_empty());
    }
}

#[test]
fn an_incoming_connection_is_bound_likewise() {
    let mut world = Setup::new().build();
    let mut caller = Caller::by_tcp(CALLER);
    let relayed = caller.allocate_tcp(&mut world);
    caller.permit(&mut world, &[PEER]).expect_success();
    let attempt = world.accept_well(relayed, PEER);
    let mut data = caller.again_from(DATA);
    data.bind_connection(&mut world, attempt.connection).expect_success();
    assert_eq!(world.spliced, [(data.client, attempt.connection)]);
}

#[test]
fn it_needs_credentials() {
    // Conformance 130.
    let (mut world, caller, connection) = connected();
    let bare = request(Method::CONNECTION_BIND, |writer| {
        writer.add(&ConnectionId(connection.number()));
    });
    world.receive(caller.again_from(DATA).client, &bare).expect_error(401);
    let mut forger = Caller { password: "guessed".into(), ..caller.again_from(DATA) };
    forger.bind_connection(&mut world, connection).expect_error(401);
    assert!(world.spliced.is_empty());
}

#[test]
fn a_stranger_who_guesses_learns_no_more_than_that_it_is_not_his() {
    // Conformance 130.
    let (mut world, caller, connection) = connected();
    let mut bob = caller.again_from(DATA).named("bob", "builder");
    let right = bob.bind_connection(&mut world, connection).expect_error(400);
    let wrong = PeerConnectionId::from_number(connection.number() ^ 0x80);
    let unknown = bob.bind_connection(&mut world, wrong).expect_error(400);
    assert_eq!(right.bytes.len(), unknown.bytes.len(), "the two look alike");
    assert_eq!(world.server.stats().refused(Reason::UnknownConnection), 2);
    assert!(world.spliced.is_empty());
    // And it is still the owner's.
    caller.again_from("203.0.113.1:5001").bind_connection(&mut world, connection).expect_success();
}

#[test]
fn the_nonce_of_the_control_connection_is_good_for_it_and_for_nothing_else() {
    let (mut world, caller, connection) = connected();
    let data = Caller { nonce: caller.nonce.clone(), ..caller.again_from(DATA) };
    let id = world.transaction();
    data.request_as(&mut world, id, Method::REFRESH, |_| {}).expect_error(438);
    let id = world.transaction();
    let bound = data.request_as(&mut world, id, Method::CONNECTION_BIND, |writer| {
        writer.add(&ConnectionId(connection.number()));
    });
    bound.expect_success();
    // Not by another address.
    let elsewhere = Caller { nonce: caller.nonce.clone(), ..caller.again_from("203.0.113.2:5000") };
    let id = world.transaction();
    let refused = elsewhere.request_as(&mut world, id, Method::CONNECTION_BIND, |writer| {
        writer.add(&ConnectionId(connection.number()));
    });
    refused.expect_error(438);
}

#[test]
fn a_connection_is_bound_once() {
    // Conformance 130.
    let (mut world, caller, connection) = connected();
    caller.again_from(DATA).bind_connection(&mut world, connection).expect_success();
    caller.again_from("203.0.113.1:5001").bind_connection(&mut world, connection).expect_error(400);
    assert_eq!(world.spliced.len(), 1);
}

#[test]
fn one_that_is_still_being_made_cannot_be_bound() {
    let mut world = Setup::new().build();
    let mut caller = Caller::by_tcp(CALLER);
    caller.allocate_tcp(&mut world);
    let Outcome::Connecting(connection) = caller.connect(&mut world, PEER) else { panic!("no attempt") };
    caller.again_from(DATA).bind_connection(&mut world, connection).expect_error(400);
    world.connected(connection, Ok(())).expect_success();
    caller.again_from(DATA).bind_connection(&mut world, connection).expect_success();
}

#[test]
fn it_must_come_by_a_connection_of_its_own_and_name_one() {
    // Conformance 130.
    let (mut world, mut caller, connection) = connected();
    for transport in [Transport::Udp, Transport::Dtls] {
        let mut data = caller.again_from(DATA).over(transport);
        data.bind_connection(&mut world, connection).expect_error(400);
    }
    caller.bind_connection(&mut world, connection).expect_error(400);
    let mut data = caller.again_from(DATA);
    data.request(&mut world, Method::CONNECTION_BIND, |_| {}).expect_error(400);
    let short = data.request(&mut world, Method::CONNECTION_BIND, |writer| {
        writer.add_raw(AttributeType::CONNECTION_ID, &[1, 2]);
    });
    short.expect_error(400);
    assert!(world.spliced.is_empty());
    data.bind_connection(&mut world, connection).expect_success();
}

#[test]
fn a_client_that_came_to_the_wrong_worker_is_handed_over_once_it_is_known_who_it_is() {
    let (mut owner, caller, connection) = connected();
    let mut other = Setup::new().sharing_with(&owner).build();
    let mut data = caller.again_from(DATA);
    let outcome = data.bind_connection(&mut other, connection);
    assert!(matches!(outcome, Outcome::HandOver { worker: 0 }), "{outcome:?}");
    // The owner sees the same request, nonce and all.
    data.bind_connection(&mut owner, connection).expect_success();
    assert_eq!(owner.spliced, [(data.client, connection)]);
    // Nobody is handed over who cannot say who he is, and nobody to a worker that there is not.
    let mut forger = Caller { password: "guessed".into(), ..caller.again_from("203.0.113.1:5001") };
    forger.bind_connection(&mut other, connection).expect_error(401);
    let nowhere = PeerConnectionId::from_number(connection.number() | 0x7F);
    caller.again_from("203.0.113.1:5002").bind_connection(&mut other, nowhere).expect_error(400);
}

#[test]
fn what_passes_a_splice_is_counted_for_the_session() {
    let (mut world, mut caller, connection) = connected();
    caller.again_from(DATA).bind_connection(&mut world, connection).expect_success();
    world.pass(connection, Way::ToPeer, 1000);
    world.pass(connection, Way::ToPeer, 500);
    world.pass(connection, Way::ToClient, 64);
    let stats = world.server.stats();
    assert_eq!((stats.relayed().client_packets, stats.relayed().client_bytes), (2, 1500));
    assert_eq!((stats.relayed().peer_packets, stats.relayed().peer_bytes), (1, 64));
    caller.refresh(&mut world, 0).expect_success();
    let usage = world.events.iter().find_map(|event| match event {
        turnpike_turn::Event::Ended { usage, .. } => Some(*usage),
        _ => None,
    });
    let usage = usage.expect("it has ended");
    assert_eq!((usage.client_packets, usage.client_bytes), (2, 1500));
    assert_eq!((usage.peer_packets, usage.peer_bytes), (1, 64));
}

#[test]
fn max_bps_pauses_each_way_until_what_passed_is_paid_for() {
    let mut setup = Setup::new();
    setup.quotas = turnpike_turn::Quotas::with_bandwidth(0, 0, 1000, 0);
    let mut world = setup.build();
    let mut caller = Caller::by_tcp(CALLER);
    caller.allocate_tcp(&mut world);
    let connection = caller.connect_well(&mut world, PEER);
    caller.again_from(DATA).bind_connection(&mut world, connection).expect_success();
    let now = world.now;
    let pause = |world: &mut World, way| world.server.splice_pauses_until(world.now, connection, way);
    assert_eq!(pause(&mut world, Way::ToPeer), None);
    world.pass(connection, Way::ToPeer, 2500);
    assert_eq!(pause(&mut world, Way::ToPeer), Some(now.monotonic + 2 * SECOND));
    assert_eq!(pause(&mut world, Way::ToClient), None);
    world.advance(2 * SECOND);
    assert_eq!(pause(&mut world, Way::ToPeer), None);
}
