//! What no single option can know: whether they agree, and whether the server is safe to start.

use std::fmt;

use crate::config::Config;
use crate::error::ConfigError;
use crate::load::{Environment, Loaded, Severity};

impl Loaded {
    /// Checks the options against each other and completes them.
    pub(crate) fn check(&mut self, environment: &dyn Environment) -> Result<(), ConfigError> {
        check_ranges(&self.config)?;
        self.check_authentication()?;
        self.complete_realm(environment);
        let Config { max_bps, bps_capacity, .. } = self.config;
        if bps_capacity > 0 && max_bps == 0 {
            return contradiction("bps-capacity needs max-bps: how much of it a session may have");
        }
        if self.config.external.iter().filter(|external| external.private.is_none()).count() > 2 {
            return contradiction(
                "external-ip without a private half may be given once for each address family",
            );
        }
        Ok(())
    }

    fn check_authentication(&mut self) -> Result<(), ConfigError> {
        let config = &mut self.config;
        let has_users = !config.users.is_empty();
        if !config.secrets.is_empty() {
            config.use_auth_secret = true;
        }
        let asked = config.long_term || config.use_auth_secret || has_users;
        if config.no_auth && asked {
            return contradiction(
                "no-auth contradicts lt-cred-mech, use-auth-secret, static-auth-secret and user: \
                 take out one or the other",
            );
        }
        if config.stun_only || config.no_auth {
            if config.no_auth && !config.stun_only {
                let text = "everybody may relay through this server without a password (no-auth)".to_owned();
                self.notice(Severity::Warning, "no-auth", text);
            }
            return Ok(());
        }
        if !has_users && config.secrets.is_empty() {
            return Err(no_credentials(config));
        }
        if has_users && !config.long_term {
            config.long_term = true;
            let text = "users are given, so lt-cred-mech is on".to_owned();
            self.notice(Severity::Info, "user", text);
        }
        Ok(())
    }

    fn complete_realm(&mut self, environment: &dyn Environment) {
        if self.config.realm.is_empty() {
            let host = environment.host_name();
            self.config.realm = if host.is_empty() { "localhost".to_owned() } else { host };
            if !self.config.no_auth {
                let text = format!("realm is not set; using this host's name, {:?}", self.config.realm);
                self.notice(Severity::Info, "realm", text);
            }
        }
    }
}

/// Whether a configuration is sound, for people.
#[derive(Debug)]
pub struct Report<'l>(pub &'l Loaded);

impl Report<'_> {
    /// Whether nothing is left to mend.
    pub fn is_clean(&self) -> bool {
        self.0.notices.iter().all(|notice| notice.severity < Severity::Warning)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Loaded { file, settings, notices, .. } = self.0;
        match file {
            Some(path) => writeln!(formatter, "configuration file: {}", path.display())?,
            None => writeln!(formatter, "configuration file: none")?,
        }
        for (origin, name, value) in settings {
            writeln!(formatter, "  {name} = {value}  ({origin})")?;
        }
        for notice in notices {
            let word = if notice.severity == Severity::Warning { "warning" } else { "note" };
            writeln!(formatter, "{word}: {}: {}", notice.origin, notice.text)?;
        }
        let verdict =
            if self.is_clean() { "the configuration is sound" } else { "the configuration has warnings" };
        write!(formatter, "{verdict}")
    }
}

fn check_ranges(config: &Config) -> Result<(), ConfigError> {
    if config.min_port > config.max_port {
        let (min, max) = (config.min_port, config.max_port);
        return contradiction(&format!("min-port {min} is above max-port {max}: swap them"));
    }
    if !config.udp_relay && !config.tcp_relay {
        return contradiction(
            "no-udp-relay and no-tcp-relay together leave nothing to relay; for STUN alone use stun-only",
        );
    }
    if !config.udp_relay && !config.stun_only {
        return contradiction("no-udp-relay leaves nothing to relay: this version relays UDP alone");
    }
    if !config.udp {
        return contradiction("no-udp leaves nobody to serve: this version has UDP listeners alone");
    }
    if config.stun_only && config.no_stun {
        return contradiction("stun-only and no-stun together leave nothing to serve");
    }
    Ok(())
}

fn no_credentials(config: &Config) -> ConfigError {
    let asked = match config.databases.first() {
        Some(database) => format!(" ({database} is not read: this version has no databases)"),
        None if config.use_auth_secret => " (use-auth-secret is set, but no static-auth-secret)".to_owned(),
        None if config.long_term => " (lt-cred-mech is set, but no user)".to_owned(),
        None => String::new(),
    };
    ConfigError::Contradiction(format!(
        "nobody could use this server: it has no credentials{asked}.\n\
         Two ways out:\n\
         \x20 - give it some: `turnpike up` generates them, or set use-auth-secret and static-auth-secret=SECRET,\n\
         \x20   or lt-cred-mech, realm=REALM and user=NAME:PASSWORD\n\
         \x20 - or open it to everybody with no-auth: an open relay, for closed networks alone"
    ))
}

fn contradiction(text: &str) -> Result<(), ConfigError> {
    Err(ConfigError::Contradiction(text.to_owned()))
}
