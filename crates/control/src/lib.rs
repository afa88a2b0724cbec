//! What people see of the server: its log, the lines about sessions, and who receives the workers' reports.
//!
//! Workers never wait for anything here: reports go through a bounded queue, and what does not fit is counted.

mod inquirer;
mod log;
mod reports;
mod session_lines;
mod stored_users;
mod throttle;
mod words;

pub use inquirer::{Inquirer, Listeners, Outside};
pub use log::{Level, Log, LogDestination, LogOptions};
pub use reports::{ReportSender, Reports, Watcher};
pub use session_lines::{Line, line_of};
pub use stored_users::{Asker, StoredUsers};
pub use words::in_words;
