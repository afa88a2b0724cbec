//! How the log is kept, as the configuration says.

use turnpike_config::{Config, LogFormat as Format, LogLevel, LogSettings};
use turnpike_control::{
    Facility, JOURNAL_SOCKET, Level, LogDestination, LogFormat, LogOptions, SizeRotation, stdout_is_journal,
};

pub(crate) fn log_options(config: &Config) -> LogOptions {
    let log = &config.log;
    LogOptions {
        destination: destination(log),
        format: match log.format {
            Format::Coturn => LogFormat::Coturn,
            Format::Json => LogFormat::Json,
            Format::Logfmt => LogFormat::Logfmt,
        },
        min_level: match log.min_level {
            LogLevel::Debug => Level::Debug,
            LogLevel::Info => Level::Info,
            LogLevel::Warning => Level::Warning,
            LogLevel::Error => Level::Error,
        },
        timestamp: log.dated.then(|| log.time_format.clone()),
    }
}

fn destination(log: &LogSettings) -> LogDestination {
    // What the journal gets by its own protocol or by syslog it need not get by standard output as well.
    let also_stdout = !log.no_stdout && !stdout_is_journal();
    if log.syslog {
        let facility = Facility::from_name(log.syslog_facility).unwrap_or(Facility::USER);
        return LogDestination::Syslog { socket: log.syslog_socket.clone(), facility, also_stdout };
    }
    let journal = |also_stdout| LogDestination::Journal { socket: JOURNAL_SOCKET.into(), also_stdout };
    match log.file.as_deref() {
        None if stdout_is_journal() && std::fs::exists(JOURNAL_SOCKET).unwrap_or(false) => journal(false),
        None | Some("stdout" | "-") => LogDestination::Stdout,
        Some("stderr") => LogDestination::Stderr,
        Some("journald") => journal(also_stdout),
        Some(path) => LogDestination::File {
            path: path.into(),
            dated: !log.simple,
            rotation: log.rotate_size.map(|bytes| SizeRotation { bytes, kept: log.rotate_keep }),
            also_stdout: !log.no_stdout,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnpike_config::SYSLOG_FACILITIES;

    #[test]
    fn every_facility_that_can_be_configured_has_its_number() {
        assert!(SYSLOG_FACILITIES.iter().all(|name| Facility::from_name(name).is_some()));
        assert_eq!(Facility::from_name("user"), Some(Facility::USER));
    }
}
