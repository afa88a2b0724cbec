//! How a server that serves comes to its end.

use std::os::unix::net::UnixDatagram;

use serde_json::json;
use turnpike_client::{AllocateOptions, Failure};

use crate::call::Call;
use crate::client::{TurnClient, binding_request, exchange};
use crate::controlled::Controlled;
use crate::harness::{Directory, PATIENCE, Program, Server, TURNPIKE, TURNSERVER, loopback_address};

fn refused_with(server: &Server) -> Failure {
    TurnClient::hello(server.address).try_allocate(AllocateOptions::default()).unwrap_err()
}

#[track_caller]
fn assert_takes_nobody(server: &Server) {
    let failure = refused_with(server).to_string();
    assert!(failure.starts_with("error 403"), "{failure}");
}

#[test]
fn sigusr1_lets_a_call_end_by_itself_and_loses_none_of_its_packets() {
    let mut control = Controlled::start(&[]);
    let call = Call::begin(control.server.address);
    control.server.program.signal("USR1");
    control.server.expect("Draining (SIGUSR1): no new allocations; 1 allocation left");
    assert_takes_nobody(&control.server);
    control.server.expect("reason: draining");
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.connect(control.server.address).unwrap();
    assert!(exchange(&stranger, &binding_request()).is_some(), "Binding is answered all the same");
    let status = control.json(&["status"]);
    assert_eq!(
        (&status["stage"], &status["drain"]["allocations"]),
        (&json!("draining"), &json!(1)),
        "{status:#}"
    );
    assert_eq!(status["drain"]["left"], json!(null), "without an end in time");
    // A second one changes nothing.
    control.server.program.signal("USR1");
    control.server.expect("Draining (SIGUSR1)");
    call.goes_on(50);
    call.hang_up().assert_lossless(50);
    control.server.expect("Drain complete (every session has ended; 0 allocations left)");
    let finished = control.server.program.finish();
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
}

#[test]
fn sigterm_with_drain_timeout_waits_and_a_second_one_does_not() {
    let mut server = Server::start(&["--drain-timeout=600"]);
    let call = Call::begin(server.address);
    server.program.signal("TERM");
    server.expect("Draining (SIGTERM; another one ends it at once): no new allocations; 1 allocation left, for 10 min 0 s at most");
    assert_takes_nobody(&server);
    call.goes_on(25);
    call.hang_up().assert_lossless(25);
    // Its session is gone, and so is the reason to wait.
    server.expect("Drain complete");
    assert_eq!(server.program.finish().code, Some(0));

    let mut server = Server::start(&["--drain-timeout=600"]);
    let mut client = TurnClient::hello(server.address);
    client.allocate();
    server.program.signal("TERM");
    server.expect("Draining (SIGTERM");
    client.refresh(Some(3600)).unwrap();
    server.expect("refreshed, realm=<example.org>, username=<hello>, lifetime=120");
    server.program.signal("TERM");
    server.expect("Terminating on signal 15");
    let finished = server.program.finish();
    assert_eq!(finished.code, Some(0));
    assert!(finished.stdout.contains("reason: Forceful shutdown"), "{}", finished.stdout);
}

#[test]
fn when_its_time_is_up_it_ends_whoever_is_left() {
    let mut server = Server::start(&["--drain-timeout=2"]);
    let mut client = TurnClient::hello(server.address);
    client.allocate();
    server.program.signal("TERM");
    server.expect("Draining (SIGTERM");
    client.refresh(Some(3600)).unwrap();
    let refreshed = server.expect("refreshed");
    assert!(["lifetime=1", "lifetime=2"].iter().any(|short| refreshed.ends_with(short)), "{refreshed}");
    let finished = server.program.finish();
    assert_eq!(finished.code, Some(0));
    // Whichever comes first: the lifetime that was granted, or the end of the drain.
    assert!(finished.stdout.contains("Drain complete"), "{}", finished.stdout);

    let mut server = Server::start(&["--drain-timeout=1"]);
    let mut client = TurnClient::hello(server.address);
    client.allocate();
    server.program.signal("TERM");
    server.expect("Drain complete (the time is up; 1 allocation left)");
    assert_eq!(server.program.finish().code, Some(0));
}

#[test]
fn few_enough_sessions_are_no_reason_to_wait() {
    let mut server = Server::start(&["--drain-min-allocations=1"]);
    let mut clients = [TurnClient::hello(server.address), TurnClient::hello(server.address)];
    for client in &mut clients {
        client.allocate();
    }
    server.program.signal("USR1");
    server.expect("2 allocations left, no reason to wait when there are 1 or fewer");
    clients[0].refresh(Some(0)).unwrap();
    server.expect("Drain complete (few enough sessions are left; 1 allocation left)");
    assert_eq!(server.program.finish().code, Some(0));
}

#[test]
fn a_server_that_nobody_uses_ends_at_once() {
    let mut server = Server::start(&["--drain-timeout=600"]);
    server.program.signal("TERM");
    server.expect("Drain complete (every session has ended; 0 allocations left)");
    assert_eq!(server.program.finish().code, Some(0));
}

#[test]
fn clients_are_sent_to_a_sibling_where_one_is_known() {
    let ip = loopback_address();
    // A list that all of a fleet share: it has no effect on its members until one of them drains.
    let own = format!("--alternate-server={ip}:3478");
    for more in [
        &["--drain-alternate-server=127.0.0.9:3500"][..],
        &[own.as_str(), "--alternate-server=127.0.0.9:3500"],
    ] {
        let arguments = [&["--user", "hello:world", "--allow-loopback-peers"][..], more].concat();
        let mut server = Server::start_at((ip, 3478).into(), &arguments);
        let mut client = TurnClient::hello(server.address);
        client.allocate();
        server.program.signal("USR1");
        server.expect("Draining (SIGUSR1)");
        match refused_with(&server) {
            Failure::TryAlternate { server, .. } => assert_eq!(server, "127.0.0.9:3500".parse().unwrap()),
            other => panic!("{other}"),
        }
        client.refresh(None).unwrap();
        drop(client);
        server.expect("Drain complete");
        assert_eq!(server.program.finish().code, Some(0));
    }
}

#[test]
fn a_drain_by_turnpike_is_waited_for_and_can_be_called_off() {
    let mut control = Controlled::start(&[]);
    let mut client = TurnClient::hello(control.server.address);
    client.allocate();
    let said = control.told(&["drain", "--timeout", "10m"]);
    assert!(said.starts_with("draining: 1 of 1 session(s) left, for "), "{said}");
    control.server.expect("Draining (control, user ");
    assert_takes_nobody(&control.server);
    assert!(control.told(&["undrain"]).starts_with("the drain was called off"));
    control.server.expect("Draining was called off (control, user ");
    TurnClient::hello(control.server.address).allocate();
    assert_eq!(control.told(&["undrain"]), "it was not draining\n");
    assert_eq!(control.json(&["status"])["stage"], json!("serving"));
    client.refresh(Some(3600)).unwrap();
    control.server.expect("lifetime=3600");

    let mut waiting = Program::start(TURNPIKE, &["drain", "--wait", "--control-socket", &control.socket]);
    waiting.expect("draining: 1 of ");
    control.server.expect("Draining (control");
    client.refresh(Some(0)).unwrap();
    waiting.expect("the server has ended");
    assert_eq!(waiting.finish().code, Some(0));
    assert_eq!(control.server.program.finish().code, Some(0));
    assert!(!std::path::Path::new(&control.socket).exists());
}

#[test]
fn whoever_waits_for_a_drain_that_is_called_off_is_told() {
    let control = Controlled::start(&[]);
    let mut client = TurnClient::hello(control.server.address);
    client.allocate();
    let mut waiting = Program::start(TURNPIKE, &["drain", "--wait", "--control-socket", &control.socket]);
    waiting.expect("draining: 1 of 1");
    control.told(&["undrain"]);
    let finished = waiting.finish();
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("was called off"), "{}", finished.stderr);
}

#[test]
fn a_supervisor_is_told_how_far_it_is_and_asked_to_wait() {
    let directory = Directory::new();
    let path = directory.file("notify.sock");
    let supervisor = UnixDatagram::bind(&path).unwrap();
    supervisor.set_read_timeout(Some(PATIENCE)).unwrap();
    let expect = |wanted: &str| {
        let mut buffer = [0; 4096];
        loop {
            let length = supervisor.recv(&mut buffer).unwrap_or_else(|error| panic!("{wanted}: {error}"));
            if String::from_utf8_lossy(&buffer[..length]).contains(wanted) {
                return;
            }
        }
    };
    let ip = loopback_address();
    let text = ip.to_string();
    let arguments =
        ["-n", "-m", "1", "--realm=example.org", "--user=hello:world", "-L", &text, "--drain-timeout=600"];
    let variables = [("NOTIFY_SOCKET", path.as_str())];
    let mut server = Program::start_in(TURNSERVER, &arguments, directory.path(), &variables);
    server.expect("Total auth threads:");
    expect("READY=1");
    let mut client = TurnClient::hello((ip, 3478).into());
    client.allocate();
    server.signal("TERM");
    expect("STOPPING=1");
    expect("STATUS=Draining: 1 of 1 allocation left, for ");
    expect("EXTEND_TIMEOUT_USEC=");
    client.refresh(Some(0)).unwrap();
    assert_eq!(server.finish().code, Some(0));
}
