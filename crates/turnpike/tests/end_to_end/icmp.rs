//! ICMP errors about what is relayed, over real sockets (RFC 8656 §11.5).

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use turnpike_client::AllocateOptions;
use turnpike_wire::Family;

use crate::client::TurnClient;
use crate::harness::{PATIENCE, Server, free_ports};

fn peer_on(ip: &str) -> UdpSocket {
    let peer = UdpSocket::bind((ip, 0)).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer
}

/// A port of `ip` that was free a moment ago.
fn closed_port(ip: &str) -> SocketAddr {
    UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap()
}

/// That data still goes both ways.
fn talk(client: &mut TurnClient, peer: &UdpSocket, relayed: SocketAddr) {
    let mut buffer = [0; 100];
    client.send(peer.local_addr().unwrap(), b"still here");
    assert_eq!(peer.recv_from(&mut buffer).unwrap(), (10, relayed));
    peer.send_to(b"so am I", relayed).unwrap();
    assert_eq!(client.receive().data, b"so am I");
}

#[test]
fn a_client_hears_that_a_peers_port_is_closed_and_its_allocation_goes_on() {
    // Conformance 107, 108.
    let six = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), free_ports(Ipv6Addr::LOCALHOST.into(), 1));
    let loopback = ["--user=hello:world", "--allow-loopback-peers"];
    let servers = [
        (Server::start(&[]), "127.0.0.1", None, (3, 3)),
        (Server::start_at(six, &loopback), "::1", Some(Family::Ipv6), (1, 4)),
    ];
    for (server, ip, family, (kind, code)) in servers {
        let (peer, closed) = (peer_on(ip), closed_port(ip));
        let mut client = TurnClient::hello(server.address);
        let options = AllocateOptions { family, ..AllocateOptions::default() };
        let relayed = client.try_allocate(options).unwrap().relayed;
        client.permit(ip.parse().unwrap()).unwrap();
        for _ in 0..3 {
            client.send(closed, b"nobody");
            assert_eq!(client.receive_icmp(), (closed, kind, code));
        }
        client.bind(0x4000, closed).unwrap();
        client.send_on(0x4000, b"nobody");
        assert_eq!(client.receive_icmp(), (closed, kind, code), "by an indication though it has a channel");
        talk(&mut client, &peer, relayed);
        client.refresh(None).unwrap();
    }
}

#[test]
fn a_flood_of_icmp_errors_keeps_nobody_waiting_and_nothing_spinning() {
    let server = Server::start(&[]);
    let (peer, closed) = (peer_on("127.0.0.1"), closed_port("127.0.0.1"));
    let mut client = TurnClient::hello(server.address);
    let relayed = client.allocate().relayed;
    client.permit("127.0.0.1".parse().unwrap()).unwrap();
    for _ in 0..20 {
        (0..100).for_each(|_| client.send(closed, b"nobody"));
        talk(&mut client, &peer, relayed);
    }
    std::thread::sleep(Duration::from_millis(100));
    let before = processor_ticks(server.program.id());
    std::thread::sleep(Duration::from_millis(500));
    let used = processor_ticks(server.program.id()) - before;
    assert!(used <= 5, "{used} ticks of 10 ms in half a second of quiet");
    talk(&mut client, &peer, relayed);
}

#[test]
fn whoever_wants_none_gets_no_icmp_errors() {
    let server = Server::start(&["--no-icmp-errors"]);
    let (peer, closed) = (peer_on("127.0.0.1"), closed_port("127.0.0.1"));
    let mut client = TurnClient::hello(server.address);
    let relayed = client.allocate().relayed;
    client.permit("127.0.0.1".parse().unwrap()).unwrap();
    client.send(closed, b"nobody");
    talk(&mut client, &peer, relayed);
    client.socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(client.socket.recv(&mut [0; 100]).is_err());
}

#[test]
fn a_server_without_a_route_drops_what_it_cannot_send_and_serves_on() {
    // Conformance 108.
    within_a_network_of_its_own("a_server_without_a_route_drops_what_it_cannot_send_and_serves_on", || {
        let six: IpAddr = Ipv6Addr::LOCALHOST.into();
        let loopback = ["--user=hello:world", "--allow-loopback-peers"];
        let servers = [
            (Server::start(&[]), "127.0.0.1", "8.8.8.8:7", None),
            (
                Server::start_at(SocketAddr::new(six, 3478), &loopback),
                "::1",
                "[2606:4700::1111]:7",
                Some(Family::Ipv6),
            ),
        ];
        for (server, ip, nowhere, family) in servers {
            let (peer, nowhere): (_, SocketAddr) = (peer_on(ip), nowhere.parse().unwrap());
            let mut client = TurnClient::hello(server.address);
            let options = AllocateOptions { family, ..AllocateOptions::default() };
            let relayed = client.try_allocate(options).unwrap().relayed;
            client.permit(ip.parse().unwrap()).unwrap();
            client.permit(nowhere.ip()).unwrap();
            for _ in 0..10 {
                (0..20).for_each(|_| client.send(nowhere, b"lost"));
                talk(&mut client, &peer, relayed);
            }
        }
    });
}

/// Runs `work` where there is a loopback interface and nothing else: at once if this is such a place, otherwise by
/// running this very test there.
fn within_a_network_of_its_own(test: &str, work: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
        return work();
    }
    let output = Command::new("unshare")
        .args(["--map-root-user", "--net"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("icmp::{test}")])
        .env(INSIDE, "1")
        .output()
        .expect("the tests need `unshare` of util-linux, and within it `ip` of iproute2");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{complaints}");
}

/// Processor time of a process so far, in hundredths of a second.
fn processor_ticks(process: u32) -> u64 {
    let line = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name, in parentheses, may hold spaces; user and system time are the 12th and 13th fields behind it.
    let (_, fields) = line.rsplit_once(')').unwrap();
    fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

const INSIDE: &str = "TURNPIKE_TEST_INSIDE_NAMESPACE";
