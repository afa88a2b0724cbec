//! What people see of the server: its log, the lines about sessions, and who receives the workers' reports.
//!
//! Workers never wait for anything here: reports go through a bounded queue, and what does not fit is counted.

mod dropped_lines;
pub mod http;
mod inquirer;
mod key_survey;
mod log;
pub mod metrics;
mod outside;
mod records;
mod reports;
mod session_entries;
mod session_lines;
mod statsdb;
mod stored_users;
mod throttle;
mod vocabulary;
mod words;

pub use dropped_lines::dropped_lines;
pub use inquirer::{Inquirer, Listeners};
pub use log::{
    Entry, EventName, Facility, Field, JOURNAL_SOCKET, Level, Log, LogDestination, LogFormat, LogOptions,
    SizeRotation, Value, stdout_is_journal,
};
pub use outside::Outside;
pub use records::{
    DatabaseKeeper, Failure, FileKeeper, Keeper, KeeperCounters, RecordField, Records, SessionRecord,
    WebhookKeeper,
};
pub use reports::{ReportSender, Reports, Watcher};
pub use session_lines::{Line, line_of};
pub use statsdb::{
    Server as StatsdbServer, Statsdb, StatsdbCounters, StatsdbWatcher, UsagePage, UsageSender,
};
pub use stored_users::{Asker, StoredUsers};
pub use words::in_words;
