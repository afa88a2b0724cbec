//! Rules about peers that change while sessions go on: what they refuse ends at once, and nothing else does.

use std::sync::Arc;

use turnpike_turn::{Event, IpRange, Reason};

use crate::harness::{Caller, OTHER_PEER, PEER, SECOND, Setup, World, range};

const CALLER: &str = "203.0.113.1:4000";

fn denied(ranges: &[IpRange]) -> Setup {
    let ranges = ranges.to_vec();
    Setup::new().config(|config| {
        config.flows = true;
        config.peers.denied = ranges;
    })
}

fn follow(world: &mut World, setup: Setup) {
    world.server.handle_config(Arc::new(setup.config));
    world.server.handle_revocation();
    world.drain();
}

#[test]
fn what_a_new_rule_refuses_ends_at_once_and_nothing_else_does() {
    let mut world = denied(&[]).build();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    caller.bind(&mut world, 0x4001, OTHER_PEER).expect_success();
    world.events.clear();
    follow(&mut world, denied(&[range("8.8.8.8", "8.8.8.8")]));
    caller.send_on(&mut world, 0x4000, b"x").expect_drop(Reason::NoPermission);
    caller.send(&mut world, PEER, b"x").expect_drop(Reason::NoPermission);
    world.receive_from_peer(relayed, PEER, b"x").expect_drop(Reason::NoPermission);
    caller.send_on(&mut world, 0x4001, b"x").expect_to_peer(OTHER_PEER, b"x");
    world.receive_from_peer(relayed, OTHER_PEER, b"x").expect_channel_data(0x4001, b"x");
    caller.bind(&mut world, 0x4000, PEER).expect_error(403);
    let [Event::PeerRefused { rule: "denied-peer-ip", .. }, ..] = world.events[..] else {
        panic!("{:?}", world.events)
    };
    assert_eq!(world.flows_down.len(), 1, "what the kernel relays is taken back");
    assert_eq!(world.flows_down[0].channel, 0x4000);
    world.server.check_invariants();
    // Opened again, it can be asked for again.
    follow(&mut world, denied(&[]));
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    caller.send_on(&mut world, 0x4000, b"x").expect_to_peer(PEER, b"x");
}

#[test]
fn rules_that_say_the_same_of_peers_end_nothing() {
    let mut world = denied(&[]).build();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    world.advance(100 * SECOND);
    follow(&mut world, denied(&[range("9.9.9.9", "9.9.9.9")]));
    follow(&mut world, denied(&[range("9.9.9.9", "9.9.9.9")]));
    caller.send_on(&mut world, 0x4000, b"x").expect_to_peer(PEER, b"x");
    assert_eq!(world.flows_down, []);
}

#[test]
fn a_connection_with_a_refused_peer_is_closed() {
    let mut world = denied(&[]).build();
    let mut caller = Caller::by_tcp(CALLER);
    caller.allocate_tcp(&mut world);
    let closing = caller.connect_well(&mut world, PEER);
    let staying = caller.connect_well(&mut world, OTHER_PEER);
    follow(&mut world, denied(&[range("8.8.8.8", "8.8.8.8")]));
    assert_eq!(world.closed, [closing]);
    Caller::by_tcp("203.0.113.1:4001").bind_connection(&mut world, staying).expect_success();
    world.server.check_invariants();
}
