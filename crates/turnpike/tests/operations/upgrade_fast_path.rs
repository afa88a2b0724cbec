//! An upgrade while the kernel relays: nothing is lost, and it goes on relaying for the next process.

use std::net::SocketAddr;

use crate::call::Call;
use crate::client::TurnClient;
use crate::harness::Server;
use crate::network::{Network, Side, received_by_sockets, within_a_server};
use crate::upgrade::Successor;

#[test]
fn a_call_that_the_kernel_relays_loses_no_packet_by_an_upgrade() {
    within_a_server("upgrade_fast_path::a_call_that_the_kernel_relays_loses_no_packet_by_an_upgrade", || {
        let network = Network::build(true);
        // What a limit leaves is the next process's to keep as well.
        for (place, limit) in [("tc", "--max-bps=1000000"), ("xdp", "--max-bps=0")] {
            let mut server = Server::start_at(
                SocketAddr::new("10.1.0.1".parse().unwrap(), 3478),
                &[
                    "--user=hello:world",
                    "-v",
                    "-E",
                    "10.2.0.1",
                    "--allowed-peer-ip=10.0.0.0-10.255.255.255",
                    &format!("--fast-path={place}"),
                    limit,
                ],
            );
            let socket = network.socket(Side::Clients, "0.0.0.0:0", Some(server.address));
            let mut client = TurnClient::hello_over(socket);
            let relayed = client.allocate().relayed;
            let call = Call::between(client, relayed, network.socket(Side::Peers, "10.2.0.2:0", None));
            call.goes_on(20);
            assert_relayed_by_kernel(&call, place);
            server.program.signal("URG");
            let successor = Successor::of(&mut server);
            server.expect("nothing is left here");
            // Neighbours and routes are found out anew.
            call.goes_on(20);
            assert_relayed_by_kernel(&call, place);
            call.hang_up().assert_lossless(100);
            drop(successor);
            let said = server.program.finish().stdout;
            assert!(
                !said.contains("begun anew") && said.matches("Kernel fast path: ").count() >= 2,
                "{said}"
            );
        }
    });
}

/// Of a hundred packets hardly one comes up to a socket.
fn assert_relayed_by_kernel(call: &Call, place: &str) {
    let before = received_by_sockets();
    call.goes_on(50);
    let up = received_by_sockets() - before;
    assert!(up <= 10, "{up} of 100 packets went up: {place}");
}
