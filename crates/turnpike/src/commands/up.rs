//! `turnpike up`: the first run. Finds addresses, keeps a generated secret, and says what to do next.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::ArgMatches;
use serde_json::json;
use turnpike_config::{
    Config, ControlSocket, Database, DatabaseKind, DatabaseSettings, ExternalAddress, Loaded, LogLevel,
    LogSettings, Secret, stun_server,
};
use turnpike_control::in_words;
use turnpike_net::{default_route_source, holder_of_tcp_address, holder_of_udp_address};

use super::credentials::{as_json, parse_duration, snippet, time_of, unix_now};
use crate::addresses::Addresses;
use crate::boot::Running;
use crate::control::NAME as CONTROL_SOCKET;
use crate::external_address::{Survey, is_public, whom_to_ask};
use crate::rest::RestCredential;
use crate::state::{KeptSecret, StateDirectory};
use crate::terminal::{painted, print, say, shows_colour};
use crate::upgrade::port_of_predecessor;

/// Runs the command: returns when the server is stopped.
///
/// # Errors
/// The server cannot start; the message says what to do.
pub fn run(arguments: &ArgMatches) -> anyhow::Result<ExitCode> {
    let path = text(arguments, "state-dir").map_or_else(StateDirectory::default_path, PathBuf::from);
    let kept = StateDirectory::open(&path)?.secret()?;
    let mut config = config(arguments, &kept)?;
    let lifetime = parse_duration(text(arguments, "ttl").unwrap_or("24h"))?;
    let moved = pick_port(&mut config)?;
    let loaded = Loaded { config, ..Loaded::default() };
    let running = Running::start(&loaded)?;
    let user = text(arguments, "user").unwrap_or("demo");
    let found = Found {
        uris: uris(&loaded.config, running.addresses()),
        credential: RestCredential::mint(&kept.secret, user, ':', unix_now(), lifetime),
        good_for: lifetime.as_secs(),
        kept,
        moved,
    };
    if arguments.get_flag("json") {
        say!("{:#}", found.json(&loaded.config, running.addresses(), running.survey()));
    } else {
        let text = found.text(&loaded.config, running.addresses(), running.survey());
        // Nobody has to read it: the server serves all the same.
        let _ = print(&painted(&text, |line| !line.starts_with(' '), shows_colour(&std::io::stdout())));
    }
    running.wait()?;
    Ok(ExitCode::SUCCESS)
}

/// Adds a line to a text.
macro_rules! line {
    ($text:ident, $($line:tt)*) => {{ let _ = writeln!($text, $($line)*); }};
}

/// What there is to tell.
struct Found {
    uris: Vec<String>,
    credential: RestCredential,
    good_for: u64,
    kept: KeptSecret,
    /// Why another port than the wanted one is used.
    moved: Option<String>,
}

impl Found {
    fn text(&self, config: &Config, addresses: &Addresses, survey: &Survey) -> String {
        let mut text = String::new();
        let RestCredential { username, password, expires } = &self.credential;
        line!(text, "\nTurnpike is up.\n\nAddresses");
        let told = |ip: IpAddr| !ip.is_loopback() || config.listening_ips.contains(&ip);
        for address in addresses.listening.iter().filter(|address| told(address.ip())) {
            line!(text, "  {:<42} {}", address.to_string(), how_found(address.ip(), config, survey));
        }
        for relay in &addresses.relays {
            let told = relay
                .external
                .map(|external| {
                    format!(", clients are told {external} ({})", who_said_so(relay.address, survey))
                })
                .unwrap_or_default();
            line!(text, "  relaying from {}{told}", relay.address);
        }
        for judgement in &survey.judgements {
            judgement.oddities().iter().for_each(|odd| line!(text, "  note: {odd}"));
        }
        if survey.judgements.iter().any(|it| it.told.is_none() && !it.private.is_ipv6()) {
            line!(text, "  {}", whom_to_ask(survey, config).replace("external-ip", "--external-ip"));
        }
        if let Some(moved) = &self.moved {
            line!(text, "  {moved}");
        }
        line!(text, "\nPorts to open in the firewall");
        line!(text, "  UDP {}            clients come in", config.listening_port);
        line!(text, "  TCP {}            clients come in where UDP is blocked", config.listening_port);
        line!(text, "  UDP {}-{}     media", config.min_port, config.max_port);
        line!(text, "  (turnpike firewall prints the lines for nft, ufw, AWS, ...)");
        line!(text, "\nURIs");
        self.uris.iter().for_each(|uri| line!(text, "  {uri}"));
        line!(text, "\nCredential (good for {}, until {})", in_words(self.good_for), time_of(*expires));
        line!(text, "  username  {username}\n  password  {password}");
        line!(text, "\nFor a browser\n{}", indented(&snippet(&self.uris, &self.credential)));
        let made = if self.kept.is_new { "made now" } else { "from an earlier run" };
        line!(text, "\nSecret: {} ({made}; keep it private)", self.kept.path.display());
        if let Some([health, metrics]) = pages(config) {
            line!(
                text,
                "\nTo look after it\n  {health}      whether it works\n  {metrics}      for Prometheus"
            );
        }
        line!(text, "\nNext");
        line!(text, "  turnpike credentials --user alice --ttl 4h    mint another credential");
        line!(text, "  turnpike credentials decode USER PASSWORD     find out why one is refused");
        let database = self.kept.path.with_file_name("turndb");
        line!(text, "  turnadmin -a -u alice -r {} -b {}", config.realm, database.display());
        line!(
            text,
            "                                                add a user who lasts; asks for a password"
        );
        line!(text, "  turnpike probe URI --secret-file FILE         try it from another machine");
        line!(
            text,
            "  turnpike top                                  watch it; also: sessions, kill, drain, status"
        );
        line!(text, "  turnserver -h                                 every option, as coturn has them");
        line!(text, "  Ctrl-C                                        stop\n");
        text
    }

    fn json(&self, config: &Config, addresses: &Addresses, survey: &Survey) -> serde_json::Value {
        let mut found = as_json(&self.uris, &self.credential);
        found["listening"] = addresses.listening.iter().map(SocketAddr::to_string).collect();
        let relays = addresses.relays.iter().map(|relay| {
            let by = survey.on(relay.address).and_then(|judgement| judgement.by.as_ref());
            json!({
                "address": relay.address.to_string(),
                "external": relay.advertised().to_string(),
                "saidBy": by.map(|source| source.word()),
            })
        });
        found["externalAddressNotes"] =
            survey.judgements.iter().flat_map(|judgement| judgement.oddities()).collect();
        found["relays"] = relays.collect();
        found["relayPorts"] = json!([config.min_port, config.max_port]);
        found["realm"] = json!(config.realm);
        found["port"] = json!(config.listening_port);
        found["portNote"] = json!(self.moved);
        found["secretFile"] = json!(self.kept.path);
        if let Some([health, metrics]) = pages(config) {
            found["health"] = json!(health);
            found["metrics"] = json!(metrics);
        }
        found["database"] = json!(self.kept.path.with_file_name("turndb"));
        found
    }
}

/// Where health and metrics are, if they are served.
fn pages(config: &Config) -> Option<[String; 2]> {
    let monitoring = &config.monitoring;
    let address = SocketAddr::new(monitoring.prometheus_address?, monitoring.prometheus_port);
    Some(["/healthz", &monitoring.prometheus_path].map(|path| format!("http://{address}{path}")))
}

/// Users who last: a file beside the secret, empty at first.
fn database(kept: &KeptSecret) -> Database {
    let path = kept.path.with_file_name("turndb");
    let connection = Secret::new(path.to_string_lossy());
    Database { option: "userdb", kind: DatabaseKind::Sqlite, connection }
}

fn config(arguments: &ArgMatches, kept: &KeptSecret) -> anyhow::Result<Config> {
    let mut config = Config {
        listening_port: *arguments.get_one("port").unwrap_or(&3478),
        min_port: *arguments.get_one("min-port").unwrap_or(&49_152),
        max_port: *arguments.get_one("max-port").unwrap_or(&65_535),
        realm: text(arguments, "realm").unwrap_or("turnpike").to_owned(),
        use_auth_secret: true,
        secrets: vec![Secret::new(&kept.secret)],
        databases: DatabaseSettings { database: Some(database(kept)), ..DatabaseSettings::default() },
        verbose: arguments.get_flag("verbose"),
        allow_loopback_peers: arguments.get_flag("allow-loopback-peers"),
        log: LogSettings { min_level: LogLevel::Warning, ..LogSettings::default() },
        ..Config::default()
    };
    config.administration.control_socket = ControlSocket::At(kept.path.with_file_name(CONTROL_SOCKET));
    if config.min_port > config.max_port {
        bail!("--min-port {} is above --max-port {}", config.min_port, config.max_port);
    }
    if config.verbose {
        config.log.min_level = LogLevel::Info;
    }
    if arguments.get_flag("json") {
        config.log.file = Some("stderr".to_owned());
    }
    if let Some(port) = arguments.get_one("http-port") {
        config.monitoring.prometheus = true;
        config.monitoring.prometheus_port = *port;
        config.monitoring.prometheus_address = Some(LOOPBACK);
    }
    for ip in arguments.get_many::<String>("listening-ip").into_iter().flatten() {
        config.listening_ips.push(address(ip, "listening-ip")?);
    }
    match text(arguments, "external-ip").unwrap_or("auto") {
        "auto" => config.discovery.wanted = true,
        "none" => {}
        ip => config.external.push(ExternalAddress { public: address(ip, "external-ip")?, private: None }),
    }
    for server in arguments.get_many::<String>("external-ip-stun").into_iter().flatten() {
        let server = stun_server(server).map_err(|error| anyhow::anyhow!("--external-ip-stun: {error}"))?;
        config.discovery.stun_servers.push(server);
    }
    if let Some(choice) = text(arguments, "external-ip-metadata") {
        config.discovery.metadata =
            choice.parse().map_err(|error: String| anyhow::anyhow!("--external-ip-metadata: {error}"))?;
    }
    for range in arguments.get_many::<String>("allowed-peer-ip").into_iter().flatten() {
        config
            .allowed_peers
            .push(range.parse().map_err(|error: String| anyhow::anyhow!("--allowed-peer-ip: {error}"))?);
    }
    Ok(config)
}

/// Moves on from a port that somebody holds; says who does.
fn pick_port(config: &mut Config) -> anyhow::Result<Option<String>> {
    if let Some(port) = port_of_predecessor() {
        // The process that hands over to this one holds it.
        config.listening_port = port;
        return Ok(None);
    }
    let wanted = config.listening_port;
    let listening = Addresses::find(config)?.listening;
    let taken = |port: u16| {
        let addresses = listening.iter().map(|address| SocketAddr::new(address.ip(), port));
        addresses.into_iter().find(|address| {
            let in_use = |error: &std::io::Error| error.kind() == std::io::ErrorKind::AddrInUse;
            std::net::UdpSocket::bind(address).is_err_and(|error| in_use(&error))
                || std::net::TcpListener::bind(address).is_err_and(|error| in_use(&error))
        })
    };
    let Some(address) = taken(wanted) else { return Ok(None) };
    let holder = holder_of_udp_address(address)
        .or_else(|| holder_of_tcp_address(address))
        .map(|holder| format!("process {} ({})", holder.process, holder.name))
        .unwrap_or_else(|| "another process".to_owned());
    let next = (wanted..=u16::MAX).skip(1).take(PORTS_TRIED).find(|port| taken(*port).is_none());
    let Some(port) = next else {
        bail!(
            "{holder} holds port {wanted}, and the next {PORTS_TRIED} are taken too; choose one with --port"
        );
    };
    config.listening_port = port;
    Ok(Some(format!("port {port} is used, because {holder} holds {wanted}")))
}

/// The URIs to hand out: the address the Internet is reached from first.
fn uris(config: &Config, addresses: &Addresses) -> Vec<String> {
    let route = |ip: &IpAddr| default_route_source(ip.is_ipv4()) == Some(*ip);
    let mut reachable: Vec<IpAddr> =
        addresses.listening.iter().map(SocketAddr::ip).filter(|ip| !ip.is_loopback()).collect();
    if reachable.is_empty() {
        reachable = addresses.listening.iter().map(SocketAddr::ip).collect();
    }
    reachable.sort_by_key(|ip| (ip.is_ipv6(), !route(ip)));
    let told = reachable.iter().map(|ip| {
        let relay = addresses.relays.iter().find(|relay| relay.address == *ip);
        relay.map_or(*ip, turnpike_turn::RelayAddress::advertised)
    });
    let told: Vec<IpAddr> = told.collect();
    // Who is reached from the Internet does not hand out addresses that only neighbours know.
    let some_are_public = told.iter().any(|ip| is_public(*ip));
    let told = told.into_iter().filter(|ip| !some_are_public || is_public(*ip));
    let mut uris: Vec<String> = told
        .map(|ip| match ip {
            IpAddr::V4(ip) => format!("turn:{ip}:{}", config.listening_port),
            IpAddr::V6(ip) => format!("turn:[{ip}]:{}", config.listening_port),
        })
        .collect();
    uris.dedup();
    // Where UDP is blocked, a client comes by TCP; browsers prefer the first.
    let by_tcp: Vec<String> = uris.iter().map(|uri| format!("{uri}?transport=tcp")).collect();
    uris.into_iter().chain(by_tcp).collect()
}

/// Where an external address comes from.
fn who_said_so(address: IpAddr, survey: &Survey) -> String {
    match survey.on(address).and_then(|judgement| judgement.by.as_ref().map(|by| (judgement, by))) {
        None => "given by --external-ip".to_owned(),
        Some((judgement, by)) => {
            let others: Vec<String> = judgement.agreeing.iter().map(|source| source.name()).collect();
            let also = if others.is_empty() { String::new() } else { format!(", and {}", others.join(", ")) };
            format!("said by {}{also}", by.name())
        }
    }
}

fn how_found(ip: IpAddr, config: &Config, survey: &Survey) -> &'static str {
    if config.listening_ips.contains(&ip) {
        return "given by --listening-ip";
    }
    let told = config.external.iter().any(|external| external.public.is_ipv4() == ip.is_ipv4())
        || survey.on(ip).is_some_and(|judgement| judgement.told.is_some());
    let public = told || turnpike_turn::PeerRules::default().judge(ip).is_ok();
    match (default_route_source(ip.is_ipv4()) == Some(ip), public) {
        (true, true) => "found on the default route",
        (true, false) => "found on the default route; private: from outside, give --external-ip PUBLIC",
        (false, true) => "found on an interface",
        (false, false) => "found on an interface; private",
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn text<'a>(arguments: &'a ArgMatches, name: &str) -> Option<&'a str> {
    arguments.get_one::<String>(name).map(String::as_str)
}

fn address(text: &str, option: &str) -> anyhow::Result<IpAddr> {
    text.parse().map_err(|_| anyhow::anyhow!("--{option}: {text:?} is no IP address"))
}

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const PORTS_TRIED: usize = 100;
