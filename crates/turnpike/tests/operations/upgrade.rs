//! Hot upgrades: another process takes over, and nobody who is in a call notices.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use turnpike_client::AllocateOptions;
use turnpike_net::Line;

use crate::call::Call;
use crate::client::{TurnClient, binding_request, exchange};
use crate::harness::{
    Directory, PATIENCE, Program, Server, TURNPIKE, TURNSERVER, UCLIENT, loopback_address, run,
};

/// The process after a server's own, which ends with the value.
pub(crate) struct Successor(u32);

impl Successor {
    /// Waits until it has taken over; the old one says so last.
    pub(crate) fn of(server: &mut Server) -> Self {
        let line = server.expect("has taken over");
        let number = line.split("process ").nth(1).and_then(|rest| rest.split(' ').next());
        Successor(number.and_then(|number| number.parse().ok()).expect("its process id"))
    }

    fn is_there(&self) -> bool {
        std::path::Path::new(&format!("/proc/{}/fd/0", self.0)).exists()
    }

    pub(crate) fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.0);
        let _ = std::process::Command::new("sh").args(["-c", &command]).status();
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        self.signal("KILL");
        self.wait();
    }
}

impl Successor {
    fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.is_there() && Instant::now() < deadline {
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
    }
}

#[test]
fn a_call_goes_on_through_an_upgrade_without_losing_a_packet_and_is_recorded_once() {
    let mut server = Server::start(&["--user-quota", "2"]);
    let call = Call::begin(server.address);
    server.program.signal("URG");
    let successor = Successor::of(&mut server);
    server.expect("nothing is left here");
    call.goes_on(30);
    // The next process serves those who come, with exact quotas.
    let mut second = TurnClient::hello(server.address);
    second.allocate();
    assert!(TurnClient::hello(server.address).try_allocate(AllocateOptions::default()).is_err());
    call.hang_up().assert_lossless(30);
    server.expect("deleted by client");
    drop(second);
    successor.signal("TERM");
    let finished = server.program.finish();
    let records: Vec<&str> =
        finished.stdout.lines().filter(|line| line.contains("000000000000000001: usage:")).collect();
    let [record] = records[..] else { panic!("one record: {records:?}") };
    let packets = |name: &str| {
        let number = record.split(name).nth(1).and_then(|rest| rest.split(',').next());
        number.and_then(|number| number.parse::<u64>().ok()).expect("a number of packets")
    };
    assert!(packets("rp=") >= 60 && packets("sp=") >= 60, "both processes' packets: {record}");
}

#[test]
fn who_comes_by_tcp_or_dtls_is_served_by_the_old_process_until_he_is_done() {
    let (directory, cert, key) = certificate();
    let mut server = Server::start(&["--cert", &cert, "--pkey", &key, "--dtls"]);
    let call = Call::begin(server.address);
    let address = server.address.ip().to_string();
    let words = ["-y", "-c", "-u", "hello", "-w", "world", "-z", "20"];
    let talk = |more: &'static str, messages: &'static str| {
        let mut words = words.to_vec();
        words.extend(["-n", messages]);
        words.extend(more.split_ascii_whitespace());
        words.push(&address);
        let mut client = Program::start(UCLIENT, &words);
        client.expect("start_mclient: msz=");
        client
    };
    // Long enough that they still talk when the new process serves.
    let clients = [talk("-t", "400"), talk("-t -S", "400"), talk("-S", "400")];
    server.program.signal("URG");
    let successor = Successor::of(&mut server);
    server.expect("goes on with what cannot move");
    successor.signal("URG");
    assert!(server.expect("Upgrade failed").contains("that could not move"));
    for client in clients {
        let finished = client.finish();
        assert!(finished.stdout.contains("Total lost packets 0 (0.000000%)"), "{}", finished.stdout);
    }
    server.expect("nothing is left here");
    server.expect("from which this one took over, has ended");
    // Those who come now are the next process's, by every way.
    for way in ["-t", "-t -S", "-S"] {
        let finished = talk(way, "60").finish();
        assert!(finished.stdout.contains("Total lost packets 0 (0.000000%)"), "{}", finished.stdout);
    }
    call.hang_up().assert_lossless(60);
    drop(directory);
}

#[test]
fn a_program_that_cannot_take_over_is_not_started_and_nothing_is_lost() {
    let directory = Directory::new();
    let program = directory.file("turnserver");
    std::os::unix::fs::symlink(TURNSERVER, &program).unwrap();
    let mut server = started_as(&program, &[]);
    let call = Call::begin(server.address);
    for (script, said) in [
        ("#!/bin/sh\necho usage\n", "is no program that can take over"),
        ("#!/nowhere/at-all\n", "does not start"),
        ("#!/bin/sh\n[ \"$1\" = --handover-version ] && exec REAL \"$@\"\nexit 7\n", "exit status: 7"),
        (
            "#!/bin/sh\n[ \"$1\" = --handover-version ] && exec REAL \"$@\"\nexec REAL -n -L 127.0.0.1 --min-port=9 --max-port=3\n",
            "refuses",
        ),
        ("#!/bin/sh\necho turnpike handover 999\n", "drains instead"),
    ] {
        replace(&program, script);
        server.program.signal("URG");
        let line = server.expect("Upgrade failed");
        assert!(line.contains(said), "{script}: {line}");
        call.goes_on(3);
    }
    call.hang_up().assert_lossless(10);
}

#[test]
fn a_new_process_that_dies_in_the_middle_leaves_everything_to_the_old_one() {
    let directory = Directory::new();
    let program = directory.file("turnserver");
    std::os::unix::fs::symlink(TURNSERVER, &program).unwrap();
    let mut server = started_as(&program, &[]);
    let call = Call::begin(server.address);
    let test = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --handover-version ] && exec REAL \"$@\"\nexec {} --ignored --exact upgrade::takes_what_it_is_given_and_dies\n",
        test.display()
    );
    replace(&program, &script);
    for _ in 0..2 {
        server.program.signal("URG");
        let line = server.expect("Upgrade failed");
        assert!(line.contains("the new process has gone") && line.contains("goes on as before"), "{line}");
        call.goes_on(5);
    }
    // And then it works.
    std::fs::remove_file(&program).unwrap();
    std::os::unix::fs::symlink(TURNSERVER, &program).unwrap();
    server.program.signal("URG");
    let _successor = Successor::of(&mut server);
    call.goes_on(5);
    call.hang_up().assert_lossless(15);
}

/// Not a test: a new process that takes everything, while all workers of the old one stand still, and dies.
#[test]
#[ignore = "started by another test in place of a server"]
fn takes_what_it_is_given_and_dies() {
    let line = Line::from_standard_input().expect("started by a server that hands over");
    let greeting = line.receive().unwrap().expect("a greeting");
    let [.., b0, b1, b2, b3] = greeting.bytes[..36] else { panic!("a short greeting") };
    let groups = u32::from_be_bytes([b0, b1, b2, b3]);
    let mut all = groups.to_be_bytes().to_vec();
    all.resize(4 + groups as usize, 1);
    line.send(2, &all, &[]).unwrap();
    let estate = line.receive().unwrap().expect("what a worker gives");
    assert_eq!((estate.kind, estate.descriptors.len()), (4, 1));
    std::process::exit(0);
}

#[test]
fn a_second_upgrade_at_the_same_time_is_refused_in_clear_words() {
    let directory = Directory::new();
    let program = directory.file("turnserver");
    std::os::unix::fs::symlink(TURNSERVER, &program).unwrap();
    let mut server = started_as(&program, &[]);
    let call = Call::begin(server.address);
    replace(&program, "#!/bin/sh\n[ \"$1\" = --handover-version ] && exec REAL \"$@\"\nexec sleep 60\n");
    server.program.signal("URG");
    let line = server.expect("is starting as process");
    let sleeper = Successor(line.rsplit(' ').next().and_then(|it| it.parse().ok()).expect("its process id"));
    server.program.signal("URG");
    assert!(server.expect("Upgrade failed").contains("under way already"));
    sleeper.signal("KILL");
    server.expect("goes on as before");
    call.goes_on(5);
    call.hang_up().assert_lossless(10);
}

#[test]
fn an_upgraded_server_is_upgraded_again_with_a_new_configuration() {
    let directory = Directory::new();
    let ip = loopback_address();
    let base =
        format!("listening-ip={ip}\nrealm=example.org\nuser=hello:world\nallow-loopback-peers\nverbose\n");
    let pidfile = directory.file("pid");
    let file = directory.write("turnserver.conf", &format!("{base}relay-threads=2\npidfile={pidfile}\n"));
    let mut program = Program::start(TURNSERVER, &["-c", &file]);
    program.expect("Total auth threads:");
    let mut server = Server { program, address: SocketAddr::new(ip, 3478) };
    let calls: Vec<Call> = (0..4).map(|_| Call::begin(server.address)).collect();
    server.program.signal("URG");
    let first = Successor::of(&mut server);
    server.expect("nothing is left here");
    assert_eq!(std::fs::read_to_string(&pidfile).unwrap().trim(), first.0.to_string());
    directory.write("turnserver.conf", &format!("{base}relay-threads=1\nuser=ada:lace\npidfile={pidfile}\n"));
    first.signal("URG");
    server.expect("there are 2 relay threads, as before");
    let second = Successor::of(&mut server);
    server.expect("nothing is left here");
    TurnClient::new(server.address, "ada", "lace").allocate();
    for call in calls {
        call.goes_on(5);
        call.hang_up().assert_lossless(10);
    }
    assert_eq!(std::fs::read_to_string(&pidfile).unwrap().trim(), second.0.to_string());
}

#[test]
fn turnpike_upgrade_waits_until_it_is_done_and_says_why_if_it_is_not() {
    let directory = Directory::new();
    let socket = directory.file("control.sock");
    let mut server = Server::start(&["--control-socket", &socket]);
    let call = Call::begin(server.address);
    let upgrade = |more: &[&str]| {
        let mut words = vec!["upgrade", "--control-socket", &socket];
        words.extend(more);
        run(TURNPIKE, &words)
    };
    let refused = upgrade(&["--program", "/bin/echo"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    assert!(refused.stderr.contains("is no program that can take over"), "{}", refused.stderr);
    let done = upgrade(&[]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stdout.contains("has taken over 1 relayed addresses"), "{}", done.stdout);
    let _successor = Successor::of(&mut server);
    server.expect("nothing is left here");
    call.goes_on(5);
    call.hang_up().assert_lossless(10);
}

#[test]
fn systemd_is_told_which_process_is_the_main_one_and_that_it_is_ready() {
    let directory = Directory::new();
    let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let text = loopback_address().to_string();
    let words = ["-n", "-L", &text, "--no-auth", "--realm", "r", "-v"];
    let path = directory.file("notify");
    let mut program = Program::start_in(TURNSERVER, &words, directory.path(), &[("NOTIFY_SOCKET", &path)]);
    let said = |wanted: &str| {
        let mut buffer = [0; 512];
        loop {
            let length = socket.recv(&mut buffer).expect("what systemd is told");
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            assert!(!text.contains("STOPPING"), "the service goes on");
            if text.contains(wanted) {
                return text;
            }
        }
    };
    said("READY=1");
    program.expect("Total auth threads:");
    let mut server = Server { program, address: SocketAddr::new(text.parse().unwrap(), 3478) };
    server.program.signal("URG");
    let successor = Successor::of(&mut server);
    let mut told = vec![said("=")];
    told.push(said("="));
    assert!(told.iter().any(|it| it.contains(&format!("MAINPID={}", successor.0))), "{told:?}");
    assert!(told.iter().any(|it| it.contains("READY=1")), "{told:?}");
    server.expect("nothing is left here");
}

#[test]
fn what_turnpike_up_has_started_is_upgraded_too() {
    let directory = Directory::new();
    let ip = loopback_address();
    let (text, state) = (ip.to_string(), directory.file("state"));
    // Somebody else has the usual port, so that another one was picked.
    let _held = std::net::UdpSocket::bind((ip, 3478)).unwrap();
    let words = ["up", "--listening-ip", &text, "--state-dir", &state, "-v", "--allow-loopback-peers"];
    let mut program = Program::start(TURNPIKE, &words);
    program.expect("port 3479 is used");
    let mut server = Server { program, address: SocketAddr::new(ip, 3479) };
    server.program.signal("URG");
    let _successor = Successor::of(&mut server);
    server.expect("nothing is left here");
    assert!(exchange(&bound_to(server.address), &binding_request()).is_some());
}

fn bound_to(server: SocketAddr) -> std::net::UdpSocket {
    let socket = std::net::UdpSocket::bind((server.ip(), 0)).unwrap();
    socket.connect(server).unwrap();
    socket
}

/// A server that was started by this path, as a package's is.
fn started_as(path: &str, more: &[&str]) -> Server {
    let ip = loopback_address();
    let text = ip.to_string();
    let mut words = vec!["-n", "-m", "1", "--realm", "example.org", "-L", &text, "-p", "3478"];
    words.extend(["--user", "hello:world", "--allow-loopback-peers", "-v"]);
    words.extend(more);
    let mut program = Program::start(path, &words);
    program.expect("Total auth threads:");
    Server { program, address: SocketAddr::new(ip, 3478) }
}

/// Puts a script in the program's place, whole from the first moment.
fn replace(program: &str, script: &str) {
    let new = format!("{program}.new");
    std::fs::write(&new, script.replace("REAL", TURNSERVER)).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(&new, program).unwrap();
}

fn certificate() -> (Directory, String, String) {
    let directory = Directory::new();
    let made = rcgen::generate_simple_self_signed(vec!["turn.example.org".to_owned()]).unwrap();
    let cert = directory.write("cert.pem", &made.cert.pem());
    let key = directory.write("key.pem", &made.signing_key.serialize_pem());
    (directory, cert, key)
}

#[test]
fn whoever_asks_for_the_servers_health_is_answered_by_the_next_process() {
    let ip = loopback_address();
    let text = ip.to_string();
    let mut program = Program::start(
        TURNSERVER,
        &["-n", "-L", &text, "--no-auth", "-v", "--health-address", &text, "--health-port", "8088"],
    );
    program.expect("Total auth threads:");
    let mut server = Server { program, address: SocketAddr::new(ip, 3478) };
    let is_well = || {
        let mut stream = TcpStream::connect((ip, 8088)).unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    is_well();
    server.program.signal("URG");
    let _successor = Successor::of(&mut server);
    is_well();
    server.expect("nothing is left here");
    is_well();
}
