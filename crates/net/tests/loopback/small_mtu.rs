//! A loopback interface with an MTU of 1280 bytes, in a network namespace of its own.
//!
//! Each test runs its program a second time within that namespace, and does its work there.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::Command;

use socket2::{Domain, Protocol, Socket, Type};
use turnpike_net::UdpOptions;

use crate::station::{Station, datagram, pattern, plain};

#[test]
fn a_train_too_large_for_the_path_is_split_and_its_datagrams_are_fragmented() {
    within("a_train_too_large_for_the_path_is_split_and_its_datagrams_are_fragmented", || {
        for ip in ["127.0.0.1", "::1"] {
            let mut station = Station::new();
            let [from, target] = [0; 2].map(|_| station.open(ip, &plain()));
            let to = station.address(target);
            let sent: Vec<_> = [1000, 1000, 1400, 1400, 1400, 200, 1200, 1200]
                .into_iter()
                .enumerate()
                .map(|(index, size)| pattern(index, size))
                .collect();
            sent.iter().for_each(|bytes| station.push(from, to, bytes));
            let report = station.flush();
            assert_eq!((report.sent, report.segmented, report.split, report.dropped()), (8, 4, 1, 0));
            assert_eq!(station.receive_bytes(target, 8), sent);
            assert!(station.egress.segmentation());
        }
    });
}

#[test]
fn datagrams_not_to_be_fragmented_are_refused_alone() {
    within("datagrams_not_to_be_fragmented_are_refused_alone", || {
        for ip in ["127.0.0.1", "::1"] {
            let mut station = Station::new();
            let options = UdpOptions { receive_errors: true, ..plain() };
            let [from, target] = [0; 2].map(|_| station.open(ip, &options));
            let to = station.address(target);
            let cases = [(1000, true), (1400, true), (1400, false), (900, true), (900, true), (2000, false)];
            for (index, (size, dont_fragment)) in cases.into_iter().enumerate() {
                let bytes = pattern(index, size);
                let datagram = turnpike_net::Datagram { dont_fragment, ..datagram(from, to, &bytes) };
                assert!(station.egress.push(&datagram));
            }
            let report = station.flush();
            assert_eq!((report.sent, report.too_large, report.dropped()), (5, 1, 1));
            assert_eq!(report.segmented, 2);
            let expected: Vec<_> = [0, 2, 3, 4, 5].map(|index| pattern(index, cases[index].0)).into();
            assert_eq!(station.receive_bytes(target, 5), expected);
            // The note that the system made of its own refusal is no ICMP error.
            let (mut errors, socket) = (Vec::new(), station.sockets.get(from).unwrap());
            station.receiver.receive_errors(socket, &mut errors).unwrap();
            assert_eq!(errors, []);
        }
    });
}

#[test]
fn df_is_set_on_what_asks_for_it_and_on_nothing_else() {
    within("df_is_set_on_what_asks_for_it_and_on_nothing_else", || {
        let mut station = Station::new();
        let [from, target] = [0; 2].map(|_| station.open("127.0.0.1", &plain()));
        let wire = Socket::new(Domain::IPV4, Type::RAW.nonblocking(), Some(Protocol::UDP)).unwrap();
        let to = station.address(target);
        let asks = [false, true, true, false, false, true, false];
        for (index, dont_fragment) in asks.into_iter().enumerate() {
            let bytes = pattern(index, 100);
            let datagram = turnpike_net::Datagram { dont_fragment, ..datagram(from, to, &bytes) };
            assert!(station.egress.push(&datagram));
        }
        assert_eq!(station.flush().sent, 7);
        assert_eq!(station.receive(target, 7).len(), 7);
        let mut seen = Vec::new();
        let mut room = [std::mem::MaybeUninit::uninit(); 70_000];
        while let Ok(length) = wire.recv(&mut room) {
            // SAFETY: the system has written that many bytes.
            let header: Vec<u8> = room[..length].iter().map(|byte| unsafe { byte.assume_init() }).collect();
            // A train is seen whole.
            let datagrams = (length - 28) / 100;
            seen.extend((0..datagrams).map(|_| header[6] & 0x40 != 0));
        }
        assert_eq!(seen, asks);
    });
}

#[test]
fn a_router_that_needs_fragmentation_is_heard_but_not_obeyed() {
    within("a_router_that_needs_fragmentation_is_heard_but_not_obeyed", || {
        let mut station = Station::new();
        let options = UdpOptions { receive_errors: true, ..plain() };
        let [from, target] = [0; 2].map(|_| station.open("127.0.0.1", &options));
        let (source, to) = (station.address(from), station.address(target));
        station.push(from, to, b"first");
        station.flush();
        let router = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
        let here = SocketAddr::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
        router.send_to(&fragmentation_needed(source, to, 600), &here.into()).unwrap();
        let (mut errors, socket) = (Vec::new(), station.sockets.get(from).unwrap());
        for _ in 0..100 {
            if station.receiver.receive_errors(socket, &mut errors).unwrap() > 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let error = errors[0];
        assert_eq!((error.peer, error.kind, error.code, error.data), (to, 3, 4, 600));
        // Whoever sent it cannot shrink the path: trains of 1000 bytes still go as trains.
        (0..4).for_each(|index| station.push(from, to, &pattern(index, 1000)));
        let report = station.flush();
        assert_eq!((report.sent, report.segmented, report.split), (4, 4, 0));
    });
}

#[test]
fn no_route_is_counted_and_the_rest_still_goes() {
    within("no_route_is_counted_and_the_rest_still_goes", || {
        for receive_errors in [false, true] {
            let mut station = Station::new();
            let options = UdpOptions { receive_errors, ..plain() };
            let [from, target] = [station.open("0.0.0.0", &options), station.open("127.0.0.1", &plain())];
            let (nowhere, to) = ("198.51.100.1:9".parse().unwrap(), station.address(target));
            for to in [nowhere, to, nowhere, nowhere, to] {
                station.push(from, to, b"hello");
            }
            let report = station.flush();
            assert_eq!((report.sent, report.unreachable, report.dropped()), (2, 3, 3));
            assert_eq!(station.receive(target, 2).len(), 2);
            // It is this host's own word, and no ICMP error that would wake a poller.
            let mut errors = Vec::new();
            assert_eq!(
                station.receiver.receive_errors(station.sockets.get(from).unwrap(), &mut errors).unwrap(),
                0
            );
        }
        assert_eq!(turnpike_net::default_route_source(true), None);
    });
}

#[test]
fn what_a_full_buffer_does_not_take_is_dropped_and_counted_and_does_not_wait() {
    within("what_a_full_buffer_does_not_take_is_dropped_and_counted_and_does_not_wait", || {
        let slow = [
            "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "8kbit", "burst", "5000", "limit", "1000000",
        ];
        assert!(Command::new("tc").args(slow).status().unwrap().success());
        for size in [1000, 1400] {
            let mut station = Station::new();
            let narrow = UdpOptions { send_buffer: 5000, ..UdpOptions::default() };
            let [from, target] = [station.open("127.0.0.1", &narrow), station.open("127.0.0.1", &plain())];
            let to = station.address(target);
            (0..80).for_each(|index| station.push(from, to, &pattern(index, size)));
            let started = std::time::Instant::now();
            let report = station.flush();
            assert!(started.elapsed() < std::time::Duration::from_secs(1));
            assert!(report.buffer_full > 0, "{report:?}");
            assert_eq!((report.sent + report.buffer_full, report.dropped()), (80, report.buffer_full));
        }
    });
}

/// Runs `work` in a namespace where loopback's MTU is 1280: at once if this is such a place, otherwise by running this
/// very test there.
fn within(test: &str, work: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        let up = Command::new("ip").args(["link", "set", "lo", "mtu", "1280", "up"]).status().unwrap();
        assert!(up.success());
        return work();
    }
    let output = Command::new("unshare")
        .args(["--map-root-user", "--net"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("small_mtu::{test}")])
        .env(INSIDE, "1")
        .output()
        .expect("the tests need `unshare` of util-linux, and within it `ip` of iproute2");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{complaints}");
}

/// An ICMP message of a router about a datagram from `source` to `to`.
fn fragmentation_needed(source: SocketAddr, to: SocketAddr, mtu: u16) -> Vec<u8> {
    let mut message = vec![3, 4, 0, 0, 0, 0];
    message.extend(mtu.to_be_bytes());
    message.extend([0x45, 0, 0x05, 0, 0, 1, 0x40, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
    for field in [source.port(), to.port(), 1260, 0] {
        message.extend(field.to_be_bytes());
    }
    let words = message.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xFFFF) + (sum >> 16);
    let checksum = !((folded & 0xFFFF) + (folded >> 16)) as u16;
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

const INSIDE: &str = "TURNPIKE_NET_INSIDE_NAMESPACE";
