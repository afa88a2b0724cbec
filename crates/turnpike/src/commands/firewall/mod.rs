//! `turnpike firewall`: the lines that open the ports of a configuration, for the firewall or cloud at hand. It prints and
//! changes nothing.

mod clouds;
mod host;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::bail;
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::json;
use turnpike_config::{Config, Loaded, SystemEnvironment, load};

use crate::cli::{flag, text};
use crate::terminal::{print, say};

/// The command's arguments.
pub fn command() -> Command {
    let formats: Vec<&str> = FORMATS.iter().map(|(name, _)| *name).collect();
    Command::new("firewall")
        .about(
            "Print firewall lines for the ports of a configuration: nft, iptables, ufw, AWS, GCP, Azure, ...",
        )
        .args([
            text("format", "FORMAT", "For what")
                .value_parser(PossibleValuesParser::new(formats))
                .default_value("nft"),
            text("config", "FILE", "Configuration file, as the server's -c").short('c'),
            text("from", "CIDR", "Who may come (repeatable) [default: everybody]").action(ArgAction::Append),
            text("security-group", "ID", "Security group, firewall or network of the cloud"),
            flag("json", "Print the ports as JSON, for a format of one's own"),
            options(),
        ])
        .after_help(
            "Options of the server may follow --, as in: turnpike firewall --format ufw -- --no-tcp -p 443",
        )
}

/// The server's own options, behind `--`.
pub(crate) fn options() -> Arg {
    Arg::new("options").last(true).num_args(0..).help("Options of turnserver")
}

/// Runs the command.
///
/// # Errors
/// The configuration cannot be read.
pub fn run(arguments: &ArgMatches) -> anyhow::Result<ExitCode> {
    let config = configuration(arguments)?.config;
    let from = sources(arguments)?;
    let openings = openings(&config);
    let group = arguments.get_one::<String>("security-group").map(String::as_str);
    if arguments.get_flag("json") {
        let ports = openings.iter().map(|opening| {
            json!({ "protocol": opening.protocol.word(), "first": opening.first, "last": opening.last, "what": opening.what })
        });
        say!("{:#}", json!({ "from": from, "ports": ports.collect::<Vec<_>>() }));
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = arguments.get_one::<String>("format").map_or("nft", String::as_str);
    let Some((_, write)) = FORMATS.iter().find(|(name, _)| *name == wanted) else {
        bail!("no format {wanted}")
    };
    let _ = print(&write(&Rules { openings, from, group }));
    Ok(ExitCode::SUCCESS)
}

/// What is to be let in.
pub(super) struct Rules<'r> {
    pub(super) openings: Vec<Opening>,
    /// Sources as CIDRs; all where there is none.
    pub(super) from: Vec<String>,
    pub(super) group: Option<&'r str>,
}

/// Ports that clients or peers come in by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) protocol: Protocol,
    pub(crate) first: u16,
    pub(crate) last: u16,
    pub(crate) what: &'static str,
    /// Whether it is for peers, who may be anywhere, whoever the clients are.
    pub(crate) for_peers: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Udp,
    Tcp,
}

impl Protocol {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
        }
    }
}

impl Opening {
    /// `3478`, or `49152-65535` with what stands between.
    pub(super) fn ports(&self, between: &str) -> String {
        match self.first == self.last {
            true => self.first.to_string(),
            false => format!("{}{between}{}", self.first, self.last),
        }
    }
}

impl Rules<'_> {
    /// Each opening with each source; relay ports are for everybody.
    pub(super) fn each(&self) -> impl Iterator<Item = (&Opening, Option<&str>)> {
        self.openings.iter().flat_map(|opening| {
            let sources: Vec<Option<&str>> = match self.from.is_empty() || opening.for_peers {
                true => vec![None],
                false => self.from.iter().map(|source| Some(source.as_str())).collect(),
            };
            sources.into_iter().map(move |source| (opening, source))
        })
    }

    /// The sources of an opening, everybody written out.
    pub(super) fn sources(&self, opening: &Opening) -> Vec<&str> {
        match self.from.is_empty() || opening.for_peers {
            true => vec!["0.0.0.0/0", "::/0"],
            false => self.from.iter().map(String::as_str).collect(),
        }
    }
}

/// The configuration that a command is about: the file named or found, and options behind `--`. Without a file and
/// options, the defaults.
///
/// # Errors
/// It is not sound.
pub(crate) fn configuration(arguments: &ArgMatches) -> anyhow::Result<Loaded> {
    let file = arguments.get_one::<String>("config");
    let options: Vec<OsString> =
        arguments.get_many::<String>("options").into_iter().flatten().map(Into::into).collect();
    read_configuration(file.map(String::as_str), &options)
}

pub(crate) fn read_configuration(file: Option<&str>, options: &[OsString]) -> anyhow::Result<Loaded> {
    let named = file.map(|file| [OsString::from("-c"), OsString::from(file)]);
    let words: Vec<OsString> = named.into_iter().flatten().chain(options.iter().cloned()).collect();
    match load(words.clone(), &SystemEnvironment) {
        Ok(turnpike_config::Command::Run(loaded) | turnpike_config::Command::Check(loaded)) => Ok(loaded),
        Ok(_) => bail!("behind -- stand options of the server, not questions about it"),
        Err(error) => {
            // Ports need no credentials.
            let open = words.into_iter().chain([OsString::from("--no-auth")]);
            match load(open, &SystemEnvironment) {
                Ok(turnpike_config::Command::Run(loaded)) => Ok(loaded),
                _ => Err(error.into()),
            }
        }
    }
}

/// The ports of a configuration.
pub(crate) fn openings(config: &Config) -> Vec<Opening> {
    let mut all = Vec::new();
    let mut open = |protocol, first, last, what, for_peers| {
        let opening = Opening { protocol, first, last, what, for_peers };
        if all.iter().all(|known: &Opening| (known.protocol, known.first) != (protocol, first)) {
            all.push(opening);
        }
    };
    let (plain, secure) = (config.listening_port, config.tls_port);
    if config.udp {
        open(Protocol::Udp, plain, plain, "clients", false);
    }
    if config.tcp {
        open(Protocol::Tcp, plain, plain, "clients where UDP is blocked", false);
    }
    if config.serves_tls() {
        open(Protocol::Tcp, secure, secure, "clients by TLS", false);
    }
    if config.serves_dtls() {
        open(Protocol::Udp, secure, secure, "clients by DTLS", false);
    }
    for port in config.balancing.auxiliary.iter().map(std::net::SocketAddr::port) {
        if config.udp {
            open(Protocol::Udp, port, port, "clients (aux-server)", false);
        }
        if config.tcp {
            open(Protocol::Tcp, port, port, "clients (aux-server)", false);
        }
    }
    if let Some(port) = config.balancing.proxy_port {
        open(Protocol::Tcp, port, port, "load balancers (PROXY protocol)", false);
    }
    if config.rfc5780 {
        let (plain, secure) = (config.second_port(), config.second_tls_port());
        for (protocol, port, is_served) in [
            (Protocol::Udp, plain, config.udp),
            (Protocol::Tcp, plain, config.tcp),
            (Protocol::Tcp, secure, config.serves_tls()),
            (Protocol::Udp, secure, config.serves_dtls()),
        ] {
            if is_served {
                open(protocol, port, port, "NAT behaviour discovery", false);
            }
        }
    }
    let relays = !config.stun_only;
    if relays && config.multiplex {
        // Two for each thread.
        let threads = config.threads.unwrap_or_else(crate::crew::cores);
        let last = config.multiplex_port.saturating_add(threads.saturating_mul(2).saturating_sub(1));
        open(Protocol::Udp, config.multiplex_port, last, "media", true);
    } else if relays && config.udp_relay {
        open(Protocol::Udp, config.min_port, config.max_port, "media", true);
    }
    if relays && config.tcp_relay && has_tcp_clients(config) {
        open(
            Protocol::Tcp,
            config.min_port,
            config.max_port,
            "peers by TCP (RFC 6062); leave it out if nobody uses it",
            true,
        );
    }
    all
}

fn has_tcp_clients(config: &Config) -> bool {
    config.tcp || config.serves_tls()
}

fn sources(arguments: &ArgMatches) -> anyhow::Result<Vec<String>> {
    let mut sources = Vec::new();
    for text in arguments.get_many::<String>("from").into_iter().flatten() {
        let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
        let Ok(ip) = address.parse::<std::net::IpAddr>() else {
            bail!("--from {text:?}: that is no address and no CIDR, such as 192.0.2.0/24");
        };
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = if prefix.is_empty() { Ok(bits) } else { prefix.parse::<u8>() };
        match prefix {
            Ok(prefix) if prefix <= bits => sources.push(format!("{ip}/{prefix}")),
            _ => bail!("--from {text:?}: the prefix is 0 to {bits}"),
        }
    }
    Ok(sources)
}

type Write = fn(&Rules<'_>) -> String;

/// What can be written, and how.
const FORMATS: &[(&str, Write)] = &[
    ("nft", host::nft),
    ("iptables", host::iptables),
    ("ufw", host::ufw),
    ("firewalld", host::firewalld),
    ("aws", clouds::aws),
    ("terraform", clouds::terraform),
    ("gcp", clouds::gcp),
    ("azure", clouds::azure),
    ("text", host::text),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(config: &Config) -> Rules<'static> {
        Rules { openings: openings(config), from: Vec::new(), group: None }
    }

    #[test]
    fn the_ports_are_those_of_the_configuration() {
        let ports = |config: &Config| -> Vec<String> {
            openings(config).iter().map(|it| format!("{} {}", it.protocol.word(), it.ports("-"))).collect()
        };
        assert_eq!(ports(&Config::default()), ["udp 3478", "tcp 3478", "udp 49152-65535", "tcp 49152-65535"]);
        let certificate = Some("c".to_owned());
        let config = Config {
            tcp: false,
            dtls: true,
            certificate: certificate.clone(),
            private_key: certificate,
            tls_port: 443,
            tcp_relay: false,
            min_port: 50_000,
            max_port: 50_000,
            ..Config::default()
        };
        assert_eq!(ports(&config), ["udp 3478", "tcp 443", "udp 443", "udp 50000"]);
        assert_eq!(ports(&Config { stun_only: true, ..Config::default() }), ["udp 3478", "tcp 3478"]);
        let few = Config { multiplex: true, threads: Some(2), tcp_relay: false, ..Config::default() };
        assert_eq!(ports(&few), ["udp 3478", "tcp 3478", "udp 3480-3483"]);
    }

    #[test]
    fn every_format_names_every_port() {
        let rules =
            rules(&Config { listening_port: 3999, min_port: 50_100, max_port: 50_299, ..Config::default() });
        for (name, write) in FORMATS {
            let text = write(&rules);
            for part in ["3999", "50100", "50299"] {
                assert!(text.contains(part), "{name} lacks {part}:\n{text}");
            }
        }
    }

    #[test]
    fn sources_hold_for_clients_and_not_for_peers() {
        let rules = Rules { from: vec!["192.0.2.0/24".to_owned()], ..rules(&Config::default()) };
        let pairs: Vec<(u16, Option<&str>)> =
            rules.each().map(|(opening, from)| (opening.first, from)).collect();
        assert!(
            pairs.contains(&(3478, Some("192.0.2.0/24"))) && pairs.contains(&(49_152, None)),
            "{pairs:?}"
        );
    }
}
