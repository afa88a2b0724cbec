//! What is counted.

use turnpike_turn::{Event, Reason, Usage};

use crate::harness::{Caller, OTHER_PEER, PEER, SECOND, Setup, World};

const CALLER: &str = "203.0.113.1:4000";

fn ended(world: &World) -> (Usage, std::time::Duration) {
    let found = world.events.iter().find_map(|event| match event {
        Event::Ended { usage, duration, .. } => Some((*usage, *duration)),
        _ => None,
    });
    found.expect("an allocation ended")
}

#[test]
fn usage_counts_application_data_of_relayed_packets_only() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    caller.permit(&mut world, &["9.9.9.9:0"]).expect_success();
    caller.send_on(&mut world, 0x4000, &[0; 100]).expect_to_peer(PEER, &[0; 100]);
    caller.send(&mut world, OTHER_PEER, &[0; 11]).expect_to_peer(OTHER_PEER, &[0; 11]);
    caller.send(&mut world, OTHER_PEER, &[]).expect_to_peer(OTHER_PEER, &[]);
    world.receive_from_peer(relayed, PEER, &[0; 1000]).expect_channel_data(0x4000, &[0; 1000]);
    world.receive_from_peer(relayed, OTHER_PEER, &[0; 7]).expect_data_indication(OTHER_PEER, &[0; 7]);
    // Dropped packets are counted by their reason and not as relayed.
    caller.send(&mut world, "1.1.1.1:1", &[0; 50]).expect_drop(Reason::NoPermission);
    caller.send_on(&mut world, 0x4001, &[0; 50]).expect_drop(Reason::NoChannel);
    world.receive_from_peer(relayed, "1.1.1.1:1", &[0; 50]).expect_drop(Reason::NoPermission);
    world.advance(42 * SECOND);
    caller.refresh(&mut world, 0).expect_success();
    let expected =
        Usage { client_packets: 3, client_bytes: 111, peer_packets: 2, peer_bytes: 1007, ..Usage::default() };
    assert_eq!(ended(&world), (expected, 42 * SECOND));
    let stats = world.server.stats();
    assert_eq!((stats.relayed().client_packets, stats.relayed().client_bytes), (3, 111));
    assert_eq!((stats.relayed().peer_packets, stats.relayed().peer_bytes), (2, 1007));
}

#[test]
fn a_packet_to_a_dead_own_port_is_not_relayed_and_not_counted() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    caller.permit(&mut world, &["192.0.2.10:1"]).expect_success();
    caller.send(&mut world, "192.0.2.10:22", &[0; 99]).expect_drop(Reason::OwnAddress);
    caller.refresh(&mut world, 0).expect_success();
    assert_eq!(ended(&world).0, Usage::default());
    assert_eq!(world.server.stats().relayed().client_packets, 0);
}

#[test]
fn requests_and_responses_are_counted_by_kind() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    caller.permit(&mut world, &[PEER]).expect_success();
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    caller.refresh(&mut world, 0).expect_success();
    caller.refresh(&mut world, 600).expect_error(437);
    let stats = world.server.stats();
    let requests = stats.requests;
    assert_eq!((requests.allocate, requests.refresh), (2, 2));
    assert_eq!((requests.create_permission, requests.channel_bind), (1, 1));
    assert_eq!((stats.successes, stats.errors, stats.challenges), (4, 2, 1));
    assert_eq!((stats.allocations_created, stats.allocations_ended), (1, 1));
    assert_eq!(stats.refused(Reason::AllocationMismatch), 1);
    let counted: Vec<_> = stats.refusals().collect();
    assert_eq!(counted, [(Reason::NoCredentials, 1), (Reason::AllocationMismatch, 1)]);
}

#[test]
fn every_reason_has_a_word_of_its_own() {
    let mut words: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    for reason in Reason::ALL {
        assert_eq!(Reason::from_code(reason.code()), Some(*reason));
    }
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), Reason::ALL.len());
    assert_eq!(Reason::from_code("no such reason"), None);
}
