//! RFC 8656 §9: permissions.

use std::time::Duration;

use turnpike_turn::{Event, Reason};

use crate::harness::{Caller, OTHER_PEER, PEER, PEER_V6, SECOND, Setup, World};

const CALLER: &str = "203.0.113.1:4000";
const MOMENT: Duration = Duration::from_nanos(1);

fn world_with_permission() -> (World, Caller, std::net::SocketAddr) {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    caller.permit(&mut world, &[PEER]).expect_success();
    (world, caller, relayed)
}

#[test]
fn peer_without_permission_is_dropped() {
    // §9, conformance 97.
    let (mut world, caller, relayed) = world_with_permission();
    world.receive_from_peer(relayed, OTHER_PEER, b"x").expect_drop(Reason::NoPermission);
    caller.send(&mut world, OTHER_PEER, b"x").expect_drop(Reason::NoPermission);
    assert_eq!(world.server.stats().refused(Reason::NoPermission), 2);
}

#[test]
fn permissions_compare_addresses_and_not_ports() {
    // §9, conformance 97.
    let (mut world, caller, relayed) = world_with_permission();
    for peer in ["8.8.8.8:1", "8.8.8.8:65535", "8.8.8.8:0"] {
        world.receive_from_peer(relayed, peer, b"x").expect_data_indication(peer, b"x");
        caller.send(&mut world, peer, b"x").expect_to_peer(peer, b"x");
    }
}

#[test]
fn a_permission_lasts_exactly_three_hundred_seconds() {
    // §9, conformance 96: to the nanosecond, both ways.
    let (mut world, caller, relayed) = world_with_permission();
    world.advance(300 * SECOND - MOMENT);
    world.receive_from_peer(relayed, PEER, b"x").expect_data_indication(PEER, b"x");
    caller.send(&mut world, PEER, b"x").expect_to_peer(PEER, b"x");
    world.advance(MOMENT);
    world.receive_from_peer(relayed, PEER, b"x").expect_drop(Reason::NoPermission);
    caller.send(&mut world, PEER, b"x").expect_drop(Reason::NoPermission);
}

#[test]
fn an_expired_permission_is_void_before_any_timer_has_run() {
    let (mut world, caller, relayed) = world_with_permission();
    world.now.monotonic = world.now.monotonic + 300 * SECOND;
    world.receive_from_peer(relayed, PEER, b"x").expect_drop(Reason::NoPermission);
    caller.send(&mut world, PEER, b"x").expect_drop(Reason::NoPermission);
}

#[test]
fn create_permission_and_channel_bind_restart_a_permission() {
    // §9, conformance 96 and 115.
    let (mut world, mut caller, relayed) = world_with_permission();
    world.advance(200 * SECOND);
    caller.permit(&mut world, &[PEER]).expect_success();
    world.advance(299 * SECOND);
    world.receive_from_peer(relayed, PEER, b"x").expect_data_indication(PEER, b"x");
    caller.refresh(&mut world, 3600).expect_success();
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    world.advance(300 * SECOND - MOMENT);
    world.receive_from_peer(relayed, PEER, b"x").expect_channel_data(0x4000, b"x");
    world.advance(MOMENT);
    world.receive_from_peer(relayed, PEER, b"x").expect_drop(Reason::NoPermission);
}

#[test]
fn nothing_else_restarts_a_permission() {
    // §9, conformance 96: neither data in both directions, nor Refresh, nor others' permissions.
    let (mut world, mut caller, relayed) = world_with_permission();
    for _ in 0..3 {
        world.advance(99 * SECOND);
        caller.send(&mut world, PEER, b"x").expect_to_peer(PEER, b"x");
        world.receive_from_peer(relayed, PEER, b"x").expect_data_indication(PEER, b"x");
        caller.refresh(&mut world, 3600).expect_success();
        caller.permit(&mut world, &[OTHER_PEER]).expect_success();
        caller.bind(&mut world, 0x4000, OTHER_PEER).expect_success();
    }
    world.advance(3 * SECOND);
    world.receive_from_peer(relayed, PEER, b"x").expect_drop(Reason::NoPermission);
    caller.send(&mut world, OTHER_PEER, b"x").expect_to_peer(OTHER_PEER, b"x");
}

#[test]
fn a_refused_request_does_not_restart_a_permission() {
    // §10.2, conformance 94.
    let (mut world, mut caller, relayed) = world_with_permission();
    world.advance(299 * SECOND);
    caller.permit(&mut world, &[PEER, "127.0.0.1:1"]).expect_error(403);
    caller.bind(&mut world, 0x5000, PEER).expect_error(400);
    world.advance(SECOND);
    world.receive_from_peer(relayed, PEER, b"x").expect_drop(Reason::NoPermission);
}

#[test]
fn permissions_belong_to_one_allocation() {
    // §9, conformance 98.
    let (mut world, _, _) = world_with_permission();
    let mut other = Caller::new("203.0.113.2:4000");
    let relayed = other.allocate(&mut world);
    world.receive_from_peer(relayed, PEER, b"x").expect_drop(Reason::NoPermission);
    other.send(&mut world, PEER, b"x").expect_drop(Reason::NoPermission);
}

#[test]
fn permissions_end_with_their_allocation() {
    // Conformance 91 and 99.
    let (mut world, mut caller, _) = world_with_permission();
    caller.refresh(&mut world, 0).expect_success();
    let relayed = caller.allocate(&mut world);
    world.receive_from_peer(relayed, PEER, b"x").expect_drop(Reason::NoPermission);
}

#[test]
fn ipv6_permissions_hold_for_the_whole_address_only() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new("[2001:db8:1::1]:4000");
    let relayed = caller.allocate_v6(&mut world);
    caller.permit(&mut world, &[PEER_V6]).expect_success();
    world.receive_from_peer(relayed, PEER_V6, b"x").expect_data_indication(PEER_V6, b"x");
    world.receive_from_peer(relayed, "[2606:4700::1112]:7000", b"x").expect_drop(Reason::NoPermission);
    world.advance(300 * SECOND);
    world.receive_from_peer(relayed, PEER_V6, b"x").expect_drop(Reason::NoPermission);
}

#[test]
fn the_lifetime_can_be_configured() {
    // coturn's permission-lifetime.
    let mut world = Setup::new().config(|config| config.permission_lifetime = 10 * SECOND).build();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    caller.permit(&mut world, &[PEER]).expect_success();
    world.advance(10 * SECOND);
    caller.send(&mut world, PEER, b"x").expect_drop(Reason::NoPermission);
}

#[test]
fn verbose_servers_report_permissions_that_come_and_go() {
    let mut world = Setup::new().config(|config| config.verbose = true).build();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    caller.permit(&mut world, &[PEER]).expect_success();
    world.advance(300 * SECOND);
    let granted = |event: &&Event| matches!(event, Event::PermissionGranted { .. });
    let expired = |event: &&Event| matches!(event, Event::PermissionExpired { .. });
    assert_eq!(world.events.iter().filter(granted).count(), 1);
    assert_eq!(world.events.iter().filter(expired).count(), 1);
}
