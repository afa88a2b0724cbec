//! How turnserver ends, and what it says of the sessions that end with it.

use crate::client::TurnClient;
use crate::harness::{Server, TURNSERVER, loopback_address, run};

#[test]
fn sigterm_and_sigint_end_it_cleanly_with_a_last_word_on_every_session() {
    for (signal, number) in [("TERM", 15), ("INT", 2)] {
        let mut server = Server::start(&[]);
        let mut clients = [TurnClient::hello(server.address), TurnClient::hello(server.address)];
        for client in &mut clients {
            client.allocate();
        }
        server.expect("session 000000000000000002: new");
        let finished = server.program.stop(signal);
        assert_eq!(finished.code, Some(0), "{signal}");
        assert!(finished.stderr.is_empty(), "{}", finished.stderr);
        assert!(finished.stdout.contains(&format!("Terminating on signal {number}")), "{}", finished.stdout);
        for (session, client) in ["000000000000000001", "000000000000000002"].iter().zip(&clients) {
            let usage = format!(
                "session {session}: usage: realm=<example.org>, username=<hello>, rp=0, rb=0, sp=0, sb=0"
            );
            let closed = format!(
                "session {session}: closed (2nd stage), user <hello> realm <example.org> origin <>, local {}, \
                 remote {}, reason: Forceful shutdown",
                server.address,
                client.address()
            );
            assert!(
                finished.stdout.contains(&usage) && finished.stdout.contains(&closed),
                "{}",
                finished.stdout
            );
        }
    }
}

#[test]
fn its_port_is_free_again_once_it_has_ended() {
    let server = Server::start(&[]);
    let address = server.address;
    assert_eq!(server.program.stop("TERM").code, Some(0));
    drop(std::net::UdpSocket::bind(address).unwrap());
    let again = Server::start_at(address, &["--no-auth"]);
    TurnClient::stranger(again.address).allocate();
}

#[test]
fn a_check_leaves_the_port_alone() {
    let server = Server::start(&[]);
    let ip = loopback_address().to_string();
    let finished = run(TURNSERVER, &["-n", "--user=a:b", "-L", &ip, "--check-config"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    TurnClient::hello(server.address).allocate();
}
