//! RFC 5780 §6.1: where the response comes from, and what it says.

use turnpike_turn::{Config, Transport};
use turnpike_wire::attributes::{
    ErrorCode, MappedAddress, OtherAddress, ResponseOrigin, Software, UnknownAttributes, XorMappedAddress,
};
use turnpike_wire::{AttributeType, Method};

use super::{CALLERS, CORNERS, binding, change, client, client_by, response_port, setup, world};
use crate::harness::{Caller, Setup, address, request};

#[test]
fn every_binding_response_names_the_other_address_and_port_on_each_of_the_four() {
    // Conformance 135: the opposite corner, whichever was asked.
    let mut world = world();
    for (family, corners) in CORNERS.into_iter().enumerate() {
        for corner in 0..4 {
            let asked = client(family, corner);
            let reply = binding(&mut world, asked, |_| {}).expect_success();
            assert_eq!(reply.to, asked);
            assert_eq!(reply.expect::<OtherAddress>().0, address(corners[corner ^ 3]));
            assert_eq!(reply.expect::<ResponseOrigin>().0, asked.tuple.server);
        }
    }
}

#[test]
fn the_other_address_is_that_of_the_one_that_was_asked_whatever_is_changed() {
    // Table 1, conformance 135-137, from any of the four, in both families.
    let mut world = world();
    for (family, corners) in CORNERS.into_iter().enumerate() {
        for corner in 0..4 {
            for (ip, port) in [(false, false), (false, true), (true, false), (true, true)] {
                let source = corner ^ (usize::from(ip) << 1 | usize::from(port));
                let reply = binding(&mut world, client(family, corner), change(ip, port)).expect_success();
                assert_eq!(reply.to, client(family, source), "corner {corner}, {ip} {port}");
                assert_eq!(reply.expect::<ResponseOrigin>().0, address(corners[source]));
                assert_eq!(reply.expect::<OtherAddress>().0, address(corners[corner ^ 3]));
                assert_eq!(reply.expect::<XorMappedAddress>().0, address(CALLERS[family]));
            }
        }
    }
}

#[test]
fn both_forms_of_the_mapped_address_are_sent() {
    let mut world = world();
    for (family, caller) in CALLERS.into_iter().enumerate() {
        let reply = binding(&mut world, client(family, 0), |_| {}).expect_success();
        assert_eq!(reply.expect::<XorMappedAddress>().0, address(caller));
        assert_eq!(reply.expect::<MappedAddress>().0, address(caller));
    }
}

#[test]
fn nothing_of_discovery_is_said_where_it_is_not_offered() {
    // Conformance 135, 137: switched off; and on an address without a second one while others have it.
    let mut alone = client(0, 0);
    alone.tuple.server = address("192.0.2.12:3478");
    for (mut world, asked) in [(Setup::new().build(), client(0, 0)), (world(), alone)] {
        let reply = binding(&mut world, asked, |_| {}).expect_success();
        let added =
            [AttributeType::OTHER_ADDRESS, AttributeType::RESPONSE_ORIGIN, AttributeType::MAPPED_ADDRESS];
        assert!(!added.into_iter().any(|kind| reply.has(kind)));
        let reply = binding(&mut world, asked, change(true, true)).expect_error(420);
        let unknown = reply.expect::<UnknownAttributes<'_>>();
        assert_eq!(unknown.types().collect::<Vec<_>>(), [AttributeType::CHANGE_REQUEST]);
        assert_eq!(reply.to, asked);
    }
}

#[test]
fn behind_a_one_to_one_nat_the_addresses_are_told_in_their_external_form() {
    let mut setup = setup();
    let [first, second] = &mut setup.config.alternates[0].addresses;
    first.told = address("198.51.100.1:0").ip();
    second.told = address("198.51.100.2:0").ip();
    let mut world = setup.build();
    let reply = binding(&mut world, client(0, 0), change(true, false)).expect_success();
    assert_eq!(reply.to, client(0, 2), "sent from the local one");
    assert_eq!(reply.expect::<ResponseOrigin>().0, address("198.51.100.2:3478"));
    assert_eq!(reply.expect::<OtherAddress>().0, address("198.51.100.2:3479"));
}

#[test]
fn over_connections_nothing_is_changed_and_the_others_are_told_only_if_they_are_served() {
    // §3.2, §3.3, §3.5: these tests are of datagrams. Conformance 139.
    for served in [false, true] {
        let mut setup = setup();
        setup.config.alternates[0].connections = served;
        let mut world = setup.build();
        for transport in [Transport::Tcp, Transport::Tls, Transport::Dtls] {
            let asked = client_by(transport, 0, 1);
            let reply = binding(&mut world, asked, |_| {}).expect_success();
            assert_eq!(reply.to, asked);
            assert_eq!(reply.has(AttributeType::OTHER_ADDRESS), served);
            assert_eq!(reply.has(AttributeType::RESPONSE_ORIGIN), served);
            let _ = binding(&mut world, asked, change(false, true)).expect_error(420);
            let _ = binding(&mut world, asked, response_port(5000)).expect_error(420);
        }
    }
}

#[test]
fn the_attributes_are_understood_in_binding_alone() {
    // §7, conformance 140.
    let mut world = world();
    let mut caller = Caller::new(CALLERS[0]);
    let kinds = [AttributeType::CHANGE_REQUEST, AttributeType::RESPONSE_PORT, AttributeType::PADDING];
    for method in [Method::ALLOCATE, Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND] {
        for kind in kinds {
            let reply = caller
                .request(&mut world, method, |writer| _ = writer.add_raw(kind, &[0, 0, 0, 6]))
                .expect_error(420);
            let unknown = reply.expect::<UnknownAttributes<'_>>();
            assert_eq!(unknown.types().collect::<Vec<_>>(), [kind], "{method:?}");
        }
    }
    let reply = caller.allocate_with(&mut world, |_| {}).expect_success();
    for kind in [AttributeType::OTHER_ADDRESS, AttributeType::RESPONSE_ORIGIN, AttributeType::PADDING] {
        assert!(!reply.has(kind), "{kind:?}");
    }
}

#[test]
fn an_unknown_attribute_beside_them_is_refused_to_whoever_asked() {
    let mut world = world();
    let asked = client(0, 0);
    let reply = binding(&mut world, asked, |writer| {
        change(true, true)(writer);
        writer.add_raw(AttributeType(0x7ABC), &[]);
    })
    .expect_error(420);
    assert_eq!(reply.to, asked, "an error is not diverted");
    let unknown = reply.expect::<UnknownAttributes<'_>>();
    assert_eq!(unknown.types().collect::<Vec<_>>(), [AttributeType(0x7ABC)]);
}

#[test]
fn where_binding_needs_credentials_discovery_needs_them_too() {
    // §5.2.
    let mut world = setup().config(|config| config.authenticated_binding = true).build();
    let asked = client(0, 0);
    let reply = binding(&mut world, asked, change(true, true)).expect_error(401);
    assert_eq!(reply.to, asked);
    let mut caller = Caller { client: asked, ..Caller::new(CALLERS[0]) };
    caller.take_nonce(&reply);
    let id = world.transaction();
    let signed = caller.signed(id, Method::BINDING, change(true, true));
    let reply = world.receive(asked, &signed).expect_success();
    assert_eq!(reply.to, client(0, 3));
    caller.check_integrity(&reply);
}

#[test]
fn software_and_fingerprint_are_those_of_any_response() {
    let change_config = |config: &mut Config| {
        config.software = Some("Turnpike".into());
        config.always_fingerprint = true;
    };
    let mut world = setup().config(change_config).build();
    let reply = binding(&mut world, client(0, 0), change(false, true)).expect_success();
    assert_eq!(reply.expect::<Software<'_>>().0, b"Turnpike");
    assert_eq!(reply.message().fingerprint_is_valid(), Some(true));
}

#[test]
fn a_change_request_of_another_length_is_refused() {
    let mut world = world();
    for value in [&[][..], &[0, 0, 6], &[0, 0, 0, 0, 6]] {
        let packet = request(Method::BINDING, |writer| {
            writer.add_raw(AttributeType::CHANGE_REQUEST, value);
        });
        let reply = world.receive(client(0, 0), &packet).expect_error(400);
        assert_eq!(reply.to, client(0, 0));
        assert!(!reply.has(AttributeType::OTHER_ADDRESS) && reply.has(AttributeType::ERROR_CODE));
        let _: ErrorCode<'_> = reply.expect();
    }
}
