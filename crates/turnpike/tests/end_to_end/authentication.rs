//! Who is let in, and what the log says of those who are not: the client's address and the reason.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use turnpike::rest::RestCredential;
use turnpike_client::AllocateOptions;
use turnpike_wire::{LongTermKey, PasswordDigest};

use crate::client::{Identity, TurnClient, allocate_by_hand, unix_now};
use crate::harness::{PATIENCE, Server};

const HOUR: Duration = Duration::from_secs(3600);

/// Tries to allocate, and returns the log's line about the failure, whose client must be this one.
fn failure_line(server: &mut Server, username: &str, password: &str) -> String {
    let mut client = TurnClient::classic(server.address, username, password);
    assert!(client.try_allocate(AllocateOptions::default()).is_err());
    let line = server.expect("check_stun_auth: ");
    assert!(line.contains(&format!("(client {}, reason: ", client.address())), "{line}");
    assert!(line.contains(" WARNING "), "{line}");
    line
}

fn socket_to(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket
}

#[test]
fn a_wrong_password_and_an_unknown_user_are_told_apart() {
    let mut server = Server::start(&[]);
    let line = failure_line(&mut server, "hello", "wrong");
    assert!(line.contains("user <hello> credentials are incorrect") && line.contains("wrong_password)"));
    let line = failure_line(&mut server, "nobody", "world");
    assert!(line.contains("Cannot find credentials of user <nobody>") && line.contains("unknown_user)"));
}

#[test]
fn a_client_that_hides_its_name_is_let_in_and_the_log_names_it() {
    let mut server = Server::start(&[]);
    TurnClient::hello(server.address).allocate();
    server.expect("user <hello>");
    assert!(TurnClient::new(server.address, "hello", "wrong").try_allocate(Default::default()).is_err());
    assert!(server.expect("check_stun_auth: ").contains("user <hello> credentials are incorrect"));
    assert!(TurnClient::new(server.address, "nobody", "world").try_allocate(Default::default()).is_err());
    let line = server.expect("check_stun_auth: ");
    assert!(line.contains("user <userhash ") && line.contains("unknown_user)"), "{line}");
}

#[test]
fn a_user_known_by_an_md5_key_alone_is_let_in_by_every_client_and_the_start_says_what_it_costs() {
    let key = LongTermKey::derive(PasswordDigest::Md5, b"dave", b"example.org", b"stored");
    let digits: String = key.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut server = Server::start(&[&format!("--user=dave:0x{digits}")]);
    assert!(server.program.so_far().contains("clients are not offered SHA-256"));
    for (name, password) in [("hello", "world"), ("dave", "stored")] {
        TurnClient::new(server.address, name, password).allocate();
        TurnClient::classic(server.address, name, password).allocate();
    }
    failure_line(&mut server, "dave", "wrong");
}

#[test]
fn rest_credentials_work_beside_static_users_and_their_failures_are_told() {
    let mut server = Server::start(&["--static-auth-secret=old", "--static-auth-secret=north"]);
    for secret in ["north", "old"] {
        let good = RestCredential::mint(secret, "alice", ':', unix_now(), HOUR);
        TurnClient::new(server.address, &good.username, &good.password).allocate();
    }
    TurnClient::hello(server.address).allocate();

    let past = unix_now() - 2 * 3600 - 61;
    let expired = RestCredential::mint("north", "alice", ':', past, Duration::from_secs(1));
    let line = failure_line(&mut server, &expired.username, &expired.password);
    assert!(line.contains(&format!("user <{}>", expired.username)), "{line}");
    assert!(line.contains("reason: expired 2 h 1 min ago)"), "{line}");

    let wrong = RestCredential::mint("south", "alice", ':', unix_now(), HOUR);
    let line = failure_line(&mut server, &wrong.username, &wrong.password);
    assert!(line.contains("reason: wrong_secret)"), "{line}");
}

#[test]
fn another_realm_than_the_servers_is_told() {
    let mut server = Server::start(&[]);
    let socket = socket_to(server.address);
    let nonce = allocate_by_hand(&socket, None).nonce;
    let identity =
        Identity { username: "hello", realm: "elsewhere.example", password: "world", nonce: &nonce };
    assert_eq!(allocate_by_hand(&socket, Some(&identity)).error, Some(401));
    let line = server.expect("check_stun_auth: ");
    let client = socket.local_addr().unwrap();
    assert!(line.contains(&format!("(client {client}, reason: wrong_realm)")), "{line}");
}

#[test]
fn a_first_request_without_credentials_is_challenged_and_told_when_verbose() {
    let mut server = Server::start(&[]);
    let socket = socket_to(server.address);
    let answer = allocate_by_hand(&socket, None);
    assert_eq!((answer.error, answer.realm.as_slice()), (Some(401), &b"example.org"[..]));
    assert!(!answer.nonce.is_empty());
    let line = server.expect("error 401: Unauthorized");
    let client = socket.local_addr().unwrap();
    assert!(line.contains(&format!("(client {client}, reason: no_credentials)")), "{line}");
}

#[test]
fn a_nonce_that_is_too_old_is_told_and_replaced_by_one_that_works() {
    let mut server = Server::start(&["--stale-nonce=1"]);
    let socket = socket_to(server.address);
    let old = allocate_by_hand(&socket, None).nonce;
    let identity = |nonce| Identity { username: "hello", realm: "example.org", password: "world", nonce };
    let deadline = Instant::now() + PATIENCE;
    // Granted at first, then a mismatch because there is an allocation, until the nonce has aged.
    let refused = loop {
        let answer = allocate_by_hand(&socket, Some(&identity(&old)));
        match answer.error {
            Some(438) => break answer,
            _ => assert!(Instant::now() < deadline, "{answer:?}"),
        }
        // The nonce ages by itself: there is no event to wait for but the next answer.
        std::thread::sleep(Duration::from_millis(50));
    };
    let client = socket.local_addr().unwrap();
    let line = server.expect("error 438: Stale Nonce");
    assert!(line.contains(&format!("(client {client}, reason: stale_nonce)")), "{line}");
    assert_eq!(allocate_by_hand(&socket, Some(&identity(&refused.nonce))).error, Some(437));
}

#[test]
fn a_nonce_given_to_somebody_else_is_not_good() {
    let mut server = Server::start(&[]);
    let theirs = allocate_by_hand(&socket_to(server.address), None).nonce;
    let identity = Identity { username: "hello", realm: "example.org", password: "world", nonce: &theirs };
    let socket = socket_to(server.address);
    assert_eq!(allocate_by_hand(&socket, Some(&identity)).error, Some(438));
    server.expect("reason: foreign_nonce)");
}

#[test]
fn a_user_beyond_the_quota_gets_486_and_a_place_that_is_given_back_is_free() {
    let mut server = Server::start(&["--user-quota=1"]);
    let mut first = TurnClient::hello(server.address);
    first.allocate();
    let failure =
        TurnClient::hello(server.address).try_allocate(AllocateOptions::default()).unwrap_err().to_string();
    assert!(failure.starts_with("error 486"), "{failure}");
    server.expect("error 486: Allocation Quota Reached");
    first.refresh(Some(0)).unwrap();
    TurnClient::hello(server.address).allocate();
}

#[test]
fn the_quota_of_all_users_is_one_for_all() {
    let server = Server::start(&["--total-quota=1", "--user=other:x"]);
    let mut first = TurnClient::hello(server.address);
    first.allocate();
    let failure = TurnClient::new(server.address, "other", "x").try_allocate(AllocateOptions::default());
    assert!(failure.unwrap_err().to_string().starts_with("error 486"));
}
