//! What an operator says, on the command line or in `turnserver.conf`, and what it comes to.
//!
//! Every option is defined once, in [`options`]; the parser, the help text, the sample file and the check report are
//! made from that table. coturn's names, letters, syntax and search path are kept; where its habits fail open (an
//! unknown flag value, a typing error in an address), this crate says so instead.

mod address_discovery;
mod administration;
mod balancing;
mod check;
mod config;
mod databases;
mod endpoints;
mod error;
mod file;
pub mod getopt;
mod help;
mod load;
mod logging;
mod monitoring;
mod nearest;
mod oauth_key;
pub mod options;
mod records;
mod reload;
mod search_path;
mod users;
mod values;

pub use address_discovery::{AddressDiscovery, Cloud, MetadataChoice, stun_server};
pub use administration::{Administration, Console, ControlSocket, DrainSettings};
pub use balancing::{AlternateSelection, Balancing};
pub use check::Report;
pub use config::{
    Config, ConfigWatch, DefaultFamily, ExternalAddress, FastPath, FastPathSettings, ProcessSettings,
};
pub use databases::{Database, DatabaseKind, DatabaseSettings};
pub use endpoints::{AlternateLists, AlternateServer, CapacityUrl};
pub use error::ConfigError;
pub use help::{coloured_help, help, sample};
pub use load::{
    Command, CommandLineWords, Environment, Loaded, Notice, Setting, Severity, SystemEnvironment, load,
};
pub use logging::{LogFormat, LogLevel, LogSettings, SYSLOG_FACILITIES};
pub use monitoring::MonitoringSettings;
pub use nearest::nearest;
pub use oauth_key::{OAuthCipher, OAuthKey};
pub use records::RecordSettings;
pub use reload::{Change, Difference, Reloaded, reload};
pub use search_path::locate;
pub use users::{Password, StaticUser};
pub use values::{PeerRange, Secret};
