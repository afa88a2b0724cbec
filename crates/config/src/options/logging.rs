//! What people see.

use super::OptionSpec;
use crate::logging::{LogFormat, LogLevel, SYSLOG_FACILITIES};
use crate::values::{bytes, number};

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::switch(&["verbose"], |config, on| config.verbose = on, "Log sessions and requests.")
    .reloadable()
        .short('v'),
    OptionSpec::switch(&["Verbose"], |config, on| config.extra_verbose = on, "Log all there is to log.")
    .reloadable()
        .short('V'),
    OptionSpec::set(
        &["log-file"],
        "FILE",
        |config, value| {
            if value.is_empty() {
                return Err("the name of the log file is empty".into());
            }
            config.log.syslog |= value == "syslog";
            config.log.file = Some(value.to_owned()).filter(|name| name != "syslog");
            Ok(())
        },
        "Log to this file as well; `stdout` or `-` for standard output alone, `stderr` for standard error alone, `syslog`, `journald`.",
    )
    .short('l')
    .default("standard output; the journal where that is what reads it"),
    OptionSpec::set(
        &["log-format"],
        "FORMAT",
        |config, value| {
            config.log.format = match value.to_ascii_lowercase().as_str() {
                "coturn" => LogFormat::Coturn,
                "json" => LogFormat::Json,
                "logfmt" => LogFormat::Logfmt,
                _ => return Err(format!("{value:?} is none of coturn, json, logfmt")),
            };
            Ok(())
        },
        "Form of the records: coturn for its lines, json or logfmt for events with fields.",
    )
    .default("coturn")
    .ours(),
    OptionSpec::set(
        &["log-rotate-size"],
        "BYTES",
        |config, value| {
            config.log.rotate_size = Some(bytes(value)?).filter(|size| *size > 0);
            Ok(())
        },
        "Begin the log file anew when it would grow beyond this, such as 100M; 0 for never.",
    )
    .default("0")
    .ours(),
    OptionSpec::set(
        &["log-rotate-keep"],
        "N",
        |config, value| {
            config.log.rotate_keep = number(value, 0, 1000, "a number of files")?;
            Ok(())
        },
        "Full log files that are kept beside it, as FILE.1 to FILE.N.",
    )
    .default("5")
    .ours(),
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
    )
    .reloadable(),
    OptionSpec::switch(&["syslog"], |config, on| config.log.syslog = on, "Log to syslog in place of a file."),
    OptionSpec::set(
        &["syslog-facility"],
        "NAME",
        |config, value| {
            let name = value.to_ascii_lowercase();
            let name = name.strip_prefix("log_").unwrap_or(&name);
            config.log.syslog_facility =
                SYSLOG_FACILITIES.into_iter().find(|known| *known == name).ok_or_else(|| {
                    format!("{value:?} is none of LOG_{}", SYSLOG_FACILITIES.join(", LOG_").to_ascii_uppercase())
                })?;
            Ok(())
        },
        "Which part of the system it is to syslog, such as LOG_DAEMON.",
    )
    .default("LOG_USER"),
    OptionSpec::set(
        &["syslog-socket"],
        "PATH",
        |config, value| {
            if value.is_empty() {
                return Err("the name of the socket is empty".into());
            }
            config.log.syslog_socket = value.into();
            Ok(())
        },
        "Where syslog's daemon listens.",
    )
    .default("/dev/log")
    .ours(),
];
