//! The flags of `turnutils_uclient`: what was typed ([`Typed`]), and what it means together ([`Settings`]).

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use turnpike_client::{ClientConfig, Credentials, TokenSource, Transport};
use turnpike_wire::Family;

use super::settings::{Load, MAX_LENGTH, MIN_LENGTH, Peers, Settings, TcpRelay};
use super::tokens::TestTokens;
use super::transport::{DtlsSettings, TlsFlags, TlsSettings, Way};
use crate::tools::arguments::{Argument, Shape, split};

/// What the arguments ask for.
pub(super) enum Parsed {
    Run(Box<Settings>),
    Help,
}

/// Why the arguments cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not a flag of this tool: exit status 1.
    UnknownFlag(String),
    /// Values that make no sense, or something this version does not have: exit status 255.
    Unusable(String),
}

/// Reads the arguments, the program's name left out.
pub(super) fn parse(arguments: Vec<String>) -> Result<Parsed, Refusal> {
    let (flags, words) = split(&SHAPE, arguments).map_err(Refusal::UnknownFlag)?;
    let mut typed = Typed::default();
    for flag in flags {
        if flag.name == "help" {
            return Ok(Parsed::Help);
        }
        typed.apply(&flag)?;
    }
    typed.server = words.into_iter().next();
    typed.into_settings().map(|settings| Parsed::Run(Box::new(settings)))
}

/// The flags as typed.
#[derive(Default)]
struct Typed {
    server: Option<String>,
    tcp: bool,
    tcp_relay: bool,
    passive: bool,
    secure: bool,
    tls: TlsFlags,
    port: Option<u16>,
    local: Option<IpAddr>,
    device: Option<String>,
    peer: Option<String>,
    peer_port: Option<u16>,
    client_to_client: bool,
    load: Option<Load>,
    clients: Option<usize>,
    messages: Option<u64>,
    length: Option<usize>,
    interval: Option<u64>,
    no_rtcp: bool,
    no_even_port: bool,
    ipv6: bool,
    ipv4: bool,
    dual: bool,
    dont_fragment: bool,
    bandwidth: Option<u32>,
    mobility: bool,
    send_indications: bool,
    pad: bool,
    no_permissions: bool,
    extra_requests: bool,
    negative_tests: bool,
    malformed_traffic: bool,
    random_disconnect: bool,
    leave_at_once: bool,
    hang: bool,
    verbose: bool,
    username: Option<String>,
    password: Option<String>,
    rest_secret: Option<String>,
    rest_separator: Option<char>,
    origin: Option<String>,
    tokens: bool,
}

impl Typed {
    fn apply(&mut self, flag: &Argument) -> Result<(), Refusal> {
        if let Some(why) = refusal_of(&flag.name) {
            return unusable(format!("-{}: {why}", flag.name));
        }
        match &flag.value {
            Some(value) => self.apply_value(&flag.name, value),
            None => {
                self.apply_switch(&flag.name);
                Ok(())
            }
        }
    }

    fn apply_switch(&mut self, name: &str) {
        let switch = match name {
            "t" => &mut self.tcp,
            "T" => &mut self.tcp_relay,
            "P" => &mut self.passive,
            "S" => &mut self.secure,
            "v" => &mut self.verbose,
            "s" => &mut self.send_indications,
            "y" => &mut self.client_to_client,
            "h" => &mut self.hang,
            "c" => &mut self.no_rtcp,
            "x" => &mut self.ipv6,
            "X" => &mut self.ipv4,
            "g" => &mut self.dont_fragment,
            "M" => &mut self.mobility,
            "D" => &mut self.pad,
            "N" => &mut self.negative_tests,
            "R" => &mut self.malformed_traffic,
            "O" => &mut self.leave_at_once,
            "I" => &mut self.no_permissions,
            "G" => &mut self.extra_requests,
            "B" => &mut self.random_disconnect,
            "Z" => &mut self.dual,
            "J" => &mut self.tokens,
            "no-even-port" => &mut self.no_even_port,
            _ => return,
        };
        *switch = true;
    }

    fn apply_value(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        match name {
            "p" => self.port = Some(number(name, value)?),
            "r" => self.peer_port = Some(number(name, value)?),
            "L" => self.local = Some(number(name, value)?),
            "d" => self.device = Some(value.to_owned()),
            "e" => self.peer = Some(value.to_owned()),
            "m" => self.clients = Some(number(name, value)?),
            "n" => self.messages = Some(number(name, value)?),
            "l" => self.length = Some(number(name, value)?),
            "z" => self.interval = Some(number(name, value)?),
            "u" => self.username = Some(value.to_owned()),
            "w" => self.password = Some(value.to_owned()),
            "W" => self.rest_secret = Some(value.to_owned()),
            "C" => self.rest_separator = value.chars().next(),
            "o" => self.origin = Some(value.to_owned()),
            // BANDWIDTH counts kilobits of 1024 bits.
            "a" => self.bandwidth = Some(number::<u32>(name, value)? / 128),
            "i" => self.tls.certificate = Some(value.to_owned()),
            "k" => self.tls.key = Some(value.to_owned()),
            "E" => self.tls.authorities = Some(value.to_owned()),
            "F" => self.tls.ciphers = Some(value.to_owned()),
            "Y" => self.load = Some(load_mode(value)?),
            "K" | "listener-threads" | "sender-threads" => {
                let threads: u8 = number(name, value)?;
                if threads > MOST_THREADS {
                    return unusable(format!("-{name} takes 0 to {MOST_THREADS}, not {threads}"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn into_settings(mut self) -> Result<Settings, Refusal> {
        let tcp_relay = self.relay_tcp()?;
        let Some(server) = &self.server else {
            return unusable("the server's address is missing (--help explains the flags)".to_owned());
        };
        let way = self.way(server)?;
        let default_port = if self.secure { DEFAULT_SECURE_PORT } else { DEFAULT_PORT };
        let server = resolve(server, self.port.unwrap_or(default_port))?;
        let peers = self.peers()?;
        let rtcp = !(self.no_rtcp || self.dual || self.load.is_some());
        let length = self.length.unwrap_or(DEFAULT_LENGTH).clamp(MIN_LENGTH, MAX_LENGTH);
        let family = self.family(peers);
        let default_messages = self.load.is_none().then_some(DEFAULT_MESSAGES);
        let interval = match self.load {
            Some(Load::Packet | Load::Invalid) => self.interval.unwrap_or(0),
            Some(Load::Alloc) | None => self.interval.unwrap_or(DEFAULT_INTERVAL),
        };
        let clients = Settings::round_up(self.clients.unwrap_or(1), rtcp, peers == Peers::Clients);
        // Of two that would talk to each other, one is a peer.
        let sessions = if tcp_relay == Some(TcpRelay::Passive) { clients / 2 } else { clients };
        Ok(Settings {
            server,
            client: Arc::new(self.client_config(&way)?),
            way,
            local: self.local,
            device: self.device.clone(),
            peers,
            tcp_relay,
            load: self.load,
            sessions,
            rtcp,
            even_port: !self.no_even_port,
            family,
            dual: self.dual,
            dont_fragment: self.dont_fragment,
            bandwidth: self.bandwidth,
            mobility: self.mobility,
            send_indications: self.send_indications,
            pad_channel_data: self.pad,
            permissions: !self.no_permissions,
            extra_requests: self.extra_requests,
            negative_tests: self.negative_tests,
            malformed_traffic: self.malformed_traffic,
            random_disconnect: self.random_disconnect,
            leave_at_once: self.leave_at_once,
            hang: self.hang,
            verbose: self.verbose,
            messages: self.messages.or(default_messages),
            length,
            interval: Duration::from_millis(interval),
        })
    }

    /// Relaying TCP is for clients that come by connections and talk to each other; what is about datagrams and ports
    /// does not go with it.
    fn relay_tcp(&mut self) -> Result<Option<TcpRelay>, Refusal> {
        if !(self.tcp_relay || self.passive) {
            return Ok(None);
        }
        let unfit = [
            (self.send_indications, "-s"),
            (self.peer.is_some(), "-e"),
            (self.peer_port.is_some(), "-r"),
            (self.dont_fragment, "-g"),
            (self.load.is_some(), "-Y"),
            (self.extra_requests, "-G"),
            (self.dual, "-Z"),
        ];
        if let Some((_, flag)) = unfit.iter().find(|(given, _)| *given) {
            return unusable(format!("-T and -P relay TCP between clients, which {flag} does not go with"));
        }
        (self.tcp, self.client_to_client, self.no_rtcp) = (true, true, true);
        Ok(Some(if self.passive { TcpRelay::Passive } else { TcpRelay::Active }))
    }

    /// Certificates and ciphers mean nothing without TLS or DTLS.
    fn way(&self, server: &str) -> Result<Way, Refusal> {
        match (self.tcp, self.secure) {
            (false, false) => Ok(Way::Udp),
            (true, false) => Ok(Way::Tcp),
            (true, true) => TlsSettings::new(server, &self.tls).map(Way::Tls).or_else(unusable),
            (false, true) => DtlsSettings::new(server, &self.tls).map(Way::Dtls).or_else(unusable),
        }
    }

    fn peers(&self) -> Result<Peers, Refusal> {
        if self.load.is_some() && self.client_to_client {
            return unusable("-Y and -y exclude each other".to_owned());
        }
        if matches!(self.load, Some(Load::Alloc | Load::Invalid)) {
            return Ok(Peers::Nobody);
        }
        if self.client_to_client {
            return Ok(Peers::Clients);
        }
        match &self.peer {
            Some(peer) => resolve(peer, self.peer_port.unwrap_or(DEFAULT_PEER_PORT)).map(Peers::Echo),
            None => unusable("Either -e peer_address or -y must be specified".to_owned()),
        }
    }

    /// An echo peer's family decides, for a relay of the other could not reach it.
    fn family(&self, peers: Peers) -> Option<Family> {
        match peers {
            Peers::Echo(peer) if peer.is_ipv6() => Some(Family::Ipv6),
            Peers::Echo(_) => self.ipv4.then_some(Family::Ipv4),
            Peers::Clients | Peers::Nobody if self.ipv6 => Some(Family::Ipv6),
            Peers::Clients | Peers::Nobody => self.ipv4.then_some(Family::Ipv4),
        }
    }

    fn client_config(&self, way: &Way) -> Result<ClientConfig, Refusal> {
        let credentials = match &self.rest_secret {
            Some(secret) => Some(self.rest_credentials(secret)?),
            None => self.username.clone().map(|username| Credentials {
                username,
                password: self.password.clone().unwrap_or_default(),
            }),
        };
        Ok(ClientConfig {
            credentials,
            tokens: self.tokens.then(|| Arc::new(TestTokens) as Arc<dyn TokenSource>),
            transport: if way.is_stream() { Transport::Stream } else { Transport::Datagram },
            // A tool for finding out shows what a server says, whoever may have said it.
            accept_unprotected_errors: true,
            origin: self.origin.clone(),
            ..ClientConfig::default()
        })
    }

    /// A name that says until when it is good, and the password that follows from it and the secret.
    fn rest_credentials(&self, secret: &str) -> Result<Credentials, Refusal> {
        let Ok(unix) = SystemTime::now().duration_since(UNIX_EPOCH) else {
            return unusable("-W: the clock stands before 1970".to_owned());
        };
        let expiry = unix.as_secs() + REST_LIFETIME;
        let username = match &self.username {
            Some(user) => format!("{expiry}{}{user}", self.rest_separator.unwrap_or(':')),
            None => expiry.to_string(),
        };
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(secret.as_bytes()) else {
            return unusable("-W: the secret cannot be used as a key".to_owned());
        };
        mac.update(username.as_bytes());
        Ok(Credentials { username, password: STANDARD.encode(mac.finalize().into_bytes()) })
    }
}

/// Why a flag cannot be used, whatever else is given.
fn refusal_of(flag: &str) -> Option<&'static str> {
    Some(match flag {
        "b" => "SCTP between client and server is not in this version; use -t for TCP",
        "U" => "a null cipher encrypts nothing, and there is none here; leave -S away to send in the clear",
        _ => return None,
    })
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, Refusal> {
    let addresses = (host, port).to_socket_addrs();
    match addresses.map(|mut addresses| addresses.next()) {
        Ok(Some(address)) => Ok(address),
        Ok(None) => unusable(format!("{host} has no address")),
        Err(error) => unusable(format!("{host} is no address and cannot be looked up: {error}")),
    }
}

fn load_mode(value: &str) -> Result<Load, Refusal> {
    match value {
        "packet" => Ok(Load::Packet),
        "alloc" => Ok(Load::Alloc),
        "invalid" => Ok(Load::Invalid),
        _ => unusable(format!("-Y takes packet, alloc or invalid, not {value}")),
    }
}

fn number<T: std::str::FromStr>(flag: &str, value: &str) -> Result<T, Refusal> {
    value.parse().or_else(|_| unusable(format!("-{flag} cannot be {value}")))
}

fn unusable<T>(text: String) -> Result<T, Refusal> {
    Err(Refusal::Unusable(text))
}

const SHAPE: Shape = Shape {
    switches: "tbTPSUvsyhcxXgDNROMIGBZJ",
    values: "YlikEpndLmerzuwWCFoaK",
    long: &[("help", false), ("no-even-port", false), ("listener-threads", true), ("sender-threads", true)],
};
const DEFAULT_PORT: u16 = 3478;
const DEFAULT_SECURE_PORT: u16 = 5349;
const DEFAULT_PEER_PORT: u16 = 3480;
const DEFAULT_MESSAGES: u64 = 5;
const DEFAULT_LENGTH: usize = 100;
/// Milliseconds between a session's messages.
const DEFAULT_INTERVAL: u64 = 20;
/// Seconds a credential made with `-W` is good for.
const REST_LIFETIME: u64 = 86_400;
const MOST_THREADS: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &str) -> Result<Settings, Refusal> {
        match parse(words.split_whitespace().map(str::to_owned).collect())? {
            Parsed::Run(settings) => Ok(*settings),
            Parsed::Help => panic!("help"),
        }
    }

    #[test]
    fn defaults_are_an_rtp_and_rtcp_pair_of_five_messages() {
        let settings = parsed("-e 127.0.0.1 127.0.0.1").unwrap();
        assert_eq!((settings.sessions, settings.rtcp, settings.even_port), (2, true, true));
        assert_eq!((settings.messages, settings.length), (Some(5), 100));
        assert_eq!(settings.server.port(), 3478);
        assert_eq!(settings.echo_peer(0).unwrap().port(), 3480);
        assert_eq!(settings.echo_peer(1).unwrap().port(), 3481);
    }

    #[test]
    fn a_run_without_peers_is_refused() {
        let refusal = Refusal::Unusable("Either -e peer_address or -y must be specified".into());
        assert_eq!(parsed("127.0.0.1").map(|_| ()), Err(refusal));
    }

    #[test]
    fn load_modes_run_without_end_and_without_pause() {
        let settings = parsed("-Y packet -e 127.0.0.1 127.0.0.1").unwrap();
        assert_eq!((settings.messages, settings.interval, settings.rtcp), (None, Duration::ZERO, false));
        assert!(parsed("-Y packet -y 127.0.0.1").is_err());
        assert!(parsed("-Y alloc 127.0.0.1").is_ok());
    }

    #[test]
    fn a_rest_secret_makes_a_name_with_an_expiry_and_its_password() {
        let settings = parsed("-c -y -W secret -u ada 127.0.0.1").unwrap();
        let credentials = settings.client.credentials.clone().unwrap();
        let (expiry, user) = credentials.username.split_once(':').unwrap();
        assert_eq!(user, "ada");
        assert!(expiry.parse::<u64>().is_ok());
        assert_eq!(credentials.password.len(), 28);
    }

    #[test]
    fn streams_are_chosen_by_t_and_secured_by_s() {
        let settings = parsed("-t -y 127.0.0.1").unwrap();
        assert!(matches!(settings.way, Way::Tcp));
        assert_eq!((settings.server.port(), settings.client.transport), (3478, Transport::Stream));
        let settings = parsed("-tS -y 127.0.0.1").unwrap();
        assert!(matches!(settings.way, Way::Tls(_)));
        assert_eq!((settings.server.port(), settings.client.transport), (5349, Transport::Stream));
        assert_eq!(parsed("-t -S -p 443 -y 127.0.0.1").unwrap().server.port(), 443);
        let settings = parsed("-S -y 127.0.0.1").unwrap();
        assert!(matches!(settings.way, Way::Dtls(_)));
        assert_eq!((settings.server.port(), settings.client.transport), (5349, Transport::Datagram));
        assert!(parsed("-t -E /nonexistent -F none -y 127.0.0.1").is_ok());
        assert!(parsed("-t -S -F none -y 127.0.0.1").is_err());
        assert!(parsed("-S -F none -y 127.0.0.1").is_err());
    }

    #[test]
    fn relaying_tcp_means_clients_that_come_by_connections_and_talk_to_each_other() {
        let settings = parsed("-T -m 3 127.0.0.1").unwrap();
        assert!(matches!(settings.way, Way::Tcp));
        assert_eq!((settings.peers, settings.rtcp, settings.sessions), (Peers::Clients, false, 4));
        assert_eq!(settings.tcp_relay, Some(TcpRelay::Active));
        let settings = parsed("-P -S 127.0.0.1").unwrap();
        assert!(matches!(settings.way, Way::Tls(_)));
        assert_eq!((settings.tcp_relay, settings.sessions), (Some(TcpRelay::Passive), 1));
        assert_eq!(parsed("-T -P -m 8 127.0.0.1").unwrap().sessions, 4);
        for unfit in ["-s", "-e 127.0.0.1", "-r 5000", "-g", "-Y alloc", "-Z"] {
            assert!(parsed(&format!("-T {unfit} 127.0.0.1")).is_err(), "{unfit}");
        }
    }

    #[test]
    fn what_there_is_not_is_named() {
        for flag in ["-b", "-U"] {
            let refusal = parsed(&format!("{flag} -y 127.0.0.1"));
            let Err(Refusal::Unusable(why)) = refusal else { panic!("{flag}") };
            assert!(why.starts_with(flag), "{why}");
        }
        assert!(matches!(parsed("-q -y 127.0.0.1"), Err(Refusal::UnknownFlag(_))));
    }

    #[test]
    fn an_ipv6_peer_asks_for_an_ipv6_relay() {
        assert_eq!(parsed("-e ::1 127.0.0.1").unwrap().family, Some(Family::Ipv6));
        assert_eq!(parsed("-e 127.0.0.1 -X 127.0.0.1").unwrap().family, Some(Family::Ipv4));
        assert_eq!(parsed("-y -x 127.0.0.1").unwrap().family, Some(Family::Ipv6));
    }
}
