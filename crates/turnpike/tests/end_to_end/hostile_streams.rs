//! Connections from people who mean harm, or whose TLS is of another age; and what becomes of everybody else.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use turnpike_wire::attributes::{RequestedTransport, Username, XorPeerAddress};
use turnpike_wire::{Class, MessageWriter, Method, TransactionId};

use crate::client::{binding_request, exchange};
use crate::harness::{PATIENCE, Server};
use crate::streams::{Connection, binding, certificate, open_server, secure_server, trusting};

#[test]
fn damaged_messages_in_bulk_over_tcp_and_tls_harm_nobody() {
    let (directory, authority) = certificate("localhost");
    let server = secure_server(&directory, &[]);
    let mut innocent = Connection::tcp(server.address);
    let mut noise = Noise(1);
    let (mut messages, mut connections) = (0, 0);
    while messages < 28_000 {
        let mut hostile = match connections % 2 {
            0 => Connection::tcp(server.address),
            _ => Connection::tls(server.address, &authority, &[]).unwrap(),
        };
        connections += 1;
        hostile.allocate();
        // What does not end the connection leaves the next message its place.
        for _ in 0..500 {
            hostile.write(&noise.damaged());
            messages += 1;
        }
        innocent.write(&binding(7));
        innocent.try_next_frame().expect("an innocent client is answered");
    }
    // What is no TLS at all, at any place of a handshake.
    for length in 0..200 {
        let mut stranger = Connection::tcp(server.address);
        let mut bytes = hello(0x0303, &[0x1301, 0xc02f]);
        let at = noise.below(bytes.len());
        bytes[at] ^= 1 << noise.below(8);
        bytes.truncate(bytes.len().min(5 + length));
        bytes.extend_from_slice(&[0xFF; 40]);
        stranger.write(&bytes);
    }
    innocent.write(&binding(8));
    innocent.try_next_frame().expect("an innocent client is answered");
    let finished = server.program.stop("TERM");
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
}

#[test]
fn the_end_of_a_tls_connection_is_the_end_of_its_allocation() {
    let (directory, authority) = certificate("localhost");
    let mut server = secure_server(&directory, &[]);
    let mut client = Connection::tls(server.address, &authority, &[b"stun.nat-discovery"]).unwrap();
    assert_eq!(client.protocol.as_deref(), Some(&b"stun.nat-discovery"[..]));
    client.allocate();
    server.expect("transport TLS");
    drop(client);
    let line = server.expect("closed (2nd stage)");
    assert!(line.contains("TCP connection closed by client"), "{line}");
}

#[test]
fn with_ca_file_only_clients_with_a_certificate_of_that_authority_come_in() {
    let (directory, server_certificate) = certificate("localhost");
    let (ours, foreign) = (Authority::new(), Authority::new());
    let file = directory.write("authority.pem", &ours.0.pem());
    let server = secure_server(&directory, &["--CA-file", &file]);
    let connect = |authority: Option<&Authority>| {
        let builder = trusting(&server_certificate);
        let config = match authority {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let (chain, key) = authority.client();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        Connection::tls_with(server.address, config)
    };
    assert!(connect(None).is_err(), "no certificate");
    assert!(connect(Some(&foreign)).is_err(), "another authority's");
    connect(Some(&ours)).expect("the authority's").allocate();
}

#[test]
fn tls_of_another_age_and_weak_ciphers_are_refused() {
    let (directory, _) = certificate("localhost");
    let strong = [0xc02b, 0xc02f, 0xcca9];
    let server = secure_server(&directory, &[]);
    let answer = |hello: &[u8]| answer_to_hello(server.address, hello);
    // SSL 3.0, TLS 1.0 and 1.1 (RFC 8996).
    for version in [0x0300, 0x0301, 0x0302] {
        assert_eq!(answer(&hello(version, &strong)), Said::Alert(PROTOCOL_VERSION), "{version:#x}");
    }
    assert_eq!(answer(&hello(0x0303, &strong)), Said::Hello);
    // No encryption, RC4, 3DES, no forward secrecy, CBC.
    for cipher in [0x0002, 0x0005, 0x000a, 0x002f, 0x009c, 0xc009, 0xc013] {
        assert_eq!(answer(&hello(0x0303, &[cipher])), Said::Alert(HANDSHAKE_FAILURE), "{cipher:#x}");
    }
    let server = secure_server(&directory, &["--no-tlsv1_2"]);
    assert_eq!(answer_to_hello(server.address, &hello(0x0303, &strong)), Said::Alert(PROTOCOL_VERSION));
}

#[test]
fn a_connection_that_asks_for_nothing_is_closed_when_the_operator_says() {
    let server = Server::start(&["--max-allocate-timeout=1"]);
    let mut silent = TcpStream::connect(server.address).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn when_descriptors_run_out_connections_wait_and_are_served_later() {
    let server = open_server();
    let process = server.program.id();
    let used = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count();
    let limit = format!("--nofile={0}:{0}", used + 4);
    let set = Command::new("prlimit").args(["--pid", &process.to_string(), &limit]).status().unwrap();
    assert!(set.success());
    let mut open: Vec<Connection> = (0..12).map(|_| Connection::tcp(server.address)).collect();
    open.iter_mut().for_each(|client| client.write(&binding(1)));
    // Those who are in are served, and so is everybody who needs no descriptor.
    open[0].try_next_frame().unwrap();
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    datagrams.connect(server.address).unwrap();
    exchange(&datagrams, &binding_request()).expect("an answer by UDP");
    // One after the other leaves, and each makes room for the next.
    for (number, mut client) in open.into_iter().enumerate().skip(1) {
        assert!(client.try_next_frame().is_ok(), "connection {number} is never served");
    }
}

/// Who vouches for clients.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A client's certificate and key.
    fn client(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["client".to_owned()]).unwrap();
        let made = params.signed_by(&key, &self.0).unwrap();
        (vec![made.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }
}

/// What a server says first.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Hello,
    Alert(u8),
    Nothing,
}

fn answer_to_hello(server: SocketAddr, hello: &[u8]) -> Said {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(hello).unwrap();
    let mut record = [0; 7];
    match stream.read_exact(&mut record) {
        Ok(()) if record[0] == 22 && record[5] == 2 => Said::Hello,
        Ok(()) if record[0] == 21 => Said::Alert(record[6]),
        _ => Said::Nothing,
    }
}

/// A ClientHello of TLS 1.2 or earlier (RFC 5246 §7.4.1.2) with these cipher suites, P-256 and ECDSA.
fn hello(version: u16, ciphers: &[u16]) -> Vec<u8> {
    let suites: Vec<u8> = ciphers.iter().flat_map(|cipher| cipher.to_be_bytes()).collect();
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 23][..],
        &[0, 11, 0, 2, 1, 0],
        &[0, 13, 0, 6, 0, 4, 4, 3, 4, 1],
        &[0, 23, 0, 0],
    ]
    .concat();
    let mut body = version.to_be_bytes().to_vec();
    body.extend_from_slice(&[7; 32]);
    body.push(0);
    body.extend_from_slice(&(suites.len() as u16).to_be_bytes());
    body.extend_from_slice(&suites);
    body.extend_from_slice(&[1, 0]);
    body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
    body.extend_from_slice(&extensions);
    let mut record = vec![22, 3, 1];
    record.extend_from_slice(&(body.len() as u16 + 4).to_be_bytes());
    record.extend_from_slice(&[1, 0]);
    record.extend_from_slice(&(body.len() as u16).to_be_bytes());
    record.extend_from_slice(&body);
    record
}

/// Numbers that look like chance and are the same each time.
struct Noise(u32);

impl Noise {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as usize % limit
    }

    /// A request or indication of some method with one to eight bits turned round behind its length and its cookie, so
    /// that the frames stay what they are.
    fn damaged(&mut self) -> Vec<u8> {
        let methods =
            [Method::ALLOCATE, Method::REFRESH, Method::CREATE_PERMISSION, Method::BINDING, Method::SEND];
        let method = methods[self.below(methods.len())];
        let mut buffer = [0; 256];
        let class = if method == Method::SEND { Class::Indication } else { Class::Request };
        let mut writer = MessageWriter::new(&mut buffer, class, method, TransactionId([3; 12]));
        writer.add(&RequestedTransport::UDP).add(&Username(b"somebody"));
        writer.add(&XorPeerAddress("127.0.0.1:9".parse().unwrap()));
        let mut bytes = writer.finish().unwrap().to_vec();
        let places: HashSet<usize> = (0..1 + self.below(8)).map(|_| self.below(bytes.len())).collect();
        for at in places.into_iter().filter(|at| !(2..8).contains(at)) {
            // Of the first byte the two bits that tell STUN from everything else stay.
            bytes[at] ^= if at == 0 { 1 << self.below(6) } else { 1 << self.below(8) };
        }
        bytes
    }
}

const PROTOCOL_VERSION: u8 = 70;
const HANDSHAKE_FAILURE: u8 = 40;
