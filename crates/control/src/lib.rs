//! What people see of the server: its log, the lines about sessions, and who receives the workers' reports.
//!
//! Workers never wait for anything here: reports go through a bounded queue, and what does not fit is counted.

mod log;
mod reports;
mod session_lines;
mod throttle;
mod words;

pub use log::{Level, Log, LogDestination, LogOptions};
pub use reports::{ReportSender, Reports};
pub use session_lines::{Line, line_of};
pub use words::in_words;
