//! The command line of `turnpike load`.

use std::net::IpAddr;

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, value_parser};

use super::arguments::{MOST_CALLS, percentage, rate};
use super::profile::Profile;
use super::target::Transport;
use crate::cli::{flag, text};

/// The command, for parsing, help and completions.
pub fn command() -> Command {
    Command::new("load")
        .about("Load a TURN server with calls, and say how many it carries: loss, latency, jitter, CPU")
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
        .arg(
            Arg::new("uri")
                .value_name("URI")
                .required(true)
                .help("The server, such as turn:127.0.0.1:3478, turn:HOST?transport=tcp or turns:HOST"),
        )
        .args(who())
        .args(what())
        .args(how())
        .subcommand(compare())
        .after_help(
            "Exit status: 0 if no more than --max-loss was lost, 2 if more was, 1 if the load could not be made.\n\
             A server on this machine says nothing about a network; results of such runs are labelled.",
        )
}

fn who() -> [Arg; 5] {
    [
        text("user", "NAME", "The user; with a secret, the user part of the name that is minted"),
        text("password", "PASSWORD", "The user's password").conflicts_with("password-file"),
        text("password-file", "FILE", "File that holds the password"),
        text(
            "secret",
            "SECRET",
            "TURN REST secret to mint a credential with [default: that of `turnpike up`]",
        )
        .conflicts_with("secret-file"),
        text("secret-file", "FILE", "File that holds the secret"),
    ]
}

fn what() -> [Arg; 9] {
    [
        text("profile", "PROFILE", "What to send").default_value("audio").value_parser(
            PossibleValuesParser::new(Profile::ALL.map(|(name, _)| name)),
        ),
        text("transport", "TRANSPORT", "How to reach the server, where the URI does not say")
            .value_parser(PossibleValuesParser::new(Transport::ALL.map(Transport::word))),
        text("calls", "N", "Calls at once; with --ramp, the most [default: 100 of audio, 20 of others]")
            .value_parser(value_parser!(u32).range(1..=i64::from(MOST_CALLS))),
        text("rate", "N", "Packets a second of each call, each way; cycles or requests a second in all for churn and binding")
            .value_parser(rate),
        text("payload", "BYTES", "Payload of each packet").value_parser(value_parser!(u16)),
        text("duration", "TIME", "How long to measure, such as 30s or 5m [default: 30s]"),
        text("warm-up", "TIME", "How long to take up to the full load [default: a third of --duration, at most 10s]"),
        flag("ramp", "Raise the load step by step to the knee: more than 1 % lost, or p99 doubled"),
        text("step", "TIME", "How long each step of --ramp is measured [default: 4s]"),
    ]
}

fn how() -> [Arg; 9] {
    [
        text("threads", "N", "Threads of the generator [default: half of the cores, at most 8]")
            .value_parser(value_parser!(u16).range(1..)),
        text(
            "clients",
            "N",
            "Sockets of the profile binding, and cycles under way at most of churn [default: 64]",
        )
        .value_parser(value_parser!(u32).range(1..=i64::from(MOST_CALLS))),
        text(
            "peer-address",
            "IP",
            "Address of this machine that the server relays to [default: the one towards it]",
        )
        .value_parser(value_parser!(IpAddr)),
        text(
            "ca-file",
            "FILE",
            "With TLS, certificates in PEM of who vouches for the server [default: the system's]",
        )
        .conflicts_with("insecure"),
        flag("insecure", "With TLS, take any certificate for any name"),
        text(
            "max-loss",
            "PERCENT",
            "Loss in either direction beyond which the exit status is 2 [default: 1]",
        )
        .value_parser(percentage),
        text("server-pid", "PID", "Process of a local server, for its CPU [default: found by its socket]")
            .value_parser(value_parser!(u32).range(1..)),
        text("json", "FILE", "Write the results as JSON"),
        text("html", "FILE", "Write a report with plots: one page that needs nothing else"),
    ]
}

fn compare() -> Command {
    Command::new("compare")
        .about("Compare two results: what became better, what worse")
        .arg(Arg::new("old").value_name("OLD.json").required(true).help("The results before"))
        .arg(Arg::new("new").value_name("NEW.json").required(true).help("The results after"))
        .arg(
            text("tolerance", "PERCENT", "Changes up to this are noise [default: 10]")
                .value_parser(percentage),
        )
}
