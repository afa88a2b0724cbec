//! Those who pretend to be DTLS clients, and what they cost.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Instant;

use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};

use crate::client::{binding_request, exchange};
use crate::dtls::{Client, Files, channel_data, peer};
use crate::harness::{PATIENCE, Server};

#[test]
fn an_older_version_is_refused() {
    let files = Files::of(&PKCS_RSA_SHA256);
    let server = files.server(&[]);
    let begun = |version, number| {
        let socket = stranger(server.address, 1);
        let cookie = cookie(&socket, version, number);
        exchange(&socket, &hello(version, number, &cookie)).unwrap()
    };
    // RFC 8996: an alert, fatal, protocol_version.
    let refusal = begun(DTLS_1_0, 1);
    assert_eq!((refusal[0], &refusal[13..]), (21, &[2, 70][..]));
    let flight = begun(DTLS_1_2, 2);
    assert_eq!((flight[0], flight[13]), (22, 2), "a ServerHello");
}

#[test]
fn hellos_from_nowhere_leave_nothing_behind() {
    let files = Files::of(&PKCS_RSA_SHA256);
    let server = files.server(&[]);
    let sockets: Vec<UdpSocket> = (1..=100).map(|host| stranger(server.address, host)).collect();
    let ask = |number: u32| {
        let socket = &sockets[number as usize % sockets.len()];
        let hello = hello(DTLS_1_2, number, &[]);
        let answer = exchange(socket, &hello).unwrap();
        assert!(answer[0] == 22 && answer[13] == 3, "a HelloVerifyRequest");
        assert!(answer.len() < hello.len(), "{} for {}", answer.len(), hello.len());
    };
    (0..1000).for_each(ask);
    let before = memory(&server);
    (1000..21_000).for_each(ask);
    let after = memory(&server);
    assert!(after < before + 512, "{before} KiB before, {after} KiB after");
    // A cookie of one is none for another.
    let stolen = cookie(&sockets[0], DTLS_1_2, 7);
    let answer = exchange(&sockets[1], &hello(DTLS_1_2, 7, &stolen)).unwrap();
    assert_eq!(answer[13], 3);
    Client::connect(server.address, b"");
}

#[test]
fn a_thousand_handshakes_that_are_not_ended_cost_bounded_memory_and_harm_nobody() {
    let files = Files::of(&PKCS_RSA_SHA256);
    let server = files.server(&[]);
    let mut innocent = Client::connect(server.address, b"");
    let peer = peer();
    let relayed = innocent.allocate();
    innocent.bind_channel(peer.local_addr().unwrap());
    let before = memory(&server);
    let attackers: Vec<UdpSocket> =
        (0..1000).map(|number| stranger(server.address, 10 + (number % 50) as u8)).collect();
    for (number, socket) in attackers.iter().enumerate() {
        let number = number as u32;
        let cookie = cookie(socket, DTLS_1_2, number);
        socket.send(&hello(DTLS_1_2, number, &cookie)).unwrap();
        // Records that cannot be read yet.
        for sequence in 0..40 {
            socket.send(&record(23, 1, sequence, &[9; 600])).unwrap();
        }
        if number.is_multiple_of(10) {
            innocent.send(&channel_data(&number.to_be_bytes()));
            let mut buffer = [0; 64];
            assert_eq!(peer.recv_from(&mut buffer).unwrap(), (4, relayed), "{number}");
        }
    }
    Client::connect(server.address, b"").allocate();
    let after = memory(&server);
    assert!(after < before + 60_000, "{before} KiB before, {after} KiB after");
}

#[test]
fn garbage_is_ignored_by_whoever_it_is_meant_for() {
    let files = Files::of(&PKCS_ECDSA_P256_SHA256);
    let mut server = files.server(&[]);
    let mut client = Client::connect(server.address, b"");
    let peer = peer();
    let relayed = client.allocate();
    client.bind_channel(peer.local_addr().unwrap());
    let (stranger, template) = (stranger(server.address, 1), client.seal(&binding_request()));
    let mut noise = 1_u32;
    for round in 0..3000_usize {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (high, low) = ((noise >> 24) as u8, (noise >> 8) as u8);
        let damaged = match round % 4 {
            0 => vec![20 + high % 44; 1 + usize::from(low)],
            1 => record(
                [20, 21, 22, 23][usize::from(low & 3)],
                u16::from(high & 3),
                noise,
                &vec![low; usize::from(high)],
            ),
            2 => template[..usize::from(low) % template.len()].to_vec(),
            _ => {
                let mut bytes = template.clone();
                let length = bytes.len();
                bytes[noise as usize % length] ^= high | 1;
                bytes
            }
        };
        stranger.send(&damaged).unwrap();
        client.socket.send(&damaged).unwrap();
        if round % 100 == 0 {
            client.send(&channel_data(b"still"));
            let mut buffer = [0; 64];
            assert_eq!(peer.recv_from(&mut buffer).unwrap(), (5, relayed), "{round}");
        }
    }
    assert_eq!(server.program.so_far().matches("closed (2nd stage)").count(), 0);
    let answer = exchange(&stranger, &binding_request()).unwrap();
    assert_eq!(answer[..2], [1, 1]);
    drop(client);
    server.expect("DTLS association closed by client");
    server.program.signal("TERM");
    server.expect("Terminating on signal 15");
    assert!(!server.program.so_far().contains("panicked"));
}

#[test]
fn a_flight_that_is_lost_comes_again() {
    let files = Files::of(&PKCS_ECDSA_P256_SHA256);
    let server = files.server(&[]);
    let socket = stranger(server.address, 1);
    let cookie = cookie(&socket, DTLS_1_2, 1);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send(&hello(DTLS_1_2, 1, &cookie)).unwrap();
    let mut flights = 0;
    let mut last = [0; 6];
    let deadline = Instant::now() + PATIENCE;
    while flights < 3 {
        assert!(Instant::now() < deadline);
        let mut buffer = [0; 2048];
        let length = socket.recv(&mut buffer).expect("the flight");
        assert!(length <= 1200, "{length} bytes may be more than the path carries");
        if buffer[13] == 2 {
            flights += 1;
            // A repetition is a new record (RFC 6347 §4.2.4).
            assert!(flights == 1 || buffer[5..11] > last[..]);
        }
        last.copy_from_slice(&buffer[5..11]);
    }
}

#[test]
fn dtls_is_off_unless_it_is_asked_for() {
    let files = Files::of(&PKCS_ECDSA_P256_SHA256);
    let (cert, key) = files.names();
    let server = Server::start(&["--cert", &cert, "--pkey", &key, "--no-dtls"]);
    let said = server.program.so_far();
    assert!(said.contains("DTLS clients: off (set dtls to serve them)"), "{said}");
    // For coturn's scripts, which look for these words.
    assert!(
        said.contains("DTLS listeners are not started") && said.contains("no-dtls is deprecated"),
        "{said}"
    );
    let stranger = stranger(server.address, 1);
    stranger.send(&hello(DTLS_1_2, 1, &[])).unwrap();
    let answer = exchange(&stranger, &binding_request()).unwrap();
    assert_eq!(answer[..2], [1, 1], "the hello is not answered");
}

/// A socket of a source of its own.
pub(crate) fn stranger(server: SocketAddr, host: u8) -> UdpSocket {
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 9, host));
    let socket = UdpSocket::bind((source, 0)).unwrap();
    socket.connect(server).unwrap();
    socket
}

/// The cookie a server asks this hello for.
fn cookie(socket: &UdpSocket, version: [u8; 2], number: u32) -> Vec<u8> {
    let answer = exchange(socket, &hello(version, number, &[])).unwrap();
    assert_eq!((answer[0], answer[13]), (22, 3), "a HelloVerifyRequest");
    answer[28..].to_vec()
}

/// A ClientHello by hand, with suites of this version and the older one.
pub(crate) fn hello(version: [u8; 2], number: u32, cookie: &[u8]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([number.to_be_bytes(); 8].concat());
    body.extend([0, cookie.len() as u8]);
    body.extend(cookie);
    body.extend([0, 8, 0xC0, 0x2F, 0xC0, 0x2B, 0xC0, 0x13, 0xC0, 0x09, 1, 0]);
    let groups = [0, 10, 0, 4, 0, 2, 0, 23];
    let signatures = [0, 13, 0, 8, 0, 6, 4, 3, 8, 4, 4, 1];
    body.extend([0, (groups.len() + signatures.len()) as u8]);
    body.extend(groups.iter().chain(&signatures));
    let length = [0, 0, body.len() as u8];
    let message_number = [0, u8::from(!cookie.is_empty())];
    let message = [&[1][..], &length, &message_number, &[0, 0, 0], &length, &body].concat();
    record(22, 0, number, &message)
}

fn record(kind: u8, epoch: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0xFE, 0xFD];
    bytes.extend(epoch.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(sequence.to_be_bytes());
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Resident KiB.
fn memory(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.program.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

const DTLS_1_0: [u8; 2] = [0xFE, 0xFF];
pub(crate) const DTLS_1_2: [u8; 2] = [0xFE, 0xFD];
