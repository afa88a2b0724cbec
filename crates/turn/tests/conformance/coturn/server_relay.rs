//! `server-relay`: data without permissions, for a server behind a relayed address.

use turnpike_turn::{PeerRules, Reason};

use crate::harness::{Caller, OTHER_PEER, PEER, PEER_V6, Setup, World, range};

const CALLER: &str = "203.0.113.1:4000";

fn setup() -> Setup {
    Setup::new().config(|config| config.server_relay = true)
}

fn world() -> World {
    setup().build()
}

#[test]
fn data_passes_both_ways_without_a_permission() {
    let mut world = world();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    caller.send(&mut world, PEER, b"out").expect_to_peer(PEER, b"out");
    world.receive_from_peer(relayed, OTHER_PEER, b"in").expect_data_indication(OTHER_PEER, b"in");
    let usage = world.server.stats().clone();
    assert_eq!((usage.relayed().client_bytes, usage.relayed().peer_bytes), (3, 2));
}

#[test]
fn without_it_both_are_dropped() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    caller.send(&mut world, PEER, b"out").expect_drop(Reason::NoPermission);
    world.receive_from_peer(relayed, PEER, b"in").expect_drop(Reason::NoPermission);
}

#[test]
fn what_peers_may_not_be_reached_may_not_be_reached_that_way_either() {
    let denied = |config: &mut turnpike_turn::Config| {
        config.peers =
            PeerRules { denied: vec![range("9.9.9.0", "9.9.9.255")], ..std::mem::take(&mut config.peers) };
    };
    let mut world = setup().config(denied).build();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    for peer in
        ["127.0.0.1:22", "10.0.0.1:80", "169.254.169.254:80", "0.0.0.0:3478", "224.0.0.1:5353", OTHER_PEER]
    {
        caller.send(&mut world, peer, b"out").expect_drop(Reason::PeerRefused);
        world.receive_from_peer(relayed, peer, b"in").expect_drop(Reason::PeerRefused);
    }
    // This server's own address: live relays alone.
    caller.send(&mut world, "192.0.2.10:3478", b"out").expect_drop(Reason::OwnAddress);
    world.receive_from_peer(relayed, "192.0.2.10:3478", b"in").expect_drop(Reason::OwnAddress);
    caller.send(&mut world, PEER_V6, b"out").expect_drop(Reason::WrongFamily);
    caller.send(&mut world, PEER, b"out").expect_to_peer(PEER, b"out");
}

#[test]
fn strangers_and_ended_sessions_relay_nothing() {
    let mut world = world();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    Caller::new("203.0.113.2:4000").send(&mut world, PEER, b"out").expect_drop(Reason::NoAllocation);
    let relay = world.relay_at(relayed);
    caller.refresh(&mut world, 0).expect_success();
    caller.send(&mut world, PEER, b"out").expect_drop(Reason::NoAllocation);
    world.receive_at(relay, PEER.parse().unwrap(), b"in").expect_drop(Reason::StaleRelay);
}

#[test]
fn channels_still_have_to_be_bound_and_end() {
    let mut world = world();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    caller.send_on(&mut world, 0x4000, b"out").expect_drop(Reason::NoChannel);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    caller.send_on(&mut world, 0x4000, b"out").expect_to_peer(PEER, b"out");
    world.receive_from_peer(relayed, PEER, b"in").expect_channel_data(0x4000, b"in");
}
