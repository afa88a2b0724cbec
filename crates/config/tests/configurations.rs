//! Configurations as people write them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use turnpike_config::{
    Command, Environment, Loaded, PeerRange, Report, Severity, help, load, options, sample,
};

#[derive(Default)]
struct World(HashMap<PathBuf, Vec<u8>>);

impl World {
    fn with(path: &str, text: &str) -> Self {
        World(HashMap::from([(path.into(), text.as_bytes().to_vec())]))
    }
}

impl Environment for World {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn host_name(&self) -> String {
        "relay1".to_owned()
    }
}

fn words(line: &str) -> Vec<OsString> {
    line.split_ascii_whitespace().map(OsString::from).collect()
}

fn run_in(world: &World, line: &str) -> Result<Loaded, String> {
    match load(words(line), world) {
        Ok(Command::Run(loaded)) => Ok(loaded),
        Ok(other) => Err(format!("{other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

fn run(line: &str) -> Result<Loaded, String> {
    run_in(&World::default(), line)
}

fn file(text: &str) -> Result<Loaded, String> {
    run_in(&World::with("/etc/turnserver.conf", text), "")
}

fn refusal(line: &str) -> String {
    run(line).err().unwrap_or_else(|| panic!("{line} is accepted"))
}

#[test]
fn the_line_that_tutorials_start_with_works() {
    let loaded =
        run("-v --lt-cred-mech --user hello:world --realm example.org --external-ip 203.0.113.7").unwrap();
    let config = loaded.config;
    assert!(config.verbose && config.long_term);
    assert_eq!((config.users[0].name.as_str(), config.realm.as_str()), ("hello", "example.org"));
    assert_eq!(config.external[0].public.to_string(), "203.0.113.7");
}

#[test]
fn a_server_without_credentials_does_not_start_and_says_the_two_ways_out() {
    for line in ["-n", "-n --lt-cred-mech", "-n --use-auth-secret", "-n --userdb=/var/db/turndb"] {
        let text = refusal(line);
        assert!(text.contains("turnpike up") && text.contains("no-auth"), "{line}: {text}");
    }
    assert!(run("-n --no-auth").is_ok() && run("-n --stun-only").is_ok());
    assert!(refusal("-n --no-auth --user=a:b").contains("contradicts"));
}

#[test]
fn static_users_and_rest_secrets_work_together() {
    let config =
        file("lt-cred-mech\nuse-auth-secret\nstatic-auth-secret=one\nstatic-auth-secret=two\nuser=a:b\n")
            .unwrap()
            .config;
    assert_eq!((config.secrets.len(), config.users.len()), (2, 1));
    assert_eq!(config.realm, "relay1");
}

#[test]
fn a_file_as_synapse_and_nextcloud_guides_have_it_is_read() {
    let loaded = file(
        "use-auth-secret\nstatic-auth-secret=0123abcd # keep it secret\nrealm=turn.example.org\n\
         no-tcp-relay\nno-multicast-peers\nno-tls\nno-dtls\ndenied-peer-ip=10.0.0.0-10.255.255.255\n\
         denied-peer-ip=192.168.0.0/16\nallowed-peer-ip=10.0.0.1\nuser-quota=12\ntotal-quota=1200\n\
         fingerprint\nlt-cred-mech\nmin-port=49152\nmax-port=65535\nno-loopback-peers\nno-cli\n",
    )
    .unwrap();
    assert_eq!(loaded.config.denied_peers[1], "192.168.0.0/16".parse::<PeerRange>().unwrap());
    assert_eq!((loaded.config.user_quota, loaded.config.total_quota), (12, 1200));
    let warnings: Vec<_> = loaded.notices.iter().filter(|it| it.severity == Severity::Warning).collect();
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn the_command_line_wins_over_the_file_and_lists_add_up() {
    let world = World::with(
        "turnserver.conf",
        "realm=file\nno-auth\nlistening-port=1000\nallowed-peer-ip=10.0.0.1\n",
    );
    let config = run_in(&world, "--realm=line --allowed-peer-ip 10.0.0.2 -p1001").unwrap().config;
    assert_eq!((config.realm.as_str(), config.listening_port, config.allowed_peers.len()), ("line", 1001, 2));
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_name() {
    let loaded = file("no-auth\nlistning-port=3478\n").unwrap();
    let notice = &loaded.notices.iter().find(|notice| notice.origin.contains(":2")).unwrap();
    assert_eq!(notice.origin, "/etc/turnserver.conf:2");
    assert!(notice.text.contains("listening-port"), "{}", notice.text);
    assert!(!Report(&loaded).is_clean());
}

#[test]
fn a_false_switch_is_off_whatever_the_option() {
    assert!(refusal("-n --use-auth-secret=false").contains("no credentials"));
    assert!(!run("-n --no-auth --verbose=no").unwrap().config.verbose);
    assert!(refusal("-n --no-auth --verbose=maybe").contains("neither true nor false"));
}

#[test]
fn wrong_values_name_their_place_range_and_unit() {
    assert!(refusal("-n --no-auth -p 70000").contains("a port from 1 to 65535"));
    let text = file("no-auth\nallowed-peer-ip=10.0.0.300\n").unwrap_err();
    assert!(text.starts_with("/etc/turnserver.conf:2: allowed-peer-ip:"), "{text}");
    assert!(refusal("-n --no-auth --min-port 60000 --max-port 50000").contains("swap"));
    assert!(refusal("-n --no-auth --no-udp-relay --no-tcp-relay").contains("stun-only"));
    assert!(refusal("-n --no-auth --verbos3").contains("did you mean --verbose?"));
    assert!(refusal("-c /nowhere.conf").contains("no such file"));
}

#[test]
fn what_this_version_does_not_have_is_said_plainly() {
    let loaded = run("-n --no-auth --cert=/x.pem --mobility --no-tls").unwrap();
    let texts: Vec<_> = loaded.notices.iter().map(|notice| notice.text.as_str()).collect();
    assert!(
        texts
            .iter()
            .any(|text| text.contains("cert has no effect yet: this version does not have TLS listeners"))
    );
    assert!(texts.iter().any(|text| text.contains("mobility has no effect yet")));
}

#[test]
fn secrets_reach_neither_report_nor_debug_output() {
    let loaded =
        run("-n --user=a:hunter2 --user=b:0x0123456789abcdef0123456789abcdef --static-auth-secret=hunter2 \
         --stateless-nonce-secret=hunter2 --psql-userdb=password=hunter2")
        .unwrap();
    let shown = format!("{:?}{}", loaded, Report(&loaded));
    assert!(!shown.contains("hunter2") && !shown.contains("0123456789abcdef"), "{shown}");
}

#[test]
fn every_option_of_coturn_is_known_and_in_the_help_text() {
    let text = help("turnserver");
    for name in include_str!("coturn_option_names.txt").split_ascii_whitespace() {
        assert!(name == "version" || options::find(name).is_some(), "{name} is unknown");
        assert!(text.contains(&format!("--{name}")), "{name} is not in the help text");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 110), "lines are wrapped");
}

#[test]
fn no_two_options_share_a_name_or_a_letter() {
    let (mut names, mut letters): (Vec<&str>, Vec<char>) = Default::default();
    for option in options::all() {
        names.extend(option.names);
        letters.extend(option.short);
    }
    let (all_names, all_letters) = (names.len(), letters.len());
    names.sort_unstable();
    names.dedup();
    letters.sort_unstable();
    letters.dedup();
    assert_eq!((names.len(), letters.len()), (all_names, all_letters));
}

#[test]
fn the_sample_file_is_a_file_that_sets_nothing() {
    let world = World::with("/sample.conf", &sample());
    assert_eq!(run_in(&world, "-c /sample.conf --no-auth").unwrap().settings.len(), 1, "no-auth alone");
}

proptest! {
    // Values are digits and signs: host names would be looked up.
    #[test]
    fn no_command_line_or_file_makes_it_panic(
        line in proptest::collection::vec("-{0,2}[a-zA-Z-]{0,12}=?[0-9:./#;\"-]{0,12}", 0..6),
        text in "([a-zA-Z-]{0,16}[ =]{1,2}[0-9:./#;\"]{0,20}\n){0,8}",
    ) {
        let world = World::with("/etc/turnserver.conf", &text);
        let _ = load(line.into_iter().map(OsString::from), &world);
    }
}
