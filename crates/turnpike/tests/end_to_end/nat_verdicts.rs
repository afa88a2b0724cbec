//! `turnutils_natdiscovery` before NATs of each kind, played by a server that answers as if one stood in front of it.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;

use turnpike_wire::attributes::{
    ChangeRequest, MappedAddress, OtherAddress, ResponseOrigin, XorMappedAddress,
};
use turnpike_wire::{AttributeType, Class, Message, MessageWriter};

use crate::harness::{NATDISCOVERY, loopback_address, run};

/// How the NAT behaves.
#[derive(Clone, Copy)]
struct Nat {
    /// The mapped port of who sends to the other address, or also port.
    mapping: fn(ip: bool, port: bool) -> u16,
    /// Whether something from the other address, or only port, comes in.
    lets_in: fn(ip: bool, port: bool) -> bool,
    /// What MAPPED-ADDRESS becomes on the way.
    alg: bool,
}

/// Puts a server behind it, which runs as long as the tests do.
fn start(nat: Nat) -> IpAddr {
    let ips = [loopback_address(), loopback_address()];
    let corners = ips.map(|ip| [3478, 3479].map(|port| UdpSocket::bind((ip, port)).unwrap()));
    let corners = Arc::new(corners);
    for at in 0..4 {
        let corners = corners.clone();
        thread::spawn(move || {
            let mut input = [0; 4096];
            while let Ok((length, from)) = corners[at >> 1][at & 1].recv_from(&mut input) {
                answer(nat, &corners, at, from, &input[..length]);
            }
        });
    }
    ips[0]
}

fn answer(nat: Nat, corners: &[[UdpSocket; 2]; 2], at: usize, from: SocketAddr, request: &[u8]) {
    let request = Message::parse(request).unwrap();
    let ChangeRequest { ip, port } =
        request.get().unwrap().unwrap_or(ChangeRequest { ip: false, port: false });
    if (ip || port) && !(nat.lets_in)(ip, port) {
        return;
    }
    let source = &corners[at >> 1 ^ usize::from(ip)][at & 1 ^ usize::from(port)];
    let other = corners[at >> 1 ^ 1][at & 1 ^ 1].local_addr().unwrap();
    let mapped = SocketAddr::new("203.0.113.5".parse().unwrap(), (nat.mapping)(at & 2 != 0, at & 1 != 0));
    let in_clear = if nat.alg { from } else { mapped };
    let (mut buffer, id) = ([0; 4096], request.transaction_id());
    let mut writer = MessageWriter::new(&mut buffer, Class::Success, request.method(), id);
    writer
        .add(&XorMappedAddress(mapped))
        .add(&MappedAddress(in_clear))
        .add(&ResponseOrigin(source.local_addr().unwrap()))
        .add(&OtherAddress(other));
    if let Some(padding) = request.value(AttributeType::PADDING) {
        writer.add_raw(AttributeType::PADDING, padding);
    }
    source.send_to(writer.finish().unwrap(), from).unwrap();
}

const FULL_CONE: Nat = Nat { mapping: |_, _| 40_000, lets_in: |_, _| true, alg: false };

fn verdicts(nat: Nat) -> String {
    let finished = run(NATDISCOVERY, &["-m", "-f", &start(nat).to_string()]);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    finished.stdout
}

fn assert_verdicts(nat: Nat, mapping: &str, filtering: &str) {
    let text = verdicts(nat);
    let told: Vec<&str> = text.lines().filter(|line| line.ends_with('!')).collect();
    let expected = [format!("NAT with {mapping} Mapping!"), format!("NAT with {filtering} Filtering!")];
    assert_eq!(told, expected, "{text}");
}

#[test]
fn a_nat_that_depends_on_nothing() {
    assert_verdicts(FULL_CONE, "Endpoint Independent", "Endpoint Independent");
}

#[test]
fn a_nat_that_filters_by_address_alone() {
    assert_verdicts(Nat { lets_in: |ip, _| !ip, ..FULL_CONE }, "Endpoint Independent", "Address Dependent");
}

#[test]
fn a_nat_that_maps_by_address_and_filters_by_port_too() {
    let mapping = |ip, _| if ip { 40_001 } else { 40_000 };
    let nat = Nat { mapping, lets_in: |_, _| false, ..FULL_CONE };
    assert_verdicts(nat, "Address Dependent", "Address and Port Dependent");
}

#[test]
fn a_nat_that_maps_by_address_and_port() {
    let mapping = |ip, port| 40_000 + u16::from(ip) + 2 * u16::from(port);
    assert_verdicts(Nat { mapping, ..FULL_CONE }, "Address and Port Dependent", "Endpoint Independent");
}

#[test]
fn a_box_that_rewrites_addresses_in_what_it_forwards_is_told() {
    let text = verdicts(Nat { alg: true, ..FULL_CONE });
    assert!(text.contains("\n-= ALG detected! Mapped and XOR-Mapped differ! =-\n"), "{text}");
    assert!(text.contains(" IPv4. Mapped Address: : 127."), "{text}");
}
