//! The process, and names that have had their day.

use super::Effect::{Later, Obsolete, Settled};
use super::{OptionSpec, Secrecy};
use crate::config::ConfigWatch;

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::set(
        &["pidfile"],
        "FILE",
        |config, value| {
            config.pidfile = Some(value.into()).filter(|_| !value.is_empty());
            Ok(())
        },
        "Where to write the process id.",
    ),
    OptionSpec::set(
        &["config-watch"],
        "WHAT",
        |config, value| {
            config.config_watch = match value {
                "apply" => ConfigWatch::Apply,
                "tell" => ConfigWatch::Tell,
                "off" => ConfigWatch::Off,
                _ => return Err(format!("{value:?} is none of apply, tell, off")),
            };
            Ok(())
        },
        "When the configuration file changes: apply what can be, tell in the log what would change, or off. SIGUSR2 applies it in any case.",
    )
    .default("apply")
    .reloadable()
    .ours(),
    OptionSpec::with(
        &["daemon"],
        Later("detaching; let systemd or another supervisor run it"),
        "Detach from the terminal.",
    )
    .short('o'),
    OptionSpec::with(
        &["proc-user"],
        Later("a way to drop privileges; let systemd or another supervisor do it"),
        "User to become.",
    )
    .value("NAME"),
    OptionSpec::with(
        &["proc-group"],
        Later("a way to drop privileges; let systemd or another supervisor do it"),
        "Group to become.",
    )
    .value("NAME"),
    OptionSpec::with(&["drain-min-allocations"], Later("draining"), "Allocations at which draining ends.")
        .value("COUNT"),
    OptionSpec::with(&["cli"], Later("the telnet console"), "Telnet console."),
    OptionSpec::with(&["cli-ip"], Later("the telnet console"), "Its address.").value("IP"),
    OptionSpec::with(&["cli-port"], Later("the telnet console"), "Its port.").value("PORT"),
    OptionSpec::with(&["cli-password"], Later("the telnet console"), "Its password.")
        .value("TEXT")
        .secrecy(Secrecy::Secret),
    OptionSpec::with(&["cli-max-output-sessions"], Later("the telnet console"), "Sessions it prints.")
        .value("COUNT"),
    OptionSpec::with(&["web-admin"], Later("the web console"), "Web console."),
    OptionSpec::with(&["web-admin-ip"], Later("the web console"), "Its address.").value("IP"),
    OptionSpec::with(&["web-admin-port"], Later("the web console"), "Its port.").value("PORT"),
    OptionSpec::with(
        &["web-admin-listen-on-workers"],
        Later("the web console"),
        "Serve it on the TURN ports too.",
    ),
];

pub(super) const OBSOLETE: &[OptionSpec] = &[
    OptionSpec::with(&["no-cli"], Settled("there is no telnet console"), "No telnet console."),
    OptionSpec::with(&["prod"], Obsolete("what it hid is hidden by default"), "Formerly: hide the version."),
    OptionSpec::switch(
        &["no-software-attribute"],
        |config, on| config.software = !on,
        "Do not tell clients what software this is; they are not told unless asked for.",
    )
    .reloadable(),
    OptionSpec::with(
        &["no-loopback-peers"],
        Settled("loopback peers are refused unless allow-loopback-peers opens them"),
        "Refuse loopback peers.",
    ),
    OptionSpec::with(&["no-tlsv1"], Settled("TLS 1.0 is never spoken"), "No TLS 1.0."),
    OptionSpec::with(&["no-tlsv1_1"], Settled("TLS 1.1 is never spoken"), "No TLS 1.1."),
    OptionSpec::with(&["no-sslv2"], Settled("SSL 2 is never spoken"), "No SSL 2."),
    OptionSpec::with(&["no-sslv3"], Settled("SSL 3 is never spoken"), "No SSL 3."),
    OptionSpec::with(
        &["dh2066"],
        Obsolete("Diffie-Hellman parameters are not set by hand"),
        "2066-bit parameters.",
    ),
    OptionSpec::with(
        &["no-stun-backward-compatibility"],
        Settled("it is off unless asked for"),
        "No MAPPED-ADDRESS in Binding responses.",
    ),
    OptionSpec::with(&["ne"], Obsolete("threads share nothing; see relay-threads"), "Network engine number.")
        .value("NUMBER"),
    OptionSpec::with(
        &["st-cred-mech"],
        Obsolete("short-term credentials are not for TURN"),
        "Short-term credentials.",
    ),
];
