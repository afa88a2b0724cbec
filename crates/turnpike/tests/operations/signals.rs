//! Signals that do not end the server.

use crate::client::TurnClient;
use crate::harness::Server;

#[test]
fn signals_without_anything_to_do_do_not_end_it() {
    let mut server = Server::start(&[]);
    server.program.signal("USR2");
    server.expect("Reload (SIGUSR2): ");
    server.program.signal("HUP");
    server.expect("SIGHUP");
    TurnClient::hello(server.address).allocate();
}
