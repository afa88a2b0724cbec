//! Configurations as people write them.

mod log_and_records;
mod modes;
mod reloading;
mod world;

use std::ffi::OsString;
use std::path::Path;

use proptest::prelude::*;
use turnpike_config::{
    Command, Loaded, PeerRange, Report, Severity, coloured_help, help, load, options, sample,
};

use crate::world::{World, file, refusal, run, run_in, words};

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
    for line in ["-n", "-n --lt-cred-mech", "-n --use-auth-secret", "-n --userdb="] {
        let text = refusal(line);
        assert!(text.contains("turnpike up") && text.contains("no-auth"), "{line}: {text}");
    }
    assert!(run("-n --userdb=/var/db/turndb").is_ok(), "a database has credentials");
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
fn names_and_realms_that_look_equal_are_equal() {
    // RFC 8489 §9.2.2: as one character or as letter and mark.
    let config = run("-n --realm cafe\u{301} --user zo\u{EB}:first --user zoe\u{308}:second").unwrap().config;
    assert_eq!((config.realm.as_str(), config.users.len()), ("caf\u{E9}", 1));
    assert_eq!(config.users[0].name, "zo\u{EB}");
}

#[test]
fn a_character_that_cannot_be_seen_is_refused_and_no_part_of_a_password_is_told() {
    let name = refusal("-n --user zo\u{EB}\u{200B}:secret");
    assert!(name.contains("U+200B") && !name.contains("secret"), "{name}");
    assert!(refusal("-n --no-auth --realm caf\u{E9}\u{200B}").contains("U+200B"));
    let password = refusal("-n --user ada:s\u{E9}cret\u{200B}");
    assert!(password.contains("ada") && password.contains("OpaqueString"), "{password}");
    assert!(!password.contains("200") && !password.contains("cret\u{200B}"), "{password}");
}

#[test]
fn realms_go_by_addresses_and_by_server_names_in_either_case() {
    let databases = run(
        "-n --userdb=/var/db/turndb --realm-of-address=192.0.2.1/north --realm-of-server-name=Turn.South.Example/south \
         --realm-of-server-name=b/north",
    )
    .unwrap()
    .config
    .databases;
    assert_eq!(databases.realm_of_address, [("192.0.2.1".parse().unwrap(), "north".to_owned())]);
    let named = [("turn.south.example", "south"), ("b", "north")];
    assert_eq!(
        databases.realm_of_server_name,
        named.map(|(name, realm)| (name.to_owned(), realm.to_owned()))
    );
    for (value, why) in [
        ("turn.example", "NAME/REALM"),
        ("turn.example/", "the realm is empty"),
        ("/north", "no host's name"),
        ("turn..example/north", "no host's name"),
        ("caf\u{E9}.example/north", "no host's name"),
    ] {
        let text = refusal(&format!("-n --user=a:b --realm-of-server-name={value}"));
        assert!(text.contains(why), "{value}: {text}");
    }
}

#[test]
fn a_user_with_an_md5_key_alone_is_pointed_out() {
    let key = "0x0123456789abcdef0123456789abcdef";
    let told = |line: &str| {
        run(line).unwrap().notices.iter().any(|notice| notice.text.contains("not offered SHA-256"))
    };
    assert!(told(&format!("-n --user ada:lovelace --user dave:{key}")));
    assert!(!told("-n --user ada:lovelace"));
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
    assert!(refusal("-n --no-auth --no-udp-relay --no-tcp").contains("by TCP or TLS"));
    assert!(refusal("-n --no-auth --no-udp --no-tcp").contains("leave nobody to serve"));
    assert!(refusal("-n --no-auth --verbos3").contains("did you mean `--verbose`?"));
    assert!(refusal("-c /nowhere.conf").contains("no such file"));
}

#[test]
fn what_this_version_does_not_have_is_said_plainly() {
    let loaded = run("-n --no-auth --raw-public-keys").unwrap();
    let texts: Vec<_> = loaded.notices.iter().map(|notice| notice.text.as_str()).collect();
    assert!(texts.iter().any(|text| {
        text.contains("raw-public-keys has no effect yet: this version does not have raw public keys")
    }));
}

#[test]
fn a_file_as_jitsi_guides_have_it_is_read() {
    let loaded = file(
        "# jitsi-meet coturn config\nuse-auth-secret\nkeep-address-family\nstatic-auth-secret=abc#def\n\
         realm=meet.example.org\ncert=/etc/coturn/certs/meet.example.org.fullchain.pem\n\
         pkey=/etc/coturn/certs/meet.example.org.privkey.pem\nno-multicast-peers\nno-cli\nno-loopback-peers\n\
         no-tcp-relay\nno-tcp\nlistening-port=3478\ntls-listening-port=5349\nno-tlsv1\nno-tlsv1_1\n\
         cipher-list=ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384\n\
         denied-peer-ip=0.0.0.0-0.255.255.255\ndenied-peer-ip=10.0.0.0-10.255.255.255\nsyslog\n",
    )
    .unwrap();
    let config = loaded.config;
    assert_eq!(config.secrets[0].expose(), "abc#def");
    assert_eq!(config.denied_peers.len(), 2);
    let warned: Vec<_> = loaded
        .notices
        .iter()
        .filter(|notice| notice.severity == Severity::Warning)
        .filter_map(|notice| notice.text.split(' ').next())
        .collect();
    assert!(warned.is_empty(), "{warned:?}");
}

#[test]
fn numbers_that_coturn_lets_be_left_out_may_be_left_out() {
    let config = file("no-auth\nstale-nonce\nmax-allocate-lifetime\nchannel-lifetime=700\n").unwrap().config;
    assert_eq!(config.nonce_lifetime.as_secs(), 600);
    assert_eq!(config.max_lifetime.as_secs(), 3600);
    assert_eq!(config.channel_lifetime.as_secs(), 700);
    let config = run("-n --stale-nonce --no-auth --unauthorized-ratelimit-rps").unwrap().config;
    assert_eq!((config.nonce_lifetime.as_secs(), config.unauthorized_rate), (600, 10));
    assert_eq!(run("-n --stale-nonce=0 --no-auth").unwrap().config.nonce_lifetime.as_secs(), 0);
}

#[test]
fn values_that_coturn_brings_into_range_are_brought_there_and_told() {
    let loaded = run("-n --no-auth -m 500 --max-allocate-lifetime=60").unwrap();
    assert_eq!((loaded.config.threads, loaded.config.max_lifetime.as_secs()), (Some(128), 600));
    let told = |origin: &str| loaded.notices.iter().any(|notice| notice.origin == origin);
    assert!(told("relay-threads") && told("max-allocate-lifetime"));
}

#[test]
fn cpus_counts_only_where_relay_threads_is_not_set_and_the_command_line_wins() {
    let world = World::with("/etc/turnserver.conf", "no-auth\ncpus=4\n");
    assert_eq!(run_in(&world, "").unwrap().config.threads, Some(4));
    assert_eq!(run_in(&world, "--cpus=8").unwrap().config.threads, Some(8));
    assert_eq!(run_in(&world, "--cpus=8 -m 2").unwrap().config.threads, Some(2));
    assert_eq!(run_in(&world, "-m 0").unwrap().config.threads, Some(1));
}

#[test]
fn what_is_switched_off_in_so_many_words_stays_off() {
    let loaded = run("-n --use-auth-secret=no --static-auth-secret=x --user=a:b").unwrap();
    assert!(loaded.config.secrets.is_empty() && !loaded.config.use_auth_secret);
    let loaded = run("-n --lt-cred-mech=no --static-auth-secret=x --user=a:b").unwrap();
    assert!(loaded.config.users.is_empty() && !loaded.config.long_term);
    assert!(refusal("-n --lt-cred-mech=no --user=a:b").contains("no credentials"));
}

#[test]
fn a_switch_followed_by_a_word_that_would_reverse_it_is_refused() {
    let text = refusal("-n --no-auth false");
    assert!(text.contains("--no-auth=false"), "{text}");
    assert!(run("-n --no-auth true").is_ok() && run("-n --no-auth something").is_ok());
}

#[test]
fn every_problem_is_told_at_once() {
    let text = file("listening-port=abc\nuser=alice\nallowed-peer-ip=x\nverbose=perhaps\n").unwrap_err();
    for line in ["conf:1: listening-port", "conf:2: user", "conf:3: allowed-peer-ip", "conf:4: verbose"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains("no credentials"), "{text}");
    let text = refusal("-n --min-port=9 --max-port=8");
    assert!(text.contains("swap") && text.contains("no credentials"), "{text}");
}

#[test]
fn a_misspelt_key_that_leaves_the_server_without_credentials_is_told() {
    let text = file("use-auth-secret\nstatic-auth-secert=x\n").unwrap_err();
    assert!(text.starts_with("warning: /etc/turnserver.conf:2: unknown option"), "{text}");
    assert!(text.contains("did you mean static-auth-secret?") && text.contains("no credentials"), "{text}");
}

#[test]
fn a_detached_server_is_told_where_its_log_goes_and_writes_its_process_id_where_coturn_does() {
    let Loaded { config, notices, .. } = run("-n --no-auth -o").unwrap();
    assert!(config.process.daemon);
    assert_eq!(config.pidfile.as_deref(), Some(Path::new("/var/run/turnserver.pid")));
    assert!(notices.iter().any(|notice| notice.origin == "daemon" && notice.text.contains("log-file")));
    let Loaded { config, notices, .. } = run("-n --no-auth -o --log-file=/x --pidfile=").unwrap();
    assert!(config.pidfile.is_none() && notices.iter().all(|notice| notice.origin != "daemon"));
    let Loaded { config, .. } = run("-n --no-auth --proc-user=turn --proc-group=relay").unwrap();
    assert_eq!(
        (config.process.user.as_deref(), config.process.group.as_deref()),
        (Some("turn"), Some("relay"))
    );
    assert!(config.pidfile.is_none());
    assert!(refusal("-n --no-auth --proc-user=").contains("the name is empty"));
}

#[test]
fn a_realm_that_clients_might_not_read_is_refused() {
    // RFC 8489 §14.9: fewer than 128 characters; coturn and its clients count bytes.
    let line = |realm: &str| format!("-a -u x:y -r {realm}");
    assert!(run(&line(&"x".repeat(127))).is_ok() && run(&line(&"\u{4f8b}".repeat(42))).is_ok());
    for realm in ["x".repeat(128), "\u{4f8b}".repeat(43)] {
        assert!(refusal(&line(&realm)).contains("a realm has at most 127 bytes"), "{realm}");
    }
}

#[test]
fn one_relay_address_has_one_external_address() {
    assert!(refusal("-n --no-auth -X 203.0.113.7 -X 203.0.113.8").contains("PUBLIC/PRIVATE"));
    assert!(refusal("-n --no-auth -X 203.0.113.7/10.0.0.1 -X 203.0.113.8/10.0.0.1").contains("10.0.0.1"));
    let loaded = run("-n --no-auth -X 203.0.113.7 -X 2001:db8::1 -X 203.0.113.8/10.0.0.1").unwrap();
    assert_eq!(loaded.config.external.len(), 3);
}

#[test]
fn a_comment_that_may_be_part_of_a_secret_is_told() {
    let loaded = file("static-auth-secret=abc #def\n").unwrap();
    assert_eq!(loaded.config.secrets[0].expose(), "abc");
    assert!(loaded.notices.iter().any(|notice| notice.text.contains("double quotes")));
}

#[test]
fn secure_stun_without_credentials_is_refused() {
    assert!(refusal("-n --stun-only --secure-stun").contains("secure-stun"));
    assert!(refusal("-n --no-auth --secure-stun").contains("secure-stun"));
}

#[test]
fn files_are_looked_for_where_coturn_looks() {
    for (path, line) in [
        ("turnserver.conf", ""),
        ("etc/coturn/turnserver.conf", ""),
        ("/usr/local/etc/coturn/turnserver.conf", ""),
        ("/etc/my.conf", "-c my.conf"),
        ("/etc/turnserver/my.conf", "-c etc/my.conf"),
        ("/srv/my.conf", "-c /srv/my.conf"),
    ] {
        let loaded =
            run_in(&World::with(path, "no-auth"), line).unwrap_or_else(|why| panic!("{path}: {why}"));
        assert_eq!(loaded.file.as_deref(), Some(Path::new(path)));
    }
    let world = World::with("/etc/turnserver.conf", "realm=\u{fffd}");
    assert!(run_in(&world, "-n").unwrap_err().contains("no credentials"), "-n reads none");
}

#[test]
fn a_file_that_is_not_utf8_is_refused_with_its_line() {
    let mut world = World::default();
    world.files.insert("/etc/turnserver.conf".into(), b"no-auth\nrealm=\xe9\n".to_vec());
    let text = run_in(&world, "").unwrap_err();
    assert!(text.contains("/etc/turnserver.conf") && text.contains("line 2"), "{text}");
}

#[test]
fn help_is_given_whatever_else_is_wrong() {
    let world = World::default();
    for line in ["--nonsense -h", "--help", "-p -h --help", "-vh"] {
        assert!(matches!(load(words(line), &world), Ok(Command::Help)), "{line}");
    }
    assert!(matches!(load(words("--version"), &world), Ok(Command::Version)));
}

#[test]
fn abbreviations_that_coturn_takes_are_taken() {
    let loaded = run("-n --no-auth --check --no-tlsv --listening-p 5000 --web-admin-l").unwrap();
    assert_eq!(loaded.config.listening_port, 5000);
    let set: Vec<_> = loaded.settings.iter().map(|setting| setting.name).collect();
    assert!(set.contains(&"check-origin-consistency") && set.contains(&"no-tlsv1_2"), "{set:?}");
}

#[test]
fn short_letters_have_coturns_habits() {
    let config = run("-n -zK yes -A=ipv6 -L 127.0.0.1 -L ::1 -q3 -Q=9 -a0").unwrap().config;
    assert_eq!((config.listening_ips.len(), config.user_quota, config.total_quota), (2, 3, 9));
}

#[test]
fn the_report_shows_what_counts_and_where_it_comes_from() {
    let world = World::with("/etc/turnserver.conf", "no-auth\nrealm=one\nallowed-peer-ip=10.0.0.1\n");
    let loaded = run_in(&world, "--realm=two --allowed-peer-ip=10.0.0.2").unwrap();
    let text = Report(&loaded).to_string();
    assert!(text.contains("realm = two  (command line)") && !text.contains("one"), "{text}");
    assert!(text.contains("10.0.0.1  (/etc/turnserver.conf:3)") && text.contains("10.0.0.2"), "{text}");
}

#[test]
fn options_about_the_command_line_have_no_place_in_a_file() {
    let loaded = file("no-auth\nno-config\n").unwrap();
    assert!(loaded.notices.iter().any(|notice| notice.text.contains("belongs on the command line")));
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
    for name in include_str!("../coturn_option_names.txt").split_ascii_whitespace() {
        assert!(options::find(name).is_some(), "{name} is unknown");
        assert!(text.contains(&format!("--{name}")), "{name} is not in the help text");
    }
    let longest = text.lines().max_by_key(|line| line.chars().count()).unwrap();
    assert!(longest.chars().count() <= 100, "{longest}");
    assert!(!text.contains('\u{1b}') && coloured_help("turnserver").contains('\u{1b}'));
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
