//! `user-quota` and `total-quota`: how many allocations may live at once.

use turnpike_turn::{Credentials, Reason, RelayError, rest_password};
use turnpike_wire::attributes::{EvenPort, ReservationToken, XorRelayedAddress};
use turnpike_wire::{AttributeType, MessageWriter, TransactionId};

use crate::harness::{Caller, OTHER_PEER, PEER, SECOND, Setup, World, credentials};

fn alice(number: u16) -> Caller {
    Caller::new(&format!("203.0.113.1:{}", 4000 + number))
}

fn bob(number: u16) -> Caller {
    Caller::new(&format!("203.0.113.2:{}", 4000 + number)).named("bob", "builder")
}

/// A user of the REST secret, calling from this port.
fn rest(number: u16, username: &str) -> Caller {
    Caller::new(&format!("203.0.113.3:{}", 4000 + number))
        .named(username, &rest_password(b"secret", username))
}

fn world_with_secret(per_user: u32, total: u32) -> World {
    let mut credentials = credentials();
    credentials.add_secret(b"secret");
    Setup::with_credentials(credentials).quotas(per_user, total).build()
}

#[test]
fn a_user_has_as_many_allocations_as_the_user_quota_and_others_have_theirs() {
    // Conformance 73.
    let mut world = Setup::new().quotas(2, 0).build();
    for number in 0..2 {
        alice(number).allocate(&mut world);
        bob(number).allocate(&mut world);
    }
    alice(2).allocate_with(&mut world, |_| {}).expect_error(486);
    bob(2).allocate_with(&mut world, |_| {}).expect_error(486);
    assert_eq!(world.server.stats().refused(Reason::UserQuota), 2);
    assert_eq!((world.quotas.taken(), world.ports.taken()), (4, 4));
}

#[test]
fn all_users_together_have_as_many_allocations_as_the_total_quota() {
    // Conformance 73.
    let mut world = Setup::new().quotas(0, 3).build();
    alice(0).allocate(&mut world);
    alice(1).allocate(&mut world);
    bob(0).allocate(&mut world);
    bob(1).allocate_with(&mut world, |_| {}).expect_error(486);
    alice(2).allocate_with(&mut world, |_| {}).expect_error(486);
    assert_eq!(world.server.stats().refused(Reason::TotalQuota), 2);
}

#[test]
fn zero_limits_nothing() {
    let mut world = Setup::new().quotas(0, 0).build();
    for number in 0..500 {
        alice(number).allocate(&mut world);
    }
    assert_eq!(world.quotas.taken(), 500);
}

#[test]
fn workers_count_together() {
    let mut first = Setup::new().quotas(2, 3).build();
    let mut second = Setup::new().sharing_with(&first).build();
    alice(0).allocate(&mut first);
    alice(1).allocate(&mut second);
    alice(2).allocate_with(&mut first, |_| {}).expect_error(486);
    alice(2).allocate_with(&mut second, |_| {}).expect_error(486);
    bob(0).allocate(&mut second);
    bob(1).allocate_with(&mut first, |_| {}).expect_error(486);
    assert_eq!(first.server.stats().refused(Reason::TotalQuota), 1);
}

#[test]
fn an_allocation_is_charged_once_whatever_happens_to_it() {
    // Conformance 74: neither Refresh nor permissions, channels or data take another place.
    let mut world = Setup::new().quotas(1, 0).build();
    let mut caller = alice(0);
    caller.allocate(&mut world);
    for _ in 0..3 {
        caller.refresh(&mut world, 600).expect_success();
        caller.permit(&mut world, &[PEER, OTHER_PEER]).expect_success();
        caller.bind(&mut world, 0x4000, PEER).expect_success();
        caller.send(&mut world, PEER, b"x").expect_to_peer(PEER, b"x");
    }
    assert_eq!(world.quotas.taken(), 1);
}

#[test]
fn a_deleted_allocation_gives_its_place_back() {
    // Conformance 74.
    let mut world = Setup::new().quotas(1, 1).build();
    for number in 0..20 {
        let mut caller = alice(number);
        caller.allocate(&mut world);
        caller.refresh(&mut world, 0).expect_success();
        assert_eq!(world.quotas.taken(), 0);
    }
}

#[test]
fn a_retransmitted_delete_gives_back_no_place_that_is_not_its_own() {
    // Conformance 74 and 92.
    let mut world = Setup::new().quotas(2, 0).build();
    let mut deleted = alice(0);
    deleted.allocate(&mut world);
    alice(1).allocate(&mut world);
    let id = TransactionId([8; 12]);
    for _ in 0..3 {
        let delete = |writer: &mut turnpike_wire::MessageWriter<'_>| {
            writer.add(&turnpike_wire::attributes::Lifetime(0));
        };
        deleted.request_as(&mut world, id, turnpike_wire::Method::REFRESH, delete).expect_success();
        assert_eq!(world.quotas.taken(), 1);
    }
}

#[test]
fn an_expired_allocation_gives_its_place_back() {
    // Conformance 74.
    let mut world = Setup::new().quotas(1, 0).build();
    alice(0).allocate(&mut world);
    world.advance(600 * SECOND - std::time::Duration::from_nanos(1));
    alice(1).allocate_with(&mut world, |_| {}).expect_error(486);
    world.advance(std::time::Duration::from_nanos(1));
    alice(1).allocate(&mut world);
}

#[test]
fn a_relay_that_cannot_be_opened_gives_its_place_back() {
    // Conformance 74.
    let mut world = Setup::new().quotas(1, 0).build();
    for error in [RelayError::Other, RelayError::AddressInUse] {
        world.failures = [error; 100].into();
        alice(0).allocate_with(&mut world, |_| {}).expect_error(508);
        assert_eq!((world.quotas.taken(), world.ports.taken()), (0, 0));
    }
    world.failures.clear();
    alice(0).allocate(&mut world);
}

#[test]
fn the_servers_end_gives_all_places_back() {
    // Conformance 74: the counts are shared, and the other workers go on.
    let mut first = Setup::new().quotas(2, 4).build();
    let mut second = Setup::new().sharing_with(&first).build();
    for number in 0..2 {
        alice(number).allocate(&mut first);
        bob(number).allocate(&mut first);
    }
    alice(2).allocate_with(&mut second, |_| {}).expect_error(486);
    let now = first.now;
    first.server.handle_shutdown(now);
    first.drain();
    assert_eq!(first.quotas.taken(), 0);
    alice(2).allocate(&mut second);
}

#[test]
fn a_request_that_waits_holds_its_place() {
    // Else two requests at once would both find the last one free.
    let mut world = Setup::new().quotas(1, 0).build();
    world.answers = false;
    let _waiting = alice(0).allocate_with(&mut world, |_| {});
    assert_eq!(world.quotas.taken(), 1);
    alice(1).allocate_with(&mut world, |_| {}).expect_error(486);
}

#[test]
fn failed_requests_take_no_place() {
    // Conformance 74: each with its error, and the only place still free after all of them.
    let mut world = Setup::new().quotas(1, 1).build();
    alice(0).named("alice", "guess").allocate_with(&mut world, |_| {}).expect_error(401);
    alice(1).request(&mut world, turnpike_wire::Method::ALLOCATE, |_| {}).expect_error(400);
    let refused = |world: &mut World, number: u16, kind: AttributeType, value: &[u8], error: u16| {
        let outcome = alice(number).allocate_with(world, |writer| {
            writer.add_raw(kind, value);
        });
        outcome.expect_error(error);
    };
    refused(&mut world, 2, AttributeType::REQUESTED_ADDRESS_FAMILY, &[9, 0, 0, 0], 440);
    refused(&mut world, 3, AttributeType::RESERVATION_TOKEN, &[1; 8], 508);
    refused(&mut world, 4, AttributeType::EVEN_PORT, &[0, 0], 400);
    refused(&mut world, 5, AttributeType(0x7ABC), &[], 420);
    assert_eq!(world.quotas.taken(), 0);
    alice(6).allocate(&mut world);
}

#[test]
fn a_request_without_a_free_port_takes_no_place() {
    let mut world = Setup::new().range(50_000..=50_000).quotas(0, 2).build();
    alice(0).allocate(&mut world);
    bob(0).allocate_with(&mut world, |_| {}).expect_error(508);
    assert_eq!(world.quotas.taken(), 1);
}

#[test]
fn a_retransmitted_allocate_takes_no_second_place() {
    // Conformance 74 and 82.
    let mut world = Setup::new().quotas(1, 0).build();
    let mut caller = alice(0);
    caller.fetch_nonce(&mut world);
    let udp = |writer: &mut turnpike_wire::MessageWriter<'_>| {
        writer.add(&turnpike_wire::attributes::RequestedTransport::UDP);
    };
    let mut relayed = Vec::new();
    for _ in 0..5 {
        let id = TransactionId([4; 12]);
        let reply = caller.request_as(&mut world, id, turnpike_wire::Method::ALLOCATE, udp).expect_success();
        relayed.push(reply.expect::<XorRelayedAddress>().0);
    }
    relayed.dedup();
    assert_eq!((relayed.len(), world.quotas.taken()), (1, 1));
}

#[test]
fn a_second_allocate_on_a_busy_5_tuple_takes_no_place() {
    let mut world = Setup::new().quotas(2, 0).build();
    alice(0).allocate(&mut world);
    alice(0).allocate_with(&mut world, |_| {}).expect_error(437);
    assert_eq!(world.quotas.taken(), 1);
}

#[test]
fn a_reserved_port_takes_a_place_when_it_is_claimed() {
    let mut world = Setup::new().quotas(2, 0).build();
    let pair = |writer: &mut turnpike_wire::MessageWriter<'_>| {
        writer.add(&turnpike_wire::attributes::EvenPort { reserve: true });
    };
    let token: ReservationToken = alice(0).allocate_with(&mut world, pair).expect_success().expect();
    assert_eq!(world.quotas.taken(), 1);
    let claim = |writer: &mut turnpike_wire::MessageWriter<'_>| {
        writer.add(&token);
    };
    alice(1).allocate_with(&mut world, claim).expect_success();
    alice(2).allocate_with(&mut world, |_| {}).expect_error(486);
}

#[test]
fn rest_users_are_counted_by_their_account_and_not_by_their_expiry() {
    // A client that gets a new credential each hour stays one user.
    let mut world = world_with_secret(3, 0);
    for (number, username) in ["1800000100:carol", "1800000200:carol", "carol:1800000300"].iter().enumerate()
    {
        rest(number as u16, username).allocate(&mut world);
    }
    rest(3, "1800000400:carol").allocate_with(&mut world, |_| {}).expect_error(486);
    rest(4, "1800000400:dave").allocate(&mut world);
}

#[test]
fn a_static_user_and_a_rest_user_of_the_same_account_share_a_quota() {
    let mut world = world_with_secret(1, 0);
    alice(0).allocate(&mut world);
    rest(0, "1800000100:alice").allocate_with(&mut world, |_| {}).expect_error(486);
}

#[test]
fn names_that_are_only_an_expiry_do_not_share_one_quota() {
    // They name nobody; counted as one account, a handful of them would lock out everybody else.
    let mut world = world_with_secret(1, 0);
    rest(0, "1800000100").allocate(&mut world);
    rest(1, "1800000200").allocate(&mut world);
    rest(2, "1800000300:").allocate(&mut world);
    rest(3, "1800000100").allocate_with(&mut world, |_| {}).expect_error(486);
}

#[test]
fn everybody_shares_one_quota_where_no_password_is_asked_for() {
    let mut world = Setup::with_credentials(Credentials::anonymous("example.org")).quotas(2, 0).build();
    for number in 0..2 {
        alice(number).anonymous().allocate(&mut world);
    }
    bob(0).anonymous().allocate_with(&mut world, |_| {}).expect_error(486);
}

#[test]
fn a_reserved_port_that_outlives_its_allocation_keeps_its_place() {
    // Whoever allocated pairs and deleted them, over and over, once held half of all ports whatever his quota was.
    let mut world = Setup::new().quotas(1, 0).build();
    let mut caller = Caller::new("203.0.113.1:4000");
    let pair = |writer: &mut MessageWriter<'_>| {
        writer.add(&EvenPort { reserve: true });
    };
    let token: ReservationToken = caller.allocate_with(&mut world, pair).expect_success().expect();
    caller.refresh(&mut world, 0).expect_success();
    assert_eq!((world.ports.taken(), world.quotas.taken()), (1, 1));
    caller.allocate_with(&mut world, pair).expect_error(486);
    // Another user's claim is another user's place; its owner gets the one that it has kept.
    let mut other = Caller::new("203.0.113.2:4000").named("bob", "builder");
    other.allocate(&mut world);
    let claim = |writer: &mut MessageWriter<'_>| {
        writer.add(&token);
    };
    Caller::new("203.0.113.3:4000")
        .named("bob", "builder")
        .allocate_with(&mut world, claim)
        .expect_error(486);
    caller.allocate_with(&mut world, claim).expect_success();
    assert_eq!((world.ports.taken(), world.quotas.taken()), (2, 2));
    // Unclaimed, it goes with the reservation.
    caller.refresh(&mut world, 0).expect_success();
    caller.allocate_with(&mut world, pair).expect_success();
    caller.refresh(&mut world, 0).expect_success();
    assert_eq!(world.quotas.taken(), 2);
    world.advance(31 * SECOND);
    assert_eq!(world.quotas.taken(), 1);
    caller.allocate(&mut world);
}
