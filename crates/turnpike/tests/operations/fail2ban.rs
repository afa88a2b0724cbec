//! The fail2ban filter in `deploy`, by `fail2ban-regex` on real logs of each form.

use std::path::Path;

use crate::client::TurnClient;
use crate::harness::{Directory, Finished, Server, run};

const PROGRAM: &str = "/usr/bin/fail2ban-regex";

/// The addresses that the filter finds, one for each line that it takes for a failure.
fn found(log: &str) -> Vec<String> {
    let filter = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/fail2ban/filter.d/turnpike.conf");
    // The filter includes one of Debian's, which is found beside it.
    let directory = Directory::new();
    let filter = directory.write("turnpike.conf", &std::fs::read_to_string(filter).unwrap());
    std::fs::copy("/etc/fail2ban/filter.d/common.conf", directory.file("common.conf")).unwrap();
    let finished: Finished = run(PROGRAM, &["-o", "ip", log, &filter]);
    assert_eq!(finished.code, Some(0), "{}{}", finished.stdout, finished.stderr);
    finished.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn the_filter_finds_refused_credentials_in_every_form_and_nothing_else() {
    if !Path::new(PROGRAM).exists() {
        println!("skipped: this test needs fail2ban");
        return;
    }
    let directory = Directory::new();
    for format in ["coturn", "json", "logfmt"] {
        let log = directory.file(format);
        let server = Server::start(&[
            "-l",
            &log,
            "--simple-log",
            "--log-format",
            format,
            "--static-auth-secret=s",
            "--stale-nonce=0",
        ]);
        // Whoever is let in counts as nothing, and neither does the first 401 that everybody gets.
        let mut friend = TurnClient::classic(server.address, "hello", "world");
        friend.allocate();
        assert!(friend.permit([192, 168, 1, 5].into()).is_err());
        // A name that says it were another line, of another client.
        let forged = "x (client 203.0.113.9:5, reason: unknown_user)";
        let forged_json =
            "x\",\"client\":\"203.0.113.9:5\",\"server\":\"a\",\"transport\":\"UDP\",\"reason\":\"x\"}";
        let forged_pairs = "x client=203.0.113.9:5 server=a transport=UDP reason=x";
        let names = ["hello", "nobody", "1700000000:expired", forged, forged_json, forged_pairs];
        for name in names {
            let mut stranger = TurnClient::classic(server.address, name, "guessed");
            assert!(stranger.try_allocate(Default::default()).is_err());
        }
        assert_eq!(server.program.stop("TERM").code, Some(0));
        assert_eq!(
            found(&log),
            vec!["127.0.0.1"; names.len()],
            "{format}: {}",
            std::fs::read_to_string(&log).unwrap()
        );
    }
}

#[test]
fn the_filter_finds_addresses_of_both_families_and_lines_as_syslog_has_them() {
    if !Path::new(PROGRAM).exists() {
        println!("skipped: this test needs fail2ban");
        return;
    }
    let directory = Directory::new();
    let failure = "WARNING check_stun_auth: user <a> credentials are incorrect";
    let lines = [
        format!("2026-11-24T10:20:30.500+0100 {failure} (client 198.51.100.7:5000, reason: wrong_password)"),
        format!("2026-11-24T10:20:30.500+0100 {failure} (client [2001:db8::7]:5000, reason: expired 3 h 2 min ago)"),
        // Whose source may be forged.
        "2026-11-24T10:20:30.500+0100 WARNING 401 rate-limit exceeded from 198.51.100.8, suppressing responses for \
         this window"
            .to_owned(),
        format!(
            "Nov 24 10:20:30 turn-1 turnserver[77]: 2026-11-24T10:20:30.500+0100 {failure} \
             (client 198.51.100.9:5000, reason: wrong_password)"
        ),
        "{\"time\":\"2026-11-24T10:20:30.500+01:00\",\"level\":\"warning\",\"event\":\"source_limited\",\
         \"client\":\"2001:db8::8\",\"reason\":\"rate_limited\"}"
            .to_owned(),
        "time=2026-11-24T10:20:30.500+01:00 level=warning event=authentication_failed user=a \
         client=[2001:db8::9]:5000 server=[2001:db8::1]:3478 transport=UDP reason=expired expired=70"
            .to_owned(),
    ];
    let log = directory.write("log", &format!("{}\n", lines.join("\n")));
    assert_eq!(found(&log), ["198.51.100.7", "2001:db8::7", "198.51.100.9", "2001:db8::9"]);
}
