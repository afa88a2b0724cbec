//! Metrics and health.

use super::OptionSpec;
use crate::values::{ip, number};

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::switch(
        &["prometheus"],
        |config, on| config.monitoring.prometheus = on,
        "Serve metrics to Prometheus, and the health pages beside them.",
    ),
    OptionSpec::set(
        &["prometheus-port"],
        "PORT",
        |config, value| {
            config.monitoring.prometheus_port = number(value, 1, u16::MAX, "a port")?;
            Ok(())
        },
        "Port of the metrics.",
    )
    .default("9641"),
    OptionSpec::set(
        &["prometheus-address"],
        "IP",
        |config, value| {
            config.monitoring.prometheus_address = Some(ip(value)?);
            Ok(())
        },
        "Address of the metrics. Without prometheus-password-file whoever reaches it may read them.",
    )
    .default("every address of this machine"),
    OptionSpec::set(
        &["prometheus-path"],
        "PATH",
        |config, value| {
            let is_path = value.starts_with('/') && value.bytes().all(|byte| byte.is_ascii_graphic());
            if !is_path || value.contains(['?', '#']) {
                return Err(format!("{value:?} is no path: it begins with a slash, as /metrics does"));
            }
            if HEALTH_PAGES.contains(&value) {
                return Err(format!("{value} is one of the health pages; choose another, as /metrics"));
            }
            config.monitoring.prometheus_path = value.to_owned();
            Ok(())
        },
        "Path of the metrics.",
    )
    .default("/metrics"),
    OptionSpec::switch(
        &["prometheus-username-labels"],
        |config, on| config.monitoring.username_labels = on,
        "Count traffic by user as well: the 100 with the most have series of their own.",
    ),
    OptionSpec::switch(
        &["prometheus-tls"],
        |config, on| {
            config.monitoring.prometheus_tls = on;
            config.monitoring.prometheus |= on;
        },
        "Serve the metrics over TLS; switches prometheus on.",
    ),
    OptionSpec::set(
        &["prometheus-cert"],
        "FILE",
        |config, value| {
            config.monitoring.prometheus_certificate = Some(value.to_owned()).filter(|name| !name.is_empty());
            Ok(())
        },
        "Certificate chain for that; read again when it changes.",
    )
    .default("cert"),
    OptionSpec::set(
        &["prometheus-key"],
        "FILE",
        |config, value| {
            config.monitoring.prometheus_key = Some(value.to_owned()).filter(|name| !name.is_empty());
            Ok(())
        },
        "Its private key.",
    )
    .default("pkey"),
    OptionSpec::set(
        &["prometheus-user"],
        "NAME",
        |config, value| {
            if value.is_empty() || value.contains(':') {
                return Err("the name is empty or has a colon, which would end it".into());
            }
            config.monitoring.prometheus_user = value.to_owned();
            Ok(())
        },
        "Name that is asked for together with the password of prometheus-password-file.",
    )
    .default("prometheus")
    .ours(),
    OptionSpec::set(
        &["prometheus-password-file"],
        "FILE",
        |config, value| {
            config.monitoring.prometheus_password_file =
                Some(value.to_owned()).filter(|name| !name.is_empty());
            Ok(())
        },
        "File with the password for metrics and /capacity, on one line and readable by nobody else; without it none is asked for.",
    )
    .ours(),
    OptionSpec::set(
        &["health-port"],
        "PORT",
        |config, value| {
            let port = number(value, 0, u16::MAX, "a port")?;
            config.monitoring.health_port = Some(port).filter(|port| *port != 0);
            Ok(())
        },
        "Serve the health pages (/livez, /readyz, /healthz, /capacity) here, without metrics; 0 for not.",
    )
    .default("0")
    .ours(),
    OptionSpec::set(
        &["health-address"],
        "IP",
        |config, value| {
            config.monitoring.health_address = ip(value)?;
            Ok(())
        },
        "Address of the health pages of health-port.",
    )
    .default("127.0.0.1")
    .ours(),
];

/// Paths that are taken.
const HEALTH_PAGES: &[&str] = &["/", "/livez", "/readyz", "/healthz", "/capacity"];
