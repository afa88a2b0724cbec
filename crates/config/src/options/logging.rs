//! What people see.

use super::Effect::Later;
use super::OptionSpec;
use crate::config::LogLevel;

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::switch(&["verbose"], |config, on| config.verbose = on, "Log sessions and requests.")
        .short('v'),
    OptionSpec::switch(&["Verbose"], |config, on| config.extra_verbose = on, "Log all there is to log.")
        .short('V'),
    OptionSpec::set(
        &["log-file"],
        "FILE",
        |config, value| {
            if value.is_empty() {
                return Err("the name of the log file is empty".into());
            }
            config.log.file = Some(value.to_owned()).filter(|name| name != "syslog");
            Ok(())
        },
        "Log to this file as well; `stdout` or `-` for standard output alone (so does `syslog` in this version), `stderr` for standard error alone.",
    )
    .short('l')
    .default("standard output"),
    OptionSpec::switch(&["no-stdout-log"], |config, on| config.log.no_stdout = on, "Log to the file alone."),
    OptionSpec::switch(
        &["simple-log"],
        |config, on| config.log.simple = on,
        "Use the log file's name as it is; without it a new file is begun each day.",
    ),
    OptionSpec::set(
        &["log-min-level"],
        "LEVEL",
        |config, value| {
            config.log.min_level = match value.to_ascii_lowercase().as_str() {
                "debug" => LogLevel::Debug,
                "info" => LogLevel::Info,
                "warning" => LogLevel::Warning,
                "error" => LogLevel::Error,
                _ => return Err(format!("{value:?} is none of debug, info, warning, error")),
            };
            Ok(())
        },
        "Least level that is logged: debug, info, warning, error.",
    )
    .default("debug")
    .reloadable(),
    OptionSpec::switch(
        &["new-log-timestamp"],
        |config, on| config.log.dated = on,
        "Begin records with the date; `no` for seconds since start.",
    )
    .default("yes"),
    OptionSpec::set(
        &["new-log-timestamp-format"],
        "PATTERN",
        |config, value| {
            if value.is_empty() || value.len() > 47 {
                return Err("a pattern has 1 to 47 characters".into());
            }
            config.log.time_format = value.to_owned();
            Ok(())
        },
        "strftime pattern of the date; %f is milliseconds.",
    )
    .default("%FT%T.%f%z"),
    OptionSpec::switch(
        &["log-binding"],
        |config, on| config.extra_verbose |= on,
        "Log Binding requests too.",
    ),
    OptionSpec::with(&["syslog"], Later("syslog"), "Log to syslog."),
    OptionSpec::with(&["syslog-facility"], Later("syslog"), "syslog facility.").value("NAME"),
];

pub(super) const PROMETHEUS: &[OptionSpec] = &[
    OptionSpec::with(&["prometheus"], Later("metrics"), "Serve metrics to Prometheus."),
    OptionSpec::with(&["prometheus-port"], Later("metrics"), "Port of the metrics.").value("PORT"),
    OptionSpec::with(&["prometheus-address"], Later("metrics"), "Address of the metrics.").value("IP"),
    OptionSpec::with(&["prometheus-path"], Later("metrics"), "Path of the metrics.").value("PATH"),
    OptionSpec::with(&["prometheus-username-labels"], Later("metrics"), "Count by user."),
    OptionSpec::with(&["prometheus-tls"], Later("metrics"), "Serve the metrics over TLS."),
    OptionSpec::with(&["prometheus-cert"], Later("metrics"), "Their certificate.").value("FILE"),
    OptionSpec::with(&["prometheus-key"], Later("metrics"), "Their private key.").value("FILE"),
];
