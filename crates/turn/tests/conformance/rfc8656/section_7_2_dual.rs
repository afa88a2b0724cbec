//! Allocations with a relayed transport address of each family: how they come to be, what each address has of its own,
//! and how they end (RFC 8656 §7.2, §8.2, §9, §12).

use std::net::SocketAddr;

use turnpike_turn::{EndCause, Event, Reason, RelayError, Usage};
use turnpike_wire::attributes::{
    AdditionalAddressFamily, AddressErrorCode, EvenPort, Lifetime, RequestedAddressFamily, XorRelayedAddress,
};
use turnpike_wire::{Attribute, AttributeType, Family, MessageWriter, Method};

use crate::harness::{
    Caller, OTHER_PEER, Outcome, PEER, PEER_V6, RELAY, RELAY_V6, Reply, SECOND, Setup, World,
};

const CALLER: &str = "203.0.113.1:4000";

fn both(writer: &mut MessageWriter<'_>) {
    writer.add(&AdditionalAddressFamily(Family::Ipv6));
}

/// The relayed addresses of a response in their order.
fn relayed(reply: &Reply) -> Vec<SocketAddr> {
    let message = reply.message();
    let id = message.transaction_id();
    let found = message.attributes().filter(|it| it.kind == AttributeType::XOR_RELAYED_ADDRESS);
    found.map(|it| XorRelayedAddress::decode(it.value, &id).expect("readable").0).collect()
}

/// The family that is missing and the error.
fn lacking(reply: &Reply) -> Option<(Family, u16)> {
    let error: Option<AddressErrorCode<'_>> = reply.get();
    error.map(|error| (error.family, error.number.number()))
}

/// An allocation with both: IPv4 and IPv6 relayed address.
fn dual() -> (World, Caller, SocketAddr, SocketAddr) {
    let mut world = Setup::new().quotas(1, 1).build();
    let mut caller = Caller::new(CALLER);
    let reply = caller.allocate_with(&mut world, both).expect_success();
    let [four, six] = relayed(&reply)[..] else { panic!("two relayed addresses") };
    (world, caller, four, six)
}

fn refresh(world: &mut World, caller: &mut Caller, seconds: u32, family: Option<Family>) -> Outcome {
    caller.request(world, Method::REFRESH, |writer| {
        writer.add(&Lifetime(seconds)).add_some(family.map(RequestedAddressFamily).as_ref());
    })
}

#[test]
fn an_additional_family_gives_an_ipv4_and_an_ipv6_relayed_address_in_this_order() {
    // Conformance 63, 71.
    let (world, caller, four, six) = dual();
    assert_eq!((four.ip().to_string(), six.ip().to_string()), (RELAY.into(), RELAY_V6.into()));
    assert_eq!(world.open.iter().map(|(_, local)| *local).collect::<Vec<_>>(), [four, six]);
    assert_eq!((world.ports.taken(), world.server.stats().allocations()), (2, 1));
    let [Event::Allocated { relayed, additional, tuple, .. }] = &world.events[..] else {
        panic!("{:?}", world.events)
    };
    assert_eq!((*relayed, *additional, *tuple), (four, Some(six), caller.client.tuple));
}

#[test]
fn it_is_both_families_whatever_the_default_is_and_whatever_the_client_came_by() {
    use turnpike_turn::DefaultFamily;
    for family in [DefaultFamily::Of(Family::Ipv6), DefaultFamily::Client] {
        let mut world = Setup::new().config(|config| config.default_family = family).build();
        let mut caller = Caller::new("[2001:db8:1::1]:4000");
        let reply = caller.allocate_with(&mut world, both).expect_success();
        assert_eq!(relayed(&reply).iter().map(SocketAddr::is_ipv4).collect::<Vec<_>>(), [true, false]);
        assert_eq!(lacking(&reply), None);
    }
}

#[test]
fn the_number_that_coturn_4_6_has_for_the_attribute_is_understood_where_it_fits_and_ignored_where_not() {
    let draft = AttributeType(0x8032);
    let ask = |build: &dyn Fn(&mut MessageWriter<'_>)| {
        let mut world = Setup::new().build();
        relayed(&Caller::new(CALLER).allocate_with(&mut world, build).expect_success()).len()
    };
    assert_eq!(ask(&|writer| _ = writer.add_raw(draft, &[2, 0, 0, 0])), 2);
    assert_eq!(ask(&|writer| _ = writer.add_raw(draft, &[1, 0, 0, 0])), 1);
    assert_eq!(ask(&|writer| _ = writer.add_raw(draft, &[2, 0])), 1);
    let four = RequestedAddressFamily(Family::Ipv4);
    assert_eq!(ask(&|writer| _ = writer.add(&four).add_raw(draft, &[2, 0, 0, 0])), 1);
    let pair = EvenPort { reserve: true };
    assert_eq!(ask(&|writer| _ = writer.add(&pair).add_raw(draft, &[2, 0, 0, 0])), 1);
}

#[test]
fn a_family_without_a_relay_address_is_named_with_440_beside_the_other() {
    // Conformance 72.
    for (relay, missing) in [(RELAY, Family::Ipv6), (RELAY_V6, Family::Ipv4)] {
        let mut world = Setup::new().relays(&[relay]).build();
        let reply = Caller::new(CALLER).allocate_with(&mut world, both).expect_success();
        assert_eq!(relayed(&reply).iter().map(|it| it.ip().to_string()).collect::<Vec<_>>(), [relay]);
        assert_eq!(lacking(&reply), Some((missing, 440)));
    }
    let mut world = Setup::new().relays(&[]).build();
    Caller::new(CALLER).allocate_with(&mut world, both).expect_error(440);
}

#[test]
fn a_family_without_a_port_is_named_with_508_beside_the_other() {
    // Conformance 72.
    for (taken, missing) in [(Family::Ipv4, Family::Ipv4), (Family::Ipv6, Family::Ipv6)] {
        let mut world = Setup::new().range(50_000..=50_000).build();
        let mut first = Caller::new("203.0.113.2:4000");
        let outcome = first.request(&mut world, Method::ALLOCATE, |writer| {
            writer
                .add(&turnpike_wire::attributes::RequestedTransport::UDP)
                .add(&RequestedAddressFamily(taken));
        });
        outcome.expect_success();
        let mut caller = Caller::new(CALLER);
        let reply = caller.allocate_with(&mut world, both).expect_success();
        assert_eq!((relayed(&reply).len(), lacking(&reply)), (1, Some((missing, 508))));
        Caller::new("203.0.113.3:4000").allocate_with(&mut world, both).expect_error(508);
        caller.refresh(&mut world, 0).expect_success();
        first.refresh(&mut world, 0).expect_success();
        assert_eq!((world.ports.taken(), world.quotas.taken()), (0, 0));
    }
}

#[test]
fn sockets_that_fail_leave_the_other_family_or_nothing_in_any_order() {
    // Conformance 72, and nothing leaks.
    use RelayError::{AddressInUse, Other};
    let busy = |count: usize| vec![AddressInUse; count];
    // How each opening goes, and which family is missing in the end.
    type Case = (Vec<Option<RelayError>>, Result<Option<Family>, ()>);
    let cases: [Case; 6] = [
        (vec![Some(Other), None], Ok(Some(Family::Ipv4))),
        (vec![None, Some(Other)], Ok(Some(Family::Ipv6))),
        (vec![Some(Other), Some(Other)], Err(())),
        (busy(3).into_iter().map(Some).chain([None, Some(AddressInUse), None]).collect(), Ok(None)),
        (busy(16).into_iter().map(Some).chain([None]).collect(), Ok(Some(Family::Ipv4))),
        ([None].into_iter().chain(busy(16).into_iter().map(Some)).collect(), Ok(Some(Family::Ipv6))),
    ];
    for (answers, expected) in cases {
        let mut world = Setup::new().quotas(1, 1).build();
        let mut caller = Caller::new(CALLER);
        world.answers = false;
        let mut outcome = caller.allocate_with(&mut world, both);
        for answer in answers {
            assert!(matches!(outcome, Outcome::Wait(_)), "{outcome:?}");
            let (wait, relay, local) = world.asked.pop_front().expect("a relay was asked for");
            if answer.is_none() {
                world.open.push((relay, local));
            }
            outcome = world.answer(wait, answer.map_or(Ok(()), Err));
            world.server.check_invariants();
        }
        match expected {
            Ok(missing) => {
                let reply = outcome.expect_success();
                caller.check_integrity(&reply);
                let count = if missing.is_some() { 1 } else { 2 };
                assert_eq!((relayed(&reply).len(), lacking(&reply)), (count, missing.map(|it| (it, 508))));
                assert_eq!(
                    (world.open.len(), world.ports.taken(), world.quotas.taken()),
                    (count, count as u32, 1)
                );
                caller.refresh(&mut world, 0).expect_success();
            }
            Err(()) => drop(outcome.expect_error(508)),
        }
        let left = (world.open.len(), world.ports.taken(), world.quotas.taken());
        assert_eq!((left, world.server.stats().allocations()), ((0, 0, 0), 0));
    }
}

#[test]
fn an_even_port_is_even_in_both_families() {
    // Conformance 70, 77.
    let mut world = Setup::new().build();
    let outcome = Caller::new(CALLER).allocate_with(&mut world, |writer| {
        writer.add(&EvenPort { reserve: false });
        both(writer);
    });
    let reply = outcome.expect_success();
    let ports: Vec<u16> = relayed(&reply).iter().map(SocketAddr::port).collect();
    assert_eq!((ports.len(), ports.iter().all(|port| port % 2 == 0)), (2, true), "{ports:?}");
}

#[test]
fn a_retransmitted_allocate_gets_both_addresses_again_and_what_was_missing() {
    // Conformance 82.
    for (relays, addresses) in [(&[RELAY, RELAY_V6][..], 2), (&[RELAY], 1)] {
        let mut world = Setup::new().relays(relays).build();
        let mut caller = Caller::new(CALLER);
        caller.fetch_nonce(&mut world);
        let id = world.transaction();
        let ask = |world: &mut World| {
            caller.request_as(world, id, Method::ALLOCATE, |writer| {
                writer.add(&turnpike_wire::attributes::RequestedTransport::UDP);
                both(writer);
            })
        };
        let [first, again] = [ask(&mut world).expect_success(), ask(&mut world).expect_success()];
        assert_eq!(relayed(&first).len(), addresses);
        assert_eq!((relayed(&first), lacking(&first)), (relayed(&again), lacking(&again)));
        assert_eq!(world.attempts.len(), addresses, "no socket is opened for the copy");
    }
}

#[test]
fn a_dual_allocation_is_one_in_the_quotas_until_its_last_address_has_ended() {
    // Conformance 74, 86.
    for first in [Family::Ipv4, Family::Ipv6] {
        let (mut world, mut caller, ..) = dual();
        let mut other = Caller::new("203.0.113.2:4000");
        other.allocate_with(&mut world, |_| {}).expect_error(486);
        refresh(&mut world, &mut caller, 0, Some(first)).expect_success();
        world.server.check_invariants();
        other.allocate_with(&mut world, |_| {}).expect_error(486);
        assert_eq!((world.quotas.taken(), world.ports.taken(), world.open.len()), (1, 1, 1));
        refresh(&mut world, &mut caller, 0, None).expect_success();
        assert_eq!((world.quotas.taken(), world.ports.taken(), world.open.len()), (0, 0, 0));
        other.allocate(&mut world);
    }
}

#[test]
fn one_request_may_permit_peers_of_both_families_and_is_all_or_nothing() {
    // Conformance 86, 94.
    let (mut world, mut caller, four, six) = dual();
    caller.permit(&mut world, &[PEER, PEER_V6, "10.0.0.1:1"]).expect_error(403);
    caller.send(&mut world, PEER, b"x").expect_drop(Reason::NoPermission);
    caller.send(&mut world, PEER_V6, b"x").expect_drop(Reason::NoPermission);
    caller.permit(&mut world, &[PEER, PEER_V6]).expect_success();
    for (peer, relayed) in [(PEER, four), (PEER_V6, six)] {
        match caller.send(&mut world, peer, b"out") {
            Outcome::ToPeer { from, .. } => assert_eq!(from, relayed),
            other => panic!("{other:?}"),
        }
        world.receive_from_peer(relayed, peer, b"back").expect_data_indication(peer, b"back");
    }
}

#[test]
fn permissions_of_one_family_take_no_room_from_the_other() {
    // Conformance 86.
    let mut world = Setup::new().config(|config| config.max_permissions = 1).build();
    let mut caller = Caller::new(CALLER);
    caller.allocate_with(&mut world, both).expect_success();
    caller.permit(&mut world, &[PEER, PEER_V6]).expect_success();
    caller.permit(&mut world, &[PEER_V6, OTHER_PEER]).expect_error(508);
    caller.permit(&mut world, &["[2606:4700::2]:1", PEER]).expect_error(508);
    caller.permit(&mut world, &[PEER, PEER_V6]).expect_success();
}

#[test]
fn channels_lead_to_peers_of_both_families() {
    // Conformance 86.
    let (mut world, mut caller, four, six) = dual();
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    caller.bind(&mut world, 0x4001, PEER_V6).expect_success();
    for (number, peer, relayed) in [(0x4000, PEER, four), (0x4001, PEER_V6, six)] {
        match caller.send_on(&mut world, number, b"out") {
            Outcome::ToPeer { from, .. } => assert_eq!(from, relayed),
            other => panic!("{other:?}"),
        }
        world.receive_from_peer(relayed, peer, b"back").expect_channel_data(number, b"back");
    }
    caller.send_on(&mut world, 0x4002, b"x").expect_drop(Reason::NoChannel);
}

#[test]
fn a_channel_number_is_one_peers_alone_whatever_its_family() {
    // Conformance 113: ChannelData names nothing but the number.
    let (mut world, mut caller, ..) = dual();
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    caller.bind(&mut world, 0x4000, PEER_V6).expect_error(400);
    caller.bind(&mut world, 0x4001, PEER_V6).expect_success();
    caller.bind(&mut world, 0x4001, PEER).expect_error(400);
    caller.send_on(&mut world, 0x4000, b"x").expect_to_peer(PEER, b"x");
    caller.send_on(&mut world, 0x4001, b"x").expect_to_peer(PEER_V6, b"x");
}

#[test]
fn a_channel_number_that_has_expired_in_one_family_is_free_for_the_other() {
    let (mut world, mut caller, ..) = dual();
    refresh(&mut world, &mut caller, 3600, None).expect_success();
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    world.advance(600 * SECOND);
    caller.bind(&mut world, 0x4000, PEER_V6).expect_success();
    caller.send_on(&mut world, 0x4000, b"x").expect_to_peer(PEER_V6, b"x");
}

#[test]
fn data_of_one_family_does_not_enter_by_the_other() {
    // Conformance 86.
    let (mut world, mut caller, four, six) = dual();
    caller.permit(&mut world, &[PEER_V6]).expect_success();
    world.receive_from_peer(four, PEER, b"x").expect_drop(Reason::NoPermission);
    world.receive_from_peer(six, PEER_V6, b"x").expect_data_indication(PEER_V6, b"x");
}

#[test]
fn a_refresh_with_a_family_renews_only_that_address_and_one_without_both() {
    // Conformance 89.
    for (family, survivor) in [(Family::Ipv4, PEER), (Family::Ipv6, PEER_V6)] {
        let (mut world, mut caller, ..) = dual();
        refresh(&mut world, &mut caller, 3600, Some(family)).expect_success();
        world.advance(600 * SECOND);
        assert_eq!((world.open.len(), world.server.stats().allocations()), (1, 1));
        caller.permit(&mut world, &[survivor]).expect_success();
        let gone = if survivor == PEER { PEER_V6 } else { PEER };
        caller.permit(&mut world, &[gone]).expect_error(443);
        let other = if family == Family::Ipv4 { Family::Ipv6 } else { Family::Ipv4 };
        refresh(&mut world, &mut caller, 600, Some(other)).expect_error(443);
        world.advance(3000 * SECOND);
        assert_eq!((world.open.len(), world.server.stats().allocations()), (0, 0));
    }
    let (mut world, mut caller, ..) = dual();
    refresh(&mut world, &mut caller, 3600, None).expect_success();
    world.advance(3599 * SECOND);
    assert_eq!(world.open.len(), 2);
    world.advance(SECOND);
    assert_eq!(world.open.len(), 0);
}

#[test]
fn deleting_one_address_leaves_the_other_and_all_that_is_its() {
    // Conformance 87, 89.
    for (deleted, gone, stays) in [(Family::Ipv4, PEER, PEER_V6), (Family::Ipv6, PEER_V6, PEER)] {
        let (mut world, mut caller, four, six) = dual();
        caller.bind(&mut world, 0x4000, gone).expect_success();
        caller.bind(&mut world, 0x4001, stays).expect_success();
        let (closed, left) = if deleted == Family::Ipv4 { (four, six) } else { (six, four) };
        let relay = world.relay_at(closed);
        let reply = refresh(&mut world, &mut caller, 0, Some(deleted)).expect_success();
        assert_eq!(reply.expect::<Lifetime>(), Lifetime(0));
        caller.send_on(&mut world, 0x4000, b"x").expect_drop(Reason::NoChannel);
        caller.send(&mut world, gone, b"x").expect_drop(Reason::WrongFamily);
        world.receive_at(relay, gone.parse().expect("an address"), b"x").expect_drop(Reason::StaleRelay);
        caller.send_on(&mut world, 0x4001, b"x").expect_to_peer(stays, b"x");
        world.receive_from_peer(left, stays, b"x").expect_channel_data(0x4001, b"x");
        caller.bind(&mut world, 0x4000, stays).expect_error(400);
        assert_eq!(world.server.stats().allocations(), 1);
    }
}

#[test]
fn a_session_is_reported_once_with_all_it_used_and_each_address_that_ends_before_it() {
    let (mut world, mut caller, four, six) = dual();
    caller.permit(&mut world, &[PEER, PEER_V6]).expect_success();
    caller.send(&mut world, PEER, &[0; 10]).expect_to_peer(PEER, &[0; 10]);
    caller.send(&mut world, PEER_V6, &[0; 7]).expect_to_peer(PEER_V6, &[0; 7]);
    world.receive_from_peer(six, PEER_V6, &[0; 5]).expect_data_indication(PEER_V6, &[0; 5]);
    refresh(&mut world, &mut caller, 0, Some(Family::Ipv6)).expect_success();
    world.advance(600 * SECOND);
    let [
        Event::Allocated { session, .. },
        Event::RelayEnded { session: half, relayed: closed, cause: EndCause::Deleted, .. },
        Event::Ended { session: ended, relayed, cause: EndCause::Expired, usage, duration, .. },
    ] = &world.events[..]
    else {
        panic!("{:?}", world.events)
    };
    assert_eq!([half, ended], [session; 2]);
    assert_eq!((*closed, *relayed, *duration), (six, four, 600 * SECOND));
    let expected =
        Usage { client_packets: 2, client_bytes: 17, peer_packets: 1, peer_bytes: 5, ..Usage::default() };
    assert_eq!(*usage, expected);
    let stats = world.server.stats();
    assert_eq!((stats.allocations_created, stats.allocations_ended), (1, 1));
}

#[test]
fn the_end_of_a_connection_or_of_the_server_ends_both_addresses() {
    // Conformance 84.
    let end: [fn(&mut World, &Caller); 2] = [
        |world, caller| world.server.handle_link_closed(world.now, caller.client),
        |world, _| world.server.handle_shutdown(world.now),
    ];
    for end in end {
        let (mut world, caller, ..) = dual();
        end(&mut world, &caller);
        world.drain();
        world.server.check_invariants();
        assert_eq!((world.open.len(), world.ports.taken(), world.quotas.taken()), (0, 0, 0));
        assert_eq!(world.server.stats().allocations(), 0);
    }
}

#[test]
fn each_family_has_its_own_external_address() {
    // Conformance 85.
    let mut world = Setup::new()
        .config(|config| config.peers.relays[0].external = Some("198.51.100.7".parse().expect("an address")))
        .build();
    let reply = Caller::new(CALLER).allocate_with(&mut world, both).expect_success();
    let told: Vec<String> = relayed(&reply).iter().map(|it| it.ip().to_string()).collect();
    assert_eq!(told, ["198.51.100.7", RELAY_V6]);
}
