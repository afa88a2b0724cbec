//! What turnserver says when it starts, and the ways people start it.

use std::net::SocketAddr;

use crate::client::{TurnClient, unix_now};
use crate::harness::{Directory, Program, Server, TURNSERVER, free_ports, loopback_address};
use turnpike::rest::RestCredential;

#[test]
fn the_line_that_tutorials_start_with_works_and_tells_clients_the_external_address() {
    let ip = loopback_address().to_string();
    let line =
        "-v --lt-cred-mech --user hello:world --realm example.org --external-ip 203.0.113.7 -n -p 3478 -L";
    let mut arguments: Vec<&str> = line.split(' ').collect();
    arguments.push(&ip);
    let mut server = Program::start(TURNSERVER, &arguments);
    server.expect(&format!("Listener address to use: {ip}"));
    server.expect(&format!("Relay address to use: {ip}"));
    server.expect("clients are told: 203.0.113.7");
    server.expect("Total auth threads: 1");
    let allocated = TurnClient::hello(SocketAddr::new(ip.parse().unwrap(), 3478)).allocate();
    assert_eq!(allocated.relayed.ip().to_string(), "203.0.113.7");
    server.expect(": new, realm=<example.org>, username=<hello>, lifetime=600");
}

#[test]
fn the_lines_that_scripts_wait_for_come_in_order_and_the_last_says_ready() {
    let ip = loopback_address();
    let mut server = Program::start(TURNSERVER, &["-n", "--no-auth", "-m", "2", "-L", &ip.to_string()]);
    for line in ["Listener address to use: ", "Relay address to use: ", "Total relay threads: 2"] {
        server.expect(&format!(" INFO {line}"));
    }
    server.expect(" INFO Total auth threads: 1");
    let mut client = TurnClient::stranger(SocketAddr::new(ip, 3478));
    assert_eq!(client.allocate().relayed.ip(), ip, "ready means that it serves");
}

#[test]
fn what_an_operator_must_know_at_a_glance_is_said() {
    let server = Server::start(&["--static-auth-secret=one", "--allowed-peer-ip=10.0.0.0/8"]);
    let said = server.program.so_far();
    for line in [
        "Configuration file: none",
        "UDP clients: on, port 3478",
        "TCP clients: on, port 3478",
        "TLS clients: off (no certificate: set cert and pkey)",
        "DTLS clients: off (set dtls to serve them)",
        "Database: none",
        "Relaying: for 1 static user and 1 REST secret of realm \"example.org\"",
        "refused are carrier-grade NAT, documentation, link-local, multicast, private, reserved, but for 1 opened range; \
         open more with allowed-peer-ip=ADDRESS, RANGE or CIDR",
        "Socket buffers: ",
    ] {
        assert!(said.contains(line), "{line:?} in:\n{said}");
    }
    let limit = said.lines().find_map(|line| line.split_once("File descriptors: ")).expect("the limit").1;
    let (descriptors, rest) = limit.split_once(" (was ").unwrap();
    let allocations = rest.split_once("enough for ").unwrap().1.split(' ').next().unwrap();
    let count = |text: &str| text.parse::<u64>().unwrap();
    assert!(count(allocations) < count(descriptors) && count(allocations) > 0, "{limit}");
}

#[test]
fn a_limit_of_descriptors_below_the_relay_ports_is_told_with_the_remedy() {
    let server = Server::start(&["--min-port=1024", "--max-port=65535"]);
    let said = server.program.so_far();
    let line = said.lines().find_map(|line| line.split_once("enough for ")).expect("the limit").1;
    let allocations: u64 = line.split(' ').next().unwrap().parse().unwrap();
    let remedy = "allocations, fewer than the 64512 relay ports; for more raise LimitNOFILE or ulimit -n";
    assert_eq!(line.contains(remedy), allocations < 64_512, "{line}");
}

#[test]
fn an_option_this_version_does_not_have_is_said_once_and_plainly() {
    let directory = Directory::new();
    let file = directory.write(
        "turnserver.conf",
        "use-auth-secret\nstatic-auth-secret=s\nsyslog\nraw-public-keys\nweb-admin\ntlsv1\n",
    );
    let ip = loopback_address().to_string();
    let mut server = Program::start(TURNSERVER, &["-c", &file, "-L", &ip, "--web-admin-listen-on-workers"]);
    server.expect("Total auth threads");
    let said = server.so_far();
    for (line, option, what) in
        [(4, "raw-public-keys", "raw public keys"), (5, "web-admin", "the web console")]
    {
        let whole = format!("{file}:{line}: {option} has no effect yet: this version does not have {what}");
        assert_eq!(said.matches(&format!("WARNING {whole}")).count(), 1, "{whole} in:\n{said}");
    }
    assert!(said.contains("WARNING command line: web-admin-listen-on-workers has no effect yet"), "{said}");
    assert!(said.contains("INFO ") && said.contains("tlsv1: TLS 1.0 is never spoken"), "{said}");
}

#[test]
fn a_file_with_trailing_comments_cidr_and_both_mechanisms_lets_both_kinds_of_users_in() {
    let directory = Directory::new();
    let ip = loopback_address();
    directory.write(
        "turnserver.conf",
        &format!(
            "# ours\nlistening-ip = {ip}   # here\nlistening-port=3478 # the usual one\n\
             lt-cred-mech # static users\nuser=hello:world\nuse-auth-secret\nstatic-auth-secret=\"north wind\" # REST\n\
             realm=example.org # mine\nallowed-peer-ip=10.0.0.0/8 # CIDR\nno-cli;\nlog-file=stdout\n"
        ),
    );
    // Without -c it is found in the working directory, as coturn finds it.
    let mut server = Program::start_in(TURNSERVER, &[], directory.path(), &[]);
    server.expect("Configuration file: turnserver.conf");
    server.expect("Total auth threads");
    let address = SocketAddr::new(ip, 3478);
    let hour = std::time::Duration::from_secs(3600);
    let rest = RestCredential::mint("north wind", "alice", ':', unix_now(), hour);
    let mut client = TurnClient::new(address, &rest.username, &rest.password);
    client.allocate();
    client.permit([10, 200, 3, 4].into()).unwrap();
    assert!(client.permit([192, 168, 3, 4].into()).is_err());
    TurnClient::hello(address).allocate();
}

#[test]
fn no_auth_has_to_be_said_and_is_warned_of() {
    let ip = loopback_address();
    let server = Server::start_at(SocketAddr::new(ip, 3478), &["--no-auth"]);
    assert!(server.program.so_far().contains("WARNING no-auth: everybody may relay through this server"));
    TurnClient::stranger(server.address).allocate();
}

#[test]
fn a_pidfile_holds_the_process_id_and_one_that_cannot_be_written_is_only_a_warning() {
    let directory = Directory::new();
    let file = directory.file("turn.pid");
    let server = Server::start(&["--pidfile", &file]);
    let held = std::fs::read_to_string(&file).unwrap();
    assert_eq!(held, format!("{}\n", server.program.id()));
    let nowhere = directory.file("missing/turn.pid");
    let server = Server::start(&["--pidfile", &nowhere]);
    let warning = format!("WARNING cannot write the process id to {nowhere}");
    assert!(server.program.so_far().contains(&warning), "{}", server.program.so_far());
}

#[test]
fn a_misspelt_key_is_named_with_file_line_and_the_nearest_name_and_the_server_starts() {
    let directory = Directory::new();
    let file = directory.write("my.conf", "no-auth\n\nlisening-port=9999\n");
    let ip = loopback_address().to_string();
    let mut server = Program::start(TURNSERVER, &["-c", &file, "-L", &ip]);
    server.expect(&format!(
        "WARNING {file}:3: unknown option \"lisening-port\" was left out; did you mean listening-port?"
    ));
    server.expect("Total auth threads");
}

#[test]
fn the_port_of_the_command_line_is_the_one_that_answers() {
    let ip = loopback_address();
    let port = free_ports(ip, 1);
    let server = Server::start_at(SocketAddr::new(ip, port), &["--no-auth"]);
    assert!(server.program.so_far().contains(&format!("UDP clients: on, port {port}")));
    TurnClient::stranger(server.address).allocate();
}
