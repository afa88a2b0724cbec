//! What the console shows and changes of the configuration. What it changes lasts until the configuration is read again.

use std::fmt::Write as _;
use std::sync::Arc;

use turnpike_config::Config;

use crate::operations::Operations;

/// The list of `pc`.
pub(super) fn print(operations: &Operations, realm: Option<&str>, most_sessions: u32) -> String {
    let allocations =
        operations.allocations().map_or_else(|error| error.to_string(), |count| count.to_string());
    operations.rulebook.read(|parts| {
        let config = &*parts.settings;
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "  {name}: {value}");
        };
        line("verbose", on_off(config.verbose || config.extra_verbose));
        for (name, is_on, _) in TOGGLES {
            line(name, &format!("{} (*)", on_off(is_on(config))));
        }
        line("enforce fingerprints", on_off(config.fingerprint));
        line("RFC5780 support", on_off(config.rfc5780));
        line("udp-self-balance", on_off(config.balancing.udp_self_balance));
        let path = |path: Option<&str>| path.unwrap_or("empty").to_owned();
        line("pidfile", &path(config.pidfile.as_deref().and_then(std::path::Path::to_str)));
        line("process ID", &std::process::id().to_string());
        line("Certificate file", &path(config.certificate.as_deref()));
        line("Private Key file", &path(config.private_key.as_deref()));
        parts.addresses.listening.iter().for_each(|address| line("Listener addr", &address.ip().to_string()));
        for (name, on) in [
            ("no-udp", !config.udp),
            ("no-tcp", !config.tcp),
            ("no-tls", !config.serves_tls()),
            ("no-dtls", !config.serves_dtls()),
        ] {
            line(name, on_off(on));
        }
        line("listener-port", &config.listening_port.to_string());
        line("tls-listener-port", &config.tls_port.to_string());
        parts.addresses.relays.iter().for_each(|relay| line("Relay addr", &relay.address.to_string()));
        line("server-relay", on_off(config.server_relay));
        line("min-port", &config.min_port.to_string());
        line("max-port", &config.max_port.to_string());
        // Not the connection, which may hold a password.
        let database = config.databases.database.as_ref().map(|database| format!("{:?}", database.kind));
        line("DB type", database.as_deref().unwrap_or("none"));
        line("Default realm", &config.realm);
        line("CLI session realm", realm.unwrap_or("all"));
        line(
            "Long-term authorization mechanism",
            on_off(!config.users.is_empty() || config.databases.database.is_some()),
        );
        line("TURN REST API support", on_off(config.use_auth_secret));
        line("total-current-allocs", &allocations);
        for (name, value, _) in CHANGES {
            line(name, &format!("{} (**)", value(config)));
        }
        line("cli-max-output-sessions", &format!("{most_sessions} (**)"));
        text + "\n  (*) tc toggles it, (**) cc changes it, both until the configuration is read again\n"
    })
}

/// Turns a switch over; says how it is then. `None` if there is no such switch.
pub(super) fn toggle(operations: &Operations, name: &str) -> Option<bool> {
    let (_, is_on, set) = TOGGLES.iter().find(|(known, _, _)| *known == name)?;
    Some(operations.rulebook.change(|parts| {
        let config = Arc::make_mut(&mut parts.settings);
        let on = !is_on(config);
        set(config, on);
        on
    }))
}

/// Sets a number.
pub(super) fn change(operations: &Operations, name: &str, value: u64) -> Result<(), String> {
    let Some((_, _, set)) = CHANGES.iter().find(|(known, _, _)| *known == name) else {
        return Err("there is no such parameter; pc marks those that can be changed with (**)".to_owned());
    };
    operations.rulebook.change(|parts| {
        let config = Arc::make_mut(&mut parts.settings);
        set(config, value).ok_or("the number is too large")?;
        let Config { user_quota, total_quota, max_bps, bps_capacity, .. } = *config;
        operations.quotas.set_limits(user_quota, total_quota, max_bps, bps_capacity);
        Ok(())
    })
}

pub(super) fn on_off(on: bool) -> &'static str {
    if on { "ON" } else { "OFF" }
}

type Toggle = (&'static str, fn(&Config) -> bool, fn(&mut Config, bool));
type Change = (&'static str, fn(&Config) -> u64, fn(&mut Config, u64) -> Option<()>);

const TOGGLES: &[Toggle] = &[
    ("stun-only", |config| config.stun_only, |config, on| config.stun_only = on),
    ("no-stun", |config| config.no_stun, |config, on| config.no_stun = on),
    ("secure-stun", |config| config.secure_stun, |config, on| config.secure_stun = on),
    ("no-udp-relay", |config| !config.udp_relay, |config, on| config.udp_relay = !on),
    ("no-tcp-relay", |config| !config.tcp_relay, |config, on| config.tcp_relay = !on),
    ("no-multicast-peers", |config| config.no_multicast_peers, |config, on| config.no_multicast_peers = on),
    (
        "allow-loopback-peers",
        |config| config.allow_loopback_peers,
        |config, on| config.allow_loopback_peers = on,
    ),
    ("mobility", |config| config.mobility, |config, on| config.mobility = on),
];

const CHANGES: &[Change] = &[
    (
        "total-quota",
        |config| config.total_quota.into(),
        |config, value| {
            config.total_quota = value.try_into().ok()?;
            Some(())
        },
    ),
    (
        "user-quota",
        |config| config.user_quota.into(),
        |config, value| {
            config.user_quota = value.try_into().ok()?;
            Some(())
        },
    ),
    (
        "max-bps",
        |config| config.max_bps,
        |config, value| {
            config.max_bps = value;
            Some(())
        },
    ),
    (
        "bps-capacity",
        |config| config.bps_capacity,
        |config, value| {
            config.bps_capacity = value;
            Some(())
        },
    ),
];
