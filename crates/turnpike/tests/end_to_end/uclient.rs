//! `turnutils_uclient` and `turnutils_peer` against the server: the lines scripts grep, and the exit status.

use crate::harness::{
    Directory, Finished, PEER, Program, Server, UCLIENT, free_ports, loopback_address, run,
};

/// Runs the client as the user every server knows. `flags` are separated by blanks.
fn uclient(server: &Server, flags: &str) -> Finished {
    let address = server.address.ip().to_string();
    let mut arguments = vec!["-u", "hello", "-w", "world", "-n", "3", "-z", "5"];
    arguments.extend(flags.split_ascii_whitespace());
    arguments.push(&address);
    run(UCLIENT, &arguments)
}

/// The text of its log lines, each of which begins with a time and a level.
fn texts(finished: &Finished) -> Vec<&str> {
    finished.stdout.lines().filter_map(|line| line.splitn(3, ' ').nth(2)).collect()
}

/// That all messages came back, by the lines coturn's scripts look for.
fn assert_lossless(finished: &Finished, messages: u64, length: u64) {
    assert_eq!(finished.code, Some(0), "{}{}", finished.stdout, finished.stderr);
    let bytes = messages * length;
    let texts = texts(finished);
    let whole = [
        format!("start_mclient: tot_send_msgs={messages}, tot_recv_msgs={messages}"),
        format!("start_mclient: tot_send_bytes ~ {bytes}, tot_recv_bytes ~ {bytes}"),
        "Total lost packets 0 (0.000000%), total send dropped 0 (0.000000%)".to_owned(),
    ];
    for line in &whole {
        assert!(texts.contains(&line.as_str()), "{line} in:\n{}", finished.stdout);
    }
    for (start, middle) in [
        ("Total connect time is ", ""),
        ("Total transmit time is ", ""),
        ("Average round trip delay ", " ms; min = "),
        ("Average jitter ", " ms, max = "),
    ] {
        let found = texts.iter().any(|text| text.starts_with(start) && text.contains(middle));
        assert!(found, "{start} in:\n{}", finished.stdout);
    }
}

/// A peer on a port of its own, which says when it listens.
fn peer(ip: &str) -> (Program, u16) {
    let port = free_ports(ip.parse().unwrap(), 2);
    let mut peer = Program::start(PEER, &["-L", ip, "-p", &port.to_string()]);
    peer.expect(&format!("listening on {}", std::net::SocketAddr::new(ip.parse().unwrap(), port + 1)));
    (peer, port)
}

#[test]
fn a_run_against_the_peer_prints_what_scripts_grep_for() {
    let server = Server::start(&[]);
    let (_peer, port) = peer("127.0.0.1");
    let to = format!("-e 127.0.0.1 -r {port}");
    // An RTP and an RTCP session; -n 5 and -l 100 are the defaults.
    let address = server.address.ip().to_string();
    let mut arguments = vec!["-u", "hello", "-w", "world"];
    arguments.extend(to.split(' '));
    arguments.push(&address);
    assert_lossless(&run(UCLIENT, &arguments), 10, 100);
    assert_lossless(&uclient(&server, &format!("-c {to}")), 3, 100);
    assert_lossless(&uclient(&server, &format!("-s {to} -l 1000")), 6, 1000);
    assert_lossless(&uclient(&server, &format!("-X -g {to}")), 6, 100);
}

#[test]
fn clients_talk_to_each_other() {
    let server = Server::start(&[]);
    assert_lossless(&uclient(&server, "-y"), 12, 100);
    assert_lossless(&uclient(&server, "-y -s -c"), 6, 100);
    assert_lossless(&uclient(&server, "-y -m 10 -G"), 36, 100);
    assert_lossless(&uclient(&server, "-y -c -D -l 171 --no-even-port -X -g"), 6, 171);
}

#[test]
fn connections_carry_what_datagrams_do() {
    let server = Server::start(&[]);
    let (_peer, port) = peer("127.0.0.1");
    let to = format!("-e 127.0.0.1 -r {port}");
    assert_lossless(&uclient(&server, &format!("-t {to} -l 171")), 6, 171);
    assert_lossless(&uclient(&server, &format!("-t -s -c {to} -l 1001")), 3, 1001);
    assert_lossless(&uclient(&server, "-t -y -m 10 -N -R"), 36, 100);
}

#[test]
fn tcp_is_relayed_as_it_is_actively_and_passively() {
    let directory = Directory::new();
    let made = rcgen::generate_simple_self_signed([loopback_address().to_string()]).unwrap();
    let certificate = directory.write("cert.pem", &made.cert.pem());
    let key = directory.write("key.pem", &made.signing_key.serialize_pem());
    let server = Server::start(&["-m", "3", "--cert", &certificate, "--pkey", &key]);
    for way in ["-t", "-t -S"] {
        assert_lossless(&uclient(&server, &format!("{way} -T -m 10 -l 1171")), 30, 1171);
        assert_lossless(&uclient(&server, &format!("{way} -P -m 10 -l 171")), 30, 171);
    }
    let closed = Server::start(&["--no-tcp-relay"]);
    let refused = uclient(&closed, "-T");
    assert_eq!(refused.code, Some(255));
    assert!(refused.stdout.contains("allocate: error 442"), "{}", refused.stdout);
}

#[test]
fn tls_is_checked_against_the_authorities_given() {
    let directory = Directory::new();
    let made = rcgen::generate_simple_self_signed([loopback_address().to_string()]).unwrap();
    let certificate = directory.write("cert.pem", &made.cert.pem());
    let key = directory.write("key.pem", &made.signing_key.serialize_pem());
    let stranger = rcgen::generate_simple_self_signed([]).unwrap();
    let stranger = directory.write("stranger.pem", &stranger.cert.pem());
    let server = Server::start(&["--cert", &certificate, "--pkey", &key]);
    assert_lossless(&uclient(&server, "-t -S -y -l 171"), 12, 171);
    assert_lossless(&uclient(&server, &format!("-t -S -y -c -E {certificate} -v")), 6, 100);
    let refused = uclient(&server, &format!("-t -S -y -E {stranger}"));
    assert_eq!(refused.code, Some(255));
    assert!(refused.stdout.contains("invalid peer certificate"), "{}", refused.stdout);
}

#[test]
fn dtls_carries_the_same_and_checks_the_certificate_as_tls_does() {
    let directory = Directory::new();
    let made = rcgen::generate_simple_self_signed(["turn.example.org".to_owned()]).unwrap();
    let certificate = directory.write("cert.pem", &made.cert.pem());
    let key = directory.write("key.pem", &made.signing_key.serialize_pem());
    let stranger = rcgen::generate_simple_self_signed([]).unwrap();
    let stranger = directory.write("stranger.pem", &stranger.cert.pem());
    let server = Server::start(&["--dtls", "--cert", &certificate, "--pkey", &key]);
    assert_lossless(&uclient(&server, "-S -y -l 171"), 12, 171);
    let named_otherwise = uclient(&server, &format!("-S -y -c -E {certificate} -v"));
    assert_lossless(&named_otherwise, 6, 100);
    let said = &named_otherwise.stdout;
    assert!(said.contains("method=DTLSv1.2") && said.contains("browsers would refuse it"), "{said}");
    assert_lossless(&uclient(&server, "-S -y -c -F ECDHE-ECDSA-CHACHA20-POLY1305"), 6, 100);
    let refused = uclient(&server, &format!("-S -y -E {stranger}"));
    assert_eq!(refused.code, Some(255));
    assert!(refused.stdout.contains("DTLS: invalid peer certificate"), "{}", refused.stdout);
}

#[test]
fn a_server_that_ends_is_told_and_what_was_relayed_is_counted() {
    let server = Server::start(&[]);
    let address = server.address.ip().to_string();
    let words = ["-t", "-y", "-c", "-u", "hello", "-w", "world", "-n", "100000", &address];
    let mut client = Program::start(UCLIENT, &words);
    client.expect("start_mclient: msz=2");
    drop(server);
    client.expect("closed the connection");
    let finished = client.finish();
    assert_eq!(finished.code, Some(0), "{}", finished.stdout);
    assert!(finished.stdout.contains("Total lost packets "), "{}", finished.stdout);
}

#[test]
fn a_rest_secret_makes_its_own_credential() {
    let server = Server::start(&["--static-auth-secret=north"]);
    let address = server.address.ip().to_string();
    let with = |secret: &str| run(UCLIENT, &["-y", "-c", "-n", "3", "-u", "ada", "-W", secret, &address]);
    assert_lossless(&with("north"), 6, 100);
    assert_eq!(with("south").code, Some(255));
}

#[test]
fn ipv6_relays_are_asked_for_with_x() {
    let ip = loopback_address().to_string();
    let server = Server::start(&["--relay-ip=::1", "--relay-ip", &ip]);
    assert_lossless(&uclient(&server, "-y -c -x"), 6, 100);
    let (_peer, port) = peer("::1");
    assert_lossless(&uclient(&server, &format!("-c -x -e ::1 -r {port}")), 3, 100);
}

#[test]
fn negative_and_malformed_traffic_do_not_keep_it_from_its_work() {
    let server = Server::start(&[]);
    assert_lossless(&uclient(&server, "-y -c -N -R"), 6, 100);
}

#[test]
fn a_set_up_that_fails_exits_with_255_and_says_why() {
    let server = Server::start(&[]);
    let address = server.address.ip().to_string();
    let failed = run(UCLIENT, &["-y", "-u", "hello", "-w", "wrong", &address]);
    assert_eq!(failed.code, Some(255));
    let said = "ERROR allocate: the server does not accept this user name and password for realm example.org";
    assert!(failed.stdout.contains(said), "{}", failed.stdout);
    let failed = run(UCLIENT, &["-y", &address]);
    assert_eq!(failed.code, Some(255));
    assert!(failed.stdout.contains("asks for credentials (realm example.org)"), "{}", failed.stdout);
    let nobody = loopback_address().to_string();
    let failed = run(UCLIENT, &["-y", "-u", "hello", "-w", "world", &nobody]);
    assert_eq!(failed.code, Some(255));
    assert!(failed.stdout.contains("nobody listens at"), "{}", failed.stdout);
    let failed = run(UCLIENT, &["-t", "-y", "-u", "hello", "-w", "world", &nobody]);
    assert_eq!(failed.code, Some(255));
    assert!(failed.stdout.contains("nobody listens at"), "{}", failed.stdout);
}

#[test]
fn flags_that_cannot_be_used_are_told_before_anything_is_sent() {
    let unknown = run(UCLIENT, &["-q", "-y", "127.0.0.1"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.starts_with("there is no flag -q\n"), "{}", unknown.stderr);
    for (arguments, said) in [
        (&["127.0.0.1"][..], "Either -e peer_address or -y must be specified"),
        (&["-y"], "the server's address is missing"),
        (&["-T", "-s", "127.0.0.1"], "-T and -P relay TCP between clients, which -s does not go with"),
        (&["-y", "-S", "-E", "none.pem", "127.0.0.1"], "-E: none.pem cannot be read"),
        (&["-y", "-t", "-S", "-E", "none.pem", "127.0.0.1"], "-E: none.pem cannot be read"),
        (&["-y", "-p", "x", "127.0.0.1"], "-p cannot be x"),
    ] {
        let failed = run(UCLIENT, arguments);
        assert_eq!(failed.code, Some(255), "{arguments:?}");
        assert!(failed.stderr.contains(said), "{arguments:?}: {}", failed.stderr);
    }
}

#[test]
fn verbose_words_tell_what_goes_on() {
    let server = Server::start(&[]);
    let finished = uclient(&server, "-y -c -v");
    let said = texts(&finished);
    for text in ["allocate sent", "allocate response received: ", "success"] {
        assert!(said.contains(&text), "{text} in:\n{}", finished.stdout);
    }
    let relay = format!("IPv4. Received relay addr: {}:", server.address.ip());
    assert!(said.iter().any(|text| text.starts_with(&relay)), "{}", finished.stdout);
}

#[test]
fn allocation_floods_are_counted() {
    let server = Server::start(&[]);
    let finished = uclient(&server, "-Y alloc -m 5 -n 4");
    assert_eq!(finished.code, Some(0));
    let said = texts(&finished);
    assert!(said.contains(&"start_allocation_flood: total_allocations=20"), "{}", finished.stdout);
    assert!(said.iter().any(|text| text.starts_with("Total allocation flood time is ")));
}

#[test]
fn a_peer_that_cannot_listen_says_why() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let failed = run(PEER, &["-L", "127.0.0.1", "-p", &port]);
    assert_eq!(failed.code, Some(255));
    assert!(failed.stderr.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{}", failed.stderr);
    assert_eq!(run(PEER, &["-x"]).code, Some(1));
}
