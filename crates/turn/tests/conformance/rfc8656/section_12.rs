//! RFC 8656 §12: channels.

use std::time::Duration;

use turnpike_turn::{ChannelRange, Reason};
use turnpike_wire::attributes::{ChannelNumber, XorPeerAddress};
use turnpike_wire::{AttributeType, Method};

use crate::harness::{Caller, OTHER_PEER, PEER, PEER_V6, SECOND, Setup, World, address, channel_data};

const CALLER: &str = "203.0.113.1:4000";
const MOMENT: Duration = Duration::from_nanos(1);

fn world_with_allocation() -> (World, Caller, std::net::SocketAddr) {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    caller.refresh(&mut world, 3600).expect_success();
    (world, caller, relayed)
}

#[test]
fn a_bound_channel_carries_data_both_ways_and_has_its_permission() {
    // §12.2, §12.6, conformance 115 and 117.
    for (client, peer) in [(CALLER, PEER), ("[2001:db8:1::1]:4000", PEER_V6)] {
        let mut world = Setup::new().build();
        let mut caller = Caller::new(client);
        let relayed = if peer == PEER { caller.allocate(&mut world) } else { caller.allocate_v6(&mut world) };
        caller.bind(&mut world, 0x4000, peer).expect_success();
        for data in [&b"x"[..], b"out", b"four", &[9; 1200], &[1; 65_503]] {
            caller.send_on(&mut world, 0x4000, data).expect_to_peer(peer, data);
            world.receive_from_peer(relayed, peer, data).expect_channel_data(0x4000, data);
        }
    }
}

#[test]
fn channel_number_and_peer_address_are_required_and_well_formed() {
    // §12.2, conformance 112.
    let (mut world, mut caller, _) = world_with_allocation();
    let number = AttributeType::CHANNEL_NUMBER;
    let peer = AttributeType::XOR_PEER_ADDRESS;
    caller.request(&mut world, Method::CHANNEL_BIND, |_| {}).expect_error(400);
    let outcome = caller.request(&mut world, Method::CHANNEL_BIND, |it| {
        it.add(&ChannelNumber(0x4000));
    });
    outcome.expect_error(400);
    let only_peer = XorPeerAddress(address(PEER));
    caller
        .request(&mut world, Method::CHANNEL_BIND, |it| {
            it.add(&only_peer);
        })
        .expect_error(400);
    for malformed in [&[][..], &[0x40], &[0x40, 0, 0], &[0x40, 0, 0, 0, 0]] {
        let outcome = caller.request(&mut world, Method::CHANNEL_BIND, |writer| {
            writer.add_raw(number, malformed).add(&only_peer);
        });
        outcome.expect_error(400);
    }
    let outcome = caller.request(&mut world, Method::CHANNEL_BIND, |writer| {
        writer.add(&ChannelNumber(0x4000)).add_raw(peer, &[0, 9, 0, 0, 1, 1, 1, 1]);
    });
    outcome.expect_error(400);
    caller.send(&mut world, PEER, b"x").expect_drop(Reason::NoPermission);
}

#[test]
fn only_the_rfcs_channel_numbers_are_granted() {
    // §12, conformance 112.
    let (mut world, mut caller, _) = world_with_allocation();
    for number in [0, 0x3FFF, 0x5000, 0x7FFE, 0x7FFF, 0x8000, 0xFFFF] {
        caller.bind(&mut world, number, PEER).expect_error(400);
    }
    caller.send(&mut world, PEER, b"x").expect_drop(Reason::NoPermission);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    caller.bind(&mut world, 0x4FFF, OTHER_PEER).expect_success();
}

#[test]
fn the_older_range_can_be_opened() {
    // coturn's rfc5766-channel-numbers.
    let mut world = Setup::new().config(|config| config.channels = ChannelRange::Rfc5766).build();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    for number in [0, 0x3FFF, 0x8000, 0xFFFF] {
        caller.bind(&mut world, number, PEER).expect_error(400);
    }
    for (number, peer) in [(0x4000, "1.0.0.1:1"), (0x5000, "1.0.0.2:1"), (0x7FFF, "1.0.0.3:1")] {
        caller.bind(&mut world, number, peer).expect_success();
        caller.send_on(&mut world, number, b"x").expect_to_peer(peer, b"x");
        world.receive_from_peer(relayed, peer, b"x").expect_channel_data(number, b"x");
    }
}

#[test]
fn the_reserved_bytes_of_channel_number_are_ignored() {
    // §18.1, conformance 112.
    let (mut world, mut caller, _) = world_with_allocation();
    let outcome = caller.request(&mut world, Method::CHANNEL_BIND, |writer| {
        writer.add_raw(AttributeType::CHANNEL_NUMBER, &[0x40, 0x01, 0xAB, 0xCD]);
        writer.add(&XorPeerAddress(address(PEER)));
    });
    outcome.expect_success();
    caller.send_on(&mut world, 0x4001, b"x").expect_to_peer(PEER, b"x");
}

#[test]
fn a_number_bound_to_another_peer_and_a_peer_bound_to_another_number_are_refused() {
    // §12.2, conformance 113: and the old binding stays as it was.
    let (mut world, mut caller, relayed) = world_with_allocation();
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    caller.bind(&mut world, 0x4000, OTHER_PEER).expect_error(400);
    caller.bind(&mut world, 0x4001, PEER).expect_error(400);
    caller.bind(&mut world, 0x4000, "8.8.8.8:7001").expect_error(400);
    caller.send_on(&mut world, 0x4000, b"x").expect_to_peer(PEER, b"x");
    world.receive_from_peer(relayed, PEER, b"x").expect_channel_data(0x4000, b"x");
    caller.send_on(&mut world, 0x4001, b"x").expect_drop(Reason::NoChannel);
    caller.send(&mut world, OTHER_PEER, b"x").expect_drop(Reason::NoPermission);
    caller.bind(&mut world, 0x4001, OTHER_PEER).expect_success();
    caller.bind(&mut world, 0x4001, PEER).expect_error(400);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
}

#[test]
fn a_peer_address_may_have_a_channel_for_each_of_its_ports() {
    let (mut world, mut caller, relayed) = world_with_allocation();
    caller.bind(&mut world, 0x4000, "8.8.8.8:1").expect_success();
    caller.bind(&mut world, 0x4001, "8.8.8.8:2").expect_success();
    world.receive_from_peer(relayed, "8.8.8.8:1", b"x").expect_channel_data(0x4000, b"x");
    world.receive_from_peer(relayed, "8.8.8.8:2", b"x").expect_channel_data(0x4001, b"x");
    world.receive_from_peer(relayed, "8.8.8.8:3", b"x").expect_data_indication("8.8.8.8:3", b"x");
}

#[test]
fn a_wrong_family_and_a_refused_peer_are_refused_without_a_trace() {
    // §12.2, conformance 114.
    let (mut world, mut caller, _) = world_with_allocation();
    caller.bind(&mut world, 0x4000, PEER_V6).expect_error(443);
    caller.bind(&mut world, 0x4000, "169.254.169.254:80").expect_error(403);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
}

#[test]
fn a_conflict_comes_before_the_family_and_the_family_before_the_peer_rules() {
    // §12.2: each request breaks this rule and all later ones.
    let (mut world, mut caller, _) = world_with_allocation();
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    caller.bind(&mut world, 0x4000, "[fe80::1]:9").expect_error(400);
    caller.bind(&mut world, 0x4000, "10.0.0.1:9").expect_error(400);
    caller.bind(&mut world, 0x4001, "[fe80::1]:9").expect_error(443);
    caller.bind(&mut world, 0x4001, "10.0.0.1:9").expect_error(403);
    assert_eq!(world.server.stats().refused(Reason::ChannelConflict), 2);
}

#[test]
fn a_conflict_comes_before_a_lack_of_room() {
    // §12.2.
    let mut world = Setup::new().config(|config| config.max_permissions = 1).build();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    caller.bind(&mut world, 0x4000, OTHER_PEER).expect_error(400);
    caller.bind(&mut world, 0x4001, OTHER_PEER).expect_error(508);
}

#[test]
fn a_binding_lasts_six_hundred_seconds_and_is_renewed_by_channel_bind_alone() {
    // §12, conformance 116.
    let (mut world, mut caller, relayed) = world_with_allocation();
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    for _ in 0..2 {
        world.advance(250 * SECOND);
        caller.permit(&mut world, &[PEER]).expect_success();
        caller.send_on(&mut world, 0x4000, b"x").expect_to_peer(PEER, b"x");
        world.receive_from_peer(relayed, PEER, b"x").expect_channel_data(0x4000, b"x");
        caller.refresh(&mut world, 3600).expect_success();
    }
    world.advance(100 * SECOND - MOMENT);
    caller.send_on(&mut world, 0x4000, b"x").expect_to_peer(PEER, b"x");
    world.receive_from_peer(relayed, PEER, b"x").expect_channel_data(0x4000, b"x");
    world.advance(MOMENT);
    caller.send_on(&mut world, 0x4000, b"x").expect_drop(Reason::NoChannel);
    world.receive_from_peer(relayed, PEER, b"x").expect_data_indication(PEER, b"x");
}

#[test]
fn channel_bind_restarts_the_six_hundred_seconds() {
    // §12, conformance 116.
    let (mut world, mut caller, _) = world_with_allocation();
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    for _ in 0..5 {
        world.advance(299 * SECOND);
        caller.bind(&mut world, 0x4000, PEER).expect_success();
    }
    caller.send_on(&mut world, 0x4000, b"x").expect_to_peer(PEER, b"x");
}

#[test]
fn the_permission_of_a_channel_ends_before_the_channel() {
    // §12: 300 s against 600 s.
    let (mut world, mut caller, relayed) = world_with_allocation();
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    world.advance(300 * SECOND);
    caller.send_on(&mut world, 0x4000, b"x").expect_drop(Reason::NoPermission);
    world.receive_from_peer(relayed, PEER, b"x").expect_drop(Reason::NoPermission);
    caller.permit(&mut world, &[PEER]).expect_success();
    caller.send_on(&mut world, 0x4000, b"x").expect_to_peer(PEER, b"x");
}

#[test]
fn an_expired_channel_and_its_number_can_be_bound_otherwise() {
    // §12, conformance 116.
    let (mut world, mut caller, _) = world_with_allocation();
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    world.advance(600 * SECOND);
    caller.bind(&mut world, 0x4000, OTHER_PEER).expect_success();
    caller.bind(&mut world, 0x4001, PEER).expect_success();
    caller.send_on(&mut world, 0x4000, b"x").expect_to_peer(OTHER_PEER, b"x");
    caller.send_on(&mut world, 0x4001, b"x").expect_to_peer(PEER, b"x");
}

#[test]
fn an_expired_channel_is_void_before_any_timer_has_run() {
    let (mut world, mut caller, _) = world_with_allocation();
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    world.now.monotonic = world.now.monotonic + 600 * SECOND;
    caller.send_on(&mut world, 0x4000, b"x").expect_drop(Reason::NoChannel);
    world.now.unix.0 += 600;
    caller.bind(&mut world, 0x4000, OTHER_PEER).expect_success();
}

#[test]
fn send_still_works_for_a_peer_with_a_channel() {
    // §12.5, conformance 117.
    let (mut world, mut caller, _) = world_with_allocation();
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    caller.send(&mut world, PEER, b"x").expect_to_peer(PEER, b"x");
}

#[test]
fn zero_length_channel_data_becomes_an_empty_datagram_and_back() {
    // Conformance 118.
    let (mut world, mut caller, relayed) = world_with_allocation();
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    caller.send_on(&mut world, 0x4000, b"").expect_to_peer(PEER, b"");
    world.receive_from_peer(relayed, PEER, b"").expect_channel_data(0x4000, b"");
}

#[test]
fn a_length_beyond_the_datagram_is_dropped_and_extra_bytes_are_ignored() {
    // §12.6, conformance 119.
    let (mut world, mut caller, _) = world_with_allocation();
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    for missing in 1..=5 {
        let packet = channel_data(0x4000, b"hello");
        world.receive(caller.client, &packet[..9 - missing]).expect_drop(Reason::BadChannelData);
    }
    for length in 0..4 {
        world.receive(caller.client, &[0x40, 0, 0, 0][..length]).expect_silence();
    }
    for extra in [1, 2, 3, 4, 100] {
        let mut packet = channel_data(0x4000, b"hello");
        packet.resize(packet.len() + extra, 0xEE);
        world.receive(caller.client, &packet).expect_to_peer(PEER, b"hello");
    }
}

#[test]
fn data_on_an_unbound_channel_is_dropped_in_silence() {
    // §12.6, conformance 121.
    let (mut world, mut caller, _) = world_with_allocation();
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    for number in [0x4001, 0x4FFF, 0x5000, 0x7FFF] {
        caller.send_on(&mut world, number, b"x").expect_drop(Reason::NoChannel);
    }
    for first in 0x80..=0xFF {
        world.receive(caller.client, &[first, 0, 0, 1, 0]).expect_drop(Reason::NotStun);
    }
}

#[test]
fn bindings_are_per_allocation() {
    // Conformance 122: the same number means another peer on another allocation.
    let (mut world, mut caller, _) = world_with_allocation();
    let mut other = Caller::new("203.0.113.2:4000");
    other.allocate(&mut world);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    other.send_on(&mut world, 0x4000, b"x").expect_drop(Reason::NoChannel);
    other.bind(&mut world, 0x4000, OTHER_PEER).expect_success();
    caller.send_on(&mut world, 0x4000, b"x").expect_to_peer(PEER, b"x");
    other.send_on(&mut world, 0x4000, b"x").expect_to_peer(OTHER_PEER, b"x");
}

#[test]
fn the_lifetime_can_be_configured() {
    // coturn's channel-lifetime.
    let mut world = Setup::new().config(|config| config.channel_lifetime = 20 * SECOND).build();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    world.advance(20 * SECOND);
    caller.send_on(&mut world, 0x4000, b"x").expect_drop(Reason::NoChannel);
}
