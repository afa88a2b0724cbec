//! The command line of `turnpike`.

use std::ffi::OsString;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Arg, ArgAction, Command, value_parser};
use clap_complete::Shell;

use crate::commands;

/// The whole command, for parsing, help and completions.
pub fn command() -> Command {
    Command::new("turnpike")
        .about("A STUN/TURN server for WebRTC, and the tools around it")
        .version(env!("CARGO_PKG_VERSION"))
        .styles(styles())
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(
            "The server under its familiar name, with coturn's flags and configuration file: turnserver -h",
        )
        .subcommands([
            up(),
            credentials(),
            commands::doctor::command(),
            commands::probe::command(),
            commands::firewall::command(),
            commands::load::command(),
            commands::migrate::command(),
            explain(),
            container(),
            man(),
            completions(),
        ])
        .subcommands(commands::control::commands())
}

fn up() -> Command {
    Command::new("up")
        .about("Start a server that works at once: finds addresses, generates a secret, says what to do next")
        .args([
            number("port", "PORT", "Port to listen on; another is picked if it is taken")
                .default_value("3478"),
            text("listening-ip", "IP", "Address to listen on (repeatable) [default: all of this machine]")
                .action(ArgAction::Append),
            text(
                "external-ip",
                "IP|auto|none",
                "Public address, when this machine is behind a one-to-one NAT; auto finds it out, none tells clients the private one",
            )
            .default_value("auto"),
            text("external-ip-stun", "HOST[:PORT]", "STUN server that auto asks too (repeatable); none unless named")
                .action(ArgAction::Append),
            text("external-ip-metadata", "auto|off|CLOUDS|URL", "Metadata services that auto asks")
                .default_value("auto"),
            text("realm", "REALM", "Realm of the credentials").default_value("turnpike"),
            number("min-port", "PORT", "Lowest relay port").default_value("49152"),
            number("max-port", "PORT", "Highest relay port").default_value("65535"),
            text("allowed-peer-ip", "RANGE", "Open a peer address, range or CIDR (repeatable)")
                .action(ArgAction::Append),
            flag("allow-loopback-peers", "Let clients reach loopback addresses of this machine"),
            text("user", "NAME", "User part of the printed credential").default_value("demo"),
            text("ttl", "DURATION", "How long the printed credential is good").default_value("24h"),
            text("state-dir", "DIR", "Where the secret is kept"),
            number("http-port", "PORT", "Serve metrics and health pages on this port of 127.0.0.1"),
            flag("verbose", "Log every session and request").short('v'),
            flag("json", "Print what was found as JSON, for scripts"),
        ])
}

fn credentials() -> Command {
    let shared = || {
        [
            text(
                "secret-file",
                "FILE",
                "File that holds the secret (repeatable) [default: that of `turnpike up`]",
            )
            .action(ArgAction::Append),
            text("separator", "CHAR", "What stands between time and user").default_value(":"),
            flag("json", "Print JSON"),
        ]
    };
    let minting = || {
        [
            text("user", "NAME", "User part of the name").default_value("demo"),
            text("ttl", "DURATION", "How long it is good, such as 90s, 15m, 4h, 7d").default_value("4h"),
            text("uri", "URI", "turn: URI to put into the iceServers snippet (repeatable)")
                .action(ArgAction::Append),
        ]
    };
    Command::new("credentials")
        .about("Mint a TURN REST credential, or find out why one is refused")
        .args_conflicts_with_subcommands(true)
        .args(shared())
        .args(minting())
        .subcommand(
            Command::new("mint")
                .about("Mint a credential; the same without this word")
                .args(shared())
                .args(minting()),
        )
        .subcommand(
            Command::new("decode")
                .about("Say what a credential contains and why it is refused")
                .arg(Arg::new("username").required(true).help("The username"))
                .arg(Arg::new("password").help("The password; with it the secret is checked too"))
                .args(shared()),
        )
}

fn explain() -> Command {
    Command::new("explain")
        .about("Explain a reason code from the log, or list them all")
        .arg(Arg::new("code").help("Such as stale_nonce or peer_refused"))
}

fn container() -> Command {
    Command::new("container")
        .about("Run the server as an image does: options from TURNPIKE_OPTION and TURNPIKE_OPTION_FILE, no shell")
        .arg(
            Arg::new("arguments")
                .help("Arguments of turnserver, or one of the other programs and its arguments")
                .num_args(0..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .value_parser(value_parser!(OsString)),
        )
        .disable_help_flag(true)
}

fn man() -> Command {
    Command::new("man")
        .about("Print a page of the manual, or write all of them")
        .arg(Arg::new("page").help("Such as turnserver, turnserver.conf or turnpike-up [default: turnpike]"))
        .arg(text("into", "DIR", "Write every page into this directory").conflicts_with("page"))
}

fn completions() -> Command {
    Command::new("completions")
        .about("Print a completion script for a shell")
        .arg(Arg::new("shell").required(true).value_parser(value_parser!(Shell)).help("Which shell"))
        .arg(Arg::new("program").help("Such as turnserver or turnadmin [default: turnpike]"))
}

pub(crate) fn text(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help).allow_hyphen_values(true)
}

fn number(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    text(name, value, help).value_parser(value_parser!(u16).range(1..))
}

pub(crate) fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn styles() -> Styles {
    Styles::styled()
        .header(AnsiColor::Green.on_default().bold())
        .usage(AnsiColor::Green.on_default().bold())
        .literal(AnsiColor::Cyan.on_default().bold())
        .placeholder(AnsiColor::Cyan.on_default())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
