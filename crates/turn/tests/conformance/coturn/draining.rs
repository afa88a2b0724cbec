//! Draining, as coturn does it on SIGUSR1: nobody new, and those who are there go on.

use std::time::Duration;

use turnpike_turn::{AlternateServer, AlternateServers, Config, Drain, Reason, Timestamp};
use turnpike_wire::attributes::{AlternateServer as AlternateServerAttribute, Lifetime, RequestedTransport};
use turnpike_wire::{Class, Method, TransactionId};

use crate::harness::{Caller, OTHER_PEER, PEER, SECOND, Setup, World, message};

const CALLER: &str = "203.0.113.1:4000";

/// The rules of a world, changed.
fn configure(world: &mut World, change: impl FnOnce(&mut Config)) {
    let mut config = Setup::new().config;
    change(&mut config);
    world.server.handle_config(config.into());
}

fn drain(world: &mut World, after: Option<Duration>) {
    let deadline = after.map(|after| world.now.monotonic + after);
    configure(world, |config| config.drain = Some(Drain { deadline }));
}

fn refreshed(caller: &mut Caller, world: &mut World, seconds: u32) -> u32 {
    caller.refresh(world, seconds).expect_success().expect::<Lifetime>().0
}

#[test]
fn a_server_that_drains_refuses_new_allocations_with_403_and_counts_why() {
    let mut world = Setup::new().build();
    drain(&mut world, None);
    // A stranger is still a stranger: who may not allocate learns nothing.
    let bare = message(Class::Request, Method::ALLOCATE, TransactionId([1; 12]), |_| {});
    let _ = world.receive(Caller::new(CALLER).client, &bare).expect_error(401);
    Caller::new(CALLER).named("alice", "guess").allocate_with(&mut world, |_| {}).expect_error(401);
    // The caller checks that the refusal is signed.
    Caller::new(CALLER).allocate_with(&mut world, |_| {}).expect_error(403);
    assert_eq!(world.server.stats().refused(Reason::Draining), 1);
    assert_eq!((world.ports.taken(), world.server.stats().allocations()), (0, 0));
    // Whatever it asks for, even what makes no sense.
    let outcome = Caller::new(CALLER).request(&mut world, Method::ALLOCATE, |writer| {
        writer.add(&RequestedTransport(99));
    });
    outcome.expect_error(403);
}

#[test]
fn binding_is_answered_all_the_same() {
    let mut world = Setup::new().build();
    drain(&mut world, None);
    let request = message(Class::Request, Method::BINDING, TransactionId([1; 12]), |_| {});
    world.receive(Caller::new(CALLER).client, &request).expect_success();
}

#[test]
fn sessions_that_are_there_go_on_in_every_way() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    drain(&mut world, Some(3600 * SECOND));
    for _ in 0..10 {
        world.advance(60 * SECOND);
        caller.send_on(&mut world, 0x4000, b"x").expect_to_peer(PEER, b"x");
        world.receive_from_peer(relayed, PEER, b"y").expect_channel_data(0x4000, b"y");
        caller.refresh(&mut world, 600).expect_success();
        caller.permit(&mut world, &[OTHER_PEER]).expect_success();
        caller.bind(&mut world, 0x4000, PEER).expect_success();
    }
    caller.bind(&mut world, 0x4001, OTHER_PEER).expect_success();
    assert_eq!(refreshed(&mut caller, &mut world, 0), 0, "and may end");
    assert_eq!(world.server.stats().allocations(), 0);
    caller.allocate_with(&mut world, |_| {}).expect_error(403);
}

#[test]
fn a_copy_of_an_allocate_that_was_granted_is_answered_and_one_under_way_is_granted() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    caller.fetch_nonce(&mut world);
    let id = TransactionId([4; 12]);
    let build = |writer: &mut turnpike_wire::MessageWriter<'_>| {
        writer.add(&RequestedTransport::UDP);
    };
    let first = caller.request_as(&mut world, id, Method::ALLOCATE, build).expect_success();
    let mut other = Caller::new("203.0.113.2:4000");
    other.fetch_nonce(&mut world);
    world.answers = false;
    let _ = other.request_as(&mut world, id, Method::ALLOCATE, build);
    let (wait, relay, address) = world.asked.pop_front().expect("a relay was asked for");
    drain(&mut world, None);
    let second = caller.request_as(&mut world, id, Method::ALLOCATE, build).expect_success();
    assert_eq!(first.bytes, second.bytes);
    world.open.push((relay, address));
    let _ = world.answer(wait, Ok(())).expect_success();
    assert_eq!(world.server.stats().allocations(), 2);
}

#[test]
fn lifetimes_are_short_and_never_go_beyond_the_deadline() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    drain(&mut world, None);
    assert_eq!(refreshed(&mut caller, &mut world, 3600), 120, "without a deadline");
    drain(&mut world, Some(300 * SECOND));
    assert_eq!(refreshed(&mut caller, &mut world, 3600), 120);
    for (passes, left) in [(100, 120), (100, 100), (99, 1)] {
        world.advance(passes * SECOND);
        assert_eq!(refreshed(&mut caller, &mut world, 600), left);
    }
    // Past the deadline the server ends by itself; until it does, it must not say that the allocation is deleted.
    configure(&mut world, |config| config.drain = Some(Drain { deadline: Some(Timestamp(1)) }));
    assert_eq!(refreshed(&mut caller, &mut world, 600), 1);
    assert_eq!(world.server.stats().refused(Reason::Draining), 0, "a Refresh is never refused for it");
}

#[test]
fn an_allocation_that_nobody_refreshes_ends_when_it_would_have() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    drain(&mut world, None);
    world.advance(599 * SECOND);
    assert_eq!(world.server.stats().allocations(), 1, "what was promised is kept");
    world.advance(SECOND);
    assert_eq!(world.server.stats().allocations(), 0);
}

#[test]
fn where_another_server_is_known_clients_are_sent_there() {
    let mut world = Setup::new().build();
    let sibling: std::net::SocketAddr = "198.51.100.7:3478".parse().unwrap();
    configure(&mut world, |config| {
        config.drain = Some(Drain::default());
        config.alternate_servers = AlternateServers {
            any: vec![AlternateServer { address: sibling, domain: None }],
            ..AlternateServers::default()
        };
    });
    let reply = Caller::new(CALLER).anonymous().allocate_with(&mut world, |_| {}).expect_error(300);
    assert_eq!(reply.expect::<AlternateServerAttribute>().0, sibling);
    // A server of the other family is of no use to this one.
    Caller::new("[2001:db8:1::1]:4000").allocate_with(&mut world, |_| {}).expect_error(403);
}

#[test]
fn a_drain_that_is_called_off_leaves_nothing_behind() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    drain(&mut world, Some(SECOND));
    caller.allocate_with(&mut world, |_| {}).expect_error(403);
    configure(&mut world, |_| {});
    caller.allocate(&mut world);
    assert_eq!(refreshed(&mut caller, &mut world, 3600), 3600);
}
