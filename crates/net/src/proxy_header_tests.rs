use super::*;

const BOTH: [Carrier; 2] = [Carrier::Stream, Carrier::Datagram];

/// A header of version 2.
fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([0x20 | command, family]);
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(body);
    bytes
}

fn ends4() -> Vec<u8> {
    [&[203, 0, 113, 9, 192, 0, 2, 1][..], &4000_u16.to_be_bytes(), &3478_u16.to_be_bytes()].concat()
}

fn ends6() -> Vec<u8> {
    let ip = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
    let (client, server) = (ip("2001:db8::9"), ip("2001:db8::1"));
    [&client[..], &server, &4000_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat()
}

fn extension(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &(value.len() as u16).to_be_bytes(), value].concat()
}

fn path(client: &str, server: &str) -> Option<ProxiedPath> {
    Some(ProxiedPath { client: client.parse().unwrap(), server: server.parse().unwrap() })
}

#[track_caller]
fn whole(bytes: &[u8], carrier: Carrier) -> ProxyHeader {
    ProxyHeader::read(bytes, carrier).unwrap().unwrap()
}

#[test]
fn both_families_of_version_2_are_read_for_connections_and_datagrams() {
    for (carrier, transport) in [(Carrier::Stream, 1), (Carrier::Datagram, 2)] {
        let mut four = binary(PROXY, 0x10 | transport, &ends4());
        four.extend(b"payload");
        let header = whole(&four, carrier);
        assert_eq!(header, ProxyHeader { length: 28, path: path("203.0.113.9:4000", "192.0.2.1:3478") });
        let header = whole(&binary(PROXY, 0x20 | transport, &ends6()), carrier);
        assert_eq!(header, ProxyHeader { length: 52, path: path("[2001:db8::9]:4000", "[2001:db8::1]:443") });
    }
}

#[test]
fn the_other_transport_and_families_without_ports_are_refused() {
    for (carrier, family) in [
        (Carrier::Stream, 0x12),
        (Carrier::Datagram, 0x11),
        (Carrier::Stream, 0x31),
        (Carrier::Datagram, 0x32),
        (Carrier::Stream, 0x10),
        (Carrier::Stream, 0x41),
        (Carrier::Stream, 0x01),
    ] {
        let read = ProxyHeader::read(&binary(PROXY, family, &[0; 216]), carrier);
        assert_eq!(read, Err(ProxyHeaderError::Malformed), "{family:#x}");
    }
}

#[test]
fn a_proxy_that_speaks_for_itself_names_nobody() {
    for carrier in BOTH {
        for body in [Vec::new(), ends4(), vec![0xFF; 100]] {
            let header = whole(&binary(LOCAL, 0x11, &body), carrier);
            assert_eq!(header, ProxyHeader { length: FIXED + body.len(), path: None });
            let header = whole(&binary(PROXY, 0, &body), carrier);
            assert_eq!(header, ProxyHeader { length: FIXED + body.len(), path: None });
        }
    }
    let text = b"PROXY UNKNOWN ffff::1 whatever 1 2\r\nrest";
    assert_eq!(whole(text, Carrier::Stream), ProxyHeader { length: text.len() - 4, path: None });
    assert_eq!(whole(b"PROXY UNKNOWN\r\n", Carrier::Stream).path, None);
}

#[test]
fn version_1_is_read_by_the_letter() {
    let read = |text: &str| ProxyHeader::read(text.as_bytes(), Carrier::Stream);
    let line = "PROXY TCP4 203.0.113.9 192.0.2.1 4000 3478\r\n";
    let expected = ProxyHeader { length: line.len(), path: path("203.0.113.9:4000", "192.0.2.1:3478") };
    assert_eq!(read(&format!("{line}rest")), Ok(Some(expected)));
    let six = read("PROXY TCP6 2001:db8::9 2001:db8::1 65535 0\r\n").unwrap().unwrap();
    assert_eq!(six.path, path("[2001:db8::9]:65535", "[2001:db8::1]:0"));
    for wrong in [
        "PROXY TCP4 203.0.113.9 192.0.2.1 4000\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 4000 3478 \r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 4000 3478 5\r\n",
        "PROXY TCP4  203.0.113.9 192.0.2.1 4000 3478\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 +4000 3478\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 04000 3478\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 4000 65536\r\n",
        "PROXY TCP4 2001:db8::9 2001:db8::1 4000 3478\r\n",
        "PROXY TCP6 203.0.113.9 192.0.2.1 4000 3478\r\n",
        "PROXY UDP4 203.0.113.9 192.0.2.1 4000 3478\r\n",
        "PROXY tcp4 203.0.113.9 192.0.2.1 4000 3478\r\n",
        "PROXY \r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 4000 3478\n\r\n",
    ] {
        assert_eq!(read(wrong), Err(ProxyHeaderError::Malformed), "{wrong:?}");
    }
    assert_eq!(ProxyHeader::read(line.as_bytes(), Carrier::Datagram), Err(ProxyHeaderError::Missing));
}

#[test]
fn a_line_without_end_is_waited_for_no_longer_than_it_may_be() {
    let longest = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                   65535 65535\r\n";
    assert_eq!(longest.len(), LONGEST_LINE);
    assert_eq!(whole(longest.as_bytes(), Carrier::Stream).length, LONGEST_LINE);
    let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
    assert_eq!(ProxyHeader::read(&endless[..LONGEST_LINE - 1], Carrier::Stream), Ok(None));
    let read = ProxyHeader::read(&endless[..LONGEST_LINE], Carrier::Stream);
    assert_eq!(read, Err(ProxyHeaderError::Malformed));
}

#[test]
fn every_beginning_of_a_connection_waits_for_the_rest_and_of_a_datagram_is_broken() {
    let binary = binary(PROXY, 0x21, &[ends6(), extension(4, &[0; 9])].concat());
    let text = b"PROXY TCP4 203.0.113.9 192.0.2.1 4000 3478\r\n".to_vec();
    for whole in [binary.clone(), text] {
        for end in 0..whole.len() {
            assert_eq!(ProxyHeader::read(&whole[..end], Carrier::Stream), Ok(None), "{end}");
        }
        assert!(ProxyHeader::read(&whole, Carrier::Stream).unwrap().is_some());
    }
    for end in 0..binary.len() {
        assert!(ProxyHeader::read(&binary[..end], Carrier::Datagram).is_err(), "{end}");
    }
}

#[test]
fn what_begins_otherwise_is_no_header() {
    for bytes in
        [&b"\x00\x01\x00\x00"[..], b"\x16\x03\x01", b"GET / HTTP/1.1\r\n", b"PROXYX", b"\r\n\r\nX", b"PRX"]
    {
        assert_eq!(ProxyHeader::read(bytes, Carrier::Stream), Err(ProxyHeaderError::Missing), "{bytes:?}");
    }
    assert!(ProxyHeader::begins(&binary(LOCAL, 0, &[])) && !ProxyHeader::begins(&SIGNATURE[..11]));
}

#[test]
fn unknown_versions_and_commands_and_lengths_beyond_the_longest_are_refused_at_once() {
    let good = binary(PROXY, 0x11, &ends4());
    for version_and_command in 0..=u8::MAX {
        let mut bytes = good.clone();
        bytes[12] = version_and_command;
        let read = ProxyHeader::read(&bytes, Carrier::Stream);
        assert_eq!(read.is_ok(), matches!(version_and_command, 0x20 | 0x21), "{version_and_command:#x}");
    }
    for (length, known) in [(ProxyHeader::LONGEST - FIXED, true), (ProxyHeader::LONGEST - FIXED + 1, false)] {
        let mut bytes = good[..FIXED].to_vec();
        bytes[14..].copy_from_slice(&(length as u16).to_be_bytes());
        let read = ProxyHeader::read(&bytes, Carrier::Stream);
        assert_eq!(read, if known { Ok(None) } else { Err(ProxyHeaderError::Malformed) });
    }
    assert!(ProxyHeader::read(&binary(PROXY, 0x11, &ends4()[..11]), Carrier::Stream).is_err(), "too short");
}

#[test]
fn extensions_are_skipped_and_must_fill_the_header() {
    let known = [extension(1, b"stun.turn"), extension(4, &[]), extension(0xEA, b"\x01vpce-1234")].concat();
    let header = whole(&binary(PROXY, 0x11, &[ends4(), known.clone()].concat()), Carrier::Stream);
    assert_eq!(header.path, path("203.0.113.9:4000", "192.0.2.1:3478"));
    for surplus in [&[1][..], &[1, 0], &[1, 0, 1]] {
        let body = [&ends4()[..], &known, surplus].concat();
        assert!(ProxyHeader::read(&binary(PROXY, 0x11, &body), Carrier::Stream).is_err(), "{surplus:?}");
    }
}

#[test]
fn a_checksum_is_verified_wherever_it_stands() {
    // The check value that CRC32C is published with.
    assert_eq!(checksum(b"123456789", 100), 0xE306_9283);
    for (before, after) in [(vec![], vec![]), (extension(4, &[0; 5]), extension(1, b"x"))] {
        let body = [ends4(), before.clone(), extension(CHECKSUM, &[0; 4]), after].concat();
        let mut bytes = binary(PROXY, 0x12, &body);
        let at = FIXED + 12 + before.len() + 3;
        let sum = checksum(&bytes, bytes.len());
        bytes[at..at + 4].copy_from_slice(&sum.to_be_bytes());
        assert!(whole(&bytes, Carrier::Datagram).path.is_some());
        // Of another type it would be another extension.
        for changed in (FIXED..bytes.len()).filter(|changed| *changed != at - 3) {
            let mut wrong = bytes.clone();
            wrong[changed] ^= 1;
            assert!(ProxyHeader::read(&wrong, Carrier::Datagram).is_err(), "{changed}");
        }
    }
    let short = [ends4(), extension(CHECKSUM, &[0; 3])].concat();
    assert!(ProxyHeader::read(&binary(PROXY, 0x12, &short), Carrier::Datagram).is_err());
}

#[test]
fn ipv4_in_ipv6_is_ipv4() {
    let mapped = |text: &str| text.parse::<Ipv4Addr>().unwrap().to_ipv6_mapped().octets();
    let body = [&mapped("203.0.113.9")[..], &mapped("192.0.2.1"), &[0x0F, 0xA0, 0x0D, 0x96]].concat();
    let header = whole(&binary(PROXY, 0x21, &body), Carrier::Stream);
    assert_eq!(header.path, path("203.0.113.9:4000", "192.0.2.1:3478"));
}

#[test]
fn garbage_never_panics_and_never_reads_beyond_its_end() {
    let mut state = 7_u64;
    let mut roll = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let seeds = [
        binary(PROXY, 0x11, &[ends4(), extension(CHECKSUM, &[0; 4])].concat()),
        binary(PROXY, 0x22, &[ends6(), extension(4, &[0; 30])].concat()),
        b"PROXY TCP6 2001:db8::9 2001:db8::1 4000 3478\r\nmore".to_vec(),
    ];
    for round in 0..200_000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..1 + roll() % 4 {
            let at = roll() % bytes.len();
            bytes[at] = roll() as u8;
        }
        bytes.truncate(roll() % (bytes.len() + 1));
        for carrier in BOTH {
            if let Ok(Some(header)) = ProxyHeader::read(&bytes, carrier) {
                assert!(header.length <= bytes.len());
            }
        }
    }
}
