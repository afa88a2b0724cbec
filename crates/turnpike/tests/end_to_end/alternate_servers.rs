//! Clients that are sent to another server (RFC 8489 §10), by our own client and, where it is installed, by coturn's.

use std::net::{Ipv4Addr, SocketAddr};

use crate::client::TurnClient;
use crate::harness::{Directory, Finished, Server, UCLIENT, free_ports, loopback_address, run};
use turnpike_client::{AllocateOptions, Failure};

/// A run of the client at a server, with clients that talk to each other. `flags` are separated by blanks.
fn uclient(server: SocketAddr, flags: &str) -> Finished {
    let (ip, port) = (server.ip().to_string(), server.port().to_string());
    let mut arguments = vec!["-u", "hello", "-w", "world", "-y", "-n", "3", "-z", "5", "-p", &port];
    arguments.extend(flags.split_ascii_whitespace());
    arguments.push(&ip);
    run(UCLIENT, &arguments)
}

#[track_caller]
fn assert_lossless(finished: &Finished) {
    assert_eq!(finished.code, Some(0), "{}{}", finished.stdout, finished.stderr);
    let line = "Total lost packets 0 (0.000000%), total send dropped 0 (0.000000%)";
    assert!(finished.stdout.contains(line), "{}", finished.stdout);
}

#[test]
fn clients_relay_through_the_server_they_are_sent_to() {
    let mut second = Server::start(&[]);
    let alternate = second.address.to_string();
    let mut first = Server::start(&["--alternate-server", &alternate]);
    let told = first.program.so_far().to_owned();
    assert!(
        told.contains(&format!(
            "ALTERNATE-SERVER: clients that no other list is for are sent to {alternate}"
        ))
    );
    for (flags, transport) in [("", "UDP"), ("-t", "TCP")] {
        assert_lossless(&uclient(first.address, flags));
        let line = second.expect(&format!("transport {transport}"));
        assert!(line.contains(&format!("server {alternate}")), "{line}");
        let line = first.expect("ALLOCATE processed, error 300");
        assert!(line.contains("reason: try_alternate"), "{line}");
    }
    assert!(!first.program.so_far().contains(": new, "), "the first one relays nothing");
}

#[test]
fn each_transport_is_sent_by_its_list() {
    let (udp, tcp) = (Server::start(&[]), Server::start(&[]));
    let lists = [("--udp-alternate-server", &udp), ("--tcp-alternate-server", &tcp)];
    let lists: Vec<String> = lists.iter().map(|(name, to)| format!("{name}={}", to.address.ip())).collect();
    let first = Server::start(&[&lists[0], &lists[1]]);
    for (flags, mut server, transport) in [("", udp, "UDP"), ("-t", tcp, "TCP")] {
        assert_lossless(&uclient(first.address, flags));
        server.expect(&format!("transport {transport}"));
    }
}

#[test]
fn over_tls_the_name_of_the_other_server_is_what_its_certificate_is_compared_with() {
    let directory = Directory::new();
    let certificate = |host: String, name: &str| {
        let made = rcgen::generate_simple_self_signed([host]).unwrap();
        let pem = made.cert.pem();
        (
            directory.write(name, &pem),
            directory.write(&format!("{name}.key"), &made.signing_key.serialize_pem()),
            pem,
        )
    };
    let ip = Ipv4Addr::LOCALHOST.into();
    let port = free_ports(ip, 1).to_string();
    let (cert, key, named) = certificate("localhost".to_owned(), "localhost.pem");
    let mut second = Server::start_at(
        SocketAddr::new(ip, port.parse().unwrap()),
        &["--user", "hello:world", "-v", "--cert", &cert, "--pkey", &key, "--tls-listening-port", &port],
    );
    let first_address = SocketAddr::new(loopback_address(), 3478);
    let (cert, key, addressed) = certificate(first_address.ip().to_string(), "address.pem");
    let alternate = format!("--tls-alternate-server=localhost:{port}");
    let _first = Server::start_at(
        first_address,
        &["--user", "hello:world", "-v", "--cert", &cert, "--pkey", &key, &alternate],
    );
    let both = directory.write("both.pem", &(named + &addressed));
    let finished = uclient(first_address, &format!("-t -S -E {both}"));
    assert_lossless(&finished);
    assert!(!finished.stdout.contains("WARNING"), "{}", finished.stdout);
    second.expect("transport TLS");
    // The client would have noticed another name: this server is asked by its address.
    let addressed = uclient(SocketAddr::new(ip, port.parse().unwrap()), &format!("-t -S -E {both}"));
    assert!(addressed.stdout.contains("WARNING"), "{}", addressed.stdout);
}

#[test]
fn members_of_a_fleet_that_shares_its_configuration_serve() {
    let members = [loopback_address(), loopback_address()];
    let lists = members.map(|ip| format!("--alternate-server={ip}"));
    for ip in members {
        let arguments = ["--user", "hello:world", "-v", &lists[0], &lists[1]];
        let mut member = Server::start_at(SocketAddr::new(ip, 3478), &arguments);
        let told = member.program.so_far().to_owned();
        assert!(told.contains(&format!("alternate-server: {ip}:3478 is this server itself")), "{told}");
        assert_lossless(&uclient(member.address, ""));
        member.expect(": new, ");
    }
}

#[test]
fn two_servers_that_send_each_other_their_clients_are_given_up() {
    let addresses = [loopback_address(), loopback_address()];
    let start = |here: usize, there: usize| {
        let alternate = format!("--alternate-server={}", addresses[there]);
        Server::start_at(SocketAddr::new(addresses[here], 3478), &["--user", "hello:world", "-v", &alternate])
    };
    let (first, second) = (start(0, 1), start(1, 0));
    let finished = uclient(first.address, "-m 1");
    assert_eq!(finished.code, Some(255), "{}", finished.stdout);
    assert!(finished.stdout.contains("Cannot complete Allocation"), "{}", finished.stdout);
    drop(second);
}

#[test]
fn auxiliary_listeners_share_the_datagram_clients_and_serve_whoever_comes() {
    let ip = loopback_address();
    let auxiliary = [3480, 3481].map(|port| format!("--aux-server={}", SocketAddr::new(ip, port)));
    let arguments = ["--user", "hello:world", "-v", "--udp-self-balance", &auxiliary[0], &auxiliary[1]];
    let mut server = Server::start_at(SocketAddr::new(ip, 3478), &arguments);
    assert_lossless(&uclient(server.address, "-c"));
    // Both are sent on in turn, and whoever is quicker is there first.
    let lines = [(); 2].map(|()| server.expect("transport UDP"));
    for port in [3480, 3481] {
        let served = format!("server {ip}:{port}");
        assert!(lines.iter().any(|line| line.contains(&served)), "{served}: {lines:?}");
    }
    // Connections are served where they come.
    for port in [3478, 3480] {
        assert_lossless(&uclient(SocketAddr::new(ip, port), "-t -c"));
        for _ in 0..2 {
            let line = server.expect("transport TCP");
            assert!(line.contains(&format!("server {ip}:{port}")), "{line}");
        }
    }
}

#[test]
fn the_address_is_of_the_same_family_and_whoever_is_not_known_yet_gets_it_unsigned() {
    let server = Server::start(&["--alternate-server=[2001:db8::7]", "--alternate-server=203.0.113.7:99"]);
    let mut client = TurnClient::hello(server.address);
    let failure = client.try_allocate(AllocateOptions::default()).unwrap_err();
    let expected = "203.0.113.7:99".parse().unwrap();
    assert_eq!(failure, Failure::TryAlternate { server: expected, authenticated: false, domain: None });
}
