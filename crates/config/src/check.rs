//! What no single option can know: whether they agree, and whether the server is safe to start.

use std::fmt;
use std::net::SocketAddr;

use crate::balancing::{AlternateSelection, Balancing};
use crate::config::Config;
use crate::endpoints::AlternateLists;
use crate::error::ConfigError;
use crate::load::{Environment, Loaded, Setting, Severity};
use crate::options;
use crate::users::{Password, StaticUser};
use crate::values::boolean;

impl Loaded {
    /// Checks the options against each other and completes them. Returns what must not be.
    pub(crate) fn check(&mut self, environment: &dyn Environment) -> Vec<ConfigError> {
        self.complete();
        let mut problems = Vec::new();
        check_ranges(&self.config, &mut problems);
        check_external(&self.config, &mut problems);
        self.check_authentication(&mut problems);
        self.complete_realm(environment);
        problems.into_iter().map(ConfigError::Contradiction).collect()
    }

    /// Brings values that coturn brings into their range there too, and says so.
    fn complete(&mut self) {
        let Config { threads, cpus, max_lifetime, .. } = self.config;
        if let Some(asked) = threads.or(cpus) {
            let usable = asked.clamp(1, MAX_THREADS);
            self.config.threads = Some(usable);
            if asked > usable {
                let text = format!("{asked} threads are more than {MAX_THREADS}, so {usable} are used");
                self.notice(Severity::Warning, "relay-threads", text);
            }
        }
        if max_lifetime < DEFAULT_LIFETIME {
            self.config.max_lifetime = DEFAULT_LIFETIME;
            let text = "a lifetime is never shorter than 600 seconds, so 600 are used".to_owned();
            self.notice(Severity::Warning, "max-allocate-lifetime", text);
        }
        if self.config.certificate.is_some() != self.config.private_key.is_some() {
            let text = "cert and pkey belong together: without the other one there is no TLS".to_owned();
            self.notice(Severity::Warning, "cert", text);
        }
        if self.last("unauthorized-ratelimit-rps").is_some() && !self.config.limit_unauthorized {
            let text = "has no effect without unauthorized-ratelimit".to_owned();
            self.notice(Severity::Warning, "unauthorized-ratelimit-rps", text);
        }
        self.check_log_and_records();
        self.check_monitoring();
        self.complete_process();
        self.complete_discovery();
        self.check_address_discovery();
        self.check_auxiliary();
        self.check_alternates();
        self.check_proxies();
        self.warn_of_modes();
        self.check_console();
        let Config { listening_port, min_port, max_port, stun_only, .. } = self.config;
        if !stun_only && (min_port..=max_port).contains(&listening_port) {
            let text = format!(
                "port {listening_port} is also one of the relay ports {min_port}-{max_port}; keep them apart"
            );
            self.notice(Severity::Warning, "listening-port", text);
        }
    }

    /// Says what is set in vain about finding the external address.
    fn check_address_discovery(&mut self) {
        if self.config.discovery.wanted {
            if self.config.external.iter().any(|external| external.private.is_none()) {
                let text = "an address is given besides auto: it is told for all relay addresses of its family, and \
                            nothing is looked up for them";
                self.notice(Severity::Warning, "external-ip", text.to_owned());
            }
            return;
        }
        for name in ["external-ip-stun", "external-ip-metadata", "external-ip-period"] {
            if self.last(name).is_some() {
                self.notice(Severity::Warning, name, "has no effect without external-ip=auto".to_owned());
            }
        }
    }

    /// Says what of monitoring has no effect, or tells more than was perhaps meant.
    fn check_monitoring(&mut self) {
        let monitoring = self.config.monitoring.clone();
        let ignored = [
            "prometheus-port",
            "prometheus-address",
            "prometheus-path",
            "prometheus-username-labels",
            "prometheus-tls",
            "prometheus-cert",
            "prometheus-key",
            "prometheus-password-file",
            "prometheus-user",
        ];
        for option in ignored {
            if monitoring.prometheus || self.last(option).is_none() {
                continue;
            }
            let text = "has no effect without prometheus".to_owned();
            self.notice(Severity::Warning, option, text);
        }
        if self.last("health-address").is_some() && monitoring.health_port.is_none() {
            let text = "has no effect without health-port".to_owned();
            self.notice(Severity::Warning, "health-address", text);
        }
        let is_open = monitoring.prometheus_address.is_none_or(|address| !address.is_loopback());
        if monitoring.prometheus && is_open && monitoring.prometheus_password_file.is_none() {
            let text = format!(
                "whoever reaches port {} may read the metrics; set prometheus-address=127.0.0.1 or prometheus-password-file, or close it in the firewall",
                monitoring.prometheus_port
            );
            self.notice(Severity::Info, "prometheus", text);
        }
    }

    /// Where a detached server is found, and where its log is.
    fn complete_process(&mut self) {
        if !self.config.process.daemon {
            return;
        }
        // Start scripts of coturn look for it there, and do not say so.
        if self.last("pidfile").is_none() {
            self.config.pidfile = Some(DAEMON_PIDFILE.into());
        }
        let to_terminal = matches!(self.config.log.file.as_deref(), None | Some("stdout" | "-" | "stderr"));
        if to_terminal && !self.config.log.syslog {
            let text =
                "once it is detached, the log goes nowhere unless standard output is a file: set log-file";
            self.notice(Severity::Warning, "daemon", text.to_owned());
        }
    }

    /// Says what auxiliary listeners cannot do.
    fn check_auxiliary(&mut self) {
        let Config { min_port, max_port, stun_only, .. } = self.config;
        let relayed = |address: &&SocketAddr| !stun_only && (min_port..=max_port).contains(&address.port());
        if let Some(address) = self.config.balancing.auxiliary.iter().find(relayed) {
            let text =
                format!("{address} is on one of the relay ports {min_port}-{max_port}; keep them apart");
            self.notice(Severity::Warning, "aux-server", text);
        }
        if self.config.balancing.udp_self_balance && self.config.balancing.auxiliary.is_empty() {
            let text = "has no effect without aux-server: there is nothing to spread clients over".to_owned();
            self.notice(Severity::Warning, "udp-self-balance", text);
        }
    }

    /// What has nothing to work on.
    fn check_log_and_records(&mut self) {
        let Config { log, records, .. } = &self.config;
        let has_file =
            log.file.as_deref().is_some_and(|name| !["stdout", "-", "stderr", "journald"].contains(&name));
        let (syslog, file) = (log.syslog, has_file && !log.syslog);
        let idle = [
            ("log-file", syslog && has_file, "has no effect with syslog, which takes the place of a file"),
            ("syslog-facility", !syslog, "has no effect without syslog"),
            ("syslog-socket", !syslog, "has no effect without syslog"),
            ("log-rotate-size", !file, "has no effect without a log-file"),
            ("log-rotate-keep", log.rotate_size.is_none(), "has no effect without log-rotate-size"),
            (
                "session-record-webhook-token-file",
                records.webhook.is_none(),
                "has no effect without session-record-webhook",
            ),
        ];
        for (name, is_idle, why) in idle {
            if is_idle && self.last(name).is_some() {
                self.notice(Severity::Warning, name, why.to_owned());
            }
        }
    }

    /// Ways to choose need something to choose by, and several to choose from.
    fn check_alternates(&mut self) {
        let Balancing { alternate_servers, check_interval, selection, .. } = &self.config.balancing;
        let least_loaded = *selection == AlternateSelection::LeastLoaded;
        let (none, never) = (alternate_servers == &AlternateLists::default(), check_interval.is_none());
        if least_loaded && never {
            let text = "has no effect with alternate-check=0: nobody is asked".to_owned();
            self.notice(Severity::Warning, "alternate-selection", text);
        } else if least_loaded && none {
            let text = "has no effect without servers to choose from, such as alternate-server".to_owned();
            self.notice(Severity::Warning, "alternate-selection", text);
        }
        if self.last("alternate-capacity-url").is_some() && !least_loaded {
            let text = "has no effect without alternate-selection=least-loaded".to_owned();
            self.notice(Severity::Warning, "alternate-capacity-url", text);
        }
    }

    /// Whoever may choose clients' addresses should be named.
    fn check_proxies(&mut self) {
        if let Some(port) = self.config.balancing.proxy_port
            && self.config.balancing.proxies.is_empty()
        {
            let text = format!(
                "whoever comes to port {port} from a loopback or private address is believed whose connection it is; \
                 name the load balancers with proxy-from"
            );
            self.notice(Severity::Info, "tcp-proxy-port", text);
        }
    }

    /// What is dangerous, and what has nothing to work on.
    fn warn_of_modes(&mut self) {
        let Config { server_relay, stun_only, rfc3489, no_stun, secure_stun, udp, .. } = self.config;
        if server_relay && self.config.multiplex {
            let text = "has no effect with multiplex-peer, where permissions tell sessions apart".to_owned();
            self.notice(Severity::Warning, "server-relay", text);
        } else if server_relay && !stun_only {
            let text = "data passes WITHOUT PERMISSIONS: whoever finds a relayed port reaches the client behind it, and \
                        every user sends to any public address at will. Only for servers that are to be reached so"
                .to_owned();
            self.notice(Severity::Warning, "server-relay", text);
        }
        for name in ["multiplex-peer-port", "multiplex-peer-max-peers"] {
            if self.last(name).is_some() && !self.config.multiplex {
                self.notice(Severity::Warning, name, "has no effect without multiplex-peer".to_owned());
            }
        }
        let idle = [(no_stun, "no-stun"), (secure_stun, "secure-stun"), (!udp, "no-udp")];
        if let Some((_, why)) = idle.into_iter().find(|(idle, _)| rfc3489 && *idle) {
            let text = format!("has no effect with {why}");
            self.notice(Severity::Warning, "rfc3489-compatibility", text);
        }
        let encrypted = self.config.private_key_passphrase.is_some();
        if encrypted && self.config.private_key.is_none() {
            let text = "has no effect without pkey".to_owned();
            self.notice(Severity::Warning, "pkey-pwd", text);
        }
    }

    /// Switches NAT behaviour discovery off where it cannot be had, as coturn does, and says so.
    fn complete_discovery(&mut self) {
        let Config { alt_listening_port, alt_tls_port, .. } = self.config;
        if !self.config.rfc5780 {
            let ports =
                [("alt-listening-port", alt_listening_port), ("alt-tls-listening-port", alt_tls_port)];
            for (name, _) in ports.into_iter().filter(|(_, port)| port.is_some()) {
                self.notice(Severity::Warning, name, "has no effect without rfc5780".to_owned());
            }
            return;
        }
        let Some(why) = lacking_for_discovery(&self.config) else { return };
        self.config.rfc5780 = false;
        self.notice(Severity::Warning, "rfc5780", format!("it is switched off: {why}"));
    }

    fn check_authentication(&mut self, problems: &mut Vec<String>) {
        self.heed_refusals();
        let config = &mut self.config;
        let has_users = !config.users.is_empty();
        if !config.secrets.is_empty() {
            config.use_auth_secret = true;
        }
        if !config.oauth_keys.is_empty() {
            config.oauth = true;
        }
        let contradicted =
            config.long_term || config.use_auth_secret || has_users || !config.oauth_keys.is_empty();
        if config.no_auth && contradicted {
            problems.push(
                "no-auth contradicts lt-cred-mech, use-auth-secret, static-auth-secret, user and oauth-key: \
                 take out one or the other"
                    .to_owned(),
            );
        }
        let has_credentials = has_users
            || !config.secrets.is_empty()
            || !config.oauth_keys.is_empty()
            || config.databases.database.is_some();
        if config.secure_stun && !has_credentials {
            problems.push("secure-stun demands credentials, but there are none: set some".to_owned());
        }
        if config.no_auth && !config.stun_only {
            if config.mobility {
                let text = "without credentials nobody gets a mobility ticket (RFC 8016)".to_owned();
                self.notice(Severity::Warning, "mobility", text);
            }
            let text = "everybody may relay through this server without a password (no-auth)".to_owned();
            return self.notice(Severity::Warning, "no-auth", text);
        }
        if config.stun_only || config.no_auth {
            return;
        }
        if !has_credentials {
            problems.push(no_credentials(config));
        }
        if has_users && !config.long_term {
            config.long_term = true;
            self.notice(Severity::Info, "user", "users are given, so lt-cred-mech is on".to_owned());
        }
        self.check_oauth();
        let has_database = self.config.databases.database.is_some();
        if self.config.use_auth_secret && self.config.secrets.is_empty() && has_users && !has_database {
            let text = "there is no static-auth-secret, so it lets nobody in".to_owned();
            self.notice(Severity::Warning, "use-auth-secret", text);
        }
        let key_alone = self.config.users.iter().find(|user| matches!(user.password, Password::Key(_)));
        if let Some(StaticUser { name, .. }) = key_alone {
            let text = format!(
                "user {name:?} is known by an MD5 key alone, so clients are not offered SHA-256; \
                 with passwords for all users they are"
            );
            self.notice(Severity::Info, "user", text);
        }
    }

    fn check_oauth(&mut self) {
        let has_keys = !self.config.oauth_keys.is_empty() || self.config.databases.database.is_some();
        if self.config.oauth && !has_keys {
            self.config.oauth = false;
            let text =
                "there is no oauth-key, so no access token can be opened and none is asked for".to_owned();
            self.notice(Severity::Warning, "oauth", text);
        }
        if self.config.server_name.is_some() && !self.config.oauth {
            let text = "has no effect without oauth and oauth-key".to_owned();
            self.notice(Severity::Warning, "server-name", text);
        }
    }

    /// What is switched off in so many words is off, even where users or secrets are given for it.
    fn heed_refusals(&mut self) {
        let refused = |setting: Option<&Setting>| setting.is_some_and(|it| boolean(&it.value) == Ok(false));
        if refused(self.last("lt-cred-mech")) && !self.config.users.is_empty() {
            self.config.users.clear();
            let text = "it is off, so no user given by user= can come in".to_owned();
            self.notice(Severity::Warning, "lt-cred-mech", text);
        }
        if refused(self.last("use-auth-secret")) && !self.config.secrets.is_empty() {
            self.config.secrets.clear();
            let text = "it is off, so static-auth-secret has no effect".to_owned();
            self.notice(Severity::Warning, "use-auth-secret", text);
        }
        if refused(self.last("oauth")) && !self.config.oauth_keys.is_empty() {
            self.config.oauth_keys.clear();
            let text = "it is off, so oauth-key has no effect".to_owned();
            self.notice(Severity::Warning, "oauth", text);
        }
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

    /// What counts of everything that was set: all values of options that repeat, the last of the others.
    fn effective(&self) -> impl Iterator<Item = &Setting> {
        self.settings.iter().enumerate().filter_map(|(index, setting)| {
            let repeats = options::find(setting.name).is_some_and(|option| option.repeats);
            let again = || self.settings[index + 1..].iter().any(|later| later.name == setting.name);
            (repeats || !again()).then_some(setting)
        })
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
        let Loaded { file, notices, .. } = self.0;
        match file {
            Some(path) => writeln!(formatter, "configuration file: {}", path.display())?,
            None => writeln!(formatter, "configuration file: none")?,
        }
        for Setting { origin, name, value, .. } in self.0.effective() {
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

fn check_ranges(config: &Config, problems: &mut Vec<String>) {
    let mut refuse = |condition: bool, text: &str| {
        if condition {
            problems.push(text.to_owned());
        }
    };
    let Config { min_port, max_port, udp_relay, tcp_relay, stun_only, .. } = *config;
    refuse(min_port > max_port, &format!("min-port {min_port} is above max-port {max_port}: swap them"));
    refuse(
        !udp_relay && !tcp_relay,
        "no-udp-relay and no-tcp-relay together leave nothing to relay; for STUN alone use stun-only",
    );
    refuse(
        !udp_relay && !config.tcp && !config.serves_tls() && !stun_only,
        "no-udp-relay leaves TCP alone to relay, which is for clients that come by TCP or TLS: there are none with \
         no-tcp and without a certificate",
    );
    refuse(
        !config.udp && !config.tcp && !config.serves_tls() && !config.serves_dtls(),
        "no-udp and no-tcp leave nobody to serve: there is no certificate for TLS (cert and pkey)",
    );
    refuse(stun_only && config.no_stun, "stun-only and no-stun together leave nothing to serve");
    refuse(
        config.bps_capacity > 0 && config.max_bps == 0,
        "bps-capacity needs max-bps: how much of it a session may have",
    );
}

/// Why there can be no NAT behaviour discovery. If no listening address is set, it depends on those of the machine.
fn lacking_for_discovery(config: &Config) -> Option<&'static str> {
    let Config { listening_ips, listening_port, min_port, max_port, .. } = config;
    let second = config.second_port();
    let enough = |v4: bool| {
        let usable = listening_ips.iter().filter(|ip| ip.is_ipv4() == v4 && !ip.is_unspecified());
        usable.count() >= 2
    };
    if config.no_stun {
        Some("no-stun leaves no Binding request to answer")
    } else if config.external.iter().any(|external| external.private.is_none()) {
        Some("one external-ip stands for two addresses; write it as PUBLIC/PRIVATE for each")
    } else if !listening_ips.is_empty() && !enough(true) && !enough(false) {
        Some("it needs two listening-ip of one address family, not counting 0.0.0.0 and ::")
    } else if second == *listening_port {
        Some("alt-listening-port is the listening port; it needs another")
    } else if config.serves_tls() && config.second_tls_port() == config.tls_port {
        Some("alt-tls-listening-port is the tls-listening-port; it needs another")
    } else if !config.stun_only && (*min_port..=*max_port).contains(&second) {
        Some("its second port is one of the relay ports; set another with alt-listening-port")
    } else {
        None
    }
}

/// No relay address may have two external ones.
fn check_external(config: &Config, problems: &mut Vec<String>) {
    let key = |at: usize| config.external.get(at).map(|it| (it.private, it.public.is_ipv4()));
    for later in 0..config.external.len() {
        let Some(earlier) = (0..later).find(|earlier| key(*earlier) == key(later)) else { continue };
        let (first, second) = (config.external[earlier].public, config.external[later].public);
        let whom = match config.external[later].private {
            Some(private) => format!("for the relay address {private}"),
            None => {
                "for all relay addresses of one family; write PUBLIC/PRIVATE to tell them apart".to_owned()
            }
        };
        problems.push(format!("external-ip gives both {first} and {second} {whom}"));
    }
}

fn no_credentials(config: &Config) -> String {
    let asked = match () {
        () if config.use_auth_secret => " (use-auth-secret is set, but no static-auth-secret)".to_owned(),
        () if config.long_term => " (lt-cred-mech is set, but no user)".to_owned(),
        () if config.oauth => " (oauth is set, but no oauth-key)".to_owned(),
        () => String::new(),
    };
    format!(
        "nobody could use this server: it has no credentials{asked}.\n\
         Two ways out:\n\
         \x20 - give it some: `turnpike up` generates them, or set use-auth-secret and static-auth-secret=SECRET,\n\
         \x20   or lt-cred-mech, realm=REALM and user=NAME:PASSWORD\n\
         \x20 - or open it to everybody with no-auth: an open relay, for closed networks alone"
    )
}

/// Where coturn writes its process id when nobody says where.
const DAEMON_PIDFILE: &str = "/var/run/turnserver.pid";
/// The lifetime of RFC 8656 §3.2, below which none is granted.
const DEFAULT_LIFETIME: std::time::Duration = std::time::Duration::from_secs(600);

/// The most threads, as in coturn.
const MAX_THREADS: u16 = 128;
