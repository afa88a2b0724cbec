//! `multiplex-peer`: many sessions on one relay port, on real sockets.

use std::net::{SocketAddr, UdpSocket};

use crate::client::TurnClient;
use crate::harness::{PATIENCE, Program, Server, TURNSERVER, UCLIENT, free_ports, loopback_address, run};

fn start(more: &[&str]) -> (Server, u16) {
    let ip = loopback_address();
    let port = free_ports(ip, 2);
    let flag = format!("--multiplex-peer-port={port}");
    let base = ["--multiplex-peer", &flag, "--user", "hello:world", "--allow-loopback-peers", "-v"];
    let server = Server::start_at(SocketAddr::new(ip, 3478), &[&base[..], more].concat());
    (server, port)
}

fn peer() -> UdpSocket {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer
}

#[test]
fn twenty_sessions_relay_by_one_port_and_each_gets_its_own_peers_data() {
    let (server, port) = start(&[]);
    let relayed = SocketAddr::new(server.address.ip(), port);
    let mut pairs: Vec<(TurnClient, UdpSocket)> = (0..20)
        .map(|_| {
            let (mut client, peer) = (TurnClient::hello(server.address), peer());
            assert_eq!(client.allocate().relayed, relayed);
            client.bind(0x4000, peer.local_addr().unwrap()).unwrap();
            (client, peer)
        })
        .collect();
    for (number, (client, _)) in pairs.iter_mut().enumerate() {
        client.send_on(0x4000, &[number as u8; 100]);
    }
    for (number, (_, peer)) in pairs.iter().enumerate() {
        let mut buffer = [0; 200];
        let (length, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&[number as u8; 100][..], relayed));
        peer.send_to(&[100 + number as u8; 50], relayed).unwrap();
    }
    for (number, (client, peer)) in pairs.iter_mut().enumerate() {
        let received = client.receive();
        assert_eq!(received.data, [100 + number as u8; 50]);
        assert_eq!((received.channel, received.peer), (Some(0x4000), peer.local_addr().unwrap()));
    }
}

#[test]
fn a_peer_that_is_taken_is_told_and_free_again_when_its_session_ends() {
    let (mut server, _) = start(&[]);
    let (mut first, mut second, peer) =
        (TurnClient::hello(server.address), TurnClient::hello(server.address), peer());
    first.allocate();
    second.allocate();
    let to = peer.local_addr().unwrap();
    first.bind(0x4000, to).unwrap();
    assert!(second.bind(0x4000, to).unwrap_err().to_string().starts_with("error 508"));
    assert!(server.expect("error 508").contains("reason: peer_taken"));
    first.refresh(Some(0)).unwrap();
    second.bind(0x4000, to).unwrap();
    second.send_on(0x4000, b"hello");
    let mut buffer = [0; 20];
    assert_eq!(peer.recv_from(&mut buffer).unwrap().0, 5);
    // The port stays open for the next session.
    let mut third = TurnClient::hello(server.address);
    third.allocate();
}

#[test]
fn the_tools_work_by_a_shared_port_too() {
    let (server, _) = start(&[]);
    let ip = server.address.ip().to_string();
    let port = free_ports("127.0.0.1".parse().unwrap(), 2);
    let mut echo = Program::start(crate::harness::PEER, &["-L", "127.0.0.1", "-p", &port.to_string()]);
    echo.expect("listening on");
    let words = [
        "-u",
        "hello",
        "-w",
        "world",
        "-c",
        "--no-even-port",
        "-e",
        "127.0.0.1",
        "-r",
        &port.to_string(),
        &ip,
    ];
    let finished = run(UCLIENT, &words);
    assert!(finished.stdout.contains("Total lost packets 0 (0.000000%)"), "{}", finished.stdout);
}

#[test]
fn a_port_that_cannot_be_had_is_told_at_start() {
    let ip = loopback_address();
    let held = UdpSocket::bind((ip, 0)).unwrap();
    let text = ip.to_string();
    let start = |port: u16| {
        let port = format!("--multiplex-peer-port={port}");
        run(TURNSERVER, &["-n", "-m", "1", "--no-auth", "-L", &text, "--multiplex-peer", &port])
    };
    let refused = start(held.local_addr().unwrap().port());
    assert_eq!(refused.code, Some(255), "{}", refused.stdout);
    assert!(
        refused.stderr.contains("multiplex-peer needs: set another multiplex-peer-port"),
        "{}",
        refused.stderr
    );
    assert!(start(3478).stderr.contains("one to listen on and one of the shared relay ports"));
}
