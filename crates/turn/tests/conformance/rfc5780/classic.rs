//! Discovery for clients of RFC 3489 (`rfc3489-compatibility` beside `rfc5780`), whose forms of it RFC 5780 replaced.

use turnpike_turn::Reason;
use turnpike_wire::attributes::{ChangedAddress, MappedAddress, SourceAddress};
use turnpike_wire::{Message, Method};

use super::{CALLERS, CORNERS, change, client, setup};
use crate::harness::{Outcome, address, request};

#[test]
fn a_classic_client_is_answered_from_where_it_asks_and_told_the_other_address() {
    let mut world = setup().config(|config| config.classic = true).build();
    for family in 0..CORNERS.len() {
        for (ip, port, corner) in [(false, false, 0), (false, true, 1), (true, false, 2), (true, true, 3)] {
            let mut packet = request(Method::BINDING, change(ip, port));
            packet[4..8].copy_from_slice(b"3489");
            let Outcome::Reply(reply) = world.receive(client(family, 0), &packet) else {
                panic!("an answer")
            };
            assert_eq!(reply.to, client(family, corner));
            assert_eq!(&reply.bytes[4..8], b"3489");
            let mut bytes = reply.bytes;
            bytes[4..8].copy_from_slice(&[0x21, 0x12, 0xA4, 0x42]);
            let message = Message::parse(&bytes).unwrap();
            assert_eq!(message.get(), Ok(Some(MappedAddress(address(CALLERS[family])))));
            assert_eq!(message.get(), Ok(Some(SourceAddress(address(CORNERS[family][corner])))));
            assert_eq!(message.get(), Ok(Some(ChangedAddress(address(CORNERS[family][3])))));
            assert_eq!(message.attributes().count(), 3);
            let headers = if family == 0 { 28 } else { 48 };
            assert!((bytes.len() + headers) as f64 <= 3.0 * (packet.len() + headers) as f64);
        }
    }
}

#[test]
fn diverted_answers_to_classic_clients_count_against_the_same_budget() {
    let config = |config: &mut turnpike_turn::Config| (config.classic, config.challenge_burst) = (true, 2);
    let mut world = setup().config(config).build();
    let mut packet = request(Method::BINDING, change(true, true));
    packet[4..8].copy_from_slice(b"3489");
    for _ in 0..2 {
        assert!(matches!(world.receive(client(0, 0), &packet), Outcome::Reply(_)));
    }
    world.receive(client(0, 0), &packet).expect_drop(Reason::RateLimited);
}
