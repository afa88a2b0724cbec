//! Allocations with a relayed address of each family, over real sockets.

use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use turnpike_client::{AllocateOptions, Allocated};
use turnpike_wire::Family;

use crate::client::TurnClient;
use crate::harness::{PATIENCE, Server};

fn peer_on(ip: &str) -> UdpSocket {
    let peer = UdpSocket::bind((ip, 0)).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer
}

fn both() -> AllocateOptions {
    AllocateOptions { additional_family: Some(Family::Ipv6), ..AllocateOptions::default() }
}

/// A server that relays from an IPv4 and an IPv6 address.
fn server(more: &[&str]) -> Server {
    let mut arguments = vec!["--relay-ip=127.0.0.1", "--relay-ip=::1"];
    arguments.extend(more);
    Server::start(&arguments)
}

fn addresses(allocated: &Allocated) -> (SocketAddr, SocketAddr) {
    (allocated.relayed, allocated.relayed_additional.expect("a second relayed address"))
}

/// Data by Send indication out of `relayed`, and by Data indication back.
fn talk(client: &mut TurnClient, peer: &UdpSocket, relayed: SocketAddr) {
    let (mut buffer, to) = ([0; 100], peer.local_addr().unwrap());
    client.send(to, b"out");
    assert_eq!(peer.recv_from(&mut buffer).unwrap(), (3, relayed));
    peer.send_to(b"back", relayed).unwrap();
    let received = client.receive();
    assert_eq!((received.peer, received.data.as_slice()), (to, &b"back"[..]));
}

#[test]
fn one_allocate_gives_an_ipv4_and_an_ipv6_relayed_address_that_both_relay() {
    // Conformance 71, 86, 89.
    let mut server = server(&[]);
    let (four, six) = (peer_on("127.0.0.1"), peer_on("::1"));
    let mut client = TurnClient::hello(server.address);
    let (relayed, additional) = addresses(&client.try_allocate(both()).unwrap());
    assert_eq!((relayed.ip(), additional.ip()), ("127.0.0.1".parse().unwrap(), "::1".parse().unwrap()));
    server.expect(&format!("relay {relayed} and {additional}, transport UDP"));
    client.permit_all(&[relayed.ip(), additional.ip()]).unwrap();
    talk(&mut client, &four, relayed);
    talk(&mut client, &six, additional);
    client.bind(0x4000, four.local_addr().unwrap()).unwrap();
    client.bind(0x4001, six.local_addr().unwrap()).unwrap();
    for (channel, peer, relayed) in [(0x4000, &four, relayed), (0x4001, &six, additional)] {
        client.send_on(channel, b"by channel");
        assert_eq!(peer.recv_from(&mut [0; 100]).unwrap(), (10, relayed));
        peer.send_to(b"back", relayed).unwrap();
        assert_eq!(client.receive().channel, Some(channel));
    }
    // One of the two goes, its port is free, and the other stays.
    client.refresh_one(Family::Ipv4, Some(0)).unwrap();
    server.expect(&format!("relay {relayed} closed"));
    wait_until_free(relayed);
    client.send_on(0x4001, b"by channel");
    assert_eq!(six.recv_from(&mut [0; 100]).unwrap(), (10, additional));
    let failure = client.permit(relayed.ip()).unwrap_err().to_string();
    assert!(failure.starts_with("error 443"), "{failure}");
    client.refresh(Some(0)).unwrap();
    server.expect("rp=5, rb=");
    wait_until_free(additional);
}

#[test]
fn a_dual_allocation_counts_once_against_the_quota() {
    // Conformance 74.
    let server = server(&["--user-quota=1"]);
    let mut client = TurnClient::hello(server.address);
    addresses(&client.try_allocate(both()).unwrap());
    let mut other = TurnClient::hello(server.address);
    let failure = other.try_allocate(both()).unwrap_err().to_string();
    assert!(failure.starts_with("error 486"), "{failure}");
    client.refresh_one(Family::Ipv6, Some(0)).unwrap();
    assert!(other.try_allocate(both()).is_err());
    client.refresh(Some(0)).unwrap();
    addresses(&other.try_allocate(both()).unwrap());
}

#[test]
fn a_family_that_cannot_be_had_is_named_and_the_other_serves() {
    // Conformance 72.
    let error =
        |allocated: &Allocated| allocated.address_error.map(|(family, number)| (family, number.number()));
    let only_four = Server::start(&[]);
    let mut client = TurnClient::hello(only_four.address);
    let allocated = client.try_allocate(both()).unwrap();
    assert_eq!((error(&allocated), allocated.relayed_additional), (Some((Family::Ipv6, 440)), None));
    // The port of one family belongs to another process.
    let port = crate::harness::free_ports("::1".parse().unwrap(), 1);
    let holder = UdpSocket::bind(("::1", port)).unwrap();
    let range = [format!("--min-port={port}"), format!("--max-port={port}")];
    let server = server(&[&range[0], &range[1]]);
    let mut client = TurnClient::hello(server.address);
    let allocated = client.try_allocate(both()).unwrap();
    assert_eq!((error(&allocated), allocated.relayed_additional), (Some((Family::Ipv6, 508)), None));
    client.permit("127.0.0.1".parse().unwrap()).unwrap();
    talk(&mut client, &peer_on("127.0.0.1"), allocated.relayed);
    client.refresh(Some(0)).unwrap();
    drop(holder);
    assert_eq!(error(&client.try_allocate(both()).unwrap()), None);
}

#[test]
fn the_external_address_of_one_family_leaves_the_other_as_it_is() {
    // Conformance 85.
    let server = server(&["--external-ip=203.0.113.7/127.0.0.1"]);
    let (relayed, additional) = addresses(&TurnClient::hello(server.address).try_allocate(both()).unwrap());
    assert_eq!(relayed.ip().to_string(), "203.0.113.7");
    assert_eq!(additional.ip().to_string(), "::1");
}

/// A relay socket is closed a moment after its end is told.
fn wait_until_free(address: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while UdpSocket::bind(address).is_err() {
        assert!(Instant::now() < deadline, "{address} stays taken");
        std::thread::yield_now();
    }
}
