//! `turnutils_stunclient` against the server.

use crate::harness::{Program, STUNCLIENT, Server, loopback_address, run};

#[test]
fn the_reflexive_address_is_printed_as_coturns_client_prints_it() {
    let server = Server::start(&[]);
    let finished = run(STUNCLIENT, &["-L", "127.0.0.1", &server.address.ip().to_string()]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let text = finished.stdout.trim_end().splitn(3, ' ').nth(2).unwrap();
    let port = text.strip_prefix("IPv4. UDP reflexive addr: 127.0.0.1:").expect(text);
    assert!(port.parse::<u16>().is_ok_and(|port| port > 0), "{text}");
    assert_eq!(finished.stdout.lines().count(), 1);
}

#[test]
fn continuous_asking_ends_with_the_sums_on_ctrl_c() {
    let server = Server::start(&[]);
    let host = server.address.ip().to_string();
    let mut client = Program::start(STUNCLIENT, &["-c", "-i", "20", &host]);
    client.expect("1: time=");
    let third = client.expect("3: time=");
    assert!(third.ends_with(" ms"), "{third}");
    let finished = client.stop("INT");
    assert_eq!(finished.code, Some(0));
    let sums = finished.stdout.split_once(&format!("\n--- {host} STUN latency statistics ---\n")).unwrap().1;
    assert!(
        sums.contains(" requests sent, ") && sums.contains(" responses received, 0.0% packet loss\n"),
        "{sums}"
    );
    assert!(sums.contains("round-trip min/avg/max = "), "{sums}");
}

#[test]
fn the_steps_of_rfc_5780_are_taken_when_asked_for_and_a_server_without_them_is_told() {
    let server = Server::start(&[]);
    let finished = run(STUNCLIENT, &["-f", &server.address.ip().to_string()]);
    assert_eq!(finished.code, Some(1));
    assert!(finished.stdout.contains("\nRFC 5780 response 1\n"), "{}", finished.stdout);
    let said = "the server does not take part in NAT behaviour discovery (RFC 5780): error 420";
    assert!(finished.stderr.starts_with(said), "{}", finished.stderr);
}

#[test]
fn silence_exits_with_1_and_says_how_long_it_waited() {
    let ip = loopback_address();
    // Somebody who never answers.
    let _mute = std::net::UdpSocket::bind((ip, 3478)).unwrap();
    let finished = run(STUNCLIENT, &["-t", "200", &ip.to_string()]);
    assert_eq!(finished.code, Some(1));
    assert_eq!(finished.stderr, "STUN receive timeout after 200 ms\n");
}

#[test]
fn a_server_that_is_not_there_exits_with_1() {
    let finished = run(STUNCLIENT, &[&loopback_address().to_string()]);
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.starts_with("STUN receive failure: "), "{}", finished.stderr);
}

#[test]
fn what_cannot_be_asked_exits_with_255() {
    for arguments in [&["-q", "127.0.0.1"][..], &[], &["-p", "x", "127.0.0.1"]] {
        let finished = run(STUNCLIENT, arguments);
        assert_eq!(finished.code, Some(255), "{arguments:?}");
        assert!(finished.stderr.contains("USAGE"), "{arguments:?}");
    }
}
