//! Packets made to confuse a parser: passed up untouched, whatever is wrong with them.

use turnpike_wire::Family;

use crate::frame::{Frame, correct};
use crate::world::{CLIENTS_SIDE, Did, POINTS, channel_data, pattern, within};

#[test]
fn a_packet_cut_off_at_any_byte_goes_up() {
    within("hostile::a_packet_cut_off_at_any_byte_goes_up", |world| {
        for (number, family) in [Family::Ipv4, Family::Ipv6].into_iter().enumerate() {
            let call = world.call(number as u16, family, family);
            for (point, whole) in POINTS.iter().flat_map(|point| {
                [call.client_sends(&pattern(20)), call.peer_sends(&pattern(20))].map(|frame| (*point, frame))
            }) {
                let by = if whole.to == call.flow.server {
                    world.clients_interface
                } else {
                    world.peers_interface
                };
                let bytes = whole.bytes();
                // The kernel runs programs on nothing shorter than an Ethernet header.
                for length in 15..bytes.len() {
                    assert_eq!(world.agree(point, by, &bytes[..length]), Did::PassedUp, "{length} bytes");
                }
                world.agree(point, by, &bytes).forwarded();
            }
        }
    });
}

#[test]
fn every_flipped_bit_of_the_headers_is_noticed_or_does_not_matter() {
    within("hostile::every_flipped_bit_of_the_headers_is_noticed_or_does_not_matter", |world| {
        for (number, family) in [Family::Ipv4, Family::Ipv6].into_iter().enumerate() {
            let call = world.call(number as u16, family, family);
            for (point, frame) in POINTS.iter().flat_map(|point| {
                [call.client_sends(&pattern(20)), call.peer_sends(&pattern(20))].map(|frame| (*point, frame))
            }) {
                let by = if frame.to == call.flow.server {
                    world.clients_interface
                } else {
                    world.peers_interface
                };
                let bytes = frame.bytes();
                for bit in 0..bytes.len() * 8 {
                    let mut damaged = bytes.clone();
                    damaged[bit / 8] ^= 1 << (bit % 8);
                    // Whatever is forwarded is what the engine makes of it.
                    world.agree(point, by, &damaged);
                    if family == Family::Ipv4 && damaged.len() > 34 {
                        correct(&mut damaged[14..34]);
                        world.agree(point, by, &damaged);
                    }
                }
            }
        }
    });
}

#[test]
fn lengths_that_contradict_each_other_go_up() {
    within("hostile::lengths_that_contradict_each_other_go_up", |world| {
        for (number, family) in [Family::Ipv4, Family::Ipv6].into_iter().enumerate() {
            let call = world.call(number as u16, family, family);
            let whole = call.client_sends(&pattern(20)).bytes();
            let (ip_length, udp_length) = if family == Family::Ipv4 { (16, 38) } else { (18, 58) };
            let channel_length = udp_length + 6;
            let values = (0..300).chain([0x7FFF, 0x8000, 0xFFF8, 0xFFFF]);
            for (point, value) in POINTS.iter().flat_map(|point| values.clone().map(|value| (*point, value)))
            {
                for at in [ip_length, udp_length] {
                    let mut frame = whole.clone();
                    frame[at..at + 2].copy_from_slice(&(value as u16).to_be_bytes());
                    if family == Family::Ipv4 {
                        correct(&mut frame[14..34]);
                    }
                    let did = world.agree(point, world.clients_interface, &frame);
                    assert_eq!(did == Did::PassedUp, frame != whole, "{value} at {at}");
                }
                let mut frame = whole.clone();
                frame[channel_length..channel_length + 2].copy_from_slice(&(value as u16).to_be_bytes());
                world.agree(point, world.clients_interface, &frame);
            }
        }
    });
}

#[test]
fn options_fragments_and_extension_headers_go_up() {
    within("hostile::options_fragments_and_extension_headers_go_up", |world| {
        let [v4, v6] = [Family::Ipv4, Family::Ipv6].map(|family| world.call(family as u16, family, family));
        for point in POINTS {
            for flags in [0x2000_u16, 0x2001, 0x0001, 0x1FFF, 0x8000, 0x6000] {
                let mut frame = v4.client_sends(&pattern(40)).bytes();
                frame[20..22].copy_from_slice(&flags.to_be_bytes());
                correct(&mut frame[14..34]);
                assert_eq!(world.agree(point, world.clients_interface, &frame), Did::PassedUp, "{flags:#x}");
            }
            let mut frame = v4.client_sends(&pattern(40)).bytes();
            frame.splice(34..34, [1, 1, 1, 0]);
            frame[14] = 0x46;
            let length = u16::from_be_bytes([frame[16], frame[17]]) + 4;
            frame[16..18].copy_from_slice(&length.to_be_bytes());
            correct(&mut frame[14..38]);
            assert_eq!(world.agree(point, world.clients_interface, &frame), Did::PassedUp, "an option");
            // Hop-by-hop, routing, fragment, destination options, authentication.
            for header in [0, 43, 44, 60, 51] {
                let mut frame = v6.client_sends(&pattern(40)).bytes();
                frame.splice(54..54, [17, 0, 0, 0, 0, 0, 0, 0]);
                frame[20] = header;
                let length = u16::from_be_bytes([frame[18], frame[19]]) + 8;
                frame[18..20].copy_from_slice(&length.to_be_bytes());
                assert_eq!(world.agree(point, world.clients_interface, &frame), Did::PassedUp, "{header}");
            }
        }
    });
}

#[test]
fn channels_never_bound_and_sources_that_are_nobody_go_up() {
    within("hostile::channels_never_bound_and_sources_that_are_nobody_go_up", |world| {
        let call = world.call(0, Family::Ipv4, Family::Ipv4);
        for point in POINTS {
            for channel in [0, 1, 0x3FFF, 0x4001, 0x4FFF, 0x5000, 0x7FFF, 0x8000, 0xFFFF] {
                let mut frame = call.client_sends(b"");
                frame.payload = channel_data(channel, b"hello");
                assert_eq!(world.agree(point, world.clients_interface, &frame.bytes()), Did::PassedUp);
            }
            let spoofed = [
                Frame { from: "10.1.0.3:20000".parse().unwrap(), ..call.client_sends(b"hello") },
                Frame { from: "10.1.0.2:20001".parse().unwrap(), ..call.client_sends(b"hello") },
                Frame { to: "10.1.0.1:5000".parse().unwrap(), ..call.client_sends(b"hello") },
                Frame { to: "10.2.0.1:3478".parse().unwrap(), ..call.client_sends(b"hello") },
                Frame { from: call.flow.peer, ..call.client_sends(b"hello") },
                Frame { from: call.flow.client, ..call.peer_sends(b"hello") },
                Frame { to: "10.1.0.1:3479".parse().unwrap(), ..call.client_sends(b"hello") },
            ];
            for frame in spoofed {
                let frame = Frame { to_hardware: CLIENTS_SIDE, ..frame };
                assert_eq!(world.agree(point, world.clients_interface, &frame.bytes()), Did::PassedUp);
            }
            // A channel's data from the peer, and the peer's from the client.
            let frame = Frame { payload: call.client_sends(b"hello").payload, ..call.peer_sends(b"") };
            world.agree(point, world.peers_interface, &frame.bytes()).forwarded();
        }
    });
}

#[test]
fn relaying_to_our_own_addresses_in_a_circle_goes_up() {
    within("hostile::relaying_to_our_own_addresses_in_a_circle_goes_up", |world| {
        let server = "10.1.0.1:3478";
        let first = world.allocate("10.1.0.2:1", server, Family::Ipv4);
        // A client whose address is a relayed address, whose peer is that same relayed address; and a client to itself.
        let second = world.allocate(&first.to_string(), server, Family::Ipv4);
        let circle = [
            world.bind("10.1.0.2:1", server, 0x4000, second),
            world.bind(&first.to_string(), server, 0x4001, first),
            world.bind("10.1.0.2:1", server, 0x4002, first),
        ];
        for (point, call) in POINTS.iter().flat_map(|point| circle.map(|call| (*point, call))) {
            for frame in [call.client_sends(b"round"), call.peer_sends(b"round")] {
                for interface in [world.clients_interface, world.peers_interface] {
                    let to_hardware = if interface == world.clients_interface {
                        CLIENTS_SIDE
                    } else {
                        crate::world::PEERS_SIDE
                    };
                    let frame = Frame { to_hardware, ..frame.clone() };
                    // Straight to a client on the wire is fine; to an address of our own it goes up.
                    if let Did::Forwarded(out) = world.agree(point, interface, &frame.bytes()) {
                        assert_eq!(out.to, "10.1.0.2:1".parse().unwrap());
                    }
                }
            }
        }
    });
}

#[test]
fn anything_but_udp_goes_up() {
    within("hostile::anything_but_udp_goes_up", |world| {
        let [v4, v6] = [Family::Ipv4, Family::Ipv6].map(|family| world.call(family as u16, family, family));
        for (point, protocol) in POINTS.iter().flat_map(|point| (0..=255).map(|protocol| (*point, protocol)))
        {
            let mut frame = v4.client_sends(b"hello").bytes();
            frame[23] = protocol;
            correct(&mut frame[14..34]);
            assert_eq!(world.agree(point, world.clients_interface, &frame) == Did::PassedUp, protocol != 17);
            let mut frame = v6.client_sends(b"hello").bytes();
            frame[20] = protocol;
            assert_eq!(world.agree(point, world.clients_interface, &frame) == Did::PassedUp, protocol != 17);
        }
        for (point, kind) in
            POINTS.iter().flat_map(|point| [0, 0x0806, 0x05DC, 0x8847].map(|kind| (*point, kind)))
        {
            let mut frame = v4.client_sends(b"hello").bytes();
            frame[12..14].copy_from_slice(&u16::to_be_bytes(kind));
            assert_eq!(world.agree(point, world.clients_interface, &frame), Did::PassedUp);
        }
    });
}
