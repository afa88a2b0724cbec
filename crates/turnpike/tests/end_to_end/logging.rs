//! Where the log goes, how its records look, and how it is rotated.

use crate::client::TurnClient;
use crate::harness::{Directory, Program, Server, TURNSERVER, loopback_address};

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn a_log_file_gets_every_record_and_sighup_opens_it_anew() {
    let directory = Directory::new();
    let (log, old) = (directory.file("turn.log"), directory.file("turn.log.1"));
    let server = Server::start(&["--log-file", &log, "--simple-log"]);
    assert!(read(&log).contains("INFO Total auth threads: 1\n"), "also on standard output, by which we know");
    std::fs::rename(&log, &old).unwrap();
    let mut program = server.program;
    program.signal("HUP");
    program.expect("The log was reopened (SIGHUP)");
    assert!(read(&log).contains("The log was reopened") && !read(&old).contains("reopened"));
    let finished = program.stop("TERM");
    assert_eq!(finished.code, Some(0));
    assert!(read(&log).contains("Terminating on signal 15"));
}

#[test]
fn a_log_file_has_the_date_in_its_name_unless_simple_log_is_set() {
    let directory = Directory::new();
    let log = directory.file("turn.log");
    let _server = Server::start(&["--log-file", &log]);
    let names: Vec<String> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let [name] = &names[..] else { panic!("{names:?}") };
    let date = name.strip_prefix("turn_").and_then(|rest| rest.strip_suffix(".log")).expect(name);
    assert!(date.len() == 10 && date.starts_with("20"), "{name}");
}

#[test]
fn no_stdout_log_keeps_a_file_log_off_standard_output() {
    let directory = Directory::new();
    let (log, ip) = (directory.file("turn.log"), loopback_address().to_string());
    let arguments = ["-n", "--no-auth", "-L", &ip, "-l", &log, "--simple-log", "--no-stdout-log"];
    let program = Program::start(TURNSERVER, &arguments);
    // Nothing is said here, so its service is what tells that it is ready.
    TurnClient::stranger(format!("{ip}:3478").parse().unwrap()).allocate();
    let finished = program.stop("TERM");
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), ""));
    assert!(read(&log).contains("Total auth threads: 1"));
}

#[test]
fn records_are_time_level_and_message_with_a_choice_of_time() {
    let server = Server::start(&[]);
    for line in server.program.so_far().lines() {
        let mut words = line.splitn(3, ' ');
        let (time, level) = (words.next().unwrap(), words.next().unwrap());
        assert!(time.len() == "2026-11-24T10:20:30.500+0100".len() && time.as_bytes()[10] == b'T', "{line}");
        assert!(["INFO", "WARNING", "ERROR"].contains(&level), "{line}");
    }
    let server = Server::start(&["--new-log-timestamp=no"]);
    assert!(server.program.so_far().contains("0: INFO Total auth threads: 1"));
    let server = Server::start(&["--new-log-timestamp-format=%H.%M"]);
    assert!(
        server.program.so_far().lines().all(|line| line.as_bytes()[2] == b'.' && line.as_bytes()[5] == b' ')
    );
}

#[test]
fn the_least_level_silences_what_is_below_it() {
    let directory = Directory::new();
    let (log, ip) = (directory.file("turn.log"), loopback_address().to_string());
    let option = "--raw-public-keys";
    let arguments =
        ["-n", "--no-auth", "-L", &ip, "-l", &log, "--simple-log", "--log-min-level=warning", option];
    let mut program = Program::start(TURNSERVER, &arguments);
    program.expect("raw-public-keys has no effect yet");
    program.signal("TERM");
    let finished = program.finish();
    assert!(finished.stdout.lines().all(|line| line.contains(" WARNING ")), "{}", finished.stdout);
    assert_eq!(read(&log), finished.stdout);
}

#[test]
fn a_username_cannot_forge_a_record() {
    let mut server = Server::start(&[]);
    let forged = "x> processed\n2026-01-01T00:00:00.000+0000 INFO \u{1b}[31mforged";
    assert!(TurnClient::classic(server.address, forged, "x").try_allocate(Default::default()).is_err());
    let line = server.expect("check_stun_auth");
    assert!(line.contains("\\n2026-01-01") && line.contains("\\u{1b}[31mforged"), "{line}");
}
