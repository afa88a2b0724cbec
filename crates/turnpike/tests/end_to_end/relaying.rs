//! Data between clients and peers, over real sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use turnpike_client::{AllocateOptions, Port};
use turnpike_net::{PacketPool, Receiver, UdpOptions};
use turnpike_wire::Family;

use crate::client::{TurnClient, binding_request, exchange};
use crate::harness::{PATIENCE, Server, free_ports, loopback_address};

fn peer_on(ip: &str) -> UdpSocket {
    let peer = UdpSocket::bind((ip, 0)).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer
}

fn take(peer: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let (length, from) = peer.recv_from(&mut buffer).unwrap();
    buffer.truncate(length);
    (buffer, from)
}

#[test]
fn send_and_data_indications_go_both_ways() {
    let server = Server::start(&[]);
    let peer = peer_on("127.0.0.1");
    let to = peer.local_addr().unwrap();
    let mut client = TurnClient::hello(server.address);
    let relayed = client.allocate().relayed;
    client.permit(to.ip()).unwrap();
    for payload in [&b"hello"[..], b"", &[7; 1200]] {
        client.send(to, payload);
        assert_eq!(take(&peer), (payload.to_vec(), relayed));
        peer.send_to(payload, relayed).unwrap();
        let received = client.receive();
        assert_eq!((received.peer, received.channel, received.data.as_slice()), (to, None, payload));
    }
}

#[test]
fn channels_carry_datagrams_of_every_size_both_ways() {
    let server = Server::start(&[]);
    let peer = peer_on("127.0.0.1");
    let to = peer.local_addr().unwrap();
    let mut client = TurnClient::hello(server.address);
    let relayed = client.allocate().relayed;
    client.bind(0x4000, to).unwrap();
    for size in [0, 1, 2, 3, 4, 160, 1200, 1472, 9000, 65_000] {
        let payload: Vec<u8> = (0..size).map(|at: usize| at as u8).collect();
        client.send_on(0x4000, &payload);
        assert_eq!(take(&peer), (payload.clone(), relayed), "{size} bytes out");
        peer.send_to(&payload, relayed).unwrap();
        let received = client.receive();
        assert!(received.data == payload && received.channel == Some(0x4000), "{size} bytes back");
    }
}

#[test]
fn ipv6_clients_reach_ipv6_peers() {
    let port = free_ports(Ipv6Addr::LOCALHOST.into(), 1);
    let address = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port);
    let server = Server::start_at(address, &["--user=hello:world", "--allow-loopback-peers"]);
    let peer = peer_on("::1");
    let to = peer.local_addr().unwrap();
    let mut client = TurnClient::hello(server.address);
    let refused = client.try_allocate(AllocateOptions::default()).unwrap_err().to_string();
    assert!(refused.starts_with("error 440"), "IPv4 is what is asked for by default: {refused}");
    let options = AllocateOptions { family: Some(Family::Ipv6), ..AllocateOptions::default() };
    let relayed = client.try_allocate(options).unwrap().relayed;
    client.bind(0x4000, to).unwrap();
    client.send_on(0x4000, b"over six");
    assert_eq!(take(&peer), (b"over six".to_vec(), relayed));
    peer.send_to(b"and back", relayed).unwrap();
    assert_eq!(client.receive().data, b"and back");
}

#[test]
fn an_ipv4_client_gets_an_ipv6_relay_where_the_server_has_one() {
    let ip = loopback_address();
    let server = Server::start(&["--relay-ip=::1", "--relay-ip", &ip.to_string()]);
    let peer = peer_on("::1");
    let to = peer.local_addr().unwrap();
    let mut client = TurnClient::hello(server.address);
    let options = AllocateOptions { family: Some(Family::Ipv6), ..AllocateOptions::default() };
    let relayed = client.try_allocate(options).unwrap().relayed;
    assert_eq!(relayed.ip(), IpAddr::V6(Ipv6Addr::LOCALHOST));
    client.permit(to.ip()).unwrap();
    client.send(to, b"four to six");
    assert_eq!(take(&peer), (b"four to six".to_vec(), relayed));
    let failure = client.permit([127, 0, 0, 1].into()).unwrap_err().to_string();
    assert!(failure.starts_with("error 443"), "{failure}");
}

#[test]
fn an_even_port_and_the_next_one_can_be_had_as_a_pair() {
    let server = Server::start(&[]);
    let mut rtp = TurnClient::hello(server.address);
    let options = AllocateOptions { port: Port::EvenAndReserveNext, ..AllocateOptions::default() };
    let first = rtp.try_allocate(options).unwrap();
    assert_eq!(first.relayed.port() % 2, 0);
    let port = Port::Reserved(first.reservation.expect("a reservation"));
    let mut rtcp = TurnClient::hello(server.address);
    let second = rtcp.try_allocate(AllocateOptions { port, ..AllocateOptions::default() }).unwrap();
    assert_eq!(second.relayed.port(), first.relayed.port() + 1);
    let mut late = TurnClient::hello(server.address);
    let failure = late.try_allocate(AllocateOptions { port, ..AllocateOptions::default() });
    assert!(failure.unwrap_err().to_string().starts_with("error 508"), "a reservation is good once");
}

#[test]
fn relayed_ports_are_those_of_the_range_and_508_says_when_they_are_out() {
    let server = Server::start(&["--min-port=50000", "--max-port=50001"]);
    let mut clients: Vec<TurnClient> = (0..3).map(|_| TurnClient::hello(server.address)).collect();
    let mut ports = [clients[0].allocate().relayed.port(), clients[1].allocate().relayed.port()];
    ports.sort_unstable();
    assert_eq!(ports, [50_000, 50_001]);
    let failure = clients[2].try_allocate(AllocateOptions::default()).unwrap_err().to_string();
    assert!(failure.starts_with("error 508"), "{failure}");
    clients[0].refresh(Some(0)).unwrap();
    clients[2].allocate();
}

/// Two clients of one server, which talk to each other's relayed address.
fn talk(server: &Server) {
    let (mut one, mut two) = (TurnClient::hello(server.address), TurnClient::hello(server.address));
    let (first, second) = (one.allocate().relayed, two.allocate().relayed);
    one.bind(0x4000, second).unwrap();
    two.permit(first.ip()).unwrap();
    one.send_on(0x4000, b"from one");
    let received = two.receive();
    assert_eq!((received.peer, received.data.as_slice()), (first, &b"from one"[..]));
    two.send(first, b"from two");
    let received = one.receive();
    assert_eq!((received.peer, received.channel), (second, Some(0x4000)));
    assert_eq!(received.data, b"from two");
}

#[test]
fn two_clients_talk_through_two_allocations() {
    talk(&Server::start(&[]));
}

#[test]
fn two_clients_talk_without_any_flag_that_opens_peers() {
    let ip = loopback_address();
    talk(&Server::start_at(SocketAddr::new(ip, 3478), &["--user=hello:world"]));
}

#[test]
fn two_clients_talk_by_their_external_addresses_without_a_hairpin() {
    let ip = loopback_address();
    let arguments = ["--user=hello:world", "--external-ip=203.0.113.7"];
    talk(&Server::start_at(SocketAddr::new(ip, 3478), &arguments));
}

#[test]
fn several_workers_serve_and_their_clients_reach_each_other() {
    let server = Server::start(&["-m", "4"]);
    assert!(server.program.so_far().contains("Total relay threads: 4"));
    (0..8).for_each(|_| talk(&server));
}

#[test]
fn other_services_of_the_servers_own_address_stay_out_of_reach() {
    let ip = loopback_address();
    let server = Server::start_at(SocketAddr::new(ip, 3478), &["--user=hello:world"]);
    let service = peer_on(&ip.to_string());
    let mut client = TurnClient::hello(server.address);
    client.allocate();
    client.permit(ip).unwrap();
    client.send(service.local_addr().unwrap(), b"attack");
    client.send(server.address, &binding_request());
    // Both would be here before an answer to a request that follows them.
    client.refresh(None).unwrap();
    service.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(service.recv(&mut [0; 10]).is_err());
    assert_eq!(client.receive_within(Duration::from_millis(100)), None);
}

#[test]
fn a_peer_without_permission_is_not_heard() {
    let server = Server::start(&[]);
    let (friend, stranger) = (peer_on("127.0.0.1"), peer_on("127.0.0.9"));
    let mut client = TurnClient::hello(server.address);
    let relayed = client.allocate().relayed;
    client.permit([127, 0, 0, 1].into()).unwrap();
    stranger.send_to(b"spam", relayed).unwrap();
    friend.send_to(b"mail", relayed).unwrap();
    assert_eq!(client.receive().data, b"mail");
}

#[test]
fn a_listener_on_all_addresses_answers_from_the_one_that_was_asked() {
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let address = SocketAddr::new(any, free_ports(any, 1));
    let relay = loopback_address().to_string();
    let arguments = ["--user=hello:world", "--allow-loopback-peers", "--relay-ip", &relay];
    let server = Server::start_at(address, &arguments);
    for asked in [[127, 0, 0, 2], [127, 0, 0, 1]] {
        let asked = SocketAddr::from((asked, server.address.port()));
        // A connected socket hears nobody else.
        let mut client = TurnClient::hello(asked);
        assert!(exchange(&client.socket, &binding_request()).is_some(), "{asked}");
        let peer = peer_on("127.0.0.1");
        let to = peer.local_addr().unwrap();
        let relayed = client.allocate().relayed;
        client.bind(0x4000, to).unwrap();
        client.send_on(0x4000, b"out");
        assert_eq!(take(&peer).1, relayed);
        peer.send_to(b"back", relayed).unwrap();
        assert_eq!(client.receive().data, b"back");
    }
}

#[test]
fn channel_numbers_of_the_older_rfc_are_granted_when_asked_for() {
    let server = Server::start(&[]);
    let mut client = TurnClient::hello(server.address);
    client.allocate();
    let peer = SocketAddr::from(([127, 0, 0, 1], 9));
    assert!(client.bind(0x5000, peer).unwrap_err().to_string().starts_with("error 400"));
    let server = Server::start(&["--rfc5766-channel-numbers"]);
    let mut client = TurnClient::hello(server.address);
    client.allocate();
    client.bind(0x7000, peer).unwrap();
}

#[test]
fn stun_only_answers_binding_and_nothing_else() {
    let ip = loopback_address();
    let server = Server::start_at(SocketAddr::new(ip, 3478), &["--stun-only"]);
    assert!(server.program.so_far().contains("Relaying: off (stun-only)"));
    let client = TurnClient::hello(server.address);
    assert!(exchange(&client.socket, &binding_request()).is_some());
    let mut allocate = binding_request();
    allocate[1] = 3;
    client.socket.send(&allocate).unwrap();
    // The answer to the next Binding request is the first that comes.
    let request = binding_request();
    let reply = exchange(&client.socket, &request).unwrap();
    assert_eq!(reply[8..20], request[8..20]);
}

#[test]
fn what_is_relayed_bears_none_of_the_clients_marks_and_the_systems_own_hop_limit() {
    // RFC 8656 §14 and §15, the alternate behaviour: DSCP, ECN and TTL are not the client's.
    let server = Server::start(&[]);
    let options = UdpOptions { tos_and_ttl: true, ..UdpOptions::default() };
    let peer = turnpike_net::UdpSocket::bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();
    let mut client = TurnClient::hello(server.address);
    client.allocate();
    client.bind(0x4000, peer.local_address()).unwrap();
    let marked = socket2::SockRef::from(&client.socket);
    marked.set_tos_v4(0xb9).unwrap();
    marked.set_ttl_v4(7).unwrap();
    client.send_on(0x4000, b"marked");
    client.send(peer.local_address(), b"marked");
    let (mut receiver, mut pool, mut received) = (Receiver::new(2), PacketPool::new(4), Vec::new());
    let started = std::time::Instant::now();
    while received.len() < 2 {
        assert!(started.elapsed() < PATIENCE, "nothing comes");
        // Nothing waits yet, perhaps.
        let _ = receiver.receive(&peer, 2, &mut pool, &mut received);
    }
    let default: u8 =
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap().trim().parse().unwrap();
    assert!(received.iter().all(|received| (received.tos, received.ttl) == (0, default)), "{received:?}");
}
