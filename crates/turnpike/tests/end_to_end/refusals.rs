//! What keeps turnserver from starting: exit status 255, and a message that says what to do.

use std::net::UdpSocket;

use crate::harness::{Directory, TURNSERVER, free_ports, loopback_address, run};

/// Standard error of a turnserver that must not start.
fn refusal(arguments: &[&str]) -> String {
    let finished = run(TURNSERVER, arguments);
    assert_eq!(finished.code, Some(255), "{arguments:?}: {}{}", finished.stdout, finished.stderr);
    assert!(finished.stderr.starts_with("turnserver: "), "{}", finished.stderr);
    finished.stderr
}

#[test]
fn without_credentials_it_does_not_start_and_names_both_ways_out() {
    for arguments in [&["-n"][..], &["-n", "--lt-cred-mech"], &["-n", "--use-auth-secret", "-v"]] {
        let said = refusal(arguments);
        assert!(said.contains("it has no credentials"), "{said}");
        assert!(said.contains("turnpike up") && said.contains("static-auth-secret=SECRET"), "{said}");
        assert!(said.contains("no-auth: an open relay"), "{said}");
    }
}

#[test]
fn no_auth_beside_credentials_is_a_contradiction() {
    let said = refusal(&["-n", "--no-auth", "--user=a:b"]);
    assert!(said.contains("no-auth contradicts") && said.contains("take out one or the other"), "{said}");
}

#[test]
fn a_taken_port_names_the_process_that_holds_it() {
    let ip = loopback_address();
    let port = free_ports(ip, 1);
    let _holder = UdpSocket::bind((ip, port)).unwrap();
    let said = refusal(&["-n", "--no-auth", "-L", &ip.to_string(), "-p", &port.to_string()]);
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    let holder = format!("process {} ({}) holds it", std::process::id(), name.trim());
    assert!(said.contains(&format!("cannot listen on UDP {ip}:{port}: {holder}")), "{said}");
    assert!(said.contains("choose another port with listening-port"), "{said}");
}

#[test]
fn two_servers_do_not_share_a_port_although_the_workers_of_one_do() {
    let first = crate::harness::Server::start(&[]);
    let ip = first.address.ip().to_string();
    let said = refusal(&["-n", "--no-auth", "-m", "1", "-L", &ip]);
    assert!(said.contains(&format!("process {} (turnserver) holds it", first.program.id())), "{said}");
}

#[test]
fn an_address_of_another_machine_is_refused_with_those_of_this_one() {
    let said = refusal(&["-n", "--no-auth", "-L", "203.0.113.250"]);
    assert!(said.contains("203.0.113.250 is no address of this machine; it has 127.0.0.1 (lo)"), "{said}");
}

#[test]
fn an_unknown_flag_is_answered_with_the_nearest() {
    assert!(refusal(&["-n", "--relm=x"]).contains("unknown option `--relm`: did you mean `--realm`?"));
    assert!(refusal(&["-n", "--listening-port"]).contains("`--listening-port` needs a value"));
}

#[test]
fn a_value_out_of_range_is_answered_with_the_range() {
    let said = refusal(&["-n", "--no-auth", "-p", "70000"]);
    assert!(said.contains("listening-port: \"70000\" is not a port from 1 to 65535"), "{said}");
    let said = refusal(&["-n", "--no-auth", "--permission-lifetime=x"]);
    assert!(said.contains("\"x\" is not a number of seconds from 1 to"), "{said}");
}

#[test]
fn every_mistake_in_a_file_is_told_at_once_with_its_line() {
    let directory = Directory::new();
    let file = directory.write("t.conf", "no-auth\nmin-port=abc\nallowed-peer-ip=10.0.0.0/40\nuser\n");
    let said = refusal(&["-c", &file]);
    for place in ["2: min-port: ", "3: allowed-peer-ip: /40 is no prefix length", "4: user: "] {
        assert!(said.contains(&format!("{file}:{place}")), "{place}: {said}");
    }
}

#[test]
fn a_missing_file_is_named_with_what_to_do() {
    let said = refusal(&["-c", "/nowhere/turnserver.conf"]);
    assert!(said.contains("/nowhere/turnserver.conf") && said.contains("-n"), "{said}");
}

#[test]
fn a_log_file_that_cannot_be_opened_is_named_with_what_to_do() {
    let said = refusal(&["-n", "--no-auth", "--log-file=/nowhere/turn.log", "--simple-log"]);
    assert!(
        said.contains("cannot open the log file /nowhere/turn.log") && said.contains("log-file"),
        "{said}"
    );
    assert!(said.contains("No such file or directory"), "{said}");
    let directory = Directory::new();
    let folder = directory.file("logs");
    std::fs::create_dir(&folder).unwrap();
    let said = refusal(&["-n", "--no-auth", "-l", &folder]);
    assert!(said.contains(&format!("cannot open the log file {folder}")), "{said}");
    assert!(said.contains("is a directory"), "{said}");
}

#[test]
fn what_keeps_it_from_starting_is_in_the_log_file_too() {
    let directory = Directory::new();
    let log = directory.file("turn.log");
    refusal(&["-n", "--no-auth", "-L", "203.0.113.250", "--simple-log", "-l", &log]);
    let logged = std::fs::read_to_string(&log).unwrap();
    assert!(logged.contains("ERROR 203.0.113.250 is no address of this machine"), "{logged}");
}
