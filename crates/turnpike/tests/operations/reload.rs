//! Configuration, certificates and log are taken up while calls go on, and what is broken changes nothing.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use turnpike_client::{AllocateOptions, Failure};

use crate::call::Call;
use crate::client::{TurnClient, binding_request, exchange};
use crate::harness::{
    Directory, PATIENCE, Program, Server, TURNADMIN, TURNSERVER, UCLIENT, free_ports, loopback_address, run,
};
use crate::upgrade::Successor;

/// A server with a configuration file that is written anew while it runs.
struct Configured {
    directory: Directory,
    server: Server,
}

impl Configured {
    /// Starts it with the user that every test server knows and these lines besides.
    fn start(lines: &str) -> Self {
        let directory = Directory::new();
        Configured::start_in(directory, lines)
    }

    fn start_in(directory: Directory, lines: &str) -> Self {
        let address = SocketAddr::new(loopback_address(), 3478);
        let file = directory.write("turnserver.conf", &format!("{COMMON}{lines}"));
        let ip = address.ip().to_string();
        let arguments = ["-c", &file, "-m", "2", "--realm", "example.org", "-L", &ip, "-p", "3478"];
        let mut program = Program::start(TURNSERVER, &arguments);
        program.expect("Total auth threads:");
        Configured { directory, server: Server { program, address } }
    }

    /// Writes the file anew, for whoever reads it next.
    fn write(&self, lines: &str) {
        // In one step, as editors do it: a file half written may be sound.
        let new = self.directory.write("new", &format!("{COMMON}{lines}"));
        fs::rename(new, self.directory.file("turnserver.conf")).unwrap();
    }

    /// Has the server read it, and waits until that is done.
    fn reload(&mut self, lines: &str) -> String {
        self.write(lines);
        self.server.program.signal("USR2");
        self.server.expect("Reload (SIGUSR2): ")
    }

    fn address(&self) -> SocketAddr {
        self.server.address
    }

    fn try_as(&self, name: &str, password: &str) -> Result<(), Failure> {
        TurnClient::new(self.address(), name, password).try_allocate(AllocateOptions::default()).map(drop)
    }
}

#[test]
fn no_packet_of_a_call_is_lost_by_reloads_a_renewed_certificate_log_rotation_an_upgrade_and_draining() {
    let directory = Directory::new();
    let log = directory.file("turn.log");
    let secure = format!(
        "cert={}\npkey={}\nlog-file={log}\nsimple-log\nlog-min-level=info\n",
        directory.file("cert.pem"),
        directory.file("key.pem")
    );
    write_certificate(&directory);
    let mut configured = Configured::start_in(directory, &secure);
    let address = configured.address();
    let call = Call::begin(address);
    let ip = address.ip().to_string();
    // Over TLS with the old certificate: five seconds of the same pace.
    let arguments = ["-u", "hello", "-w", "world", "-y", "-c", "-t", "-S", "-n", "200", "-z", "20", &ip];
    let over_tls = Program::start(UCLIENT, &arguments);
    configured.server.expect("transport TLS");
    for lines in [
        "user=alice:one\nuser=bob:two\nuse-auth-secret\nstatic-auth-secret=north\n",
        "user=alice:other\nuse-auth-secret\nstatic-auth-secret=south\nuser-quota=9\ntotal-quota=99\nmax-bps=500000\n",
        "denied-peer-ip=192.0.2.0/24\nallowed-peer-ip=10.0.0.0/8\nmobility\nfingerprint\nstale-nonce=60\n",
        "log-min-level=debug\nVerbose\npermission-lifetime=600\nmax-allocate-timeout=30\nicmp-errors\n",
        "",
    ] {
        let said = configured.reload(&format!("{secure}{lines}"));
        assert!(said.contains("all in force"), "{said}");
        call.goes_on(10);
    }
    write_certificate(&configured.directory);
    let said = configured.reload(&secure);
    assert!(said.contains("no option is different"), "{said}");
    configured.server.expect("was read again; new connections get it");
    call.goes_on(10);
    fs::rename(&log, configured.directory.file("turn.log.1")).unwrap();
    configured.server.program.signal("HUP");
    configured.server.expect("SIGHUP");
    call.goes_on(10);
    assert!(fs::read_to_string(&log).unwrap().contains("SIGHUP"), "the new file is written to");
    let refused = configured.reload("user-quota=many\n");
    assert!(refused.contains("nothing has changed"), "{refused}");
    call.goes_on(10);
    let finished = over_tls.finish();
    assert!(finished.stdout.contains("Total lost packets 0 (0.000000%)"), "{}", finished.stdout);
    configured.write(&secure);
    configured.server.program.signal("URG");
    let successor = Successor::of(&mut configured.server);
    configured.server.expect("nothing is left here");
    call.goes_on(20);
    successor.signal("USR1");
    configured.server.expect("Draining (SIGUSR1)");
    call.goes_on(20);
    let newcomer = TurnClient::hello(address).try_allocate(AllocateOptions::default());
    assert!(newcomer.is_err(), "nobody new is taken in");
    call.hang_up().assert_lossless(130);
    configured.server.expect("Drain complete");
}

#[test]
fn a_new_user_comes_in_and_a_removed_one_does_not_but_his_session_goes_on() {
    let mut configured = Configured::start("user=old:pass\nuse-auth-secret\nstatic-auth-secret=north\n");
    let mut session = TurnClient::new(configured.address(), "old", "pass");
    let relayed = session.allocate().relayed;
    assert!(matches!(configured.try_as("new", "pass"), Err(Failure::CredentialsRejected { .. })));
    configured.reload("user=new:pass\nuse-auth-secret\nstatic-auth-secret=south\n");
    let told = configured.server.expect("Reload: user: ");
    assert!(told.contains("user: new added; old removed"), "{told}");
    let told = configured.server.expect("Reload: static-auth-secret: ");
    assert!(told.ends_with("(changed): 1 added, 1 removed"), "{told}");
    configured.try_as("new", "pass").unwrap();
    assert!(matches!(configured.try_as("old", "pass"), Err(Failure::CredentialsRejected { .. })));
    session.refresh(None).unwrap();
    session.permit(relayed.ip()).unwrap();
    let so_far = configured.server.program.so_far();
    assert!(!so_far.contains("north") && !so_far.contains("south"), "no secret is in the log");
}

#[test]
fn a_peer_that_is_denied_is_refused_from_then_on_and_what_goes_there_ends() {
    let mut configured = Configured::start("");
    let peer_ip = loopback_address();
    let mut client = TurnClient::hello(configured.address());
    let relayed = client.allocate().relayed;
    let [denied, staying] = [peer_ip, configured.address().ip()].map(|ip| UdpSocket::bind((ip, 0)).unwrap());
    client.bind(0x4000, denied.local_addr().unwrap()).unwrap();
    client.bind(0x4001, staying.local_addr().unwrap()).unwrap();
    client.send_on(0x4000, b"before");
    let mut buffer = [0; 16];
    denied.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(denied.recv(&mut buffer).unwrap(), 6);
    // Own addresses are opened by allow-loopback-peers, which wins over what is denied: both are said anew.
    let lines = format!("allow-loopback-peers=no\nallowed-peer-ip={}\n", configured.address().ip());
    configured.write(&lines);
    configured.server.program.signal("USR2");
    configured.server.expect(&format!("A peer IP {peer_ip} denied"));
    client.send_on(0x4000, b"after");
    client.send_on(0x4001, b"still");
    staying.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(staying.recv(&mut buffer).unwrap(), 5);
    denied.set_nonblocking(true).unwrap();
    assert!(denied.recv(&mut buffer).is_err(), "what was sent before has arrived, so this one never will");
    staying.send_to(b"back", relayed).unwrap();
    assert_eq!(client.receive().data, b"back");
    assert_eq!(number(client.permit(peer_ip)), Some(403));
}

#[test]
fn a_broken_file_changes_nothing_and_says_where_it_is_broken() {
    let mut configured = Configured::start("user=alice:one\n");
    for (lines, wanted) in [
        ("user=new:pass\nuser-quota=many\n", ":6: user-quota: \"many\" is not a number of allocations"),
        (
            "user=new:pass\nlisening-port=3479\n",
            ":6: unknown option \"lisening-port\" was left out; did you mean listening-port?",
        ),
        ("user=new:pass\nmax-bps=\u{201C}64000\u{201D}\n", ":6: the typographic quotes"),
        ("user=new:pass\nuser-quota 10;\n", ":6: the `;` at the end was dropped"),
        ("user=new:pass\naux-server=192.0.2.77:3490\n", "cannot listen on UDP 192.0.2.77:3490"),
        ("user=new:pass\nno-auth\n", "no-auth contradicts"),
    ] {
        let said = configured.reload(lines);
        assert!(said.contains("ERROR Reload (SIGUSR2): nothing has changed"), "{said}");
        configured.server.expect(wanted);
        configured.try_as("alice", "one").unwrap();
        assert!(configured.try_as("new", "pass").is_err(), "{lines}");
    }
    fs::remove_file(configured.directory.file("turnserver.conf")).unwrap();
    configured.server.program.signal("USR2");
    configured.server.expect("there is no such file");
    configured.try_as("alice", "one").unwrap();
}

#[test]
fn what_needs_a_restart_is_said_and_the_rest_is_taken_up() {
    let mut configured = Configured::start("");
    let said = configured.reload("min-port=50000\nuser=new:pass\nrelay-threads=7\n");
    assert!(said.contains("1 difference in force, 1 needs a restart"), "{said}");
    configured.server.expect("WARNING Reload: min-port: (default) -> 50000 (needs a restart)");
    configured.try_as("new", "pass").unwrap();
}

#[test]
fn quotas_change_and_whoever_is_there_counts() {
    let mut configured = Configured::start("user-quota=1\n");
    let mut clients: Vec<TurnClient> = Vec::new();
    let mut one_more = |configured: &Configured| {
        let mut client = TurnClient::hello(configured.address());
        let outcome = client.try_allocate(AllocateOptions::default()).map(drop);
        clients.push(client);
        number(outcome)
    };
    assert_eq!([one_more(&configured), one_more(&configured)], [None, Some(486)]);
    configured.reload("user-quota=2\n");
    assert_eq!([one_more(&configured), one_more(&configured)], [None, Some(486)]);
    configured.reload("total-quota=2\n");
    assert_eq!(one_more(&configured), Some(486));
    configured.reload("");
    assert_eq!(one_more(&configured), None);
}

#[test]
fn further_addresses_are_listened_on_and_those_that_are_gone_are_served_until_a_restart() {
    let mut configured = Configured::start("");
    let call = Call::begin(configured.address());
    let ip = configured.address().ip();
    let [first, second] = [0, 0].map(|_| SocketAddr::new(loopback_address(), 3478));
    let auxiliary = SocketAddr::new(ip, free_ports(ip, 1));
    configured.reload(&format!("aux-server={auxiliary}\n"));
    configured.server.expect(&format!("UDP {auxiliary} is listened on from here on"));
    configured.reload(&format!("aux-server={auxiliary}\nlistening-ip={}\naux-server={second}\n", first.ip()));
    for address in [auxiliary, first, second] {
        // Each of two workers answers for its share of the clients.
        for _ in 0..8 {
            TurnClient::hello(address).allocate();
        }
        let ip = address.ip().to_string();
        let port = address.port().to_string();
        let arguments =
            ["-u", "hello", "-w", "world", "-y", "-c", "-t", "-n", "2", "-z", "5", "-p", &port, &ip];
        let finished = run(UCLIENT, &arguments);
        assert!(finished.stdout.contains("Total lost packets 0 (0.000000%)"), "{}", finished.stdout);
    }
    configured.reload("");
    configured.server.expect(&format!("UDP {first} goes on being served until a restart"));
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    socket.connect(first).unwrap();
    assert!(exchange(&socket, &binding_request()).is_some());
    call.goes_on(5);
    call.hang_up().assert_lossless(8);
}

#[test]
fn clients_are_sent_elsewhere_from_a_reload_on_and_sessions_stay() {
    let mut configured = Configured::start("");
    let mut session = TurnClient::hello(configured.address());
    session.allocate();
    configured.reload("alternate-server=127.0.0.9:3478\n");
    let failure = configured.try_as("hello", "world").unwrap_err();
    assert!(matches!(failure, Failure::TryAlternate { .. }), "{failure}");
    session.refresh(None).unwrap();
    configured.reload("");
    configured.try_as("hello", "world").unwrap();
}

#[test]
fn users_of_a_database_stay_known_and_its_rules_hold_with_those_of_the_file() {
    let directory = Directory::new();
    let database = directory.file("turndb");
    let add = ["-a", "-u", "stored", "-r", "example.org", "-p", "secret", "-b", &database];
    assert_eq!(run(TURNADMIN, &add).code, Some(0));
    let userdb = format!("userdb={database}\n");
    let mut configured = Configured::start_in(directory, &userdb);
    configured.try_as("stored", "secret").unwrap();
    configured.reload(&format!("{userdb}user=new:pass\n"));
    configured.try_as("new", "pass").unwrap();
    configured.try_as("stored", "secret").unwrap();
}

#[test]
fn a_file_that_changes_is_read_again_without_being_asked_unless_only_told_of() {
    let mut configured = Configured::start("config-watch=apply\n");
    configured.write("user=new:pass\nconfig-watch=tell\n");
    configured.server.expect("Reload (a file has changed): ");
    configured.try_as("new", "pass").unwrap();
    configured.write("user=newest:pass\nconfig-watch=tell\n");
    configured.server.expect("The configuration file has changed: user: newest added; new removed");
    assert!(configured.try_as("newest", "pass").is_err(), "it was told of alone");
    configured.write("user-quota=many\nconfig-watch=tell\n");
    configured.server.expect("has changed and would be refused: ");
}

#[test]
fn reloads_that_come_thick_and_fast_are_done_one_after_the_other_and_the_last_file_counts() {
    let mut configured = Configured::start("");
    let call = Call::begin(configured.address());
    for number in 0..40 {
        configured.write(&format!("user=u{number}:pass\nuser-quota={number}\n"));
        configured.server.program.signal("USR2");
    }
    configured.write("user=last:pass\n");
    let deadline = Instant::now() + PATIENCE;
    while configured.try_as("last", "pass").is_err() {
        assert!(Instant::now() < deadline, "the last file counts");
        configured.server.program.signal("USR2");
        configured.server.expect("Reload (SIGUSR2): ");
    }
    call.goes_on(5);
    call.hang_up().assert_lossless(5);
}

fn number(outcome: Result<(), Failure>) -> Option<u16> {
    match outcome {
        Err(Failure::Refused { number, .. }) => Some(number.number()),
        Ok(()) => None,
        Err(other) => panic!("{other}"),
    }
}

fn write_certificate(directory: &Directory) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    directory.write("cert.pem", &made.cert.pem());
    directory.write("key.pem", &made.signing_key.serialize_pem());
}

/// What every file of these tests begins with.
const COMMON: &str = "user=hello:world\nallow-loopback-peers\nverbose\nconfig-watch=off\n";
