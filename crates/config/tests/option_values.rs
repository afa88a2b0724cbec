//! Every option of coturn with every kind of value it takes there, on the command line and in a file.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::ffi::OsString;
use std::io;
use std::path::Path;

use turnpike_config::{Command, Environment, Loaded, load, options};

struct World(String);

impl Environment for World {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match path.to_str() {
            Some("/turnserver.conf") => Ok(self.0.clone().into_bytes()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn host_name(&self) -> String {
        "relay1".to_owned()
    }
}

/// Loads `words` and a file; credentials of some kind are always there.
fn run(words: &[String], file: &str) -> Result<Loaded, String> {
    let base = ["-c", "/turnserver.conf", "--static-auth-secret=s"].map(String::from);
    let line = base.iter().chain(words).map(OsString::from);
    match load(line, &World(file.to_owned())) {
        Ok(Command::Run(loaded)) => Ok(loaded),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

/// What an option with this value must come to: it counts, or it is refused for a reason that names it.
fn assert_understood(name: &str, value: &str, outcome: Result<Loaded, String>) {
    let spec = options::find(name).unwrap();
    let refused = REFUSED.iter().find(|(refused, values, _)| *refused == name && values.contains(&value));
    match (outcome, refused) {
        (Ok(loaded), None) => {
            let set = loaded.settings.iter().any(|setting| setting.name == spec.name());
            assert!(set, "{name}={value} is not among what was set");
        }
        (Err(problem), Some((_, _, why))) => assert!(problem.contains(why), "{name}={value}: {problem}"),
        (Ok(_), Some(_)) => panic!("{name}={value} is accepted"),
        (Err(problem), None) => panic!("{name}={value} is refused: {problem}"),
    }
}

fn is_a_verb(name: &str) -> bool {
    matches!(options::find(name).map(|option| option.effect), Some(options::Effect::Verb(_)))
}

#[test]
fn every_option_with_a_value_takes_every_kind_coturn_takes() {
    for (names, values) in VALUES {
        for name in *names {
            for value in *values {
                let attached = [format!("--{name}={value}")];
                assert_understood(name, value, run(&attached, ""));
                let apart = [format!("--{name}"), (*value).to_owned()];
                // A value that may be left out has to be attached, as in coturn.
                if options::find(name).unwrap().bare.is_none() {
                    assert_understood(name, value, run(&apart, ""));
                }
                for separator in ["=", " ", " = ", "\t"] {
                    assert_understood(name, value, run(&[], &format!("{name}{separator}{value}\n")));
                }
                assert_understood(name, value, run(&[], &format!("{name}=\"{value}\" # why\n")));
            }
        }
    }
}

#[test]
fn every_switch_takes_every_word_for_on_and_off() {
    let with_values: Vec<&str> = VALUES.iter().flat_map(|(names, _)| names.iter().copied()).collect();
    let mut switches = 0;
    for name in include_str!("coturn_option_names.txt").split_ascii_whitespace() {
        if with_values.contains(&name) || is_a_verb(name) {
            continue;
        }
        switches += 1;
        let spec = options::find(name).unwrap();
        assert!(spec.is_switch(), "{name} takes values, but none are tried");
        assert_understood(name, "", run(&[format!("--{name}")], ""));
        assert_understood(name, "", run(&[], &format!("{name}\n")));
        for on in ["yes", "true", "on", "ON", "1", "Y"] {
            assert_understood(name, "", run(&[format!("--{name}={on}")], ""));
            assert_understood(name, "", run(&[], &format!("{name}={on}\n")));
        }
        for off in ["no", "false", "off", "OFF", "0", "n"] {
            let loaded = run(&[format!("--{name}={off}")], "");
            // Without the secret that the base configuration has, nobody could come in.
            let needed = name == "use-auth-secret";
            assert_eq!(loaded.is_ok(), !needed, "{name}={off}: {loaded:?}");
            assert_eq!(run(&[], &format!("{name} {off}\n")).is_ok(), !needed, "{name} {off}");
        }
        let problem = run(&[format!("--{name}=perhaps")], "");
        let obsolete = matches!(spec.effect, options::Effect::Obsolete(_));
        assert_eq!(problem.is_err(), !obsolete, "{name}=perhaps: {problem:?}");
    }
    assert!(switches > 60, "{switches}");
}

#[test]
fn numbers_may_be_left_out_where_coturn_has_a_number_for_that() {
    for name in [
        "stale-nonce",
        "max-allocate-lifetime",
        "channel-lifetime",
        "permission-lifetime",
        "unauthorized-ratelimit-rps",
    ] {
        assert_understood(name, "", run(&[format!("--{name}")], ""));
        assert_understood(name, "", run(&[], &format!("{name}\n")));
    }
}

#[test]
fn every_letter_of_coturn_takes_its_value_apart_and_attached() {
    for (letter, value) in [
        ("d", "eth0"),
        ("p", "3479"),
        ("L", "127.0.0.1"),
        ("E", "127.0.0.1"),
        ("X", "203.0.113.7"),
        ("i", "eth0"),
        ("m", "2"),
        ("l", "/tmp/t.log"),
        ("r", "example.org"),
        ("u", "a:b"),
        ("b", "/t.db"),
        ("e", "host=db"),
        ("B", "0"),
        ("M", "host=db"),
        ("J", "mongodb://db/t"),
        ("N", "ip=db"),
        ("O", "ip=db"),
        ("q", "1"),
        ("Q", "1"),
        ("s", "0"),
        ("C", "|"),
        ("K", "yes"),
        ("A", "keep"),
    ] {
        for words in [vec![format!("-{letter}"), value.to_owned()], vec![format!("-{letter}{value}")]] {
            let loaded = run(&words, "").unwrap_or_else(|problem| panic!("{words:?}: {problem}"));
            let option = options::all().find(|option| option.short == letter.chars().next()).unwrap();
            let shown = loaded.settings.iter().filter(|setting| setting.name == option.name()).count();
            assert_eq!(shown, 1, "{words:?}");
        }
    }
    for letter in ["v", "V", "o", "f", "a", "S"] {
        run(&[format!("-{letter}")], "").unwrap_or_else(|problem| panic!("-{letter}: {problem}"));
    }
    assert!(run(&["-z".to_owned()], "").unwrap_err().contains("no-auth contradicts"), "beside a secret");
}

type Row = (&'static [&'static str], &'static [&'static str]);

/// Options that take values, with one of each kind.
const VALUES: &[Row] = &[
    (&["listening-device", "relay-device"], &["eth0", "wg-turn.7"]),
    (&["listening-port", "tls-listening-port", "tcp-proxy-port"], &["3478", "443", "65535"]),
    (&["alt-listening-port", "alt-tls-listening-port"], &["0", "3479"]),
    (&["listening-ip", "relay-ip"], &["127.0.0.1", "::1", "[::1]", "0.0.0.0", "::"]),
    (&["aux-server"], &["127.0.0.1:3479", "[::1]:3479"]),
    (&["sock-buf-size"], &["0", "1048576"]),
    (
        &["external-ip"],
        &["203.0.113.7", "203.0.113.7/10.0.0.1", "2001:db8::7", "2001:db8::7/fd00::7", "auto"],
    ),
    (&["external-ip-stun"], &["stun.example.org", "192.0.2.1:3479", "[2001:db8::1]:3479"]),
    (&["external-ip-metadata"], &["auto", "off", "aws,gcp", "http://127.0.0.1:8080"]),
    (&["external-ip-period"], &["0", "60", "86400"]),
    (&["min-port"], &["1024", "49152", "65535"]),
    (&["max-port"], &["49152", "65535"]),
    (&["relay-threads"], &["0", "1", "128"]),
    (&["cpus"], &["1", "128"]),
    (&["allocation-default-address-family"], &["ipv4", "ipv6", "keep"]),
    (&["multiplex-peer-port"], &["3480", "65000"]),
    (&["multiplex-peer-max-peers"], &["1", "65535"]),
    (&["user"], &["a:b", "a:b:c", "1700000000:a", "\u{e9}:\u{e8}", "a:0x0123456789abcdef0123456789ABCDEF"]),
    (&["realm", "server-name"], &["example.org", "two words", "\u{4f8b}"]),
    (&["static-auth-secret", "stateless-nonce-secret"], &["s", "a#b;c=d", "two words"]),
    (&["rest-api-separator"], &[":", "|", ";"]),
    (&["stale-nonce"], &["0", "600", "86400"]),
    (&["userdb", "db"], &["/var/lib/turn/turndb", ""]),
    (&["psql-userdb", "sql-userdb"], &["host=db dbname=t user=u password=p", "postgresql://u:p@db/t"]),
    (&["mysql-userdb", "redis-userdb", "redis-statsdb"], &["host=db dbname=t user=u password=p port=1"]),
    (&["mongo-userdb"], &["mongodb://u:p@db:27017/t?ssl=true"]),
    (&["secret-key-file", "cert", "pkey", "CA-file", "dh-file"], &["/etc/ssl/turn.pem", "turn.pem"]),
    (&["prometheus-cert", "prometheus-key"], &["/etc/ssl/turn.pem"]),
    (&["pkey-pwd", "cipher-list", "ec-curve-name"], &["ECDHE+AESGCM:!aNULL", "prime256v1"]),
    (&["user-quota", "total-quota"], &["0", "12", "4294967295"]),
    (&["max-bps", "bps-capacity"], &["0", "64000"]),
    (&["max-allocate-lifetime"], &["600", "3600"]),
    (&["channel-lifetime", "permission-lifetime", "max-allocate-timeout"], &["1", "600"]),
    (&["unauthorized-ratelimit-rps"], &["1", "10"]),
    (
        &["allowed-peer-ip", "denied-peer-ip"],
        &["10.0.0.1", "10.0.0.1-10.0.0.9", "10.0.0.0/8", "fd00::/8", "::1-::9"],
    ),
    (
        &["alternate-server", "tls-alternate-server"],
        &["203.0.113.7", "203.0.113.7:3478", "[2001:db8::7]:3478"],
    ),
    (&["udp-alternate-server", "tcp-alternate-server"], &["203.0.113.7", "203.0.113.7:3478"]),
    (&["proxy-from"], &["10.0.0.2", "10.0.0.2-10.0.0.9", "10.0.0.0/8", "fd00::/8"]),
    (&["log-file"], &["/var/log/turn.log", "stdout", "-", "syslog"]),
    (&["syslog-facility"], &["LOG_LOCAL1", "log_daemon"]),
    (&["log-min-level"], &["debug", "info", "warning", "error", "INFO"]),
    (&["new-log-timestamp-format"], &["%FT%T.%f%z", "%H:%M"]),
    (&["prometheus-port", "cli-port", "web-admin-port"], &["9641"]),
    (&["prometheus-address", "cli-ip", "web-admin-ip"], &["127.0.0.1", "::1"]),
    (&["prometheus-path"], &["/metrics", "/turn/metrics"]),
    (&["prometheus-user"], &["prometheus", "alice"]),
    (&["prometheus-password-file"], &["/etc/turnpike/prometheus-password", ""]),
    (&["health-port"], &["0", "8086"]),
    (&["health-address"], &["127.0.0.1", "::", "10.0.0.1"]),
    (
        &["cli-password"],
        &["qwerty", "$5$79a316b350311570$81df9cfb9af7f5e5a76eada31e7097b663a0670f99a3c07ded3f1c8e59c5658a"],
    ),
    (&["cli-max-output-sessions", "drain-min-allocations"], &["0", "256"]),
    (&["acme-redirect"], &["http://redirectserver/.well-known/acme-challenge/"]),
    (&["pidfile"], &["/run/turnserver.pid", ""]),
    (&["proc-user", "proc-group"], &["turnserver"]),
];

/// What this version rather refuses than does wrongly, and why.
const REFUSED: &[(&str, &[&str], &str)] =
    &[("bps-capacity", &["64000"], "bps-capacity needs max-bps"), ("no-auth", &[""], "no-auth contradicts")];
