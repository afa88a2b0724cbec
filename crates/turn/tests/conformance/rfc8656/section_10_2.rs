//! RFC 8656 §10.2: receiving a CreatePermission request.

use turnpike_turn::Reason;
use turnpike_wire::attributes::XorPeerAddress;
use turnpike_wire::{AttributeType, Method};

use crate::harness::{Caller, OTHER_PEER, PEER, PEER_V6, Setup, World, address};

const CALLER: &str = "203.0.113.1:4000";

fn world_with_allocation() -> (World, Caller) {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    (world, caller)
}

#[test]
fn at_least_one_peer_address_is_needed() {
    // Conformance 93.
    let (mut world, mut caller) = world_with_allocation();
    caller.permit(&mut world, &[]).expect_error(400);
}

#[test]
fn malformed_peer_addresses_are_a_bad_request() {
    // Conformance 93: wherever they stand in the list, and nothing is installed.
    let (mut world, mut caller) = world_with_allocation();
    for malformed in
        [&[][..], &[0, 1, 0], &[0, 1, 0, 0, 1, 2, 3], &[0, 2, 0, 0, 1, 2, 3, 4], &[0, 3, 0, 0, 1, 2, 3, 4]]
    {
        for first in [true, false] {
            let outcome = caller.request(&mut world, Method::CREATE_PERMISSION, |writer| {
                if first {
                    writer.add(&XorPeerAddress(address(PEER)));
                }
                writer.add_raw(AttributeType::XOR_PEER_ADDRESS, malformed);
                writer.add(&XorPeerAddress(address(OTHER_PEER)));
            });
            outcome.expect_error(400);
        }
    }
    caller.send(&mut world, PEER, b"x").expect_drop(Reason::NoPermission);
    caller.send(&mut world, OTHER_PEER, b"x").expect_drop(Reason::NoPermission);
}

#[test]
fn a_peer_of_the_other_family_is_a_family_mismatch() {
    // Conformance 93.
    let (mut world, mut caller) = world_with_allocation();
    caller.permit(&mut world, &[PEER_V6]).expect_error(443);
    let mut caller = Caller::new("[2001:db8:1::1]:4000");
    caller.allocate_v6(&mut world);
    caller.permit(&mut world, &[PEER]).expect_error(443);
    caller.permit(&mut world, &[PEER_V6]).expect_success();
}

#[test]
fn a_malformed_peer_comes_before_the_family_and_the_family_before_the_peer_rules() {
    // §10.2: wherever each stands.
    let (mut world, mut caller) = world_with_allocation();
    caller.permit(&mut world, &["[fe80::1]:9"]).expect_error(443);
    let outcome = caller.request(&mut world, Method::CREATE_PERMISSION, |writer| {
        writer.add(&XorPeerAddress(address("10.0.0.1:9")));
        writer.add_raw(AttributeType::XOR_PEER_ADDRESS, &[0, 1]);
    });
    outcome.expect_error(400);
}

#[test]
fn several_peers_are_installed_at_once_whatever_their_ports() {
    // Conformance 93.
    let (mut world, mut caller) = world_with_allocation();
    caller.permit(&mut world, &["8.8.8.8:0", "9.9.9.9:1", "1.1.1.1:65535", "8.8.8.8:7"]).expect_success();
    for peer in ["8.8.8.8:1000", "9.9.9.9:2000", "1.1.1.1:3000"] {
        caller.send(&mut world, peer, b"x").expect_to_peer(peer, b"x");
    }
}

#[test]
fn a_refused_request_installs_nothing() {
    // Conformance 94: all or nothing, wherever the bad address stands.
    for (bad, number) in [("127.0.0.1:1", 403), (PEER_V6, 443), ("0.0.0.0:1", 403), ("10.0.0.1:1", 403)] {
        for place in 0..3 {
            let (mut world, mut caller) = world_with_allocation();
            let mut peers = vec![PEER, OTHER_PEER];
            peers.insert(place, bad);
            caller.permit(&mut world, &peers).expect_error(number);
            for peer in [PEER, OTHER_PEER] {
                caller.send(&mut world, peer, b"x").expect_drop(Reason::NoPermission);
            }
        }
    }
}

#[test]
fn too_many_permissions_are_insufficient_capacity_and_install_nothing() {
    // Conformance 95.
    let mut world = Setup::new().config(|config| config.max_permissions = 4).build();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    caller.permit(&mut world, &["1.0.0.1:1", "1.0.0.2:1", "1.0.0.3:1"]).expect_success();
    caller.permit(&mut world, &["1.0.0.4:1", "1.0.0.5:1"]).expect_error(508);
    caller.send(&mut world, "1.0.0.4:1", b"x").expect_drop(Reason::NoPermission);
    caller.permit(&mut world, &["1.0.0.4:1"]).expect_success();
    caller.permit(&mut world, &["1.0.0.5:1"]).expect_error(508);
    caller.bind(&mut world, 0x4000, "1.0.0.5:1").expect_error(508);
    caller.send_on(&mut world, 0x4000, b"x").expect_drop(Reason::NoChannel);
    assert_eq!(world.server.stats().refused(Reason::TooManyPermissions), 3);
}

#[test]
fn known_peers_take_no_room_when_permissions_are_renewed() {
    // Conformance 95: a full allocation renews, one by one or all together, and with the last new one.
    let mut world = Setup::new().config(|config| config.max_permissions = 4).build();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    let peers = ["1.0.0.1:1", "1.0.0.2:1", "1.0.0.3:1", "1.0.0.4:1"];
    caller.permit(&mut world, &peers[..3]).expect_success();
    caller.permit(&mut world, &peers).expect_success();
    caller.permit(&mut world, &peers).expect_success();
    caller.permit(&mut world, &[peers[0], peers[0], peers[0]]).expect_success();
    caller.bind(&mut world, 0x4000, peers[2]).expect_success();
}

#[test]
fn expired_permissions_make_room() {
    let mut world = Setup::new().config(|config| config.max_permissions = 2).build();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    caller.permit(&mut world, &["1.0.0.1:1", "1.0.0.2:1"]).expect_success();
    world.advance(300 * crate::harness::SECOND);
    caller.permit(&mut world, &["1.0.0.3:1", "1.0.0.4:1"]).expect_success();
}
