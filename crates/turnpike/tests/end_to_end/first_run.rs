//! `turnpike up`: the first minutes of a newcomer.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::client::TurnClient;
use crate::harness::{Directory, Finished, OnTerminal, Program, TURNPIKE, free_ports, loopback_address, run};

struct Up {
    program: Program,
    directory: Directory,
    ip: IpAddr,
    port: u16,
}

fn up(more: &[&str]) -> Up {
    let ip = loopback_address();
    let port = free_ports(ip, 3);
    up_at(Directory::new(), ip, port, more)
}

fn up_at(directory: Directory, ip: IpAddr, port: u16, more: &[&str]) -> Up {
    let (state, ip_text, port_text) = (directory.file("state"), ip.to_string(), port.to_string());
    let mut arguments = vec!["up", "--state-dir", &state, "--listening-ip", &ip_text, "--port", &port_text];
    arguments.extend(more);
    Up { program: Program::start(TURNPIKE, &arguments), directory, ip, port }
}

impl Up {
    /// Waits for the last of what it prints.
    fn ready(&mut self) -> String {
        self.program.expect("Ctrl-C");
        self.program.so_far().to_owned()
    }

    fn secret_file(&self) -> String {
        self.directory.file("state/secret")
    }

    fn interrupt(self) -> (Finished, Directory) {
        (self.program.stop("INT"), self.directory)
    }
}

fn after<'a>(text: &'a str, label: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(label));
    line.unwrap_or_else(|| panic!("{label} in:\n{text}")).trim()
}

#[test]
fn it_prints_all_a_newcomer_needs_and_the_credential_allocates() {
    let mut up = up(&[]);
    let said = up.ready();
    let (ip, port) = (up.ip, up.port);
    for part in [
        "Turnpike is up.".to_owned(),
        format!("UDP {port} "),
        "UDP 49152-65535".to_owned(),
        format!("turn:{ip}:{port}"),
        format!("const iceServers = [{{ urls: [\"turn:{ip}:{port}\", \"turn:{ip}:{port}?transport=tcp\"],"),
        "iceTransportPolicy: \"relay\"".to_owned(),
        "Credential (good for 1 d 0 h, until 20".to_owned(),
        format!("Secret: {} (made now; keep it private)", up.secret_file()),
        "turnpike credentials --user alice --ttl 4h".to_owned(),
        "given by --listening-ip".to_owned(),
        format!("relaying from {ip}"),
    ] {
        assert!(said.contains(&part), "{part} in:\n{said}");
    }
    let (username, password) = (after(&said, "username "), after(&said, "password "));
    assert!(username.ends_with(":demo"));
    TurnClient::new(SocketAddr::new(ip, port), username, password).allocate();
    let (finished, _directory) = up.interrupt();
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
}

#[test]
fn the_secret_is_private_and_the_same_next_time_so_that_credentials_stay_good() {
    let mut first = up(&[]);
    let said = first.ready();
    let mode = std::fs::metadata(first.secret_file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (username, password) = (after(&said, "username ").to_owned(), after(&said, "password ").to_owned());
    let (ip, port) = (first.ip, first.port);
    let (_, directory) = first.interrupt();
    let mut second = up_at(directory, ip, port, &[]);
    let said = second.ready();
    assert!(said.contains("(from an earlier run; keep it private)"), "{said}");
    TurnClient::new(SocketAddr::new(ip, port), &username, &password).allocate();
}

#[test]
fn a_taken_port_is_moved_on_from_and_its_holder_named() {
    let (ip, directory) = (loopback_address(), Directory::new());
    let port = free_ports(ip, 3);
    let _holder = UdpSocket::bind((ip, port)).unwrap();
    let mut up = up_at(directory, ip, port, &[]);
    let said = up.ready();
    let next = port + 1;
    let holder = format!("port {next} is used, because process {} (", std::process::id());
    assert!(said.contains(&holder) && said.contains(&format!("holds {port}")), "{said}");
    assert!(said.contains(&format!("turn:{ip}:{next}\"")), "{said}");
}

#[test]
fn as_json_it_is_one_valid_document_whatever_is_logged() {
    let mut up = up(&["--json", "--verbose", "--external-ip", "203.0.113.7"]);
    up.program.expect("}");
    let ip = up.ip;
    let port = up.port;
    let (finished, _directory) = up.interrupt();
    assert_eq!(finished.code, Some(0));
    assert!(finished.stderr.contains("Total auth threads"), "the log: {}", finished.stderr);
    let found: Value = serde_json::from_str(&finished.stdout).expect(&finished.stdout);
    assert_eq!(found["iceServers"][0]["urls"][0], format!("turn:203.0.113.7:{port}"));
    assert_eq!(found["listening"][0], format!("{ip}:{port}"));
    assert_eq!(found["relays"][0]["external"], "203.0.113.7");
    assert_eq!((&found["port"], &found["portNote"]), (&Value::from(port), &Value::Null));
    for text in ["realm", "expiresAt", "secretFile"] {
        assert!(found[text].is_string(), "{text}");
    }
    assert!(found["iceServers"][0]["credential"].as_str().is_some_and(|password| password.len() == 28));
}

#[test]
fn addresses_of_the_machine_are_listed_with_how_they_were_found() {
    let directory = Directory::new();
    let port = free_ports([0, 0, 0, 0].into(), 3).to_string();
    let state = directory.file("state");
    let mut program =
        Program::start(TURNPIKE, &["up", "--state-dir", &state, "--port", &port, "--external-ip", "none"]);
    program.expect("Ctrl-C");
    let said = program.so_far();
    let addresses = said.split_once("Addresses\n").unwrap().1.split_once("\n\n").unwrap().0;
    let listening: Vec<&str> = addresses.lines().filter(|line| line.contains(&format!(":{port} "))).collect();
    assert!(listening.iter().all(|line| line.contains("found on ") || line.contains("loopback")), "{said}");
    assert!(!listening.is_empty(), "a machine has an address:\n{said}");
}

#[test]
fn an_external_address_is_told_where_it_comes_from_and_not_asked_for_again() {
    let mut up = up(&["--external-ip", "203.0.113.7"]);
    let said = up.ready();
    let relay = format!("relaying from {}, clients are told 203.0.113.7 (given by --external-ip)", up.ip);
    assert!(said.contains(&relay), "{said}");
    assert!(said.contains(&format!("turn:203.0.113.7:{}", up.port)), "{said}");
    assert!(!said.contains("give --external-ip"), "{said}");
}

#[test]
fn a_secret_that_others_can_read_is_refused_with_the_remedy() {
    let directory = Directory::new();
    std::fs::create_dir(directory.path().join("state")).unwrap();
    let secret = directory.write("state/secret", "north\n");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    let finished = run(TURNPIKE, &["up", "--state-dir", &directory.file("state")]);
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains(&format!("run: chmod 600 {secret}")), "{}", finished.stderr);
}

#[test]
fn bad_input_is_refused_with_what_is_wrong_before_anything_starts() {
    let directory = Directory::new();
    let state = directory.file("state");
    for (flags, said) in [
        (&["--port", "0"][..], "0 is not in 1..=65535"),
        (&["--port", "x"], "invalid digit"),
        (&["--ttl", "4w"], "\"w\" is no unit of time: use s, m, h or d"),
        (&["--external-ip", "x"], "--external-ip: \"x\" is no IP address"),
        (&["--allowed-peer-ip", "10.0.0.0/40"], "--allowed-peer-ip: /40 is no prefix length"),
        (&["--min-port", "9", "--max-port", "8"], "--min-port 9 is above --max-port 8"),
        (&["--listening-ip", "203.0.113.250"], "203.0.113.250 is no address of this machine"),
        (&["--reelm", "x"], "'--realm'"),
    ] {
        let mut arguments = vec!["up", "--state-dir", &state];
        arguments.extend(flags);
        let finished = run(TURNPIKE, &arguments);
        assert!(matches!(finished.code, Some(1 | 2)), "{flags:?}: {:?}", finished.code);
        assert!(finished.stderr.contains(said), "{flags:?}: {}", finished.stderr);
        assert_eq!(finished.stdout, "", "{flags:?}");
    }
}

#[test]
fn closing_the_terminal_stops_it_rather_than_leaving_it_behind() {
    let (directory, ip) = (Directory::new(), loopback_address());
    let (state, ip_text, port) = (directory.file("state"), ip.to_string(), free_ports(ip, 3).to_string());
    let arguments = ["up", "--state-dir", &state, "--listening-ip", &ip_text, "--port", &port];
    let mut up = OnTerminal::start(TURNPIKE, &arguments, &[]);
    up.read_until("Ctrl-C");
    assert!(up.output.contains("\u{1b}[1;33mURIs\u{1b}[0m"), "headings are coloured: {}", up.output);
    up.signal("HUP");
    assert_eq!(up.finish(), Some(0));
}
