//! Keeping what the server holds, and giving it back.

use std::time::Duration;

use turnpike_client::{AllocateOptions, Client, Event};
use turnpike_wire::attributes::{ErrorCode, Lifetime};
use turnpike_wire::{Class, ErrorNumber, Message, Method};

use crate::world::{PEER, START, Signature, World};

#[test]
fn everything_the_server_holds_is_refreshed_before_it_ends() {
    let mut world = World::new(|_| {});
    world.allocate(AllocateOptions::default());
    world.client.create_permission(world.now, &["192.0.2.8".parse().unwrap()]).unwrap();
    let request = world.expect(Method::CREATE_PERMISSION);
    world.answer(&request, Class::Success, Signature::Sha1, |_| {});
    world.client.bind_channel(world.now, 0x4000, PEER.parse().unwrap()).unwrap();
    let request = world.expect(Method::CHANNEL_BIND);
    world.answer(&request, Class::Success, Signature::Sha1, |_| {});

    world.advance_to(239.0);
    assert_eq!(world.sent(), None);
    world.advance_to(240.0);
    let permission = world.expect(Method::CREATE_PERMISSION);
    let channel = world.expect(Method::CHANNEL_BIND);
    assert_eq!(world.sent(), None);
    world.answer(&permission, Class::Success, Signature::Sha1, |_| {});
    world.answer(&channel, Class::Success, Signature::Sha1, |_| {});

    world.advance_to(480.0);
    for method in [Method::CREATE_PERMISSION, Method::CHANNEL_BIND] {
        let request = world.expect(method);
        world.answer(&request, Class::Success, Signature::Sha1, |_| {});
    }
    world.advance_to(540.0);
    let refresh = world.expect(Method::REFRESH);
    assert_eq!(Message::parse(&refresh).unwrap().get::<Lifetime>(), Ok(None));
    let event = world.answer(&refresh, Class::Success, Signature::Sha1, |writer| {
        writer.add(&Lifetime(600));
    });
    assert!(matches!(event, Some(Event::Refreshed { lifetime: 600, .. })));
    assert!(world.client.relayed().is_some());
}

#[test]
fn without_keep_alive_the_allocation_ends_when_its_time_is_up() {
    let mut world = World::new(|config| config.keep_alive = false);
    world.allocate(AllocateOptions::default());
    assert_eq!(world.client.poll_timeout(), Some(START + Duration::from_secs(600)));
    world.advance_to(599.9);
    assert_eq!((world.sent(), world.client.poll_event()), (None, None));
    world.advance_to(600.0);
    assert_eq!(world.client.poll_event(), Some(Event::Expired));
    assert_eq!(world.client.relayed(), None);
}

#[test]
fn deleting_what_the_server_has_forgotten_succeeds() {
    let mut world = World::new(|_| {});
    world.allocate(AllocateOptions::default());
    world.client.delete(world.now).unwrap();
    let request = world.expect(Method::REFRESH);
    assert_eq!(Message::parse(&request).unwrap().get::<Lifetime>(), Ok(Some(Lifetime(0))));
    let event = world.answer(&request, Class::Error, Signature::Sha1, |writer| {
        writer.add(&ErrorCode { number: ErrorNumber::ALLOCATION_MISMATCH, reason: "" });
    });
    assert!(matches!(event, Some(Event::Deleted { .. })));
    assert_eq!(world.client.relayed(), None);
}

#[test]
fn a_client_is_small() {
    assert!(size_of::<Client>() <= 192, "{} bytes", size_of::<Client>());
}
