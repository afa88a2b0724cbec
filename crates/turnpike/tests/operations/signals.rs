//! Signals that do not end the server.

use crate::client::TurnClient;
use crate::harness::Server;

#[test]
fn signals_without_a_meaning_yet_do_not_end_it() {
    let mut server = Server::start(&[]);
    for (signal, said) in [("USR1", "draining is not in this version"), ("USR2", "Reload (SIGUSR2): ")] {
        server.program.signal(signal);
        server.expect(said);
    }
    server.program.signal("HUP");
    server.expect("SIGHUP");
    TurnClient::hello(server.address).allocate();
}
