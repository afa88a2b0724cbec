//! Bound channels that may be relayed elsewhere: which, until when, and what comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use turnpike_turn::{
    Event, Flow, FlowOwner, Quotas, Reason, SessionId, SharedAccount as _, Transport, Usage,
};
use turnpike_wire::Family;
use turnpike_wire::attributes::AdditionalAddressFamily;

use crate::harness::{Caller, OTHER_PEER, PEER, PEER_V6, RELAY, SECOND, Setup, World, address};

const CALLER: &str = "203.0.113.1:4000";

fn world() -> World {
    Setup::new().config(|config| config.flows = true).build()
}

/// One whose sessions may have so many bytes a second.
fn limited(rate: u64) -> World {
    let mut setup = Setup::new().config(|config| config.flows = true);
    setup.quotas = Quotas::with_bandwidth(0, 0, rate, 0);
    setup.build()
}

/// Seconds from now until the flow ends.
fn lasts(world: &World, flow: &Flow) -> u64 {
    flow.deadline.since(world.now.monotonic).as_secs()
}

fn usage(client_packets: u64, peer_packets: u64) -> Usage {
    let (client_bytes, peer_bytes) = (10 * client_packets, 20 * peer_packets);
    let (flow_packets, flow_bytes) = (client_packets + peer_packets, client_bytes + peer_bytes);
    Usage { client_packets, client_bytes, peer_packets, peer_bytes, flow_packets, flow_bytes }
}

fn ended(world: &World) -> Vec<Usage> {
    let ended = world.events.iter().filter_map(|event| match event {
        Event::Ended { usage, .. } => Some(*usage),
        _ => None,
    });
    ended.collect()
}

#[test]
fn a_bound_channel_is_offered_with_the_addresses_on_the_wire() {
    let mut world = world();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    caller.permit(&mut world, &[OTHER_PEER]).expect_success();
    assert_eq!(world.flows_up, [], "a permission alone is no channel");
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    let [flow] = world.flows_up[..] else { panic!("{:?}", world.flows_up) };
    let tuple = caller.client.tuple;
    assert_eq!((flow.client, flow.server, flow.relayed), (tuple.client, tuple.server, relayed));
    assert_eq!((flow.peer, flow.own_peer, flow.id.channel), (address(PEER), false, 0x4000));
    assert_eq!(flow.owner, FlowOwner { relay: flow.id.relay, session: SessionId::new(0, 1) });
}

#[test]
fn a_flow_ends_with_the_first_of_channel_permission_and_allocation() {
    let mut world = world();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    let last = |world: &World| lasts(world, world.flows_up.last().expect("a flow"));
    assert_eq!((world.flows_up.len(), last(&world)), (1, 300), "the permission is the first to end");
    world.advance(200 * SECOND);
    caller.permit(&mut world, &[OTHER_PEER]).expect_success();
    assert_eq!(world.flows_up.len(), 1, "another peer's permission is no news");
    caller.permit(&mut world, &[PEER]).expect_success();
    assert_eq!((world.flows_up.len(), last(&world)), (2, 300));
    world.advance(200 * SECOND);
    caller.permit(&mut world, &[PEER]).expect_success();
    assert_eq!((world.flows_up.len(), last(&world)), (3, 200), "now channel and allocation are");
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    assert_eq!((world.flows_up.len(), last(&world)), (3, 200), "the allocation still is");
    caller.refresh(&mut world, 900).expect_success();
    assert_eq!((world.flows_up.len(), last(&world)), (4, 300));
    caller.refresh(&mut world, 600).expect_success();
    assert_eq!(world.flows_up.len(), 4, "nothing ends any sooner or later");
    assert!(world.flows_up.iter().all(|flow| flow.id == world.flows_up[0].id));
    assert_eq!(world.flows_down, []);
}

#[test]
fn a_shorter_life_is_told_at_once_and_a_hardly_longer_one_is_not() {
    let mut setup = Setup::new().config(|config| config.flows = true);
    setup.config.permission_lifetime = 3600 * SECOND;
    setup.config.channel_lifetime = 3600 * SECOND;
    let mut world = setup.build();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    for _ in 0..100 {
        world.advance(SECOND / 111);
        caller.refresh(&mut world, 600).expect_success();
        caller.permit(&mut world, &[PEER]).expect_success();
        caller.bind(&mut world, 0x4000, PEER).expect_success();
    }
    assert_eq!(world.flows_up.len(), 1, "a hundred refreshes within a second are none");
    world.advance(SECOND);
    caller.refresh(&mut world, 601).expect_success();
    caller.refresh(&mut world, 600).expect_success();
    let lasting: Vec<u64> = world.flows_up.iter().map(|flow| lasts(&world, flow)).collect();
    assert_eq!(lasting[1..], [601, 600], "each a second off, and the shorter one counts");
}

#[test]
fn only_clients_by_udp_with_limits_that_an_account_holds_are_offered_and_only_where_somebody_listens() {
    let mut off = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut off);
    caller.bind(&mut off, 0x4000, PEER).expect_success();
    assert_eq!(off.flows_up, []);

    for transport in [Transport::Tcp, Transport::Tls, Transport::Dtls] {
        let mut world = world();
        let mut caller = Caller::new(CALLER);
        caller.client.tuple.transport = transport;
        caller.allocate(&mut world);
        caller.bind(&mut world, 0x4000, PEER).expect_success();
        caller.refresh(&mut world, 0).expect_success();
        assert_eq!((world.flows_up, world.flows_down), (vec![], vec![]), "{transport}");
    }

    let mut limited = limited(1 << 32);
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut limited);
    caller.bind(&mut limited, 0x4000, PEER).expect_success();
    assert_eq!(limited.flows_up, [], "more than an account holds");
}

#[test]
fn whoever_relays_a_flow_with_a_limit_spends_of_the_same_account() {
    let mut world = limited(1000);
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    caller.permit(&mut world, &[OTHER_PEER]).expect_success();
    caller.send(&mut world, OTHER_PEER, &[1; 300]).expect_to_peer(OTHER_PEER, &[1; 300]);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    let [flow] = world.flows_up[..] else { panic!("{:?}", world.flows_up) };
    assert_eq!(flow.rate, Some(1000));
    let account = Arc::new(<[AtomicU64; 2]>::default());
    world.server.share_account(flow.id.relay, account.clone());
    let second = world.now.monotonic.0 / 1_000_000_000;
    let spent = || account.words().map(|word| word.load(Ordering::Relaxed));
    assert_eq!(spent(), [second << 32 | 300, second << 32], "what was spent before is known");
    // Somebody else relays.
    account.words()[0].fetch_add(500, Ordering::Relaxed);
    caller.send_on(&mut world, 0x4000, &[2; 201]).expect_drop(Reason::OverBandwidth);
    // Once more, as with every new deadline: nothing changes.
    world.server.share_account(flow.id.relay, account.clone());
    caller.send_on(&mut world, 0x4000, &[3; 200]).expect_to_peer(PEER, &[3; 200]);
    world.receive_from_peer(relayed, PEER, &[4; 1000]).expect_channel_data(0x4000, &[4; 1000]);
    assert_eq!(spent(), [second << 32 | 1000, second << 32 | 1000]);
    world.advance(SECOND);
    caller.send_on(&mut world, 0x4000, &[5; 1000]).expect_to_peer(PEER, &[5; 1000]);
    caller.send_on(&mut world, 0x4000, &[6]).expect_drop(Reason::OverBandwidth);
}

#[test]
fn whatever_ends_a_flow_it_is_taken_back_and_its_last_usage_is_in_the_record() {
    for how in ["deleted", "expired", "stopped"] {
        let mut world = world();
        let mut caller = Caller::new(CALLER);
        let relayed = caller.allocate(&mut world);
        caller.bind(&mut world, 0x4000, PEER).expect_success();
        caller.bind(&mut world, 0x4001, OTHER_PEER).expect_success();
        let ids: Vec<_> = world.flows_up.iter().map(|flow| flow.id).collect();
        let owner = world.flows_up[0].owner;
        world.server.handle_flow_usage(owner, usage(5, 6));
        caller.send_on(&mut world, 0x4000, &[0; 10]).expect_to_peer(PEER, &[0; 10]);
        world.receive_from_peer(relayed, PEER, &[0; 20]).expect_channel_data(0x4000, &[0; 20]);
        world.last_usage = usage(100, 200);
        match how {
            "deleted" => drop(caller.refresh(&mut world, 0).expect_success()),
            "expired" => world.advance(601 * SECOND),
            _ => {
                world.server.handle_shutdown(world.now);
                world.drain();
            }
        }
        assert_eq!(world.flows_down, ids, "{how}");
        // Of which a packet each way came by here.
        let expected = Usage { flow_packets: 611, flow_bytes: 10_170, ..usage(206, 407) };
        assert_eq!(ended(&world), [expected], "{how}");
        let stats = world.server.stats();
        assert_eq!((stats.relayed().client_packets, stats.relayed().client_bytes), (206, 2060), "{how}");
        assert_eq!((stats.relayed().peer_packets, stats.relayed().peer_bytes), (407, 8140), "{how}");
        assert_eq!((stats.relayed().flow_packets, stats.relayed().flow_bytes), (611, 10_170), "{how}");
    }
}

#[test]
fn a_channel_that_expires_takes_its_flow_along_and_may_come_again() {
    let mut world = world();
    let mut caller = Caller::new(CALLER);
    caller.allocate_with(&mut world, |_| {}).expect_success();
    caller.refresh(&mut world, 3600).expect_success();
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    world.last_usage = usage(3, 4);
    world.advance(610 * SECOND);
    assert_eq!(world.flows_down, [world.flows_up[0].id]);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    assert_eq!(world.flows_up.len(), 2);
    caller.refresh(&mut world, 0).expect_success();
    assert_eq!(ended(&world), [usage(6, 8)]);
}

#[test]
fn two_clients_of_this_server_are_offered_by_the_addresses_their_sockets_have() {
    for external in [None, Some("198.51.100.7")] {
        let setup = Setup::new().config(|config| config.flows = true);
        let setup = external.map_or_else(|| Setup::new().relays(&[RELAY]), |ip| setup.behind_nat(RELAY, ip));
        let mut world = setup.config(|config| config.flows = true).build();
        let (mut one, mut other) = (Caller::new(CALLER), Caller::new("203.0.113.2:4000"));
        let relays = [one.allocate(&mut world), other.allocate(&mut world)];
        one.bind(&mut world, 0x4000, &relays[1].to_string()).expect_success();
        other.bind(&mut world, 0x4001, &relays[0].to_string()).expect_success();
        let local = relays.map(|relayed| format!("{RELAY}:{}", relayed.port()).parse().expect("an address"));
        let [first, second] = world.flows_up[..] else { panic!("{:?}", world.flows_up) };
        assert_eq!((first.relayed, first.peer, first.own_peer), (local[0], local[1], true));
        assert_eq!((second.relayed, second.peer, second.own_peer), (local[1], local[0], true));
    }
}

#[test]
fn a_flow_to_a_client_that_has_left_is_taken_back_when_it_would_be_renewed() {
    let mut world = world();
    let (mut one, mut other) = (Caller::new(CALLER), Caller::new("203.0.113.2:4000"));
    one.allocate(&mut world);
    let peer = other.allocate(&mut world).to_string();
    one.bind(&mut world, 0x4000, &peer).expect_success();
    let id = world.flows_up[0].id;
    other.refresh(&mut world, 0).expect_success();
    assert_eq!(world.flows_down, []);
    one.permit(&mut world, &[&peer]).expect_success();
    assert_eq!((world.flows_up.len(), &world.flows_down[..]), (1, &[id][..]));
}

#[test]
fn other_things_on_this_host_are_not_offered() {
    let mut world = world();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    caller.bind(&mut world, 0x4000, &format!("{RELAY}:22")).expect_success();
    assert_eq!(world.flows_up, []);
}

#[test]
fn an_allocation_has_only_so_many_flows_and_gets_others_for_those_that_end() {
    let mut world = world();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    caller.refresh(&mut world, 3600).expect_success();
    for number in 0..100 {
        caller.bind(&mut world, 0x4000 + number, &format!("8.8.8.8:{}", 1000 + number)).expect_success();
    }
    assert_eq!(world.flows_up.len(), 64);
    world.advance(300 * SECOND);
    for number in 90..100 {
        caller.bind(&mut world, 0x4000 + number, &format!("8.8.8.8:{}", 1000 + number)).expect_success();
    }
    world.advance(310 * SECOND);
    assert_eq!(world.flows_down.len(), 64, "those that were not bound again are gone");
    caller.permit(&mut world, &["8.8.8.8:0"]).expect_success();
    let offered: Vec<u16> = world.flows_up.iter().rev().take(10).map(|flow| flow.id.channel).collect();
    assert!(offered.iter().all(|channel| (0x4000 + 90..0x4000 + 100).contains(channel)), "{offered:?}");
}

#[test]
fn what_one_of_two_relayed_addresses_relayed_last_is_the_others_when_it_ends() {
    let mut world = world();
    let mut caller = Caller::new(CALLER);
    let both = |writer: &mut turnpike_wire::MessageWriter<'_>| {
        writer.add(&AdditionalAddressFamily(Family::Ipv6));
    };
    caller.allocate_with(&mut world, both).expect_success();
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    caller.bind(&mut world, 0x4001, PEER_V6).expect_success();
    assert_eq!(world.flows_up.len(), 2);
    assert_ne!(world.flows_up[0].id.relay, world.flows_up[1].id.relay);
    world.last_usage = usage(1, 2);
    world.server.handle_shutdown(world.now);
    world.drain();
    assert_eq!(world.flows_down.len(), 2);
    assert_eq!(ended(&world), [usage(2, 4)]);
}

#[test]
fn usage_of_a_session_that_is_long_over_is_counted_in_the_totals_alone() {
    let mut world = world();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    let owner = world.flows_up[0].owner;
    caller.refresh(&mut world, 0).expect_success();
    caller.allocate(&mut world);
    world.server.handle_flow_usage(owner, usage(7, 7));
    assert_eq!(world.server.stats().relayed().client_packets, 7);
    caller.refresh(&mut world, 0).expect_success();
    assert_eq!(ended(&world), [Usage::default(), Usage::default()]);
}
