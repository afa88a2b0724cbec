//! ICMP errors are news, not a failure of the socket.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use turnpike_net::{Events, Poller, UdpOptions};

use crate::station::{Station, plain};

#[test]
fn a_closed_port_is_reported_and_the_socket_still_works() {
    let options = UdpOptions { receive_errors: true, packet_info: true, tos_and_ttl: true, ..plain() };
    for (ip, kind, code) in [("127.0.0.1", 3, 3), ("::1", 1, 4)] {
        let mut station = Station::new();
        let [from, target] = [0; 2].map(|_| station.open(ip, &options));
        let (closed, to) = (closed_port(ip), station.address(target));
        let poller = Poller::new().unwrap();
        poller.add(station.socket(from), 5).unwrap();
        station.push(from, closed, b"nobody");
        assert_eq!(station.flush().sent, 1);
        let mut events = Events::with_capacity(1);
        poller.wait(Some(Duration::from_secs(5)), &mut events).unwrap();
        assert!(events.has_error(0));
        // The error that is pending is none of this datagram's, nor of receiving.
        station.push(from, to, b"somebody");
        let report = station.flush();
        assert_eq!((report.sent, report.repeated), (1, 1));
        assert_eq!(station.receive_bytes(target, 1), [b"somebody"]);
        station.push(from, closed, b"nobody");
        station.push(target, station.address(from), b"answer");
        assert_eq!(station.flush().sent, 2);
        assert_eq!(station.receive_bytes(from, 1), [b"answer"]);
        let (mut errors, socket) = (Vec::new(), station.sockets.get(from).unwrap());
        assert_eq!(station.receiver.receive_errors(socket, &mut errors).unwrap(), 2);
        assert_eq!((errors[0].peer, errors[0].kind, errors[0].code), (closed, kind, code));
        assert_eq!((errors[1], errors[0].reporter), (errors[0], Some(closed.ip())));
        poller.wait(Some(Duration::ZERO), &mut events).unwrap();
        assert!(events.is_empty());
    }
}

#[test]
fn a_flood_of_errors_keeps_nothing_from_arriving() {
    let options = UdpOptions { receive_errors: true, ..plain() };
    let mut station = Station::new();
    let [from, target] = [0; 2].map(|_| station.open("127.0.0.1", &options));
    let (closed, to) = (closed_port("127.0.0.1"), station.address(target));
    for index in 0..100 {
        station.push(from, closed, b"nobody");
        station.push(from, to, &[index]);
    }
    let report = station.flush();
    assert_eq!((report.sent, report.dropped()), (200, 0));
    assert_eq!(station.receive_bytes(target, 100), (0..100).map(|index| vec![index]).collect::<Vec<_>>());
    let (mut errors, socket) = (Vec::new(), station.sockets.get(from).unwrap());
    while station.receiver.receive_errors(socket, &mut errors).unwrap() > 0 {}
    // The kernel limits how many it makes, not how many it delivers.
    assert!(!errors.is_empty() && errors.iter().all(|error| error.peer == closed));
}

/// A port of `ip` that was free a moment ago.
fn closed_port(ip: &str) -> SocketAddr {
    UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap()
}
