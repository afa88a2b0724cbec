//! RFC 8656 §7.2: receiving an Allocate request.

use std::time::Duration;

use turnpike_turn::{DefaultFamily, Event, Reason};
use turnpike_wire::attributes::{
    AdditionalAddressFamily, AddressErrorCode, DontFragment, EvenPort, Lifetime, RequestedAddressFamily,
    RequestedTransport, ReservationToken, XorMappedAddress, XorRelayedAddress,
};
use turnpike_wire::{AttributeType, Family, MessageWriter, Method, TransactionId};

use crate::harness::{Caller, Outcome, PEER, RELAY, RELAY_V6, SECOND, Setup, World, address};

const CALLER: &str = "203.0.113.1:4000";
const CALLER_V6: &str = "[2001:db8:1::1]:4000";

fn world_with_caller() -> (World, Caller) {
    (Setup::new().build(), Caller::new(CALLER))
}

/// What a fresh client gets for these attributes.
fn ask(world: &mut World, build: impl Fn(&mut MessageWriter<'_>)) -> Outcome {
    let port = 10_000 + world.attempts.len() + world.server.stats().errors as usize;
    Caller::new(&format!("203.0.113.9:{port}")).allocate_with(world, build)
}

#[test]
fn success_tells_the_relayed_address_the_lifetime_and_the_mapped_address() {
    // Conformance 63.
    for caller in [CALLER, CALLER_V6] {
        let mut world = Setup::new().build();
        let mut caller = Caller::new(caller);
        let reply = caller.allocate_with(&mut world, |_| {}).expect_success();
        let XorRelayedAddress(relayed) = reply.expect();
        assert_eq!(relayed.ip().to_string(), RELAY);
        assert_eq!(reply.expect::<Lifetime>().0, 600);
        assert_eq!(reply.expect::<XorMappedAddress>().0, caller.client.tuple.client);
        assert!(!reply.has(AttributeType::RESERVATION_TOKEN));
        assert_eq!(reply.message().attributes().count(), 3);
        assert!(world.events.iter().any(|event| matches!(event, Event::Allocated { .. })));
    }
}

#[test]
fn a_busy_5_tuple_is_a_mismatch_before_anything_in_the_request_is_looked_at() {
    // Conformance 64.
    let (mut world, mut caller) = world_with_caller();
    caller.allocate(&mut world);
    caller.allocate_with(&mut world, |_| {}).expect_error(437);
    caller.request(&mut world, Method::ALLOCATE, |_| {}).expect_error(437);
    caller
        .request(&mut world, Method::ALLOCATE, |writer| {
            writer.add(&RequestedTransport::TCP);
        })
        .expect_error(437);
    assert_eq!(world.server.stats().allocations(), 1);
}

#[test]
fn requested_transport_must_be_there_well_formed_and_known() {
    // Conformance 65.
    let (mut world, mut caller) = world_with_caller();
    caller.request(&mut world, Method::ALLOCATE, |_| {}).expect_error(400);
    for malformed in [&[][..], &[17], &[17, 0, 0], &[17, 0, 0, 0, 0]] {
        let outcome = caller.request(&mut world, Method::ALLOCATE, |writer| {
            writer.add_raw(AttributeType::REQUESTED_TRANSPORT, malformed);
        });
        outcome.expect_error(400);
    }
    for protocol in [0, 1, 5, 7, 16, 18, 132, 255] {
        let outcome = caller.request(&mut world, Method::ALLOCATE, |writer| {
            writer.add(&RequestedTransport(protocol));
        });
        outcome.expect_error(442);
    }
    // The reserved bytes are ignored.
    let outcome = caller.request(&mut world, Method::ALLOCATE, |writer| {
        writer.add_raw(AttributeType::REQUESTED_TRANSPORT, &[17, 0xFF, 0x12, 0x34]);
    });
    outcome.expect_success();
}

#[test]
fn dont_fragment_is_supported() {
    // Conformance 66.
    let (mut world, mut caller) = world_with_caller();
    let outcome = caller.allocate_with(&mut world, |writer| {
        writer.add(&DontFragment);
    });
    outcome.expect_success();
}

#[test]
fn a_reservation_token_contradicts_even_port_and_address_families() {
    // Conformance 67.
    let mut world = Setup::new().build();
    let token = ReservationToken([1; 8]);
    let contradictions: [&dyn Fn(&mut MessageWriter<'_>); 5] = [
        &|writer| {
            writer.add(&token).add(&EvenPort { reserve: false });
        },
        &|writer| {
            writer.add(&token).add(&EvenPort { reserve: true });
        },
        &|writer| {
            writer.add(&token).add(&RequestedAddressFamily(Family::Ipv4));
        },
        &|writer| {
            writer.add(&token).add(&AdditionalAddressFamily(Family::Ipv6));
        },
        &|writer| {
            writer.add(&token).add_raw(AttributeType::REQUESTED_ADDRESS_FAMILY, &[3, 0, 0, 0]);
        },
    ];
    for contradiction in contradictions {
        ask(&mut world, contradiction).expect_error(400);
    }
    assert_eq!(world.ports.taken(), 0);
}

#[test]
fn an_unknown_token_is_insufficient_capacity_and_a_malformed_one_a_bad_request() {
    // Conformance 67.
    let mut world = Setup::new().build();
    ask(&mut world, |writer| {
        writer.add(&ReservationToken([1; 8]));
    })
    .expect_error(508);
    for length in [0, 4, 7, 9, 16] {
        let outcome = ask(&mut world, |writer| {
            writer.add_raw(AttributeType::RESERVATION_TOKEN, &vec![1; length]);
        });
        outcome.expect_error(400);
    }
    assert_eq!(world.server.stats().refused(Reason::UnknownReservation), 1);
}

#[test]
fn requested_and_additional_family_contradict_each_other() {
    // Conformance 68.
    let mut world = Setup::new().build();
    for requested in [Family::Ipv4, Family::Ipv6] {
        for additional in [Family::Ipv4, Family::Ipv6] {
            let outcome = ask(&mut world, |writer| {
                writer.add(&RequestedAddressFamily(requested)).add(&AdditionalAddressFamily(additional));
            });
            outcome.expect_error(400);
        }
    }
}

#[test]
fn the_requested_family_is_given() {
    // Conformance 69, RFC 6156.
    for caller in [CALLER, CALLER_V6] {
        for (family, relay) in [(Family::Ipv4, RELAY), (Family::Ipv6, RELAY_V6)] {
            let mut world = Setup::new().build();
            let outcome = Caller::new(caller).allocate_with(&mut world, |writer| {
                writer.add(&RequestedAddressFamily(family));
            });
            assert_eq!(outcome.expect_success().expect::<XorRelayedAddress>().0.ip().to_string(), relay);
        }
    }
}

#[test]
fn without_a_family_it_is_ipv4_even_for_an_ipv6_client() {
    // Conformance 69.
    let mut world = Setup::new().build();
    assert_eq!(Caller::new(CALLER_V6).allocate(&mut world).ip().to_string(), RELAY);
}

#[test]
fn the_default_family_can_be_configured() {
    // coturn's allocation-default-address-family.
    for (default, caller, relay) in [
        (DefaultFamily::Of(Family::Ipv6), CALLER, RELAY_V6),
        (DefaultFamily::Of(Family::Ipv4), CALLER_V6, RELAY),
        (DefaultFamily::Client, CALLER_V6, RELAY_V6),
        (DefaultFamily::Client, CALLER, RELAY),
    ] {
        let mut world = Setup::new().config(|config| config.default_family = default).build();
        assert_eq!(Caller::new(caller).allocate(&mut world).ip().to_string(), relay);
    }
}

#[test]
fn a_family_without_a_relay_address_or_without_a_name_is_not_supported() {
    // Conformance 69.
    let mut world = Setup::new().relays(&[RELAY]).build();
    let outcome = ask(&mut world, |writer| {
        writer.add(&RequestedAddressFamily(Family::Ipv6));
    });
    outcome.expect_error(440);
    for number in [0, 3, 0xFF] {
        let outcome = ask(&mut world, |writer| {
            writer.add_raw(AttributeType::REQUESTED_ADDRESS_FAMILY, &[number, 0, 0, 0]);
        });
        outcome.expect_error(440);
    }
    let outcome = ask(&mut world, |writer| {
        writer.add_raw(AttributeType::REQUESTED_ADDRESS_FAMILY, &[1, 0]);
    });
    outcome.expect_error(400);
    let mut world = Setup::new().relays(&[RELAY_V6]).build();
    ask(&mut world, |_| {}).expect_error(440);
}

#[test]
fn an_unsupported_family_is_named_even_when_the_quota_is_reached() {
    // §7.2: the family is checked before the quota.
    let mut world = Setup::new().relays(&[RELAY]).quotas(1, 0).build();
    Caller::new(CALLER).allocate(&mut world);
    let outcome = ask(&mut world, |writer| {
        writer.add(&RequestedAddressFamily(Family::Ipv6));
    });
    outcome.expect_error(440);
}

#[test]
fn an_unknown_token_is_named_even_when_the_quota_is_reached() {
    // §7.2: the token is checked before the quota.
    let mut world = Setup::new().quotas(1, 0).build();
    Caller::new(CALLER).allocate(&mut world);
    ask(&mut world, |writer| {
        writer.add(&ReservationToken([1; 8]));
    })
    .expect_error(508);
    assert_eq!(world.server.stats().refused(Reason::UnknownReservation), 1);
}

#[test]
fn a_pair_of_ports_contradicts_an_additional_family() {
    // Conformance 70.
    let mut world = Setup::new().build();
    let outcome = ask(&mut world, |writer| {
        writer.add(&EvenPort { reserve: true }).add(&AdditionalAddressFamily(Family::Ipv6));
    });
    outcome.expect_error(400);
}

#[test]
fn ipv4_cannot_be_the_additional_family() {
    // Conformance 71.
    let mut world = Setup::new().build();
    ask(&mut world, |writer| {
        writer.add(&AdditionalAddressFamily(Family::Ipv4));
    })
    .expect_error(400);
}

#[test]
fn when_only_one_family_can_be_had_the_other_is_named_with_its_error() {
    // Conformance 72.
    let mut world = Setup::new().relays(&[RELAY]).build();
    let reply = ask(&mut world, |writer| {
        writer.add(&AdditionalAddressFamily(Family::Ipv6));
    })
    .expect_success();
    assert!(reply.expect::<XorRelayedAddress>().0.is_ipv4());
    let error: AddressErrorCode<'_> = reply.expect();
    assert_eq!((error.family, error.number.number()), (Family::Ipv6, 440));
}

#[test]
fn lifetimes_are_raised_to_the_default_and_cut_to_the_maximum() {
    // Conformance 80: max(600, min(asked, maximum)); absent, zero and short give the default.
    for (asked, granted) in [
        (None, 600),
        (Some(0), 600),
        (Some(1), 600),
        (Some(600), 600),
        (Some(601), 601),
        (Some(3600), 3600),
        (Some(3601), 3600),
        (Some(u32::MAX), 3600),
    ] {
        let (mut world, mut caller) = world_with_caller();
        let reply = caller
            .allocate_with(&mut world, |writer| {
                writer.add_some(asked.map(Lifetime).as_ref());
            })
            .expect_success();
        assert_eq!(reply.expect::<Lifetime>().0, granted, "{asked:?}");
        world.advance(Duration::from_secs(u64::from(granted) - 1));
        assert_eq!(world.server.stats().allocations(), 1, "{asked:?}");
        world.advance(SECOND);
        assert_eq!(world.server.stats().allocations(), 0, "{asked:?}");
    }
}

#[test]
fn a_malformed_lifetime_is_a_bad_request() {
    let (mut world, mut caller) = world_with_caller();
    let outcome = caller.allocate_with(&mut world, |writer| {
        writer.add_raw(AttributeType::LIFETIME, &[0, 0, 1]);
    });
    outcome.expect_error(400);
}

#[test]
fn the_configured_maximum_lifetime_applies() {
    let mut world = Setup::new().config(|config| config.max_lifetime = Duration::from_secs(900)).build();
    let outcome = ask(&mut world, |writer| {
        writer.add(&Lifetime(3600));
    });
    assert_eq!(outcome.expect_success().expect::<Lifetime>().0, 900);
}

#[test]
fn a_new_allocation_has_no_permissions_and_no_channels() {
    // Conformance 81 and 99, also on a port that was used before.
    let mut world = Setup::new().range(50_000..=50_000).build();
    let mut first = Caller::new(CALLER);
    let relayed = first.allocate(&mut world);
    first.bind(&mut world, 0x4000, PEER).expect_success();
    first.refresh(&mut world, 0).expect_success();
    let mut second = Caller::new("203.0.113.2:4000");
    assert_eq!(second.allocate(&mut world), relayed);
    world.receive_from_peer(relayed, PEER, b"x").expect_drop(Reason::NoPermission);
    second.send(&mut world, PEER, b"x").expect_drop(Reason::NoPermission);
    second.send_on(&mut world, 0x4000, b"x").expect_drop(Reason::NoChannel);
    // And on the same 5-tuple.
    second.refresh(&mut world, 0).expect_success();
    assert_eq!(first.allocate(&mut world), relayed);
    first.send_on(&mut world, 0x4000, b"x").expect_drop(Reason::NoChannel);
}

#[test]
fn a_retransmitted_allocate_gets_the_same_relayed_address() {
    // Conformance 82.
    let (mut world, mut caller) = world_with_caller();
    caller.fetch_nonce(&mut world);
    let id = TransactionId([9; 12]);
    let build = |writer: &mut MessageWriter<'_>| {
        writer.add(&RequestedTransport::UDP).add(&EvenPort { reserve: true });
    };
    let first = caller.request_as(&mut world, id, Method::ALLOCATE, build).expect_success();
    let second = caller.request_as(&mut world, id, Method::ALLOCATE, build).expect_success();
    assert_eq!(first.bytes, second.bytes);
    world.advance(39 * SECOND);
    let late = caller.request_as(&mut world, id, Method::ALLOCATE, build).expect_success();
    assert_eq!(late.expect::<XorRelayedAddress>().0, first.expect::<XorRelayedAddress>().0);
    assert_eq!(late.expect::<ReservationToken>(), first.expect::<ReservationToken>());
    assert_eq!(late.expect::<Lifetime>().0, 600 - 39, "what is left of it");
    assert_eq!((world.server.stats().allocations(), world.attempts.len()), (1, 1));
}

#[test]
fn a_retransmission_of_an_allocate_that_is_being_worked_on_is_dropped() {
    // Conformance 82: parked, then granted, then repeated.
    let (mut world, mut caller) = world_with_caller();
    caller.fetch_nonce(&mut world);
    world.answers = false;
    let id = TransactionId([9; 12]);
    let udp = |writer: &mut MessageWriter<'_>| {
        writer.add(&RequestedTransport::UDP);
    };
    let Outcome::Wait(wait) = caller.request_as(&mut world, id, Method::ALLOCATE, udp) else { panic!() };
    for _ in 0..3 {
        caller.request_as(&mut world, id, Method::ALLOCATE, udp).expect_drop(Reason::InProgress);
    }
    let other = world.transaction();
    caller.request_as(&mut world, other, Method::ALLOCATE, udp).expect_error(437);
    assert_eq!((world.asked.len(), world.ports.taken()), (1, 1));
    let (_, relay, local) = world.asked.pop_front().unwrap();
    world.open.push((relay, local));
    let granted = world.answer(wait, Ok(())).expect_success();
    caller.check_integrity(&granted);
    let repeated = caller.request_as(&mut world, id, Method::ALLOCATE, udp).expect_success();
    assert_eq!(repeated.bytes, granted.bytes);
}

#[test]
fn the_external_address_is_reported_and_the_local_one_is_opened() {
    // Conformance 85: behind a one-to-one NAT.
    let mut world = Setup::new().behind_nat("10.0.0.5", "203.0.113.77").build();
    let relayed = Caller::new(CALLER).allocate(&mut world);
    assert_eq!(relayed.ip(), address("203.0.113.77:0").ip());
    assert_eq!(world.open[0].1, format!("10.0.0.5:{}", relayed.port()).parse().unwrap());
}

#[test]
fn the_relay_address_the_client_came_in_on_is_preferred() {
    let mut world = Setup::new().relays(&["192.0.2.8", RELAY, "192.0.2.12"]).build();
    for port in 0..20 {
        let relayed = Caller::new(&format!("203.0.113.1:{}", 4000 + port)).allocate(&mut world);
        assert_eq!(relayed.ip().to_string(), RELAY);
    }
}

#[test]
fn other_relay_addresses_are_taken_in_turn() {
    let mut world = Setup::new().relays(&["192.0.2.20", "192.0.2.21", "192.0.2.22"]).build();
    let mut counts = std::collections::HashMap::new();
    for port in 0..30 {
        let relayed = Caller::new(&format!("203.0.113.1:{}", 4000 + port)).allocate(&mut world);
        *counts.entry(relayed.ip()).or_insert(0) += 1;
    }
    assert!(counts.len() == 3 && counts.values().all(|count| *count == 10), "{counts:?}");
}
