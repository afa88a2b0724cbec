//! What the log says at start: the lines that scripts wait for, and what an operator needs to know at a glance.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use turnpike_config::{Config, Loaded, Severity};
use turnpike_control::{Inquirer, Log};
use turnpike_dtls::{DTLS_CIPHERS, library_version};
use turnpike_net::DescriptorLimit;
use turnpike_turn::{PeerRules, refused_by_default};

use crate::addresses::Addresses;
use crate::certificates::Certificates;
use crate::database::summary;

/// What the operator said, as far as there is something to say about it.
pub(crate) fn tell_notices(log: &Log, loaded: &Loaded) {
    match &loaded.file {
        Some(path) => log.info(&format!("Configuration file: {}", path.display())),
        None => log.info("Configuration file: none"),
    }
    for notice in &loaded.notices {
        let text = format!("{}: {}", notice.origin, notice.text);
        match notice.severity {
            Severity::Info => log.info(&text),
            Severity::Warning => log.warning(&text),
        }
    }
}

/// Which transports are on, and why the others are not.
pub(crate) fn tell_transports(log: &Log, config: &Config, certificates: Option<&Certificates>) {
    let port = config.listening_port;
    let tell = |transport: &str, state: &str| log.info(&format!("{transport} clients: {state}"));
    match config.udp {
        true => tell("UDP", &format!("on, port {port}")),
        false => tell("UDP", "off (no-udp)"),
    }
    match config.tcp {
        true => tell("TCP", &format!("on, port {port}")),
        false => tell("TCP", "off (no-tcp)"),
    }
    match (certificates, config.tls) {
        (Some(certificates), true) => {
            let also = if config.tcp { format!(" and {port}") } else { String::new() };
            let chain = certificates.chain();
            let chain = chain.display();
            tell("TLS", &format!("on, port {}{also}, certificate {chain}", config.tls_port));
        }
        (_, false) => tell("TLS", "off (no-tls)"),
        (None, true) if config.serves_tls() => tell("TLS", "off (see the error above)"),
        (None, true) => tell("TLS", "off (no certificate: set cert and pkey)"),
    }
    match (certificates, config.dtls) {
        (Some(certificates), true) => {
            let also = if config.udp { format!(" and {port}") } else { String::new() };
            let (chain, library) = (certificates.chain(), library_version());
            let chain = chain.display();
            tell("DTLS", &format!("on, port {}{also}, certificate {chain}, by {library}", config.tls_port));
            log.info(&format!("DTLS cipher suite: {DTLS_CIPHERS}"));
        }
        (_, false) => tell("DTLS", "off (set dtls to serve them): DTLS listeners are not started"),
        (None, true) if config.serves_dtls() => tell("DTLS", "off (see the error above)"),
        (None, true) => tell("DTLS", "off (no certificate: set cert and pkey)"),
    }
}

/// Who may relay, which peers may be reached, and how much fits.
pub(crate) fn tell_rules(
    log: &Log,
    config: &Config,
    database: Option<&Inquirer>,
    limit: Option<DescriptorLimit>,
    buffers: Option<(usize, usize)>,
) {
    match database {
        None => log.info("Database: none"),
        Some(database) => {
            log.info(&format!("Database: {}; {}", database.name(), summary(database.outside())));
        }
    }
    log.info(&who_may_relay(config));
    if !config.stun_only {
        log.info(&refused_peers(config));
    }
    if let Some(limit) = limit {
        let allocations = limit.now.saturating_sub(DESCRIPTORS_BESIDES);
        let text = format!(
            "File descriptors: {} (was {}), enough for {allocations} allocations",
            limit.now, limit.before
        );
        let ports = u64::from(config.max_port.abs_diff(config.min_port)) + 1;
        match allocations < ports && !config.stun_only {
            true => log.info(&format!(
                "{text}, fewer than the {ports} relay ports; for more raise LimitNOFILE or ulimit -n"
            )),
            false => log.info(&text),
        }
    }
    let Some((receive, send)) = buffers else { return };
    if receive < config.socket_buffer || send < config.socket_buffer {
        log.warning(&format!(
            "Socket buffers: {receive} bytes in, {send} out, where {} were asked for; raise net.core.rmem_max and net.core.wmem_max",
            config.socket_buffer
        ));
    } else {
        log.info(&format!("Socket buffers: {receive} bytes in, {send} out"));
    }
}

/// Where NAT behaviour discovery is offered, if it was asked for.
pub(crate) fn tell_discovery(log: &Log, config: &Config, addresses: &Addresses) {
    if !config.rfc5780 {
        return;
    }
    for pair in &addresses.alternates {
        let [first, second] = pair.addresses.map(|address| address.told);
        let [port, other] = pair.ports;
        let by = if pair.datagrams { "" } else { " for TLS" };
        log.info(&format!("NAT behaviour discovery: {first} and {second}, ports {port} and {other}{by}"));
    }
    if addresses.alternates.is_empty() {
        log.warning("rfc5780: it is switched off: there are no two listening addresses of one family; see listening-ip");
        return;
    }
    for ip in &addresses.without_partner {
        log.info(&format!("NAT behaviour discovery: not on {ip}, which has no second address beside it"));
    }
}

/// The lines that scripts wait for; the last says that the server is ready.
pub(crate) fn tell_ready(log: &Log, addresses: &Addresses, threads: u16) {
    let mut told: Vec<IpAddr> = Vec::new();
    for ip in addresses.listening.iter().map(SocketAddr::ip) {
        // One with a second port is there twice.
        if !told.contains(&ip) {
            log.info(&format!("Listener address to use: {ip}"));
            told.push(ip);
        }
    }
    for relay in &addresses.relays {
        log.info(&format!("Relay address to use: {}", relay.address));
        match (relay.external, PeerRules::default().judge(relay.address)) {
            (Some(external), _) => log.info(&format!("  clients are told: {external}")),
            (None, Err(kind)) if !relay.address.is_loopback() => log.info(&format!(
                "  {} is not on the Internet ({kind}): if clients or peers are, behind a NAT say external-ip=PUBLIC",
                relay.address
            )),
            _ => {}
        }
    }
    log.info(&format!("Total relay threads: {threads}"));
    log.info("Total auth threads: 1");
}

fn who_may_relay(config: &Config) -> String {
    if config.stun_only {
        return "Relaying: off (stun-only)".to_owned();
    }
    if config.no_auth {
        return "Relaying: for everybody (no-auth)".to_owned();
    }
    let bearers = match (config.oauth, &config.server_name) {
        (false, _) => String::new(),
        (true, name) => format!(
            ", and for bearers of access tokens sealed with {} for {:?}",
            counted(config.oauth_keys.len(), "key"),
            name.as_ref().unwrap_or(&config.realm)
        ),
    };
    format!(
        "Relaying: for {} and {} of realm {:?}{bearers}",
        counted(config.users.len(), "static user"),
        counted(config.secrets.len(), "REST secret"),
        config.realm
    )
}

fn refused_peers(config: &Config) -> String {
    let kinds: BTreeSet<&str> = refused_by_default().map(|(_, kind)| kind).collect();
    let kinds = kinds.into_iter().filter(|kind| *kind != "loopback" || !config.allow_loopback_peers);
    let opened = match config.allowed_peers.len() {
        0 => String::new(),
        count => format!(", but for {}", counted(count, "opened range")),
    };
    format!(
        "Peers: public addresses only; refused are {}{opened}; open more with allowed-peer-ip=ADDRESS, RANGE or CIDR",
        kinds.collect::<Vec<_>>().join(", ")
    )
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Descriptors that are not relay sockets.
const DESCRIPTORS_BESIDES: u64 = 64;
