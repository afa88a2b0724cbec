//! Clients that come by a load balancer that says whose they are (the PROXY protocol).

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use turnpike_wire::attributes::XorMappedAddress;
use turnpike_wire::framing::{Frame, next_frame};
use turnpike_wire::{Class, Message, MessageWriter, Method, TransactionId};

use crate::client::TurnClient;
use crate::harness::{PATIENCE, Server, UCLIENT, free_ports, run};

#[test]
fn a_connection_from_a_proxy_is_the_clients_it_names() {
    let server = Server::start(&["--proxy-from=127.0.0.1"]);
    let text = b"PROXY TCP4 203.0.113.9 192.0.2.1 4000 443\r\n".to_vec();
    let named = [text, header(STREAM, client(), &[]), header(STREAM, client(), &[4, 0, 2, 7, 7])];
    for header in &named {
        assert_eq!(mapped_over_tcp(server.address, header), Some(client().into()));
    }
    // One that asks for itself, as for its health check.
    for header in [local_header(), b"PROXY UNKNOWN\r\n".to_vec()] {
        let mut connection = connect(server.address);
        let own = connection.local_addr().unwrap();
        connection.write_all(&header).unwrap();
        assert_eq!(ask(&mut connection), Some(own));
    }
}

#[test]
fn a_header_may_come_byte_by_byte_and_with_what_follows_it() {
    let server = Server::start(&["--proxy-from=127.0.0.1"]);
    for header in [b"PROXY TCP4 203.0.113.9 192.0.2.1 4000 443\r\n".to_vec(), header(STREAM, client(), &[])] {
        let mut connection = connect(server.address);
        for byte in &header {
            connection.write_all(&[*byte]).unwrap();
        }
        assert_eq!(ask(&mut connection), Some(client().into()));
        let mut connection = connect(server.address);
        connection.write_all(&[header, binding(), binding()].concat()).unwrap();
        for _ in 0..2 {
            assert_eq!(answer(&mut connection), Some(client().into()));
        }
    }
}

#[test]
fn others_come_in_as_before_by_the_same_ports() {
    let server = Server::start(&["--proxy-from=127.0.0.99"]);
    let mut connection = connect(server.address);
    let own = connection.local_addr().unwrap();
    assert_eq!(ask(&mut connection), Some(own));
    let mut client = TurnClient::hello(server.address);
    client.allocate();
    // Who is no proxy cannot name another client.
    let mut liar = connect(server.address);
    liar.write_all(&[header(STREAM, self::client(), &[]), binding()].concat()).unwrap();
    assert_eq!(answer(&mut liar), None);
}

#[test]
fn without_a_header_that_can_be_read_a_proxys_connection_is_closed_and_the_log_says_so() {
    let mut server = Server::start(&["--proxy-from=127.0.0.1"]);
    let mut of_another_version = header(STREAM, client(), &[]);
    of_another_version[12] = 0x31;
    for (bytes, reason) in [
        (binding(), "no_proxy_header"),
        (vec![0x16, 3, 1, 0, 5], "no_proxy_header"),
        (of_another_version, "bad_proxy_header"),
        (header(DATAGRAM, client(), &[]), "bad_proxy_header"),
        (b"PROXY TCP4 203.0.113.9\r\n".to_vec(), "bad_proxy_header"),
    ] {
        let mut connection = connect(server.address);
        connection.write_all(&bytes).unwrap();
        assert_eq!(answer(&mut connection), None, "{reason}");
    }
    // At most one line a second.
    let line = server.expect("reason: no_proxy_header");
    assert!(line.contains("TCP connection from the proxy 127.0.0.1:"), "{line}");
}

#[test]
fn the_port_for_proxies_is_one_more_and_heeds_who_is_named() {
    let ip = crate::harness::loopback_address();
    let port = free_ports(ip, 1);
    let options = format!("--tcp-proxy-port={port}");
    let server = Server::start_at(SocketAddr::new(ip, 3478), &["--user", "hello:world", &options]);
    let by_proxy = SocketAddr::new(ip, port);
    let header = header(STREAM, client(), &[]);
    assert_eq!(mapped_over_tcp(by_proxy, &header), Some(client().into()));
    let mut plain = connect(server.address);
    let own = plain.local_addr().unwrap();
    assert_eq!(ask(&mut plain), Some(own), "the ordinary listener stays");
    let mut without = connect(by_proxy);
    without.write_all(&binding()).unwrap();
    assert_eq!(answer(&mut without), None);
    let text = server.program.so_far();
    assert!(
        text.contains(&format!("PROXY protocol: on TCP port {port} alone, from loopback and private")),
        "{text}"
    );
    drop(server);

    let arguments = ["--user", "hello:world", &options, "--proxy-from=192.0.2.0/24"];
    let mut server = Server::start_at(SocketAddr::new(ip, 3478), &arguments);
    assert_eq!(mapped_over_tcp(by_proxy, &header), None);
    server.expect("reason: untrusted_proxy");
}

#[test]
fn clients_behind_a_proxy_relay_by_datagrams_and_are_named_in_the_log() {
    let mut server = Server::start(&["--proxy-from=127.0.0.99"]);
    let proxy = UdpProxy::start("127.0.0.99", server.address, Headers::Each);
    relay_through(&mut server, &proxy);
    let proxy = UdpProxy::start("127.0.0.99", server.address, Headers::First);
    relay_through(&mut server, &proxy);
}

#[test]
fn a_datagram_from_a_proxy_without_a_header_gets_no_answer() {
    let mut server = Server::start(&["--proxy-from=127.0.0.99"]);
    let socket = UdpSocket::bind("127.0.0.99:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(&binding(), server.address).unwrap();
    server.expect("reason: no_proxy_header");
    for (header, expected) in
        [(header(DATAGRAM, client(), &[]), client().into()), (local_header(), socket.local_addr().unwrap())]
    {
        socket.send_to(&[header, binding()].concat(), server.address).unwrap();
        let mut buffer = [0; 1500];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(mapped(&buffer[..length]), Some(expected));
    }
}

/// Two clients that talk to each other behind a proxy: nothing is lost, and the log names them and not the proxy.
fn relay_through(server: &mut Server, proxy: &UdpProxy) {
    let port = proxy.address.port().to_string();
    let mut arguments =
        vec!["-u", "hello", "-w", "world", "-y", "-c", "-n", "20", "-z", "5", "-L", "127.0.0.98"];
    arguments.extend(["-p", &port, "127.0.0.1"]);
    let finished = run(UCLIENT, &arguments);
    assert_eq!(finished.code, Some(0), "{}", finished.stdout);
    assert!(finished.stdout.contains("Total lost packets 0 (0.000000%)"), "{}", finished.stdout);
    for _ in 0..2 {
        let line = server.expect(": new, ");
        assert!(
            line.contains("client 127.0.0.98:") && line.contains(&format!("server {}", proxy.address)),
            "{line}"
        );
    }
    for _ in 0..2 {
        let line = server.expect("closed (2nd stage)");
        assert!(line.contains("remote 127.0.0.98:"), "{line}");
    }
}

/// Which datagrams a proxy puts a header before.
#[derive(Clone, Copy)]
enum Headers {
    Each,
    First,
}

/// A load balancer for UDP: a socket for each client, headers towards the server and none back.
struct UdpProxy {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpProxy {
    fn start(from: &'static str, server: SocketAddr, headers: Headers) -> Self {
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        front.set_read_timeout(Some(GLANCE)).unwrap();
        let address = front.local_addr().unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let ending = ends.clone();
        let thread = std::thread::spawn(move || {
            let mut flows: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
            let mut buffer = [0; 65_536];
            while !ending.load(Ordering::Relaxed) {
                let Ok((length, client)) = front.recv_from(&mut buffer) else { continue };
                let (SocketAddr::V4(source), SocketAddr::V4(here)) = (client, address) else { continue };
                let is_first = !flows.contains_key(&client);
                let flow = flows.entry(client).or_insert_with(|| {
                    let flow = Arc::new(UdpSocket::bind((from, 0)).unwrap());
                    flow.connect(server).unwrap();
                    answer_by(flow.clone(), front.clone(), client, ending.clone());
                    flow
                });
                let named = matches!(headers, Headers::Each) || is_first;
                let header = if named { header_to(DATAGRAM, source, here, &[]) } else { Vec::new() };
                flow.send(&[&header, &buffer[..length]].concat()).unwrap();
            }
        });
        UdpProxy { address, ends, thread: Some(thread) }
    }
}

/// Hands the server's answers back to a client.
fn answer_by(flow: Arc<UdpSocket>, front: Arc<UdpSocket>, client: SocketAddr, ending: Arc<AtomicBool>) {
    flow.set_read_timeout(Some(GLANCE)).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while !ending.load(Ordering::Relaxed) {
            if let Ok(length) = flow.recv(&mut buffer) {
                front.send_to(&buffer[..length], client).unwrap();
            }
        }
    });
}

impl Drop for UdpProxy {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let joined = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || !matches!(joined, Some(Err(_))), "the proxy failed");
    }
}

fn client() -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 9), 4000)
}

/// A header of version 2 from `client`; `extensions` behind the addresses.
fn header(transport: u8, client: SocketAddrV4, extensions: &[u8]) -> Vec<u8> {
    header_to(transport, client, SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 443), extensions)
}

fn header_to(transport: u8, client: SocketAddrV4, server: SocketAddrV4, extensions: &[u8]) -> Vec<u8> {
    let mut bytes = [SIGNATURE, &[0x21, 0x10 | transport]].concat();
    bytes.extend((12 + extensions.len() as u16).to_be_bytes());
    bytes.extend(client.ip().octets().into_iter().chain(server.ip().octets()));
    bytes.extend(client.port().to_be_bytes().into_iter().chain(server.port().to_be_bytes()));
    bytes.extend(extensions);
    bytes
}

/// The header of a datagram from this client.
pub(crate) fn named_client(client: SocketAddrV4) -> Vec<u8> {
    header(DATAGRAM, client, &[])
}

fn local_header() -> Vec<u8> {
    [SIGNATURE, &[0x20, 0, 0, 0]].concat()
}

fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn mapped_over_tcp(server: SocketAddr, header: &[u8]) -> Option<SocketAddr> {
    let mut connection = connect(server);
    // One that is refused may be closed by now.
    let _ = connection.write_all(header);
    ask(&mut connection)
}

fn ask(connection: &mut TcpStream) -> Option<SocketAddr> {
    let _ = connection.write_all(&binding());
    answer(connection)
}

/// The address that the next answer tells; `None` where the connection ends instead.
fn answer(connection: &mut TcpStream) -> Option<SocketAddr> {
    let mut bytes = Vec::new();
    loop {
        if let Frame::Whole { length, .. } = next_frame(&bytes) {
            return mapped(&bytes[..length]);
        }
        let mut byte = [0];
        match connection.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            Ok(_) => return None,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "an answer or the end");
                return None;
            }
        }
    }
}

fn mapped(answer: &[u8]) -> Option<SocketAddr> {
    let message = Message::parse(answer).unwrap();
    assert_eq!(message.class(), Class::Success);
    message.get::<XorMappedAddress>().unwrap().map(|XorMappedAddress(address)| address)
}

pub(crate) fn binding() -> Vec<u8> {
    let mut buffer = [0; 64];
    let writer = MessageWriter::new(&mut buffer, Class::Request, Method::BINDING, TransactionId([7; 12]));
    writer.finish().unwrap().to_vec()
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const STREAM: u8 = 1;
const DATAGRAM: u8 = 2;
/// How often the proxy looks up whether it is to end.
const GLANCE: Duration = Duration::from_millis(50);
