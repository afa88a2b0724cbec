//! What is counted for those who look at metrics.

use turnpike_turn::{Answered, EndCause, Kind, Reason, Transport};
use turnpike_wire::{ErrorNumber, Method};

use crate::harness::{Caller, PEER, SECOND, Setup};

const CALLER: &str = "203.0.113.1:4000";

#[test]
fn answers_are_counted_by_method_and_code() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    caller.allocate_with(&mut world, |_| {}).expect_error(437);
    caller.permit(&mut world, &[PEER]).expect_success();
    caller.permit(&mut world, &["10.0.0.1:0"]).expect_error(403);
    let stats = world.server.stats();
    let error = |number| Answered::Error(ErrorNumber::new(number).expect("an error"));
    assert_eq!(stats.answered(Method::ALLOCATE, error(401)), 1);
    assert_eq!(stats.answered(Method::ALLOCATE, error(437)), 1);
    let counted: Vec<_> = stats.answers().map(|(method, _, count)| (method, count)).collect();
    assert_eq!(
        counted,
        [
            ("allocate", 1),
            ("allocate", 1),
            ("allocate", 1),
            ("create_permission", 1),
            ("create_permission", 1)
        ]
    );
    assert_eq!(stats.answered(Method::CREATE_PERMISSION, Answered::Success), 1);
    assert_eq!(stats.successes + stats.errors, 5);
}

#[test]
fn allocations_are_counted_by_transport_while_they_live_and_by_cause_when_they_end() {
    let mut world = Setup::new().build();
    let mut deleted = Caller::new(CALLER);
    deleted.allocate(&mut world);
    let mut expired = Caller::new("203.0.113.2:4000");
    expired.client.tuple.transport = Transport::Tls;
    expired.allocate(&mut world);
    let alive = |world: &crate::harness::World| -> Vec<u64> {
        world.server.stats().by_transport().map(|(_, count)| count).collect()
    };
    assert_eq!(alive(&world), [1, 0, 1, 0]);
    world.advance(5 * SECOND);
    deleted.refresh(&mut world, 0).expect_success();
    world.advance(600 * SECOND);
    assert_eq!(alive(&world), [0; 4]);
    let stats = world.server.stats();
    let of = |wanted| stats.by_cause().find(|(cause, _)| *cause == wanted).map(|(_, count)| count);
    assert_eq!(
        (of(EndCause::Deleted), of(EndCause::Expired), of(EndCause::Lost)),
        (Some(1), Some(1), Some(0))
    );
    assert_eq!(stats.durations.count(), 2);
    assert_eq!(stats.durations.sum(), 605 * SECOND);
}

#[test]
fn workers_add_up() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    caller.send_on(&mut world, 0x4000, b"data").expect_to_peer(PEER, b"data");
    let one = world.server.stats();
    let mut both = one.clone();
    both.add(one);
    assert_eq!(both.allocations(), 2 * one.allocations());
    assert_eq!(both.relayed().client_bytes, 8);
    let realms: Vec<_> = both.realms.iter().map(|(name, realm)| (name, realm.allocations)).collect();
    assert_eq!(realms, [(Some("example.org"), 2)]);
    assert_eq!(both.refused(Reason::NoCredentials), 2);
    assert_eq!(both.answered(Method::ALLOCATE, Answered::Success), 2);
}

#[test]
fn a_reason_says_whether_somebody_was_told() {
    for (reason, kind) in [
        (Reason::Empty, Kind::Packet),
        (Reason::TooManyProxied, Kind::Packet),
        (Reason::NoCredentials, Kind::Credentials),
        (Reason::ForeignNonce, Kind::Credentials),
        (Reason::BadRequest, Kind::Request),
        (Reason::UnknownConnection, Kind::Request),
    ] {
        assert_eq!(reason.kind(), kind, "{reason:?}");
    }
}
