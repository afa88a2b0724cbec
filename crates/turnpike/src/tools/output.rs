//! Log lines of the tools: an ISO-8601 time, a level, and the text, on standard output.

use std::fmt;
use std::io::{self, Write};

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Info,
    Warning,
    Error,
}

/// Writes one line.
pub(crate) fn line(level: Level, text: fmt::Arguments<'_>) {
    let word = match level {
        Level::Info => "INFO",
        Level::Warning => "WARNING",
        Level::Error => "ERROR",
    };
    let time = jiff::ZonedDateTime::now().strftime("%Y-%m-%dT%H:%M:%S%.3f%z").to_string();
    // A reader that closed the pipe is no reason to stop: the work goes on.
    let _ = writeln!(io::stdout().lock(), "{time} {word} {text}");
}

macro_rules! info {
    ($($text:tt)*) => { $crate::tools::output::line($crate::tools::output::Level::Info, format_args!($($text)*)) };
}
macro_rules! warning {
    ($($text:tt)*) => { $crate::tools::output::line($crate::tools::output::Level::Warning, format_args!($($text)*)) };
}
macro_rules! error {
    ($($text:tt)*) => { $crate::tools::output::line($crate::tools::output::Level::Error, format_args!($($text)*)) };
}
pub(crate) use {error, info, warning};

/// `IPv4` or `IPv6`, as the tools name families.
pub(crate) fn family(address: &std::net::SocketAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}
