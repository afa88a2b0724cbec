//! Where and how the log is written.

use std::path::PathBuf;

/// Where and how the log is written.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Where to log: a path, `stdout` or `-`, `stderr`, or `journald`; `None` for standard output, or the journal where
    /// it reads that.
    pub file: Option<String>,
    /// Whether to log to syslog in place of a file.
    pub syslog: bool,
    /// Where syslog's daemon listens.
    pub syslog_socket: PathBuf,
    /// As which part of the system, one of [`SYSLOG_FACILITIES`].
    pub syslog_facility: &'static str,
    /// The form of records.
    pub format: LogFormat,
    /// Bytes beyond which a log file does not grow; `None` for any number.
    pub rotate_size: Option<u64>,
    /// Full log files that are kept.
    pub rotate_keep: u32,
    /// Whether datagrams are shown that are dropped because they are nothing that is spoken here.
    pub dropped: bool,
    /// Whether a log in a file is kept off standard output.
    pub no_stdout: bool,
    /// Whether the log file's name is used as it is, without a date.
    pub simple: bool,
    /// The least level that is logged.
    pub min_level: LogLevel,
    /// Whether records begin with a date rather than with seconds since start.
    pub dated: bool,
    /// strftime pattern of that date; `%f` is milliseconds.
    pub time_format: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        LogSettings {
            file: None,
            syslog: false,
            syslog_socket: "/dev/log".into(),
            syslog_facility: "user",
            format: LogFormat::Coturn,
            rotate_size: None,
            rotate_keep: 5,
            dropped: false,
            no_stdout: false,
            simple: false,
            min_level: LogLevel::Debug,
            dated: true,
            time_format: "%FT%T.%f%z".to_owned(),
        }
    }
}

/// The form of the log's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// coturn's lines.
    Coturn,
    /// JSON objects.
    Json,
    /// `name=value` pairs.
    Logfmt,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What happens.
    Info,
    /// What one may want to change.
    Warning,
    /// What does not work.
    Error,
}

/// Names of the parts of a system that syslog tells apart.
pub const SYSLOG_FACILITIES: [&str; 20] = [
    "auth", "authpriv", "cron", "daemon", "ftp", "kern", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7", "lpr", "mail", "news", "syslog", "user", "uucp",
];
