//! `turnpike probe`: tries a server from where its clients are, step by step, and says at each what the trouble is and
//! what to do about it.

pub(crate) mod caller;
mod credentials;
mod relay;
mod steps;
pub(crate) mod target;
pub(crate) mod way;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Arg, ArgAction, ArgMatches, Command};

use self::credentials::Identity;
use self::target::Target;
use crate::cli::{flag, text};
#[cfg(test)]
use crate::findings::Described;
use crate::findings::{could_not_look, show};

pub(crate) use self::credentials::Identity as ProbeIdentity;
pub(crate) use self::steps::{Probe, probe};

/// The command's arguments.
pub fn command() -> Command {
    Command::new("probe")
        .about("Try a server from outside: reach it, log in, relay through it, and say what is wrong")
        .args([
            Arg::new("server")
                .required(true)
                .num_args(1..)
                .help("turn:HOST[:PORT][?transport=udp|tcp], or turns: for TLS and, with ?transport=udp, DTLS"),
            text("user", "NAME", "User name; with --password"),
            text("password", "PASSWORD", "Password of that user").requires("user"),
            text("secret-file", "FILE", "File that holds the REST secret, to mint a credential with")
                .conflicts_with("password"),
            text("ca-file", "FILE", "Authorities to judge certificates by [default: those of this system]"),
            text("name", "NAME", "Name the certificate must bear [default: the host of the URI]"),
            flag("json", "Print JSON"),
            flag("quiet", "Leave out what is as it should be").short('q').action(ArgAction::SetTrue),
        ])
        .after_help(
            "Without credentials it goes as far as a stranger can. Exit status: 0 nothing to mend, 1 warnings, 2 errors, \
             3 it could not be tried.",
        )
}

/// Runs the command.
pub fn run(arguments: &ArgMatches) -> ExitCode {
    match try_to_run(arguments) {
        Ok(status) => status,
        Err(error) => could_not_look(&error),
    }
}

fn try_to_run(arguments: &ArgMatches) -> anyhow::Result<ExitCode> {
    let text = |name: &str| arguments.get_one::<String>(name).cloned();
    let identity = Identity::of(arguments, "probe")?;
    let mut findings = Vec::new();
    for uri in arguments.get_many::<String>("server").context("a server")? {
        let attempt = Probe {
            target: Target::read(uri)?,
            identity: identity.clone(),
            authorities: text("ca-file"),
            name: text("name"),
            at: None,
        };
        findings.extend(probe(&attempt));
    }
    Ok(show(&findings, arguments.get_flag("json"), arguments.get_flag("quiet")))
}

/// Every step, for the documentation.
#[cfg(test)]
pub(crate) const STEPS: &[Described] = &[
    Described { id: steps::DNS, asks: "the host's name resolves" },
    Described {
        id: steps::REACH,
        asks: "UDP, TCP, TLS or DTLS reaches a server that answers Binding; how long that takes",
    },
    Described {
        id: crate::certificate_checks::EXPIRY,
        asks: "the certificate is good today and for two weeks",
    },
    Described {
        id: crate::certificate_checks::CHAIN,
        asks: "the certificate comes with all that lies between it and an authority",
    },
    Described {
        id: crate::certificate_checks::NAME,
        asks: "the certificate is for the name that clients connect to",
    },
    Described {
        id: steps::CHALLENGE,
        asks: "a stranger is asked for credentials (401 with a realm), rather than let in",
    },
    Described {
        id: credentials::CREDENTIALS,
        asks: "the credentials are accepted; if not, whether clock, secret or name is wrong",
    },
    Described { id: relay::ADDRESS, asks: "the relayed address is of the Internet if the server is" },
    Described { id: relay::INNER_ID, asks: "peers on the server's own host and network are refused" },
    Described {
        id: relay::ECHO,
        asks: "two allocations reach each other through the server; loss and latency",
    },
];
