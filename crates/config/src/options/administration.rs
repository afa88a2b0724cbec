//! The process, and names that have had their day.

use std::time::Duration;

use super::Effect::{Later, Obsolete, Settled};
use super::{OptionSpec, Secrecy};
use crate::administration::ControlSocket;
use crate::config::ConfigWatch;
use crate::endpoints::servers;
use crate::values::{Secret, ip, number};

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
    OptionSpec::set(
        &["upgrade-timeout"],
        "SECONDS",
        |config, value| {
            let seconds = number(value, 0, u32::MAX, "a number of seconds")?;
            config.upgrade_timeout = Duration::from_secs(seconds.into());
            Ok(())
        },
        "After a hot upgrade, how long the old process serves the sessions that cannot move (TCP, TLS, DTLS); 0 for until they end.",
    )
    .default("86400")
    .ours(),
    OptionSpec::switch(
        &["daemon"],
        |config, on| config.process.daemon = on,
        "Detach from the terminal: return when the server serves, with 0, or failed.",
    )
    .short('o'),
    OptionSpec::set(
        &["proc-user"],
        "NAME",
        |config, value| {
            config.process.user = Some(name(value)?);
            Ok(())
        },
        "User to become once everything is bound: for a server that root starts.",
    ),
    OptionSpec::set(
        &["proc-group"],
        "NAME",
        |config, value| {
            config.process.group = Some(name(value)?);
            Ok(())
        },
        "Group to become; that of proc-user without it.",
    ),
    OptionSpec::set(
        &["control-socket"],
        "PATH",
        |config, value| {
            config.administration.control_socket = match value {
                "" | "off" | "none" => ControlSocket::Off,
                path => ControlSocket::At(path.into()),
            };
            Ok(())
        },
        "Unix socket for `turnpike sessions`, `top`, `kill`, `drain`, `reload`, `log-level` and `status`; only root and the server's own user are heard there. `off` for none.",
    )
    .default("control.sock in the unit's runtime directory; for root in /run/turnpike")
    .ours(),
    OptionSpec::set(
        &["drain-timeout"],
        "SECONDS",
        |config, value| {
            let seconds = number(value, 0, MOST_DRAIN, "a number of seconds")?;
            config.administration.drain.timeout = Duration::from_secs(seconds);
            Ok(())
        },
        "How long sessions may go on after SIGTERM, while nobody new is taken in; 0 ends them at once. A second signal ends them in any case.",
    )
    .default("0")
    .reloadable()
    .ours(),
    OptionSpec::set(
        &["drain-min-allocations"],
        "COUNT",
        |config, value| {
            config.administration.drain.least_allocations =
                number(value, 0, u64::from(u32::MAX), "a number of allocations")?;
            Ok(())
        },
        "Draining (SIGUSR1, SIGTERM with drain-timeout, `turnpike drain`) is over when no more allocations than these are left.",
    )
    .default("0")
    .reloadable(),
    OptionSpec::set(
        &["drain-alternate-server"],
        "HOST[:PORT]",
        |config, value| {
            let list = &mut config.administration.drain.alternate_servers;
            let found = servers(value, 3478)?;
            list.extend(found.into_iter().filter(|server| !list.contains(server)).collect::<Vec<_>>());
            Ok(())
        },
        "Server that clients are sent to (300) while this one drains; several take turns. Without one they are refused (403).",
    )
    .repeats()
    .reloadable()
    .ours(),
    OptionSpec::switch(
        &["cli"],
        |config, on| config.administration.console.on = on,
        "Serve coturn's telnet console; needs cli-password. What is typed there can be read on the way: prefer the control socket.",
    ),
    OptionSpec::set(
        &["cli-ip"],
        "IP",
        |config, value| {
            config.administration.console.ip = ip(value)?;
            Ok(())
        },
        "Address of the telnet console.",
    )
    .default("127.0.0.1"),
    OptionSpec::set(
        &["cli-port"],
        "PORT",
        |config, value| {
            config.administration.console.port = number(value, 1, u16::MAX, "a port")?;
            Ok(())
        },
        "Port of the telnet console.",
    )
    .default("5766"),
    OptionSpec::set(
        &["cli-password"],
        "TEXT",
        |config, value| {
            config.administration.console.password = Secret::new(value);
            Ok(())
        },
        "Password of the telnet console: in clear, or hashed by turnadmin or coturn. Without one there is no console.",
    )
    .secrecy(Secrecy::Secret),
    OptionSpec::set(
        &["cli-max-output-sessions"],
        "COUNT",
        |config, value| {
            config.administration.console.most_sessions = number(value, 0, u32::MAX, "a number of sessions")?;
            Ok(())
        },
        "Sessions that `ps` of the telnet console prints.",
    )
    .default("256"),
    OptionSpec::with(&["web-admin"], Later("the web console"), "Web console."),
    OptionSpec::with(&["web-admin-ip"], Later("the web console"), "Its address.").value("IP"),
    OptionSpec::with(&["web-admin-port"], Later("the web console"), "Its port.").value("PORT"),
    OptionSpec::with(
        &["web-admin-listen-on-workers"],
        Later("the web console"),
        "Serve it on the TURN ports too.",
    ),
];

fn name(value: &str) -> Result<String, String> {
    if value.is_empty() {
        return Err("the name is empty".into());
    }
    Ok(value.to_owned())
}

pub(super) const OBSOLETE: &[OptionSpec] = &[
    OptionSpec::with(&["no-cli"], Settled("there is none unless cli asks for it"), "No telnet console."),
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

/// A year, in seconds.
const MOST_DRAIN: u64 = 365 * 24 * 3600;
