//! The forms of the log: each event with its fields, and never a secret.

use std::net::{SocketAddr, UdpSocket};

use serde_json::Value;

use crate::client::TurnClient;
use crate::harness::{Directory, Finished, PATIENCE, Server};

/// A call from its challenge to its end, a peer that is refused, and somebody who does not know the password.
fn call_and_refusals(server: &Server) {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let to: SocketAddr = peer.local_addr().unwrap();
    let mut client = TurnClient::classic(server.address, "hello", "world");
    let relayed = client.allocate().relayed;
    client.permit(to.ip()).unwrap();
    client.bind(0x4001, to).unwrap();
    client.send_on(0x4001, b"twelve bytes");
    peer.recv_from(&mut [0; 100]).unwrap();
    peer.send_to(b"answer", relayed).unwrap();
    assert_eq!(client.receive().data, b"answer");
    assert!(client.permit([192, 168, 1, 5].into()).is_err());
    client.refresh(None).unwrap();
    client.refresh(Some(0)).unwrap();
    for (name, password) in [("hello", "guessed"), ("no body\"=", "guessed")] {
        let mut stranger = TurnClient::classic(server.address, name, password);
        assert!(stranger.try_allocate(Default::default()).is_err());
    }
}

/// Everything a server said by the end of such a run.
fn log_of(arguments: &[&str]) -> Finished {
    let server = Server::start(arguments);
    call_and_refusals(&server);
    server.program.stop("TERM")
}

#[test]
fn json_has_one_object_for_each_event_with_its_fields() {
    let finished = log_of(&["--log-format=json"]);
    let events: Vec<Value> = finished
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let of = |name: &str| -> Vec<&Value> { events.iter().filter(|event| event["event"] == name).collect() };
    for event in &events {
        let time = event["time"].as_str().unwrap();
        assert!(time.len() == "2026-11-24T10:20:30.500+01:00".len() && time.as_bytes()[10] == b'T', "{time}");
        assert!(["info", "warning", "error"].contains(&event["level"].as_str().unwrap()), "{event}");
    }
    let [started] = of("session_started")[..] else { panic!("{events:?}") };
    assert_eq!(
        (&started["user"], &started["realm"], &started["transport"], &started["lifetime"]),
        (&"hello".into(), &"example.org".into(), &"UDP".into(), &600.into())
    );
    let [ended] = of("session_ended")[..] else { panic!("{events:?}") };
    for field in ["session", "user", "client", "server", "relayed"] {
        assert_eq!(ended[field], started[field], "{field}");
    }
    let number = |field: &str| ended[field].as_u64().unwrap();
    assert_eq!(ended["reason"], "deleted");
    assert_eq!([number("client_packets"), number("client_bytes")], [1, 12]);
    assert_eq!([number("peer_packets"), number("peer_bytes")], [1, 6]);
    let [bound] = of("channel_bound")[..] else { panic!("{events:?}") };
    assert_eq!(bound["channel"], "0x4001");
    let [peer] = of("peer_refused")[..] else { panic!("{events:?}") };
    assert_eq!((&peer["peer"], &peer["rule"]), (&"192.168.1.5".into(), &"private".into()));
    let failures = of("authentication_failed");
    let told: Vec<(&str, &str)> =
        failures.iter().map(|it| (it["user"].as_str().unwrap(), it["reason"].as_str().unwrap())).collect();
    assert_eq!(told, [("hello", "wrong_password"), ("no body\"=", "unknown_user")]);
    assert!(failures.iter().all(|it| it["client"].as_str().unwrap().starts_with("127.0.0.1:")));
    let refused: Vec<&Value> = of("request_refused");
    assert!(refused.iter().any(|it| it["code"] == 401 && it["reason"] == "no_credentials"), "{refused:?}");
    assert!(of("message").iter().any(|it| it["message"] == "Total auth threads: 1"));
}

#[test]
fn logfmt_says_the_same_in_pairs() {
    let finished = log_of(&["--log-format=logfmt"]);
    for line in finished.stdout.lines() {
        assert!(
            line.starts_with("time=20") && line.contains(" level=") && line.contains(" event="),
            "{line}"
        );
    }
    let ended = finished.stdout.lines().find(|line| line.contains(" event=session_ended ")).unwrap();
    assert!(
        ended.contains(" reason=deleted ") && ended.contains(" client_packets=1 client_bytes=12 "),
        "{ended}"
    );
    assert!(finished.stdout.contains(" event=authentication_failed user=\"no body\\\"=\" client=127.0.0.1:"));
}

#[test]
fn no_form_of_the_log_has_a_secret_whatever_is_switched_on() {
    const SECRETS: [&str; 9] = [
        "world",
        "hmacsecret",
        "noncesecret",
        "sqlsecret",
        "redissecret",
        "hooksecret",
        "tokensecret",
        "clisecret",
        "a2V5c2VjcmV0a2V5c2VjcmV0a2V5c2VjcmV0a2V5c2U=",
    ];
    let directory = Directory::new();
    let token = directory.write("token", "tokensecret\n");
    for format in ["coturn", "json", "logfmt"] {
        let records = directory.file(&format!("records-{format}"));
        let finished = log_of(&[
            "-V",
            "--log-format",
            format,
            "--static-auth-secret=hmacsecret",
            "--stateless-nonce-secret=noncesecret",
            "--oauth",
            "--oauth-key=kid:a2V5c2VjcmV0a2V5c2VjcmV0a2V5c2VjcmV0a2V5c2U=",
            "--cli-password=clisecret",
            // Nobody is there, which there is something to say about.
            "--session-record-database=postgresql:host=127.0.0.1 port=1 user=u password=sqlsecret dbname=d",
            "--session-record-webhook=http://user:hooksecret@127.0.0.1:1/hook?key=hooksecret",
            "--session-record-webhook-token-file",
            &token,
            "--session-record-file",
            &records,
            "--redis-statsdb=ip=127.0.0.1 port=1 password=redissecret",
        ]);
        let said =
            format!("{}{}{}", finished.stdout, finished.stderr, std::fs::read_to_string(&records).unwrap());
        assert!(said.contains("redis-statsdb: calls go on"), "{said}");
        assert!(
            said.contains("PostgreSQL 127.0.0.1") && said.contains("the webhook at 127.0.0.1:1"),
            "{said}"
        );
        for secret in SECRETS {
            assert!(!said.contains(secret), "{format} has {secret}: {said}");
        }
    }
}

#[test]
fn a_datagram_that_is_nothing_is_shown_byte_by_byte_if_asked_for() {
    let mut server = Server::start(&["--drop-invalid-packets-log"]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"GET /", server.address).unwrap();
    let line = server.expect("TXT2PCAP");
    let me = socket.local_addr().unwrap();
    let expected = format!(
        " DEBUG dropped 5 bytes (client {me}, reason: bad_channel_data) TXT2PCAP 000000 47 45 54 20 2f"
    );
    assert!(line.ends_with(&expected), "{line}");
    let server = Server::start(&[]);
    socket.send_to(b"GET /", server.address).unwrap();
    // What comes later is answered, and nothing was said of what came before.
    TurnClient::hello(server.address).allocate();
    assert!(!server.program.stop("TERM").stdout.contains("TXT2PCAP"));
}
