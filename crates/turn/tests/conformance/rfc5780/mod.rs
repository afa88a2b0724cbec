//! NAT behaviour discovery (RFC 5780): a server on two addresses with two ports each, in both families.

mod classic;
mod section_10;
mod section_6_1;
mod section_7;

use std::net::SocketAddr;

use turnpike_turn::{AlternateAddress, Alternates, Client, FiveTuple, Link, Transport};
use turnpike_wire::attributes::{ChangeRequest, ResponsePort};
use turnpike_wire::{MessageWriter, Method};

use crate::harness::{Outcome, Setup, World, address, request};

const CALLERS: [&str; 2] = ["203.0.113.1:4000", "[2001:db8:1::1]:4000"];
/// For each family the four addresses, by address and port; their links are 0 to 7 in this order.
const CORNERS: [[&str; 4]; 2] = [
    ["192.0.2.10:3478", "192.0.2.10:3479", "192.0.2.11:3478", "192.0.2.11:3479"],
    ["[2001:db8::10]:3478", "[2001:db8::10]:3479", "[2001:db8::11]:3478", "[2001:db8::11]:3479"],
];

fn setup() -> Setup {
    let alternates = (0..CORNERS.len()).map(|family| {
        let side = |at: usize| {
            let bound = address(CORNERS[family][at]).ip();
            let link = 4 * family + at;
            AlternateAddress { bound, told: bound, links: [Link(link as u64), Link(link as u64 + 1)] }
        };
        Alternates { addresses: [side(0), side(2)], ports: [3478, 3479], datagrams: true, connections: false }
    });
    Setup::new().config(|config| config.alternates = alternates.collect())
}

fn world() -> World {
    setup().build()
}

/// The way by which somebody comes in at one of the four addresses.
fn client(family: usize, corner: usize) -> Client {
    client_by(Transport::Udp, family, corner)
}

fn client_by(transport: Transport, family: usize, corner: usize) -> Client {
    let (server, client) = (address(CORNERS[family][corner]), address(CALLERS[family]));
    let link = Link((4 * family + corner) as u64);
    Client { link, tuple: FiveTuple { transport, server, client } }
}

/// The same with another port of the client's host.
fn to_port(client: Client, port: u16) -> Client {
    let elsewhere = SocketAddr::new(client.tuple.client.ip(), port);
    Client { tuple: FiveTuple { client: elsewhere, ..client.tuple }, ..client }
}

fn binding(world: &mut World, from: Client, build: impl FnOnce(&mut MessageWriter<'_>)) -> Outcome {
    let packet = request(Method::BINDING, build);
    world.receive(from, &packet)
}

fn change(ip: bool, port: bool) -> impl Fn(&mut MessageWriter<'_>) {
    move |writer| _ = writer.add(&ChangeRequest { ip, port })
}

fn response_port(port: u16) -> impl Fn(&mut MessageWriter<'_>) {
    move |writer| _ = writer.add(&ResponsePort(port))
}
