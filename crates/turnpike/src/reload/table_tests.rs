//! The table says of each option whether a running server takes it up. Here it is held to that: everything that a
//! reload hands on is made from a configuration with the option and from one without it.

use std::ffi::OsString;

use turnpike_config::options::{Effect, OptionSpec, all};
use turnpike_config::{Command, Config, Loaded, SystemEnvironment, load};

use crate::addresses::Addresses;
use crate::certificates::Certificates;
use crate::crew::adjustment;
use crate::logging::log_options;
use crate::rules::rules;

#[test]
fn a_reload_takes_up_each_option_that_the_table_says_and_no_other() {
    for option in all().filter(|option| has_effect(option)) {
        let name = option.name();
        if ELSEWHERE.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let Some(value) = sample(option) else {
            assert!(!option.reloadable, "{name} wants a sample here, to see that a reload takes it up");
            continue;
        };
        let base: &[&str] = BESIDES.iter().find(|(known, _)| *known == name).map_or(&[], |(_, words)| words);
        let with = format!("--{name}={value}");
        let changes = taken_up(&read(base, None)) != taken_up(&read(base, Some(&with)));
        if option.reloadable {
            assert!(changes, "{name} is said to be taken up, and changes nothing that is handed on");
        } else if changes {
            assert!(BOUND_TO_A_START.contains(&name), "{name} could be taken up: say so in the table");
        }
    }
}

fn has_effect(option: &OptionSpec) -> bool {
    matches!(option.effect, Effect::Switch(_) | Effect::Set(_) | Effect::Deprecated(..))
}

fn read(base: &[&str], with: Option<&str>) -> Loaded {
    let words = ["-n", "--user=hello:world", "--realm=example.org", "--listening-ip=127.0.0.1", "--dtls"];
    let words = words.iter().chain(base).copied().chain(with).map(OsString::from);
    match load(words, &SystemEnvironment) {
        Ok(Command::Run(loaded)) => loaded,
        other => panic!("{with:?}: {other:?}"),
    }
}

/// All that a reload hands to anybody, as text.
fn taken_up(loaded: &Loaded) -> String {
    let config: &Config = &loaded.config;
    let before = read(&[], None).config;
    let start = Addresses::find(&before).unwrap();
    let (addresses, _) = start.followed_by(&before, config, start.clone());
    let quotas = (config.user_quota, config.total_quota, config.max_bps, config.bps_capacity);
    let logged = (log_options(config).min_level, config.verbose || config.extra_verbose);
    let files = Certificates::description(config);
    let balancing = (config.balancing.check_interval, config.balancing.selection, &config.balancing.capacity);
    let handed =
        (rules(config, &addresses), quotas, adjustment(config), logged, config.config_watch, balancing);
    format!("{handed:?} {files}")
}

fn sample(option: &OptionSpec) -> Option<&'static str> {
    if let Some((_, value)) = SAMPLES.iter().find(|(name, _)| *name == option.name()) {
        return Some(value);
    }
    // What is on by default is switched off.
    let Some(kind) = option.value else { return Some(if option.default == "yes" { "no" } else { "yes" }) };
    Some(match kind {
        "PORT" => "4000",
        "COUNT" => "7",
        "SECONDS" => "777",
        "BYTES" => "70000",
        "RANGE" => "192.0.2.0/24",
        "FILE" => "/nowhere",
        "HOST[:PORT]" => "192.0.2.1",
        _ => return None,
    })
}

/// Values of options whose kind says too little.
const SAMPLES: &[(&str, &str)] = &[
    ("user", "alice:one"),
    ("static-auth-secret", "north"),
    ("oauth-key", "kid:c2VjcmV0LXZhbHVlLXNlY3JldC12YWx1ZS1zZWNyZXQ="),
    ("acme-redirect", "http://192.0.2.1/"),
    ("external-ip", "192.0.2.1"),
    ("allocation-default-address-family", "ipv6"),
    ("log-min-level", "error"),
    ("config-watch", "tell"),
    ("alternate-selection", "least-loaded"),
    ("alternate-capacity-url", "http://{ip}:80/capacity"),
    ("pkey-pwd", "open"),
    ("min-port", "50000"),
    ("max-port", "60000"),
    ("max-allocate-lifetime", "7777"),
];

/// What must be set as well for an option to have an effect.
const BESIDES: &[(&str, &[&str])] = &[
    ("unauthorized-ratelimit-rps", &["--unauthorized-ratelimit"]),
    ("multiplex-peer-max-peers", &["--multiplex-peer"]),
    ("udp-self-balance", &["--aux-server=127.0.0.1:3490"]),
    ("bps-capacity", &["--max-bps=1000"]),
    ("cert", &["--pkey=/nowhere"]),
    ("pkey", &["--cert=/nowhere"]),
    ("pkey-pwd", &["--cert=/nowhere", "--pkey=/nowhere"]),
    ("CA-file", &["--cert=/nowhere", "--pkey=/nowhere"]),
    ("no-tlsv1_2", &["--cert=/nowhere", "--pkey=/nowhere"]),
];

/// Options whose effect cannot be seen in what is compared here, and where it is seen.
const ELSEWHERE: &[(&str, &str)] = &[
    ("drain-timeout", "it is looked at when draining begins; drain.rs"),
    ("drain-min-allocations", "it is looked at while draining; drain.rs"),
    ("drain-alternate-server", "it is told while draining; redirection.rs"),
    (
        "lt-cred-mech",
        "it is on where there are users, and its denial takes them away: crates/config check.rs",
    ),
    ("use-auth-secret", "likewise for secrets"),
    (
        "rest-api-separator",
        "the credentials hide it: what is made from `credentials()` is handed on as a whole",
    ),
    ("oauth", "it is on where there are keys"),
    ("server-name", "likewise"),
    ("no-auth", "it contradicts the users of this test; operations::reload"),
    ("stun-only", "it leaves the credentials out; rules.rs"),
    ("listening-ip", "operations::reload, further addresses"),
    ("aux-server", "operations::reload, further addresses"),
    ("no-dynamic-ip-list", "database::apply is made anew from the configuration with every reload"),
    ("no-dynamic-realms", "likewise"),
    ("realm-of-address", "likewise"),
    ("realm-in-username", "likewise"),
    ("no-software-attribute", "it is the default"),
];

/// Options that rules are made of as well, and what else hangs on them does not change while the server runs: sockets,
/// ports, and the keys of sessions that are there.
const BOUND_TO_A_START: &[&str] = &[
    "realm",
    "listening-port",
    "tls-listening-port",
    "alt-listening-port",
    "alt-tls-listening-port",
    "tcp-proxy-port",
    "no-tls",
    "dtls",
    "no-dtls",
    "no-udp",
    "no-tcp",
    "rfc5780",
    "multiplex-peer",
    "multiplex-peer-port",
];
