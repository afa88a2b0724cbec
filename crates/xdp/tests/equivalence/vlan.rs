//! VLAN tags in the driver. At tc the kernel has taken them off, and the VLAN interface is asked.

use turnpike_wire::Family;
use turnpike_xdp::Point;

use crate::world::{CLIENTS_SIDE, Did, PEERS_SIDE, within};

/// One tag, or two.
const CUSTOMER: u16 = 0x8100;
const SERVICE: u16 = 0x88A8;

#[test]
fn tagged_frames_of_known_vlans_are_forwarded_with_the_tags_of_where_they_go() {
    within("vlan::tagged_frames_of_known_vlans_are_forwarded_with_the_tags_of_where_they_go", |world| {
        let calls = [Family::Ipv4, Family::Ipv6].map(|peer| world.call(peer as u16, Family::Ipv4, peer));
        let stacks: [&[(u16, u16)]; 4] =
            [&[], &[(CUSTOMER, 7)], &[(SERVICE, 4094), (CUSTOMER, 1)], &[(CUSTOMER, 7), (CUSTOMER, 7)]];
        let (clients, peers) = (world.clients_interface, world.peers_interface);
        for (inward, outward) in stacks.iter().flat_map(|inward| stacks.map(|outward| (*inward, outward))) {
            // Tagged frames of this stack come by `clients` and leave by `peers`.
            world.bench.set_interface(clients, clients, CLIENTS_SIDE, inward).unwrap();
            world.bench.set_interface(peers, peers, PEERS_SIDE, outward).unwrap();
            for call in calls {
                let mut frame = call.client_sends(b"through a trunk");
                // Priority and drop eligibility are the sender's business.
                frame.tags = inward.iter().map(|(kind, number)| (*kind, number | 0xB000)).collect();
                let out = world.agree(Point::Xdp, clients, &frame.bytes()).forwarded();
                assert_eq!(out.tags, outward);
                let mut frame = call.peer_sends(b"and back");
                frame.tags = outward.to_vec();
                let out = world.agree(Point::Xdp, peers, &frame.bytes()).forwarded();
                assert_eq!(out.tags, inward);
            }
        }
    });
}

#[test]
fn tags_of_vlans_that_are_not_ours_go_up() {
    within("vlan::tags_of_vlans_that_are_not_ours_go_up", |world| {
        let call = world.call(0, Family::Ipv4, Family::Ipv4);
        let clients = world.clients_interface;
        world.bench.set_interface(1000, clients, CLIENTS_SIDE, &[(CUSTOMER, 7)]).unwrap();
        let ours = vec![(CUSTOMER, 7)];
        let stacks = [
            vec![(CUSTOMER, 8)],
            vec![(SERVICE, 7)],
            vec![(CUSTOMER, 0)],
            vec![(CUSTOMER, 7), (CUSTOMER, 7)],
            vec![(CUSTOMER, 7), (CUSTOMER, 0)],
            vec![(CUSTOMER, 7), (CUSTOMER, 7), (CUSTOMER, 7)],
            vec![(CUSTOMER, 7); 30],
        ];
        let send = |world: &mut crate::world::World, point, tags: &[(u16, u16)]| {
            let mut frame = call.client_sends(b"elsewhere");
            frame.tags = tags.to_vec();
            world.agree(point, clients, &frame.bytes())
        };
        send(world, Point::Xdp, &ours).forwarded();
        for tags in &stacks {
            assert_eq!(send(world, Point::Xdp, tags), Did::PassedUp, "{tags:?}");
        }
        for tags in stacks.iter().chain([&ours]) {
            assert_eq!(send(world, Point::Tc, tags), Did::PassedUp, "{tags:?}");
        }
    });
}
