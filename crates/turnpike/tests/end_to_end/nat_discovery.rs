//! NAT behaviour discovery (RFC 5780) on two loopback addresses, asked by hand and by the tools.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};

use turnpike_wire::attributes::{
    ChangeRequest, ErrorCode, MappedAddress, OtherAddress, Padding, ResponseOrigin, ResponsePort,
    XorMappedAddress,
};
use turnpike_wire::{Attribute, Class, Message, MessageWriter, Method, TransactionId};

use crate::client::TurnClient;
use crate::harness::{
    Directory, NATDISCOVERY, PATIENCE, Program, STUNCLIENT, Server, TURNSERVER, loopback_address, run,
};

/// A server with four listeners, and its two addresses.
struct Discoverable {
    server: Server,
    ips: [IpAddr; 2],
}

impl Discoverable {
    fn start(more: &[&str]) -> Self {
        let ips = [loopback_address(), loopback_address()];
        let other = ips[1].to_string();
        let base = ["-L", &other, "--rfc5780", "--user", "hello:world", "--allow-loopback-peers"];
        let server = Server::start_at(SocketAddr::new(ips[0], 3478), &[&base[..], more].concat());
        Discoverable { server, ips }
    }

    fn host(&self) -> String {
        self.ips[0].to_string()
    }

    /// One of the four, by address and port.
    fn corner(&self, number: usize) -> SocketAddr {
        SocketAddr::new(self.ips[number >> 1], 3478 + (number as u16 & 1))
    }
}

fn ask(socket: &UdpSocket, to: SocketAddr, build: impl FnOnce(&mut MessageWriter<'_>)) {
    let mut buffer = [0; 4096];
    let id = TransactionId([7; 12]);
    let mut writer = MessageWriter::new(&mut buffer, Class::Request, Method::BINDING, id);
    build(&mut writer);
    socket.send_to(writer.finish().unwrap(), to).unwrap();
}

fn ask_stream(stream: &mut TcpStream, build: impl FnOnce(&mut MessageWriter<'_>)) -> Vec<u8> {
    let mut buffer = [0; 4096];
    let mut writer = MessageWriter::new(&mut buffer, Class::Request, Method::BINDING, TransactionId([7; 12]));
    build(&mut writer);
    stream.write_all(writer.finish().unwrap()).unwrap();
    let mut answer = vec![0; 20];
    stream.read_exact(&mut answer).unwrap();
    answer.resize(20 + usize::from(u16::from_be_bytes([answer[2], answer[3]])), 0);
    stream.read_exact(&mut answer[20..]).unwrap();
    answer
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 4096];
    let (length, from) = socket.recv_from(&mut buffer).expect("an answer");
    (buffer[..length].to_vec(), from)
}

fn read<'m, A: Attribute<'m>>(bytes: &'m [u8]) -> A {
    let message = Message::parse(bytes).unwrap();
    assert_eq!(message.class(), Class::Success);
    message.get().unwrap().expect("an attribute")
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[test]
fn any_of_the_four_sockets_answers_from_any_other_whichever_worker_has_the_client() {
    assert_every_corner_answers_from_every_other(&Discoverable::start(&["-m", "4"]));
}

#[test]
fn the_port_for_dtls_is_none_of_the_four() {
    // The worker's links are counted by its listeners, and those for DTLS once came between them.
    let directory = Directory::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = directory.write("cert.pem", &made.cert.pem());
    let key = directory.write("key.pem", &made.signing_key.serialize_pem());
    let secure = ["-m", "2", "--dtls", "--cert", &certificate, "--pkey", &key];
    assert_every_corner_answers_from_every_other(&Discoverable::start(&secure));
}

fn assert_every_corner_answers_from_every_other(world: &Discoverable) {
    // Sockets of several ports are spread over the workers.
    for _ in 0..6 {
        let socket = socket();
        for asked in 0..4 {
            for change in 0..4 {
                let (ip, port) = (change & 2 != 0, change & 1 != 0);
                ask(&socket, world.corner(asked), |writer| _ = writer.add(&ChangeRequest { ip, port }));
                let (answer, from) = receive(&socket);
                assert_eq!(from, world.corner(asked ^ change), "corner {asked} changed by {change}");
                assert_eq!(read::<ResponseOrigin>(&answer).0, from);
                assert_eq!(read::<OtherAddress>(&answer).0, world.corner(asked ^ 3));
                let mapped = socket.local_addr().unwrap();
                assert_eq!(read::<XorMappedAddress>(&answer).0, mapped);
                assert_eq!(read::<MappedAddress>(&answer).0, mapped);
            }
        }
    }
}

#[test]
fn a_response_goes_to_another_port_of_the_asking_host_and_a_padded_one_is_as_large() {
    let world = Discoverable::start(&[]);
    let (socket, ear) = (socket(), socket());
    let port = ear.local_addr().unwrap().port();
    ask(&socket, world.corner(0), |writer| {
        writer.add(&ChangeRequest { ip: true, port: false }).add(&ResponsePort(port));
    });
    let (answer, from) = receive(&ear);
    assert_eq!(from, world.corner(2));
    assert_eq!(read::<XorMappedAddress>(&answer).0, socket.local_addr().unwrap());
    ask(&socket, world.corner(0), |writer| {
        writer.add(&ChangeRequest { ip: false, port: true }).add(&Padding(&[0; 1500]));
    });
    let (answer, from) = receive(&socket);
    assert_eq!((from, read::<Padding<'_>>(&answer).0.len()), (world.corner(1), 1500));
}

#[test]
fn over_tcp_the_other_address_is_told_and_served_and_nothing_is_changed() {
    let world = Discoverable::start(&[]);
    for corner in 0..4 {
        let mut stream = TcpStream::connect(world.corner(corner)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let answer = ask_stream(&mut stream, |_| {});
        assert_eq!(read::<ResponseOrigin>(&answer).0, world.corner(corner));
        assert_eq!(read::<OtherAddress>(&answer).0, world.corner(corner ^ 3));
        let answer = ask_stream(&mut stream, |writer| {
            writer.add(&ChangeRequest { ip: false, port: true });
        });
        let error: ErrorCode<'_> = Message::parse(&answer).unwrap().get().unwrap().expect("ERROR-CODE");
        assert_eq!(error.number.number(), 420);
    }
}

#[test]
fn the_tls_port_is_bound_once_for_each_address_even_if_it_is_the_second_port() {
    let directory = Directory::new();
    let made = rcgen::generate_simple_self_signed(["example.org".to_owned()]).unwrap();
    let cert = directory.write("cert.pem", &made.cert.pem());
    let key = directory.write("key.pem", &made.signing_key.serialize_pem());
    for second in ["3479", "5349"] {
        let tls = ["--cert", &cert, "--pkey", &key, "--alt-listening-port", second];
        let world = Discoverable::start(&tls);
        for (ip, port) in world.ips.iter().flat_map(|ip| ["3478", "5349", second].map(|port| (ip, port))) {
            TcpStream::connect(format!("{ip}:{port}")).unwrap();
        }
    }
}

#[test]
fn the_second_port_can_be_chosen_and_both_addresses_are_named_at_start() {
    let world = Discoverable::start(&["--alt-listening-port", "3500"]);
    let [one, other] = world.ips;
    let said = world.server.program.so_far();
    assert!(
        said.contains(&format!("NAT behaviour discovery: {one} and {other}, ports 3478 and 3500")),
        "{said}"
    );
    for ip in world.ips {
        assert_eq!(said.matches(&format!("Listener address to use: {ip}")).count(), 1, "{said}");
    }
    let socket = socket();
    ask(&socket, SocketAddr::new(one, 3500), |_| {});
    assert_eq!(read::<OtherAddress>(&receive(&socket).0).0, SocketAddr::new(other, 3478));
}

#[test]
fn external_pairs_are_what_clients_are_told() {
    let ips = [loopback_address(), loopback_address()].map(|ip| ip.to_string());
    let pairs = [format!("203.0.113.1/{}", ips[0]), format!("203.0.113.2/{}", ips[1])];
    let arguments =
        ["--no-auth", "--rfc5780", "-L", &ips[1], "--external-ip", &pairs[0], "--external-ip", &pairs[1]];
    let server = Server::start_at(SocketAddr::new(ips[0].parse().unwrap(), 3478), &arguments);
    let socket = socket();
    ask(&socket, server.address, |writer| _ = writer.add(&ChangeRequest { ip: true, port: false }));
    let (answer, from) = receive(&socket);
    assert_eq!(from.to_string(), format!("{}:3478", ips[1]));
    assert_eq!(read::<ResponseOrigin>(&answer).0.to_string(), "203.0.113.2:3478");
    assert_eq!(read::<OtherAddress>(&answer).0.to_string(), "203.0.113.2:3479");
}

#[test]
fn where_it_cannot_be_had_it_is_switched_off_with_a_warning() {
    let (one, other) = (loopback_address().to_string(), loopback_address().to_string());
    for (arguments, why) in [
        (vec!["-L", &one], "it needs two listening-ip of one address family"),
        (vec!["-L", &one, "-L", &other, "--external-ip", "203.0.113.7"], "PUBLIC/PRIVATE"),
        (vec!["-L", &one, "-L", &other, "--alt-listening-port", "3478"], "alt-listening-port"),
    ] {
        let all = [&["-n", "--no-auth", "-m", "1", "--rfc5780"], &arguments[..]].concat();
        let mut server = Program::start(TURNSERVER, &all);
        let line = server.expect("rfc5780: it is switched off");
        assert!(line.contains("WARNING") && line.contains(why), "{line}");
        server.expect("Total auth threads:");
        let finished = run(STUNCLIENT, &[&one]);
        assert_eq!(finished.code, Some(0));
        assert!(!finished.stdout.contains("RFC 5780"), "{}", finished.stdout);
    }
}

#[test]
fn nothing_is_relayed_to_the_second_port() {
    let world = Discoverable::start(&[]);
    let mut client = TurnClient::hello(world.corner(0));
    client.allocate();
    for corner in [1, 3] {
        let listener = world.corner(corner);
        client.permit(listener.ip()).unwrap();
        client.send(listener, &crate::client::binding_request());
    }
    assert!(client.receive_within(std::time::Duration::from_millis(300)).is_none());
}

#[test]
fn stunclient_takes_every_step_with_a_server_that_offers_them() {
    let world = Discoverable::start(&[]);
    let finished = run(STUNCLIENT, &[&world.host()]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let blocks: Vec<&str> = finished.stdout.split("\n========================================\n").collect();
    assert_eq!(blocks.len(), 5, "{}", finished.stdout);
    for (number, block) in blocks.iter().enumerate().skip(1) {
        assert!(block.starts_with(&format!("RFC 5780 response {number}\n")), "{block}");
        let origin = world.corner(if number == 1 { 0 } else { 3 });
        assert!(block.contains(&format!("IPv4. Response origin: : {origin}\n")), "{block}");
        assert!(block.contains(&format!("IPv4. Other addr: : {}\n", world.corner(3))), "{block}");
        assert!(block.contains("IPv4. UDP reflexive addr: 127."), "{block}");
    }
}

#[test]
fn natdiscovery_finds_no_nat_on_loopback() {
    let world = Discoverable::start(&[]);
    for padding in [&[][..], &["-P"]] {
        let host = world.host();
        let finished = run(NATDISCOVERY, &[padding, &["-m", "-f", "-H", &host]].concat());
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
        let expected = [
            "\n-= Mapping Behavior Discovery =-\n",
            "\n========================================\nRFC 5780 response 1\nNo ALG: Mapped == XOR-Mapped\n",
            &format!("IPv4. Response origin: : {}\n", world.corner(0)),
            &format!("IPv4. Other addr: : {}\n", world.corner(3)),
            "IPv4. UDP reflexive addr: 127.",
            "IPv4. Local addr: : 127.",
            "\n========================================\nNo NAT! (Endpoint Independent Mapping)\n=====",
            "\n-= Filtering Behavior Discovery =-\n",
            "\nRFC 5780 response 3\n",
            &format!("IPv4. Response origin: : {}\n", world.corner(3)),
            "\n========================================\nNAT with Endpoint Independent Filtering!\n=====",
            "\n-= Hairpinning Behavior Discovery =-\n",
            "\nReceived a request (maybe a successful hairpinning)\n",
        ];
        let mut rest = finished.stdout.as_str();
        for part in expected {
            let (_, after) =
                rest.split_once(part).unwrap_or_else(|| panic!("{part:?}:\n{}", finished.stdout));
            rest = after;
        }
    }
}

#[test]
fn natdiscovery_tells_lifetime_and_collision() {
    let world = Discoverable::start(&[]);
    let [one, other] = [loopback_address(), loopback_address()].map(|ip| ip.to_string());
    let host = world.host();
    let finished =
        run(NATDISCOVERY, &["-t", "-T", "1", "-c", "-A", &other, "-L", &one, "-l", "40123", &host]);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    for part in [
        "-= Mapping Lifetime Behavior Discovery =-",
        "The mapping lasts 1 seconds!",
        "-= Collision Behavior Discovery =-",
        &format!("IPv4. Local addr: : {one}:40123\n"),
        &format!("IPv4. Local addr: : {other}:40123\n"),
        "Each local address has a mapping of its own!",
    ] {
        assert!(finished.stdout.contains(part), "{part:?}:\n{}", finished.stdout);
    }
}

#[test]
fn natdiscovery_says_what_it_lacks_and_exits_as_coturns_does() {
    for arguments in [
        &["-c", "127.0.0.1"][..],
        &["-t", "127.0.0.1"],
        &["-m", "-l", "5", "127.0.0.1"],
        &["-m"],
        &["-q"],
        &[],
    ] {
        let finished = run(NATDISCOVERY, arguments);
        assert_eq!(finished.code, Some(255), "{arguments:?}");
        assert!(!finished.stderr.is_empty() && finished.stdout.is_empty());
    }
    let finished = run(NATDISCOVERY, &["127.0.0.1"]);
    assert_eq!(finished.code, Some(0));
    assert!(finished.stdout.starts_with("Say what to find out"), "{}", finished.stdout);
    assert_eq!(run(NATDISCOVERY, &["-h"]).code, Some(0));
}

#[test]
fn natdiscovery_tells_a_server_that_does_not_take_part_and_one_that_is_silent() {
    let server = Server::start(&[]);
    let finished = run(NATDISCOVERY, &["-m", "-f", &server.address.ip().to_string()]);
    assert_eq!(finished.code, Some(0));
    assert_eq!(finished.stdout.matches("it does not offer RFC 5780").count(), 2, "{}", finished.stdout);
    let ip = loopback_address();
    let _mute = UdpSocket::bind((ip, 3478)).unwrap();
    let finished = run(NATDISCOVERY, &["-m", "-f", &ip.to_string()]);
    assert_eq!(finished.code, Some(0));
    assert_eq!(finished.stdout.matches("STUN receive timeout..").count(), 2, "{}", finished.stdout);
    assert!(!finished.stdout.contains('!'), "no verdict: {}", finished.stdout);
}
