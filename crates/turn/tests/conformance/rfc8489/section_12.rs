//! RFC 8489 §2, §12: the Binding usage.

use turnpike_turn::Reason;
use turnpike_wire::attributes::{MappedAddress, XorMappedAddress};
use turnpike_wire::{AttributeType, Method};

use crate::harness::{Caller, Setup, address, request};

const CALLERS: [&str; 2] = ["203.0.113.1:4000", "[2001:db8:1::1]:4000"];

#[test]
fn a_binding_response_tells_the_source_address() {
    // §14.2, conformance 17: IPv4 is xored with the cookie, IPv6 with cookie and transaction id.
    let mut world = Setup::new().build();
    for caller in CALLERS {
        let packet = request(Method::BINDING, |_| {});
        let reply = world.receive(Caller::new(caller).client, &packet).expect_success();
        assert_eq!(reply.expect::<XorMappedAddress>().0, address(caller));
        assert_eq!(reply.message().attributes().count(), 1, "and nothing else");
    }
}

#[test]
fn the_xored_bytes_are_the_rfcs() {
    // §14.2, conformance 19: first byte 0, family, port xor 0x2112, address xor the cookie.
    let mut world = Setup::new().build();
    let client = Caller::new("203.0.113.1:4000").client;
    let reply = world.receive(client, &request(Method::BINDING, |_| {})).expect_success();
    let expected = [0, 1, 0x0F ^ 0x21, 0xA0 ^ 0x12, 203 ^ 0x21, 0x12, 113 ^ 0xA4, 1 ^ 0x42];
    assert_eq!(reply.message().value(AttributeType::XOR_MAPPED_ADDRESS), Some(&expected[..]));
}

#[test]
fn binding_needs_no_credentials_and_makes_no_state() {
    let mut world = Setup::new().build();
    for port in 1..=1000 {
        let caller = Caller::new(&format!("203.0.113.1:{port}"));
        let _ = world.receive(caller.client, &request(Method::BINDING, |_| {})).expect_success();
    }
    assert_eq!((world.server.stats().requests.binding, world.server.stats().successes), (1000, 1000));
    assert_eq!(world.server.poll_timeout(), None);
}

#[test]
fn mapped_address_is_sent_only_when_configured() {
    // §14.1, conformance 18.
    let mut world = Setup::new().config(|config| config.mapped_address = true).build();
    for caller in CALLERS {
        let reply =
            world.receive(Caller::new(caller).client, &request(Method::BINDING, |_| {})).expect_success();
        assert_eq!(reply.expect::<MappedAddress>().0, address(caller));
        assert_eq!(reply.expect::<XorMappedAddress>().0, address(caller));
    }
}

#[test]
fn binding_can_be_made_to_need_credentials() {
    // §9.2, conformance 55.
    let mut world = Setup::new().config(|config| config.authenticated_binding = true).build();
    let mut caller = Caller::new(CALLERS[0]);
    world.receive(caller.client, &request(Method::BINDING, |_| {})).expect_error(401);
    let reply = caller.request(&mut world, Method::BINDING, |_| {}).expect_success();
    assert_eq!(reply.expect::<XorMappedAddress>().0, caller.client.tuple.client);
}

#[test]
fn binding_and_relaying_can_be_switched_off() {
    let client = Caller::new(CALLERS[0]).client;
    let mut world = Setup::new().config(|config| config.binding = false).build();
    world.receive(client, &request(Method::BINDING, |_| {})).expect_drop(Reason::SwitchedOff);
    world.receive(client, &request(Method::ALLOCATE, |_| {})).expect_error(401);
    let mut world = Setup::new().config(|config| config.relaying = false).build();
    world.receive(client, &request(Method::BINDING, |_| {})).expect_success();
    for method in [Method::ALLOCATE, Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND] {
        world.receive(client, &request(method, |_| {})).expect_drop(Reason::SwitchedOff);
    }
}

#[test]
fn a_signed_binding_request_is_answered_without_a_look_at_the_credentials() {
    // Clients that hold an allocation may sign all they send.
    let mut world = Setup::new().build();
    let caller = Caller::new(CALLERS[0]).named("nobody", "knows");
    let id = world.transaction();
    let packet = caller.signed(id, Method::BINDING, |_| {});
    world.receive(caller.client, &packet).expect_success();
}
