//! `check-origin-consistency`: a session stays with the web origin it began with.

use turnpike_turn::Reason;
use turnpike_wire::attributes::{ChannelNumber, Lifetime, Origin, RequestedTransport, XorPeerAddress};
use turnpike_wire::{AttributeType, MessageWriter, Method};

use crate::harness::{Caller, OTHER_PEER, Outcome, PEER, Setup, World, address};

const CALLER: &str = "203.0.113.1:4000";
const HERE: &[u8] = b"https://example.org";
const THERE: &[u8] = b"https://example.com";

fn world() -> World {
    Setup::new().config(|config| config.check_origin = true).build()
}

/// A request of each kind with this origin, or none.
#[track_caller]
fn ask(caller: &mut Caller, world: &mut World, method: Method, origin: Option<&[u8]>) -> Outcome {
    caller.request(world, method, |writer: &mut MessageWriter<'_>| {
        match method {
            Method::ALLOCATE => _ = writer.add(&RequestedTransport::UDP),
            Method::REFRESH => _ = writer.add(&Lifetime(600)),
            Method::CREATE_PERMISSION => _ = writer.add(&XorPeerAddress(address(PEER))),
            _ => _ = writer.add(&ChannelNumber(0x4000)).add(&XorPeerAddress(address(OTHER_PEER))),
        }
        writer.add_some(origin.map(Origin).as_ref());
    })
}

const LATER: [Method; 3] = [Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND];

#[test]
fn the_origin_of_the_allocate_must_stand_in_all_that_follows() {
    let mut world = world();
    let mut caller = Caller::new(CALLER);
    ask(&mut caller, &mut world, Method::ALLOCATE, Some(HERE)).expect_success();
    for method in LATER {
        for wrong in [Some(THERE), None, Some(&HERE[..18])] {
            ask(&mut caller, &mut world, method, wrong).expect_error(441);
        }
        ask(&mut caller, &mut world, method, Some(HERE)).expect_success();
    }
    assert_eq!(world.server.stats().refused(Reason::OriginMismatch), 9);
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut world = world();
    let mut caller = Caller::new(CALLER);
    ask(&mut caller, &mut world, Method::ALLOCATE, Some(HERE)).expect_success();
    ask(&mut caller, &mut world, Method::CREATE_PERMISSION, Some(THERE)).expect_error(441);
    caller.send(&mut world, PEER, b"hello").expect_drop(Reason::NoPermission);
    let delete = |writer: &mut MessageWriter<'_>| _ = writer.add(&Lifetime(0)).add(&Origin(THERE));
    caller.request(&mut world, Method::REFRESH, delete).expect_error(441);
    assert_eq!(world.open.len(), 1);
}

#[test]
fn a_session_without_an_origin_stays_without() {
    let mut world = world();
    let mut caller = Caller::new(CALLER);
    ask(&mut caller, &mut world, Method::ALLOCATE, None).expect_success();
    for method in LATER {
        ask(&mut caller, &mut world, method, Some(HERE)).expect_error(441);
        ask(&mut caller, &mut world, method, None).expect_success();
    }
}

#[test]
fn nothing_is_pinned_before_authentication() {
    // coturn pinned the origin of an unauthenticated request to the 5-tuple, and shut its owner out (#1871).
    let mut world = world();
    let mut caller = Caller::new(CALLER);
    let forged = crate::harness::request(Method::ALLOCATE, |writer| {
        writer.add(&RequestedTransport::UDP).add(&Origin(THERE));
    });
    world.receive(caller.client, &forged).expect_error(401);
    let mut wrong = Caller::new(CALLER).named("alice", "wrong");
    ask(&mut wrong, &mut world, Method::ALLOCATE, Some(THERE)).expect_error(401);
    ask(&mut caller, &mut world, Method::ALLOCATE, Some(HERE)).expect_success();
    ask(&mut caller, &mut world, Method::REFRESH, Some(HERE)).expect_success();
    // Nor does a stranger's request change what is.
    world.receive(caller.client, &forged).expect_error(401);
    ask(&mut caller, &mut world, Method::REFRESH, Some(HERE)).expect_success();
}

#[test]
fn an_origin_that_cannot_be_read_is_a_bad_request() {
    let mut world = world();
    let mut caller = Caller::new(CALLER);
    let long = |writer: &mut MessageWriter<'_>| {
        writer.add(&RequestedTransport::UDP).add_raw(AttributeType::ORIGIN, &[b'o'; 764]);
    };
    caller.request(&mut world, Method::ALLOCATE, long).expect_error(400);
    assert!(world.open.is_empty() && world.quotas.taken() == 0);
    ask(&mut caller, &mut world, Method::ALLOCATE, Some(&[b'o'; 763])).expect_success();
}

#[test]
fn unless_it_is_asked_for_origins_mean_nothing() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    ask(&mut caller, &mut world, Method::ALLOCATE, Some(HERE)).expect_success();
    for method in LATER {
        ask(&mut caller, &mut world, method, Some(THERE)).expect_success();
    }
}
