//! How a running server is looked after: its control socket, its telnet console, and how it ends.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use crate::endpoints::AlternateServer;
use crate::load::{Loaded, Severity};
use crate::values::Secret;

/// How a running server is looked after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Administration {
    /// Where it listens to `turnpike sessions` and its like.
    pub control_socket: ControlSocket,
    /// The telnet console.
    pub console: Console,
    /// How it ends.
    pub drain: DrainSettings,
}

/// Where a server listens to those who look after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ControlSocket {
    /// Where such things are kept on this machine, if there is such a place.
    #[default]
    Usual,
    /// At this path.
    At(PathBuf),
    /// Nowhere.
    Off,
}

/// coturn's telnet console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console {
    /// Whether there is one.
    pub on: bool,
    /// The address it listens on.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its password: in clear, or as `turnadmin` or coturn hash it.
    pub password: Secret,
    /// Sessions that `ps` prints.
    pub most_sessions: u32,
}

/// How a server ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainSettings {
    /// How long SIGTERM lets sessions go on; zero ends them at once.
    pub timeout: Duration,
    /// Draining is over when no more than so many allocations are left.
    pub least_allocations: u64,
    /// Servers that clients are sent to meanwhile.
    pub alternate_servers: Vec<AlternateServer>,
}

impl Default for Console {
    fn default() -> Self {
        Console {
            on: false,
            ip: Ipv4Addr::LOCALHOST.into(),
            port: 5766,
            password: Secret::new(""),
            most_sessions: 256,
        }
    }
}

impl Loaded {
    /// Switches the console off where everybody on the machine, or nobody at all, could log in, and says so. coturn had
    /// two holes of this kind (CVE-2018-4058 and -4059).
    pub(crate) fn check_console(&mut self) {
        let Console { on, ip, ref password, .. } = self.config.administration.console;
        if !on {
            return;
        }
        let password = password.expose();
        let text = if password.is_empty() {
            "there is no telnet console without cli-password; `turnpike sessions` and its like need none"
        } else if password.starts_with("$5$") && !is_coturns_hash(password) {
            "there is no telnet console: cli-password begins like a hash, and is none; `turnadmin -P` makes one"
        } else if !ip.is_loopback() {
            let text = format!(
                "the telnet console on {ip} is not encrypted: whoever sees its packets learns the password. Use a loopback \
                 address and ssh, or the control socket"
            );
            return self.notice(Severity::Warning, "cli", text);
        } else {
            return;
        };
        self.config.administration.console.on = false;
        self.notice(Severity::Warning, "cli", text.to_owned());
    }
}

/// `$5$`, salt and SHA-256, both in hexadecimal digits.
fn is_coturns_hash(text: &str) -> bool {
    let is_hex =
        |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts = text.strip_prefix("$5$").and_then(|rest| rest.split_once('$'));
    parts.is_some_and(|(salt, digest)| is_hex(salt, 16) && is_hex(digest, 64))
}
