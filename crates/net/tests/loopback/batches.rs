//! Receiving, and the options of sockets.

use std::net::SocketAddr;

use turnpike_net::{UdpOptions, UdpSocket};

use crate::station::{Station, pattern, plain};

const BOTH: [&str; 2] = ["127.0.0.1", "::1"];

#[test]
fn a_batch_brings_every_datagram_with_its_sender() {
    for ip in BOTH {
        let mut station = Station::new();
        let [first, second, target] = [0; 3].map(|_| station.open(ip, &plain()));
        let to = station.address(target);
        for index in 0..20 {
            let from = if index % 2 == 0 { first } else { second };
            station.push(from, to, &pattern(index, 50 + index));
            station.flush();
        }
        let arrived = station.receive(target, 20);
        assert_eq!(arrived.len(), 20);
        for (index, datagram) in arrived.iter().enumerate() {
            assert_eq!(datagram.bytes, pattern(index, 50 + index));
            let from = if index % 2 == 0 { first } else { second };
            assert_eq!(datagram.message.from, station.address(from));
            assert!(!datagram.message.is_train());
        }
    }
}

#[test]
fn receiving_stops_where_the_pool_ends_and_loses_nothing() {
    let mut station = Station::new();
    let [from, target] = [0; 2].map(|_| station.open("127.0.0.1", &plain()));
    let to = station.address(target);
    for index in 0..5 {
        station.push(from, to, &[index]);
        station.flush();
    }
    let mut pool = turnpike_net::PacketPool::new(3);
    let mut out = Vec::new();
    let socket = station.sockets.get(target).unwrap();
    assert_eq!(station.receiver.receive(socket, 32, &mut pool, &mut out).unwrap(), 3);
    assert_eq!((pool.free(), station.receiver.receive(socket, 32, &mut pool, &mut out).unwrap()), (0, 0));
    pool.clear();
    assert_eq!(station.receiver.receive(socket, 32, &mut pool, &mut out).unwrap(), 2);
    assert_eq!(pool.bytes(out[4].span), [4]);
}

#[test]
fn an_empty_socket_is_no_error() {
    let mut station = Station::new();
    let id = station.open("127.0.0.1", &plain());
    let socket = station.sockets.get(id).unwrap();
    assert_eq!(station.receiver.receive(socket, 32, &mut station.pool, &mut Vec::new()).unwrap(), 0);
}

#[test]
fn empty_datagrams_and_the_largest_ones_arrive() {
    for ip in BOTH {
        let mut station = Station::new();
        let [from, target] = [0; 2].map(|_| station.open(ip, &plain()));
        let to = station.address(target);
        station.push(from, to, &[]);
        station.push(from, to, &pattern(1, 65_507));
        station.push(from, to, &[]);
        assert_eq!(station.flush().sent, 3);
        let arrived = station.receive_bytes(target, 3);
        assert_eq!(arrived, [vec![], pattern(1, 65_507), vec![]]);
    }
}

#[test]
fn the_address_that_was_asked_is_told_and_can_answer() {
    let options = UdpOptions { packet_info: true, ..plain() };
    for (any, asked, client) in [("0.0.0.0", "127.0.0.2", "127.0.0.1"), ("::", "::1", "::1")] {
        let mut station = Station::new();
        let server = station.open(any, &options);
        let client = station.open(client, &plain());
        let asked = SocketAddr::new(asked.parse().unwrap(), station.address(server).port());
        station.push(client, asked, b"question");
        station.flush();
        let question = station.receive(server, 1).remove(0).message;
        assert_eq!(question.local, Some(asked.ip()));
        assert!(question.interface > 0);
        let mut answer = crate::station::datagram(server, question.from, b"answer");
        answer.source = question.local;
        station.egress.push(&answer);
        assert_eq!(station.flush().sent, 1);
        assert_eq!(station.receive(client, 1)[0].message.from, asked);
    }
}

#[test]
fn tos_and_ttl_are_set_by_datagram_and_read_back() {
    let options = UdpOptions { tos_and_ttl: true, gro: true, packet_info: true, ..plain() };
    for ip in BOTH {
        let mut station = Station::new();
        let [from, target] = [0; 2].map(|_| station.open(ip, &options));
        let to = station.address(target);
        for ttl in [5, 5, 5, 9] {
            let fields = turnpike_net::IpFields { tos: Some(0xB8), ttl: Some(ttl) };
            let mut datagram = crate::station::datagram(from, to, b"marked");
            datagram.source = Some(to.ip());
            assert!(station.egress.push_with(&datagram, fields));
        }
        station.push(from, to, b"marked");
        let report = station.flush();
        assert_eq!((report.sent, report.segmented), (5, 3));
        let arrived = station.receive(target, 5);
        let fields: Vec<_> = arrived.iter().map(|one| (one.message.tos, one.message.ttl)).collect();
        assert_eq!(fields[..4], [(0xB8, 5), (0xB8, 5), (0xB8, 5), (0xB8, 9)]);
        assert_eq!(fields[4].0, 0);
        assert!(fields[4].1 >= 30);
    }
}

#[test]
fn a_group_shares_one_port_and_every_client_finds_one_member() {
    for ip in BOTH {
        let mut station = Station::new();
        let address = SocketAddr::new(ip.parse().unwrap(), 0);
        let group = UdpSocket::bind_group(address, 3, &plain()).unwrap();
        let to = group[0].local_address();
        assert!(group.iter().all(|socket| socket.local_address() == to) && to.port() != 0);
        let group: Vec<_> = group.into_iter().map(|socket| station.sockets.insert(socket)).collect();
        for index in 0..30 {
            let client = station.open(ip, &plain());
            station.push(client, to, &[index]);
        }
        assert_eq!(station.flush().sent, 30);
        let mut arrived = Vec::new();
        for member in group {
            let socket = station.sockets.get(member).unwrap();
            let mut out = Vec::new();
            station.receiver.receive(socket, 32, &mut station.pool, &mut out).unwrap();
            arrived.extend(out.iter().map(|message| station.pool.bytes(message.span)[0]));
        }
        arrived.sort_unstable();
        assert_eq!(arrived, (0..30).collect::<Vec<u8>>());
    }
}

#[test]
fn an_address_in_use_is_said_to_be_and_ipv6_leaves_ipv4_alone() {
    let options = UdpOptions::default();
    let socket = UdpSocket::bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();
    let error = UdpSocket::bind(socket.local_address(), &options).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    let six = UdpSocket::bind("[::]:0".parse().unwrap(), &options).unwrap();
    let four = SocketAddr::new("0.0.0.0".parse().unwrap(), six.local_address().port());
    UdpSocket::bind(four, &options).unwrap();
}

#[test]
fn granted_buffers_are_reported() {
    let options = UdpOptions { receive_buffer: 50_000, send_buffer: 60_000, ..UdpOptions::default() };
    let socket = UdpSocket::bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();
    assert_eq!(socket.buffer_sizes(), (50_000, 60_000));
}
