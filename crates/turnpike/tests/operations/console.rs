//! coturn's telnet console, driven over TCP.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::call::Call;
use crate::client::TurnClient;
use crate::harness::{PATIENCE, Server, loopback_address};

/// A telnet client.
struct Telnet {
    stream: TcpStream,
    unread: String,
}

impl Telnet {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Telnet { stream, unread: String::new() }
    }

    /// One that has logged in.
    fn log_in(address: SocketAddr, password: &str) -> Self {
        let mut telnet = Telnet::connect(address);
        telnet.until("Enter password: \r\n");
        telnet.say(password);
        telnet.until("> ");
        telnet
    }

    fn say(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    /// What a command prints, up to the next prompt.
    fn ask(&mut self, command: &str) -> String {
        self.say(command);
        let text = self.until("\n> ");
        text.replace("\r\n", "\n")
    }

    /// Everything up to this text.
    #[track_caller]
    fn until(&mut self, wanted: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.unread.find(wanted) {
                let rest = self.unread.split_off(at + wanted.len());
                return std::mem::replace(&mut self.unread, rest);
            }
            assert!(Instant::now() < deadline, "no {wanted:?} in {:?}", self.unread);
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("closed before {wanted:?}: {:?}", self.unread),
                Ok(length) => self.unread += &String::from_utf8_lossy(&buffer[..length]),
                Err(error) => panic!("{error} before {wanted:?}: {:?}", self.unread),
            }
        }
    }

    fn is_closed(&mut self) -> bool {
        let mut rest = [0; 4096];
        loop {
            match self.stream.read(&mut rest) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == ErrorKind::ConnectionReset,
            }
        }
    }
}

/// A server with a console, and where that is.
fn start(more: &[&str]) -> (Server, SocketAddr) {
    let ip = loopback_address();
    let cli_ip = format!("--cli-ip={ip}");
    let base = ["--user", "hello:world", "--allow-loopback-peers", "-v", "--cli", &cli_ip];
    let server = Server::start_at((ip, 3478).into(), &[&base[..], more].concat());
    (server, (ip, 5766).into())
}

#[test]
fn sessions_are_printed_in_coturns_form_and_closed() {
    let (mut server, console) = start(&["--cli-password=secret", "--user=other:pass"]);
    let call = Call::begin(server.address);
    let mut other = TurnClient::new(server.address, "other", "pass");
    other.allocate();
    let mut telnet = Telnet::log_in(console, "secret");
    server.expect("Telnet console: 127.");
    assert!(telnet.ask("?").contains("ps [USER]"));
    let printed = telnet.ask("ps hello");
    let block = [
        "\n    1) id=000000000000000001, user <hello>:\n",
        "      realm: example.org\n      started ",
        " secs ago\n      expiring in ",
        " secs\n      client protocol UDP, relay protocol UDP\n      client addr 127.0.0.1:",
        &format!(", server addr {}\n      relay addr {}\n", server.address, call.relayed),
        "      fingerprints enforced: O",
        "      mobile: OFF\n      usage: rp=",
        "       rate: r=",
        " (bytes per sec)\n      peers:\n          127.",
        "\n  Total sessions: 1\n",
    ];
    let mut rest = printed.as_str();
    for wanted in block {
        let at = rest.find(wanted).unwrap_or_else(|| panic!("{wanted:?} in {printed}"));
        rest = &rest[at + wanted.len()..];
    }
    assert!(!printed.contains("rp=0, "), "live: {printed}");
    assert!(telnet.ask("psp o").contains("user <other>:"));
    assert!(telnet.ask("pu").contains("    user: <hello>, 1 sessions\n    user: <other>, 1 sessions\n"));
    assert!(telnet.ask("pu tcp").contains("Total sessions: 0"));
    telnet.ask("sr nowhere");
    assert!(telnet.ask("ps").contains("Total sessions for realm nowhere: 0"));
    telnet.ask("ur");
    telnet.ask("cc cli-max-output-sessions 1");
    let limited = telnet.ask("ps");
    assert!(limited.matches(" id=").count() == 1 && limited.contains("Total sessions: 2"), "{limited}");
    assert!(telnet.ask("cs 2").contains("was closed") && telnet.ask("cs 2").contains("no such session"));
    assert!(other.refresh(None).unwrap_err().to_string().starts_with("error 437"));
    server.expect("session 000000000000000002 was ended (telnet console, ");
    telnet.say("quit");
    telnet.until("Bye !\r\n");
    assert!(telnet.is_closed());
    call.goes_on(10);
    call.hang_up().assert_lossless(10);
}

#[test]
fn parameters_are_shown_toggled_and_changed_without_secrets() {
    let hash =
        "--cli-password=$5$2f482a58cf39c2dd$a137b16e8ea39443756c1b3c8a75fd46e18f062650355892ad48388ce5a0bbba";
    let (mut server, console) = start(&[hash, "--static-auth-secret=hush"]);
    let mut telnet = Telnet::log_in(console, "x");
    let shown = telnet.ask("pc");
    for wanted in [
        "  stun-only: OFF (*)",
        "  total-quota: 0 (**)",
        "  Default realm: example.org",
        "  total-current-allocs: 0",
    ] {
        assert!(shown.contains(wanted), "{wanted} in {shown}");
    }
    assert!(!shown.contains("hush") && !shown.contains("world") && !shown.contains("$5$"), "{shown}");
    assert!(telnet.ask("cc user-quota 1").contains("  user-quota: 1 (**)"));
    let mut first = TurnClient::hello(server.address);
    first.allocate();
    let refused = |server: &Server| {
        let mut client = TurnClient::hello(server.address);
        client.try_allocate(Default::default()).map(|_| ()).unwrap_err().to_string()
    };
    assert!(refused(&server).starts_with("error 486"));
    telnet.ask("cc user-quota 0");
    assert!(telnet.ask("tc no-udp-relay").contains("  no-udp-relay: ON"));
    assert!(refused(&server).starts_with("error 442"));
    assert!(telnet.ask("tc no-udp-relay").contains("  no-udp-relay: OFF"));
    TurnClient::hello(server.address).allocate();
    assert!(telnet.ask("aas 127.0.0.9:3500").contains("1 in the list"));
    assert!(refused(&server).contains("127.0.0.9:3500"));
    assert!(telnet.ask("das 127.0.0.9:3500").contains("0 in the list"));
    TurnClient::hello(server.address).allocate();
    for (wrong, why) in [
        ("tc verbose", "not toggleable"),
        ("cc max-bps many", "and a number"),
        ("cc colour 1", "no such parameter"),
        ("cc user-quota 99999999999", "too large"),
        ("aas here", "wants an address"),
        ("cs x", "wants the id"),
        ("psd /tmp/x", "not offered"),
        ("dance", "Unknown command"),
    ] {
        let said = telnet.ask(wrong);
        assert!(said.contains(why), "{wrong}: {said}");
    }
    telnet.say("drain");
    telnet.until("Draining: 1 of 1 allocation left");
    server.expect("Draining (telnet console, ");
    telnet.until("> ");
    telnet.say("stop");
    server.expect("Terminating (telnet console, ");
    assert_eq!(server.program.finish().code, Some(0));
}

#[test]
fn five_wrong_passwords_end_a_connection_and_few_connections_are_served() {
    let (mut server, console) = start(&["--cli-password=secret"]);
    let mut guesser = Telnet::connect(console);
    for guess in ["", "guess", "Secret", "secret ", "$5$"] {
        guesser.until("Enter password: \r\n");
        guesser.say(&format!("{guess}x"));
    }
    assert!(guesser.is_closed());
    server.expect("WARNING Telnet console: wrong password from 127.");
    let guests: Vec<Telnet> = (0..8).map(|_| Telnet::connect(console)).collect();
    let mut one_too_many = Telnet::connect(console);
    assert!(one_too_many.is_closed());
    drop(guests);
    // What is no telnet client harms nobody.
    let mut noise = Telnet::connect(console);
    let _ = noise.stream.write_all(&[0xff; 5000]);
    let _ = noise.stream.write_all(&[b'x'; 5000]);
    assert!(noise.is_closed());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut telnet = Telnet::connect(console);
        telnet.stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        // A place is free once the server has seen that the others are gone.
        if telnet.stream.read(&mut [0; 1]).is_ok_and(|length| length == 1) {
            break;
        }
        assert!(Instant::now() < deadline, "no place becomes free");
    }
}

#[test]
fn without_a_password_or_unless_asked_for_there_is_no_console() {
    for (arguments, said) in
        [(&["--cli"][..], "no telnet console without cli-password"), (&["--cli-password=secret"][..], "")]
    {
        let ip = loopback_address();
        let cli_ip = format!("--cli-ip={ip}");
        let base = ["--user", "hello:world", &cli_ip];
        let server = Server::start_at((ip, 3478).into(), &[&base[..], arguments].concat());
        assert!(TcpStream::connect((ip, 5766)).is_err(), "{arguments:?}");
        assert!(server.program.so_far().contains(said), "{}", server.program.so_far());
    }
}
