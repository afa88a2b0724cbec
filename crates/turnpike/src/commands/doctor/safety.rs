//! What the configuration says, and what it leaves open to others.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;

use turnpike_config::{Password, PeerRange, Severity as NoticeSeverity};

use super::Patient;
use crate::findings::Finding;

pub(super) fn configuration(patient: &Patient) -> Vec<Finding> {
    const ID: &str = "configuration";
    let loaded = match &patient.loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            let fix =
                "until that is mended the server does not start; all else here is judged by the defaults";
            return vec![Finding::error(ID, error.as_str(), fix)];
        }
    };
    let file = match &loaded.file {
        Some(path) => path.display().to_string(),
        None => "no file; command line and defaults".to_owned(),
    };
    let mut findings = vec![Finding::ok(ID, file)];
    for notice in &loaded.notices {
        let evidence = format!("{}: {}", notice.origin, notice.text);
        findings.push(match notice.severity {
            NoticeSeverity::Info => Finding::note(ID, evidence, ""),
            NoticeSeverity::Warning => Finding::warning(ID, evidence, "see docs/configuration.md"),
        });
    }
    findings
}

pub(super) fn who_may_relay(patient: &Patient) -> Vec<Finding> {
    const ID: &str = "who-may-relay";
    let config = &patient.config;
    if config.stun_only {
        return vec![Finding::ok(ID, "nobody, and nobody should (stun-only)")];
    }
    if config.no_auth {
        return vec![Finding::error(
            ID,
            "everybody relays without a password (no-auth)",
            "give use-auth-secret and static-auth-secret, or users, unless this network is closed",
        )];
    }
    let database = if config.databases.database.is_some() { ", and whom the database knows" } else { "" };
    let (users, secrets, keys) = (config.users.len(), config.secrets.len(), config.oauth_keys.len());
    if users + secrets + keys == 0 && database.is_empty() {
        let fix = "give use-auth-secret and static-auth-secret=SECRET, or user=NAME:PASSWORD; turnpike up makes a secret";
        return vec![Finding::error(ID, "nobody: there are no users, no secrets and no database", fix)];
    }
    vec![Finding::ok(
        ID,
        format!("{users} users, {secrets} REST secrets and {keys} keys of access tokens here{database}"),
    )]
}

/// Never shows a secret, nor how it begins.
pub(super) fn secrets(patient: &Patient) -> Vec<Finding> {
    const ID: &str = "secrets";
    let config = &patient.config;
    let mut findings = Vec::new();
    let secrets = config
        .secrets
        .iter()
        .enumerate()
        .map(|(number, secret)| (format!("static-auth-secret number {}", number + 1), secret.expose()));
    let nonce =
        config.nonce_secret.iter().map(|secret| ("stateless-nonce-secret".to_owned(), secret.expose()));
    let fix = "use a random one, such as of openssl rand -base64 32; REST secrets may overlap while clients change over";
    for (what, secret) in secrets.chain(nonce) {
        if is_example(secret) {
            findings.push(Finding::error(ID, format!("{what} is one that stands in examples"), fix));
        } else if bits(secret) < ENOUGH_BITS {
            let evidence = format!(
                "{what} has {} characters: it can be guessed from a single credential",
                secret.chars().count()
            );
            findings.push(Finding::warning(ID, evidence, fix));
        }
    }
    for user in &config.users {
        let Password::Clear(password) = &user.password else { continue };
        if is_example(password.expose()) || password.expose() == user.name {
            let evidence = format!("the password of user {:?} is one that stands in examples", user.name);
            findings.push(Finding::error(ID, evidence, "give him another"));
        } else if bits(password.expose()) < 40.0 {
            let evidence = format!("the password of user {:?} is short", user.name);
            findings.push(Finding::warning(ID, evidence, "ten characters or more, best of a generator"));
        }
    }
    if findings.is_empty() {
        let count = config.secrets.len() + config.users.len();
        findings.push(Finding::ok(ID, format!("{count} looked at, none weak")));
    }
    findings
}

/// How much there is to guess, if every character was drawn from what its kind suggests.
fn bits(secret: &str) -> f64 {
    let any = |test: fn(&char) -> bool| secret.chars().any(|character| test(&character));
    let hexadecimal = secret.chars().all(|character| character.is_ascii_hexdigit());
    let mut alphabet = 0.0;
    for (present, size) in [
        (any(char::is_ascii_digit), 10.0),
        (any(char::is_ascii_lowercase), if hexadecimal { 6.0 } else { 26.0 }),
        (any(char::is_ascii_uppercase), if hexadecimal { 6.0 } else { 26.0 }),
        (any(|character| !character.is_ascii_alphanumeric()), 16.0),
    ] {
        alphabet += if present { size } else { 0.0 };
    }
    let mut distinct: Vec<char> = secret.chars().collect();
    distinct.sort_unstable();
    distinct.dedup();
    // A word of one letter is none.
    let alphabet = f64::min(alphabet, distinct.len() as f64 * 2.0);
    secret.chars().count() as f64 * alphabet.max(1.0).log2()
}

fn is_example(secret: &str) -> bool {
    EXAMPLES.contains(&secret.to_ascii_lowercase().as_str())
}

pub(super) fn secret_files(patient: &Patient) -> Vec<Finding> {
    const ID: &str = "secret-files";
    let Ok(loaded) = &patient.loaded else { return Vec::new() };
    let mut findings = Vec::new();
    if let Some(path) = &loaded.file {
        let origin = path.display().to_string();
        let holds = loaded
            .settings
            .iter()
            .any(|setting| setting.origin.starts_with(&origin) && setting.value.contains("[redacted]"));
        let mode = std::fs::metadata(path).map(|metadata| metadata.permissions().mode() & 0o777);
        if let (true, Ok(mode)) = (holds, mode) {
            findings.push(match mode & 0o004 != 0 {
                true => Finding::warning(
                    ID,
                    format!(
                        "{origin} holds secrets, and everybody on this machine may read it (mode {mode:04o})"
                    ),
                    format!("chown root:turnserver {origin}; chmod 640 {origin}"),
                ),
                false => Finding::ok(ID, format!("{origin}: mode {mode:04o}")),
            });
        }
    }
    for (process, _) in patient.system.processes().iter().filter(|(_, name)| is_server(name)) {
        let line = patient.system.read(&format!("/proc/{process}/cmdline")).unwrap_or_default();
        if shows_secret(&line) {
            findings.push(Finding::warning(
                ID,
                format!(
                    "process {process} was given a secret on its command line, which ps shows to everybody"
                ),
                "put it into the configuration file",
            ));
        }
    }
    findings
}

/// Whether the words of a command line, each ended by NUL, hold a secret.
fn shows_secret(line: &str) -> bool {
    let words: Vec<&str> = line.split('\0').collect();
    let is_user = |word: Option<&&str>| word.is_some_and(|word| word.contains(':'));
    words.iter().enumerate().any(|(at, word)| {
        let option = word.trim_start_matches('-');
        let is_attached = word.starts_with("-u") && word.contains(':');
        let is_next = matches!(*word, "-u" | "--user") && is_user(words.get(at + 1));
        word.starts_with('-') && SHOWING.iter().any(|name| option.starts_with(name)) || is_attached || is_next
    })
}

/// A program that serves, by the name of its process.
pub(super) fn is_server(name: &str) -> bool {
    name.starts_with("turnserver") || name.starts_with("turnpike")
}

pub(super) fn peers(patient: &Patient) -> Vec<Finding> {
    const ID: &str = "peers";
    let config = &patient.config;
    if config.stun_only {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let fix = "open single addresses instead: allowed-peer-ip=ADDRESS";
    for range in &config.allowed_peers {
        let shown = show(range);
        if let Some((ip, what)) = DANGEROUS.iter().find(|(ip, _)| contains(range, ip)) {
            let evidence = format!("allowed-peer-ip={shown} opens {ip}, {what}, to every user");
            findings.push(Finding::error(ID, evidence, fix));
        } else if let Some(own) = own_in(range, patient) {
            let evidence = format!(
                "allowed-peer-ip={shown} opens this very host ({own}) to every user, its listeners excepted"
            );
            findings.push(Finding::warning(ID, evidence, fix));
        } else if let Some((_, name)) = WHOLE.iter().find(|(ip, _)| contains(range, ip)) {
            let evidence = format!("allowed-peer-ip={shown} opens a great part of {name}");
            findings.push(Finding::note(ID, evidence, fix));
        }
    }
    if config.allow_loopback_peers {
        findings.push(Finding::warning(
            ID,
            "allow-loopback-peers lets users reach whatever listens on 127.0.0.1: databases, metrics, control",
            "leave it out but for tests",
        ));
    }
    if config.server_relay && !config.multiplex {
        findings.push(Finding::warning(
            ID,
            "server-relay lets data pass without permissions",
            "leave it out",
        ));
    }
    if findings.is_empty() {
        findings
            .push(Finding::ok(ID, format!("{} ranges opened, none dangerous", config.allowed_peers.len())));
    }
    findings
}

fn own_in(range: &PeerRange, patient: &Patient) -> Option<IpAddr> {
    patient.addresses.as_ref()?.own.iter().copied().find(|own| lies_in(range, *own))
}

fn contains(range: &PeerRange, ip: &str) -> bool {
    ip.parse().is_ok_and(|ip| lies_in(range, ip))
}

fn lies_in(range: &PeerRange, ip: IpAddr) -> bool {
    ip.is_ipv4() == range.first.is_ipv4() && range.first <= ip && ip <= range.last
}

fn show(range: &PeerRange) -> String {
    match range.first == range.last {
        true => range.first.to_string(),
        false => format!("{}-{}", range.first, range.last),
    }
}

pub(super) fn limits(patient: &Patient) -> Vec<Finding> {
    const ID: &str = "limits";
    let config = &patient.config;
    if config.stun_only {
        return Vec::new();
    }
    let unbounded: Vec<&str> = [
        (config.user_quota == 0, "user-quota"),
        (config.total_quota == 0, "total-quota"),
        (config.max_bps == 0 && config.bps_capacity == 0, "max-bps"),
    ]
    .into_iter()
    .filter_map(|(unset, name)| unset.then_some(name))
    .collect();
    match unbounded.is_empty() {
        true => vec![Finding::ok(ID, "allocations and bandwidth are bounded")],
        false => vec![Finding::note(
            ID,
            format!("not set: {}", unbounded.join(", ")),
            "one user can take every port and all bandwidth; for a video call count four allocations a user",
        )],
    }
}

/// From coturn's examples and from guides that people paste.
const EXAMPLES: [&str; 22] = [
    "north",
    "logen",
    "changeme",
    "change-me",
    "secret",
    "mysecret",
    "supersecret",
    "password",
    "passw0rd",
    "test",
    "turn",
    "turnserver",
    "coturn",
    "youhavetoberealistic",
    "hero",
    "world",
    "openrelayproject",
    "somepassword",
    "your-secret",
    "yoursecret",
    "static-auth-secret",
    "123456",
];

/// Options whose value is a secret, as they stand on a command line.
const SHOWING: [&str; 4] = ["static-auth-secret", "user=", "oauth-key", "stateless-nonce-secret"];

/// Whether whoever reaches this address reaches the host itself, or what gives out its credentials.
pub(crate) fn is_dangerous(peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    peer.is_loopback() || DANGEROUS.iter().any(|(ip, _)| ip.parse() == Ok(peer))
}

const DANGEROUS: [(&str, &str); 5] = [
    ("169.254.169.254", "the cloud's metadata service with this machine's credentials"),
    ("fd00:ec2::254", "the cloud's metadata service with this machine's credentials"),
    ("100.100.100.200", "the cloud's metadata service"),
    ("127.0.0.1", "this host's loopback"),
    ("::1", "this host's loopback"),
];

/// A middle address of each large private range.
const WHOLE: [(&str, &str); 4] = [
    ("10.128.0.1", "10.0.0.0/8"),
    ("172.24.0.1", "172.16.0.0/12"),
    ("192.168.128.1", "192.168.0.0/16"),
    ("fd80::1", "the private IPv6 range"),
];

const ENOUGH_BITS: f64 = 80.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::tests::patient;
    use crate::findings::Severity;
    use turnpike_config::{Config, Secret};

    fn worst(config: Config, check: fn(&Patient) -> Vec<Finding>) -> (Severity, String) {
        let finding = check(&patient(config)).into_iter().max_by_key(|finding| finding.severity).unwrap();
        (finding.severity, finding.evidence)
    }

    #[test]
    fn secrets_on_a_command_line_are_seen_in_every_spelling() {
        for shown in
            ["--user=a:b", "--user\0a:b", "-u\0a:b", "-ua:b", "--static-auth-secret=x", "--oauth-key=x"]
        {
            assert!(shows_secret(&format!("turnserver\0-n\0{shown}\0")), "{shown}");
        }
        for harmless in ["--userdb=/var/lib/turn/turndb", "-v\0--user-quota=5", "-c\0/etc/user=.conf"] {
            assert!(!shows_secret(&format!("turnserver\0{harmless}\0")), "{harmless}");
        }
    }

    #[test]
    fn secrets_are_judged_and_never_shown() {
        for (secret, expected) in [
            ("north", Severity::Error),
            ("geheimes1", Severity::Warning),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Severity::Warning),
            ("f3a9c01b77d24e5f90aa13c28e6b4d11", Severity::Ok),
            ("hR7vD0q2Lw9sXk3TzB6nYc1M", Severity::Ok),
        ] {
            let config = Config { secrets: vec![Secret::new(secret)], ..Config::default() };
            let (severity, evidence) = worst(config, secrets);
            assert_eq!(severity, expected, "{secret}");
            assert!(!evidence.contains(secret), "{evidence}");
        }
    }

    #[test]
    fn ranges_that_open_host_or_cloud_are_told_of() {
        let of = |range: &str| {
            let config = Config { allowed_peers: vec![range.parse().unwrap()], ..Config::default() };
            worst(config, peers).0
        };
        assert_eq!(of("0.0.0.0-255.255.255.255"), Severity::Error);
        assert_eq!(of("169.254.0.0/16"), Severity::Error);
        assert_eq!(of("10.0.0.0/8"), Severity::Note);
        assert_eq!(of("10.1.2.3"), Severity::Ok);
        let loopback = Config { allow_loopback_peers: true, ..Config::default() };
        assert_eq!(worst(loopback, peers).0, Severity::Warning);
    }

    #[test]
    fn an_open_relay_and_an_empty_one_are_errors() {
        assert_eq!(worst(Config { no_auth: true, ..Config::default() }, who_may_relay).0, Severity::Error);
        assert_eq!(worst(Config::default(), who_may_relay).0, Severity::Error);
        let config = Config { secrets: vec![Secret::new("x")], ..Config::default() };
        assert_eq!(worst(config, who_may_relay).0, Severity::Ok);
    }
}
