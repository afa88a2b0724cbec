//! `turnpike doctor`: looks at a configuration and the machine it runs on, and says what is wrong with them, how that is
//! known, and what to do.
//!
//! Each check is a row of `CHECKS`: a name, a question, and a function from the `Patient` to findings. They change
//! nothing. Those that cost next to nothing are made at every start of the server as well.

mod addresses;
mod machine;
mod ports;
mod safety;
mod selftest;
mod storage;
mod system;
mod tls;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ArgMatches, Command};
use turnpike_config::{Config, Loaded};
use turnpike_control::Log;

pub(crate) use self::safety::is_dangerous;
use self::system::System;
use super::firewall::options;
use super::probe::ProbeIdentity;
use crate::addresses::Addresses;
use crate::cli::{flag, text};
use crate::external_address::Survey;
use crate::findings::{Finding, Severity, could_not_look, show};

/// What is examined.
pub(crate) struct Patient {
    pub(crate) config: Config,
    /// What was said about it when it was read; the error where it is not sound.
    pub(crate) loaded: Result<Loaded, String>,
    /// `None` where they cannot be found.
    pub(crate) addresses: Option<Addresses>,
    /// What the Internet calls them.
    pub(crate) survey: Survey,
    pub(crate) system: System,
    pub(crate) identity: Option<ProbeIdentity>,
    /// Whether the running server is to be tried.
    pub(crate) try_server: bool,
}

/// A check.
pub(crate) struct Check {
    pub(crate) id: &'static str,
    /// What it looks at, in words that follow "whether" or stand alone.
    pub(crate) asks: &'static str,
    pub(crate) run: fn(&Patient) -> Vec<Finding>,
    /// Whether it is made at every start too.
    pub(crate) at_start: bool,
}

/// The command's arguments.
pub fn command() -> Command {
    Command::new("doctor")
        .about("Examine configuration and machine: what is wrong, how that is known, and the fix")
        .args([
            text("config", "FILE", "Configuration file, as the server's -c").short('c'),
            text("user", "NAME", "User to try the running server with [default: one of the configuration]"),
            text("password", "PASSWORD", "Password of that user").requires("user"),
            text("secret-file", "FILE", "File that holds the REST secret to try it with")
                .conflicts_with("password"),
            flag(
                "offline",
                "Ask no metadata service, no STUN server, no DNS and no database over the network, and leave the running server alone",
            ),
            flag("json", "Print JSON"),
            flag("quiet", "Leave out what is as it should be").short('q'),
            flag("list", "List the checks"),
            options(),
        ])
        .after_help(
            "Options of the server may follow --, as in: turnpike doctor -- -c turnserver.conf -p 443\n\
             Exit status: 0 nothing to mend, 1 warnings, 2 errors, 3 it could not be examined.",
        )
}

/// Runs the command.
pub fn run(arguments: &ArgMatches) -> ExitCode {
    if arguments.get_flag("list") {
        for check in CHECKS {
            crate::terminal::say!("{:<20} {}", check.id, check.asks);
        }
        return ExitCode::SUCCESS;
    }
    match Patient::admit(arguments) {
        Ok(patient) => {
            let findings: Vec<Finding> = CHECKS.iter().flat_map(|check| (check.run)(&patient)).collect();
            show(&findings, arguments.get_flag("json"), arguments.get_flag("quiet"))
        }
        Err(error) => could_not_look(&error),
    }
}

/// The checks that cost next to nothing, as lines of the log: what is as it should be is not worth one.
pub(crate) fn tell_at_start(log: &Log, config: &Config, addresses: &Addresses, survey: &Survey) {
    let patient = Patient {
        config: config.clone(),
        loaded: Ok(Loaded::default()),
        addresses: Some(addresses.clone()),
        survey: survey.clone(),
        system: System::here(),
        identity: None,
        try_server: false,
    };
    for check in CHECKS.iter().filter(|check| check.at_start) {
        for finding in (check.run)(&patient) {
            let text = format!("Doctor: {}: {}; {}", finding.id, finding.evidence, finding.fix);
            match finding.severity {
                Severity::Ok | Severity::Note => {}
                // What does not work the server says itself, and so keeps that word for it.
                Severity::Warning | Severity::Error => log.warning(&text),
            }
        }
    }
}

impl Patient {
    fn admit(arguments: &ArgMatches) -> anyhow::Result<Self> {
        let text = |name: &str| arguments.get_one::<String>(name).cloned();
        let words: Vec<OsString> =
            arguments.get_many::<String>("options").into_iter().flatten().map(Into::into).collect();
        let loaded = read_soundly(text("config").as_deref(), &words);
        let config = loaded.as_ref().map(|loaded| loaded.config.clone()).unwrap_or_default();
        let offline = arguments.get_flag("offline");
        let found = Addresses::find(&config).ok();
        // Examined as if it were to be found out, to compare what is given with it.
        let survey = match &found {
            Some(addresses) if !offline => survey_all(&config, addresses),
            _ => Survey::default(),
        };
        let addresses = match config.discovery.wanted {
            true => Addresses::find_with(&config, survey.found()).ok(),
            false => found,
        };
        let identity = ProbeIdentity::of(arguments, "doctor")?;
        let system = System::here();
        Ok(Patient { config, loaded, addresses, survey, system, identity, try_server: !offline })
    }
}

/// The configuration as the server would read it, or why it would not start.
fn read_soundly(file: Option<&str>, words: &[OsString]) -> Result<Loaded, String> {
    let named = file.map(|file| [OsString::from("-c"), OsString::from(file)]);
    let line: Vec<OsString> = named.into_iter().flatten().chain(words.iter().cloned()).collect();
    match turnpike_config::load(line, &turnpike_config::SystemEnvironment) {
        Ok(turnpike_config::Command::Run(loaded) | turnpike_config::Command::Check(loaded)) => Ok(loaded),
        Ok(_) => Err("behind -- stand options of the server, not questions about it".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Asks about addresses that have an external one given, too.
fn survey_all(config: &Config, addresses: &Addresses) -> Survey {
    let mut asked = addresses.clone();
    for relay in &mut asked.relays {
        relay.external = None;
    }
    Survey::make(config, &asked)
}

/// Every check, in the order people read them.
pub(crate) const CHECKS: &[Check] = &[
    Check {
        id: "configuration",
        asks: "the configuration is sound, and what it warns of",
        run: safety::configuration,
        at_start: false,
    },
    Check {
        id: "who-may-relay",
        asks: "somebody may relay, and not everybody",
        run: safety::who_may_relay,
        at_start: false,
    },
    Check {
        id: "secrets",
        asks: "secrets and passwords are long, and none of the well-known examples",
        run: safety::secrets,
        at_start: true,
    },
    Check {
        id: "secret-files",
        asks: "files with secrets are hidden from others, and none stands in the process list",
        run: safety::secret_files,
        at_start: false,
    },
    Check {
        id: "peers",
        asks: "the opened peer ranges leave this host, its network and its cloud identity alone",
        run: safety::peers,
        at_start: true,
    },
    Check {
        id: "limits",
        asks: "users are bounded in allocations and bandwidth",
        run: safety::limits,
        at_start: false,
    },
    Check {
        id: "listeners",
        asks: "the listening ports are this server's, or free",
        run: ports::listeners,
        at_start: false,
    },
    Check {
        id: "relay-ports",
        asks: "the relay ports are many enough, and kept apart from those the system hands out",
        run: ports::relay_ports,
        at_start: true,
    },
    Check {
        id: "firewall",
        asks: "the host's own firewall (nft, iptables) lets the ports in, as far as its rules can be read",
        run: ports::firewall,
        at_start: false,
    },
    Check {
        id: "external-address",
        asks: "the address clients are told is the one the Internet knows: configuration, interfaces, metadata, STUN",
        run: addresses::external_address,
        at_start: false,
    },
    Check {
        id: "dns",
        asks: "the names of this server (realm, certificate) lead to it",
        run: addresses::dns,
        at_start: false,
    },
    Check {
        id: "ipv6",
        asks: "IPv6 is whole or absent: address, route, listener, relay address",
        run: addresses::ipv6,
        at_start: false,
    },
    Check {
        id: "container",
        asks: "a container has the host's network, or few ports to publish",
        run: addresses::container,
        at_start: true,
    },
    Check {
        id: "certificate-expiry",
        asks: "the certificate is good today and for two weeks",
        run: tls::expiry,
        at_start: true,
    },
    Check {
        id: "certificate-chain",
        asks: "the certificate comes with all that lies between it and an authority",
        run: tls::chain,
        at_start: false,
    },
    Check {
        id: "certificate-name",
        asks: "the certificate is for the name of this server",
        run: tls::name,
        at_start: false,
    },
    Check {
        id: "private-key",
        asks: "the key fits the certificate and is hidden from others",
        run: tls::private_key,
        at_start: false,
    },
    Check { id: "clock", asks: "somebody keeps the clock right (NTP)", run: machine::clock, at_start: false },
    Check {
        id: "descriptors",
        asks: "there are descriptors for as many allocations as there are ports",
        run: machine::descriptors,
        at_start: false,
    },
    Check {
        id: "socket-buffers",
        asks: "the system grants the socket buffers that are asked for",
        run: machine::socket_buffers,
        at_start: false,
    },
    Check {
        id: "conntrack",
        asks: "connection tracking has room for the flows",
        run: machine::conntrack,
        at_start: true,
    },
    Check {
        id: "fast-path",
        asks: "kernel, capabilities and forwarding allow the fast path that is asked for",
        run: machine::fast_path,
        at_start: false,
    },
    Check {
        id: "database",
        asks: "the database answers, has its tables, and knows somebody",
        run: storage::database,
        at_start: false,
    },
    Check {
        id: "self-test",
        asks: "the running server answers, lets its users in, and relays between two of them",
        run: selftest::self_test,
        at_start: false,
    },
];

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::commands::probe::STEPS;

    /// Somebody with this configuration on this machine.
    pub(crate) fn patient(config: Config) -> Patient {
        patient_at(config, Path::new("/"))
    }

    /// Likewise with the files of another machine.
    pub(crate) fn patient_at(config: Config, root: &Path) -> Patient {
        Patient {
            addresses: Addresses::find(&config).ok(),
            config,
            loaded: Ok(Loaded::default()),
            survey: Survey::default(),
            system: System::at(root),
            identity: None,
            try_server: false,
        }
    }

    /// The names in the first column of the tables of a page.
    fn listed(page: &str) -> BTreeSet<&str> {
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.filter_map(|row| row.split_once('`').map(|(id, _)| id)).collect()
    }

    #[test]
    fn every_check_and_every_step_is_documented_and_nothing_else_is() {
        let page = include_str!("../../../../../docs/doctor.md");
        let (checks, steps) = page.split_once("\n## Probe").expect("a section about the probe");
        let of_code: BTreeSet<&str> = CHECKS.iter().map(|check| check.id).collect();
        assert_eq!(listed(checks), of_code);
        let of_code: BTreeSet<&str> = STEPS.iter().map(|step| step.id).collect();
        assert_eq!(listed(steps), of_code);
        for (id, asks) in
            CHECKS.iter().map(|it| (it.id, it.asks)).chain(STEPS.iter().map(|it| (it.id, it.asks)))
        {
            assert!(page.contains(&format!("| `{id}` | {asks} |")), "{id}: {asks}");
        }
    }

    #[test]
    fn a_finding_has_the_name_of_the_check_that_made_it() {
        let patient = patient(Config::default());
        for check in CHECKS {
            let findings = (check.run)(&patient);
            assert!(findings.iter().all(|finding| finding.id == check.id), "{}: {findings:?}", check.id);
        }
    }
}
