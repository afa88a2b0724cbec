//! The lines about sessions that `--verbose` writes, which people parse.

use std::net::{SocketAddr, UdpSocket};

use crate::client::{TurnClient, binding_request, exchange};
use crate::harness::Server;

const WHO: &str = "realm=<example.org>, username=<hello>";
const SESSION: &str = "session 000000000000000001";

#[test]
fn a_session_is_told_from_its_first_request_to_its_end() {
    let mut server = Server::start(&[]);
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to: SocketAddr = peer.local_addr().unwrap();
    let mut client = TurnClient::hello(server.address);
    let me = client.address();
    let relayed = client.allocate().relayed;
    client.permit(to.ip()).unwrap();
    client.bind(0x4001, to).unwrap();
    client.send_on(0x4001, b"twelve bytes");
    let mut buffer = [0; 100];
    let (length, from) = peer.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from), (&b"twelve bytes"[..], relayed));
    peer.send_to(b"answer", relayed).unwrap();
    assert_eq!(client.receive().data, b"answer");
    client.refresh(None).unwrap();
    client.refresh(Some(0)).unwrap();

    let processed = |method: &str| {
        format!("{SESSION}: realm <example.org> user <hello>: incoming packet {method} processed, success")
    };
    for line in [
        format!(
            "session -: realm <example.org> user <>: incoming packet ALLOCATE processed, error 401: Unauthorized \
             (client {me}, reason: no_credentials)"
        ),
        format!(
            "{SESSION}: new, {WHO}, lifetime=600, client {me}, server {}, relay {relayed}",
            server.address
        ),
        processed("ALLOCATE"),
        format!("{SESSION}: peer {} lifetime updated: 300", to.ip()),
        processed("CREATE_PERMISSION"),
        format!("{SESSION}: channel 0x4001 bound to peer {to}"),
        processed("CHANNEL_BIND"),
        format!("{SESSION}: refreshed, {WHO}, lifetime=600"),
        processed("REFRESH"),
        format!("{SESSION}: usage: {WHO}, rp=1, rb=12, sp=1, sb=6"),
        format!("{SESSION}: peer usage: {WHO}, rp=1, rb=6, sp=1, sb=12"),
        format!("{SESSION}: delete: {WHO}"),
        format!(
            "{SESSION}: closed (2nd stage), user <hello> realm <example.org> origin <>, local {}, remote {me}, \
             reason: deleted by client",
            server.address
        ),
    ] {
        server.expect(&line);
    }
}

#[test]
fn without_verbose_only_refusals_are_told() {
    let ip = crate::harness::loopback_address();
    let server = Server::start_at(SocketAddr::new(ip, 3478), &["--user", "hello:world"]);
    let mut client = TurnClient::hello(server.address);
    client.allocate();
    assert!(client.permit([10, 0, 0, 9].into()).is_err());
    let said = server.program.stop("TERM").stdout;
    assert!(said.contains("A peer IP 10.0.0.9 denied"), "{said}");
    assert!(!said.contains("processed") && !said.contains("new, realm"), "{said}");
}

#[test]
fn a_refused_peer_logs_the_line_that_would_open_it() {
    let mut server = Server::start(&[]);
    let mut client = TurnClient::hello(server.address);
    client.allocate();
    let client_address = client.address();
    for (peer, kind) in [([192, 168, 7, 7], "private"), ([169, 254, 169, 254], "link-local")] {
        let failure = client.permit(peer.into()).unwrap_err().to_string();
        assert!(failure.starts_with("error 403"), "{failure}");
        let line = server.expect("A peer IP");
        let ip = std::net::Ipv4Addr::from(peer);
        let wanted = format!(
            "{SESSION}: A peer IP {ip} denied in the range: {kind} (client {client_address}); to open it: allowed-peer-ip={ip}"
        );
        assert!(line.contains(&format!("WARNING {wanted}")), "{line}");
    }
    let open = Server::start(&["--allowed-peer-ip=192.168.7.7"]);
    let mut client = TurnClient::hello(open.address);
    client.allocate();
    client.permit([192, 168, 7, 7].into()).unwrap();
}

#[test]
fn binding_requests_which_everybody_can_send_are_logged_only_when_asked_for() {
    for (flags, logged) in [(&["-v"][..], false), (&["-V"], true), (&["--log-binding"], true)] {
        let server = Server::start(flags);
        let client = TurnClient::stranger(server.address);
        exchange(&client.socket, &binding_request()).unwrap();
        let said = server.program.stop("TERM").stdout;
        let line = format!("incoming packet BINDING processed, success, client {}", client.address());
        assert_eq!(said.contains(&line), logged, "{flags:?}:\n{said}");
    }
}

#[test]
fn a_flood_of_binding_requests_does_not_flood_the_log() {
    let server = Server::start(&["-V"]);
    let client = TurnClient::stranger(server.address);
    for _ in 0..400 {
        exchange(&client.socket, &binding_request()).unwrap();
    }
    let said = server.program.stop("TERM").stdout;
    let lines = said.matches("BINDING processed").count();
    assert!((100..=300).contains(&lines), "{lines} lines of 400");
}

#[test]
fn a_flood_of_refusals_does_not_flood_the_log() {
    let mut server = Server::start(&[]);
    let mut client = TurnClient::hello(server.address);
    client.allocate();
    for _ in 0..150 {
        assert!(client.permit([10, 0, 0, 9].into()).is_err());
    }
    server.expect("A peer IP 10.0.0.9 denied");
    let said = server.program.stop("TERM").stdout;
    // Each refusal is worth two lines here; a hundred are written in a second.
    assert!(said.matches("10.0.0.9").count() <= 220, "{}", said.matches("10.0.0.9").count());
}
