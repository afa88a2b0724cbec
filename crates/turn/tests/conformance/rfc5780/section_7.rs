//! RFC 5780 §7.5 and §7.6: RESPONSE-PORT and PADDING.

use turnpike_wire::AttributeType;
use turnpike_wire::attributes::{Padding, ResponseOrigin, XorMappedAddress};

use super::{CALLERS, binding, change, client, response_port, to_port, world};
use crate::harness::address;

#[test]
fn the_response_goes_to_the_port_that_was_named_of_the_address_that_asked() {
    // §7.5, conformance 138; alone and with each change of source.
    let mut world = world();
    for (family, caller) in CALLERS.into_iter().enumerate() {
        for (ip, port) in [(false, false), (false, true), (true, false), (true, true)] {
            let reply = binding(&mut world, client(family, 0), |writer| {
                change(ip, port)(writer);
                response_port(5001)(writer);
            })
            .expect_success();
            let source = usize::from(ip) << 1 | usize::from(port);
            assert_eq!(reply.to, to_port(client(family, source), 5001));
            assert_eq!(reply.expect::<ResponseOrigin>().0, reply.to.tuple.server);
            assert_eq!(reply.expect::<XorMappedAddress>().0, address(caller), "that of the request");
        }
    }
}

#[test]
fn a_response_port_of_two_bytes_counts_as_one_of_four() {
    let mut world = world();
    for value in [&[0x13, 0x89][..], &[0x13, 0x89, 0xFF, 0xFF]] {
        let reply = binding(&mut world, client(0, 0), |writer| {
            writer.add_raw(AttributeType::RESPONSE_PORT, value);
        })
        .expect_success();
        assert_eq!(reply.to, to_port(client(0, 0), 0x1389));
    }
}

#[test]
fn a_response_port_to_which_nothing_can_be_sent_is_refused() {
    let mut world = world();
    for value in [&[0, 0, 0, 0][..], &[0, 0], &[], &[1], &[0x13, 0x89, 0], &[0x13, 0x89, 0, 0, 0]] {
        let reply = binding(&mut world, client(0, 0), |writer| {
            writer.add_raw(AttributeType::RESPONSE_PORT, value);
        })
        .expect_error(400);
        assert_eq!(reply.to, client(0, 0), "{value:?}");
    }
}

#[test]
fn padding_is_answered_with_as_much_up_to_an_mtu() {
    // §7.6, conformance 138; and no more than was sent, for the sake of those whose address is forged.
    let mut world = world();
    for (asked, answered) in [(0, 0), (1, 4), (4, 4), (1000, 1000), (1498, 1500), (1500, 1500), (9000, 1500)]
    {
        let reply = binding(&mut world, client(0, 0), |writer| {
            writer.add(&Padding(&vec![b'x'; asked]));
        })
        .expect_success();
        assert_eq!(reply.expect::<Padding<'_>>().0.len(), answered, "{asked}");
    }
    let reply = binding(&mut world, client(0, 0), |_| {}).expect_success();
    assert!(!reply.has(AttributeType::PADDING));
}

#[test]
fn padding_goes_with_a_change_of_source() {
    let mut world = world();
    let reply = binding(&mut world, client(1, 2), |writer| {
        change(true, true)(writer);
        writer.add(&Padding(&[0; 1500]));
    })
    .expect_success();
    assert_eq!(reply.to, client(1, 1));
    assert_eq!(reply.expect::<Padding<'_>>().0.len(), 1500);
}

#[test]
fn padding_with_a_response_port_is_refused_to_whoever_asked() {
    // §6.1, §7.5, §10, conformance 138.
    let mut world = world();
    let reply = binding(&mut world, client(0, 1), |writer| {
        change(true, true)(writer);
        response_port(5001)(writer);
        writer.add(&Padding(&[0; 1500]));
    })
    .expect_error(400);
    assert_eq!(reply.to, client(0, 1));
    assert!(reply.bytes.len() < 100, "{}", reply.bytes.len());
}
