//! Where peers are reached from.

use super::OptionSpec;
use crate::address_discovery::stun_server;
use crate::config::{DefaultFamily, ExternalAddress, FastPath};
use crate::values::{host, number};

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::set(
        &["relay-ip"],
        "IP",
        |config, value| {
            let ip = host(value)?;
            if !config.relay_ips.contains(&ip) {
                config.relay_ips.push(ip);
            }
            Ok(())
        },
        "Address to relay from; may be repeated.",
    )
    .short('E')
    .repeats()
    .default("the listening addresses"),
    OptionSpec::set(
        &["external-ip"],
        "PUBLIC[/PRIVATE]|auto",
        |config, value| {
            if value == "auto" {
                config.discovery.wanted = true;
                return Ok(());
            }
            let (public, private) = match value.split_once('/') {
                Some((public, private)) => (host(public)?, Some(host(private)?)),
                None => (host(value)?, None),
            };
            if private.is_some_and(|private| private.is_ipv4() != public.is_ipv4()) {
                return Err(format!("{value}: both addresses must be of one family"));
            }
            let external = ExternalAddress { public, private };
            if !config.external.contains(&external) {
                config.external.push(external);
            }
            Ok(())
        },
        "Address clients are told, behind a one-to-one NAT: for all relay addresses, or for one; may be repeated. `auto` finds it out: from the cloud's metadata service, and from the servers of external-ip-stun.",
    )
    .reloadable()
    .short('X')
    .repeats(),
    OptionSpec::set(
        &["external-ip-stun"],
        "HOST[:PORT]",
        |config, value| {
            let server = stun_server(value)?;
            if config.discovery.stun_servers.len() >= MOST_STUN_SERVERS {
                return Err(format!("more than {MOST_STUN_SERVERS} STUN servers are of no use"));
            }
            if !config.discovery.stun_servers.contains(&server) {
                config.discovery.stun_servers.push(server);
            }
            Ok(())
        },
        "STUN server that external-ip=auto asks too; may be repeated. Its operator learns this machine's address.",
    )
    .repeats()
    .default("none")
    .ours(),
    OptionSpec::set(
        &["external-ip-metadata"],
        "auto|off|CLOUDS|URL",
        |config, value| {
            config.discovery.metadata = value.parse()?;
            Ok(())
        },
        "Metadata services that external-ip=auto asks: every one, none, or those of aws, gcp, azure, digitalocean, hetzner, oracle, alibaba, with commas between them; http://ADDRESS:PORT asks there instead, for tests and proxies.",
    )
    .default("auto")
    .ours(),
    OptionSpec::set(
        &["external-ip-period"],
        "SECONDS",
        |config, value| {
            let seconds: u32 = number(value, 0, 86_400, "a number of seconds, at most a day")?;
            if (1..SHORTEST_PERIOD).contains(&seconds) {
                return Err(format!("{seconds} s would only be a burden: use {SHORTEST_PERIOD} or more, or 0 for never"));
            }
            config.discovery.period = std::time::Duration::from_secs(seconds.into());
            Ok(())
        },
        "How often external-ip=auto looks again; what has changed holds for new allocations. 0 for never.",
    )
    .default("300")
    .ours(),
    OptionSpec::set(
        &["relay-device"],
        "NAME",
        |config, value| {
            config.relay_device = Some(value.to_owned()).filter(|name| !name.is_empty());
            Ok(())
        },
        "Network interface to bind relay sockets to.",
    )
    .short('i'),
    OptionSpec::set(
        &["min-port"],
        "PORT",
        |config, value| {
            config.min_port = number(value, 1, u16::MAX, "a port")?;
            Ok(())
        },
        "Lowest relay port.",
    )
    .default("49152"),
    OptionSpec::set(
        &["max-port"],
        "PORT",
        |config, value| {
            config.max_port = number(value, 1, u16::MAX, "a port")?;
            Ok(())
        },
        "Highest relay port.",
    )
    .default("65535"),
    OptionSpec::set(
        &["relay-threads"],
        "COUNT",
        |config, value| {
            config.threads = Some(number(value, 0, u16::MAX, "a number of threads")?.max(1));
            Ok(())
        },
        "Threads that serve and relay, 1 to 128.",
    )
    .short('m')
    .default("one a core"),
    OptionSpec::set(
        &["cpus"],
        "COUNT",
        |config, value| {
            config.cpus = Some(number(value, 1, u16::MAX, "a number of cores")?);
            Ok(())
        },
        "Cores to count on when relay-threads is not set.",
    ),
    OptionSpec::switch(&["no-udp-relay"], |config, on| config.udp_relay = !on, "Do not relay UDP.")
    .reloadable(),
    OptionSpec::switch(&["no-tcp-relay"], |config, on| config.tcp_relay = !on, "Do not relay TCP (RFC 6062).")
    .reloadable(),
    OptionSpec::set(
        &["allocation-default-address-family"],
        "FAMILY",
        |config, value| {
            config.default_family = match value {
                "ipv4" => DefaultFamily::Ipv4,
                "ipv6" => DefaultFamily::Ipv6,
                "keep" => DefaultFamily::Keep,
                _ => return Err(format!("{value:?} is none of ipv4, ipv6, keep")),
            };
            Ok(())
        },
        "Family of the relay address when the client names none: ipv4, ipv6, or keep (the client's own).",
    )
    .reloadable()
    .short('A')
    .default("ipv4"),
    OptionSpec::switch(
        &["keep-address-family"],
        |config, on| config.default_family = if on { DefaultFamily::Keep } else { DefaultFamily::Ipv4 },
        "The same as allocation-default-address-family=keep.",
    )
    .reloadable()
    .short('K'),
    OptionSpec::set(
        &["fast-path"],
        "WHERE",
        |config, value| {
            config.fast_path.place = match value {
                "auto" => FastPath::Auto,
                "xdp" => FastPath::Xdp,
                "tc" => FastPath::Tc,
                "off" => FastPath::Off,
                _ => return Err(format!("{value:?} is none of auto, xdp, tc, off")),
            };
            Ok(())
        },
        "Relay channels of UDP clients inside the kernel: auto, xdp, tc, or off. Needs CAP_BPF and CAP_NET_ADMIN at start.",
    )
    .default("off")
    .ours(),
    OptionSpec::set(
        &["fast-path-interface"],
        "NAME",
        |config, value| {
            if !value.is_empty() && !config.fast_path.interfaces.iter().any(|name| name == value) {
                config.fast_path.interfaces.push(value.to_owned());
            }
            Ok(())
        },
        "Network interface to do so on; may be repeated.",
    )
    .repeats()
    .default("every Ethernet interface that is up")
    .ours(),
    OptionSpec::switch(
        &["multiplex-peer"],
        |config, on| config.multiplex = on,
        "Relay all sessions of a thread from one port of each relay address; a peer can then be one session's alone.",
    ),
    OptionSpec::set(
        &["multiplex-peer-port"],
        "PORT",
        |config, value| {
            config.multiplex_port = number(value, 1, 65_000, "a port")?;
            Ok(())
        },
        "The first thread's port then, for IPv4; IPv6 has the next one, and each further thread the next two.",
    )
    .default("3480"),
    OptionSpec::set(
        &["multiplex-peer-max-peers"],
        "COUNT",
        |config, value| {
            config.multiplex_most_peers = number(value, 1, u16::MAX, "a number of peers")?;
            Ok(())
        },
        "Most peers that a session may have then.",
    )
    .reloadable()
    .default("256"),
    OptionSpec::switch(
        &["server-relay"],
        |config, on| config.server_relay = on,
        "Relay without permissions, so that a server can be reached at a relayed address. Dangerous.",
    )
    .reloadable(),
];

/// STUN servers that an address is compared among.
const MOST_STUN_SERVERS: usize = 8;

/// Seconds between two looks at the external address, at least.
const SHORTEST_PERIOD: u32 = 2;
