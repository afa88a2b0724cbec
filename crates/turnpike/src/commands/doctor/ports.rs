//! Ports: who has them, whether there are enough, and whether the host's own firewall lets them in.

use std::net::SocketAddr;

use turnpike_net::{holder_of_tcp_address, holder_of_udp_address};

use super::Patient;
use super::safety::is_server;
use crate::commands::firewall::{Opening, Protocol, openings};
use crate::findings::Finding;

pub(super) fn listeners(patient: &Patient) -> Vec<Finding> {
    const ID: &str = "listeners";
    let Some(addresses) = &patient.addresses else {
        let fix = "give listening-ip and relay-ip addresses that this machine has (ip address)";
        return vec![Finding::error(ID, "a configured address is none of this machine", fix)];
    };
    let mut findings = Vec::new();
    let clients = openings(&patient.config).into_iter().filter(|opening| !opening.for_peers);
    for opening in clients.filter(|opening| opening.first == opening.last) {
        let mut ips: Vec<_> = addresses.listening.iter().map(SocketAddr::ip).collect();
        ips.dedup();
        for ip in ips {
            findings.push(listener(&opening, SocketAddr::new(ip, opening.first), ID));
        }
    }
    findings
}

fn listener(opening: &Opening, address: SocketAddr, id: &'static str) -> Finding {
    let protocol = opening.protocol.word().to_uppercase();
    let holder = match opening.protocol {
        Protocol::Udp => holder_of_udp_address(address),
        Protocol::Tcp => holder_of_tcp_address(address),
    };
    if let Some(holder) = holder {
        let text = format!("{protocol} {address}: process {} ({})", holder.process, holder.name);
        return match is_server(&holder.name) {
            true => Finding::ok(id, text),
            false => Finding::error(
                id,
                format!("{text} has it, which is no TURN server"),
                "stop that one (systemctl disable --now NAME), or choose another port with listening-port",
            ),
        };
    }
    let bound = match opening.protocol {
        Protocol::Udp => std::net::UdpSocket::bind(address).map(drop),
        Protocol::Tcp => std::net::TcpListener::bind(address).map(drop),
    };
    match bound {
        Ok(()) => {
            Finding::note(id, format!("{protocol} {address} is free: the server is not running there"), "")
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Finding::warning(
            id,
            format!("{protocol} {address}: this user may not have ports below 1024"),
            "give the service AmbientCapabilities=CAP_NET_BIND_SERVICE, or run doctor as its user",
        ),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Finding::note(
            id,
            format!("{protocol} {address} is taken, by a process of somebody else's"),
            "run doctor as root to see whose it is",
        ),
        Err(error) => {
            Finding::error(id, format!("{protocol} {address}: {error}"), "choose another listening-ip")
        }
    }
}

pub(super) fn relay_ports(patient: &Patient) -> Vec<Finding> {
    const ID: &str = "relay-ports";
    let config = &patient.config;
    if config.stun_only || config.multiplex {
        return Vec::new();
    }
    let (first, last) = (config.min_port, config.max_port);
    let count = u32::from(last.saturating_sub(first)) + 1;
    let mut findings = vec![match count {
        0..100 => Finding::warning(
            ID,
            format!(
                "{first}-{last} are {count} ports, for as many allocations; a browser takes two or more for each call"
            ),
            "widen min-port and max-port, or share ports with multiplex-peer",
        ),
        _ => Finding::ok(ID, format!("{first}-{last}: {count} ports, for as many allocations")),
    }];
    let ephemeral = patient.system.read("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut bounds = ephemeral.split_whitespace().filter_map(|text| text.parse::<u16>().ok());
    if let (Some(low), Some(high)) = (bounds.next(), bounds.next()) {
        let reserved = patient.system.read("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
        let overlaps = first <= high && low <= last;
        if overlaps && !ranges(&reserved).any(|(from, to)| from <= first.max(low) && last.min(high) <= to) {
            findings.push(Finding::note(
                ID,
                format!("the system hands out ports {low}-{high} to other programs, some of these among them"),
                format!("nothing breaks: another one is tried. To keep them apart: sysctl net.ipv4.ip_local_reserved_ports={first}-{last}"),
            ));
        }
    }
    let listening = config.listening_port;
    if (first..=last).contains(&listening) {
        let evidence = format!("the listening port {listening} is one of the relay ports");
        findings.push(Finding::warning(ID, evidence, "keep them apart: move listening-port or min-port"));
    }
    findings
}

pub(super) fn firewall(patient: &Patient) -> Vec<Finding> {
    const ID: &str = "firewall";
    let wanted = openings(&patient.config);
    let nft = patient.system.output("nft", &["list", "ruleset"]);
    let tables = patient.system.output("iptables", &["-S"]);
    if nft.is_none() && tables.is_none() {
        let fix = "nft and iptables are asked, which root may; turnpike firewall prints what has to be open";
        return vec![Finding::note(ID, "the rules of this host cannot be read", fix)];
    }
    let closed = [
        nft.as_deref().map(|text| closed_by(text, &wanted, NFT)),
        tables.as_deref().map(|text| closed_by(text, &wanted, IPTABLES)),
    ];
    let mut closed: Vec<String> = closed.into_iter().flatten().flatten().collect();
    closed.dedup();
    match closed.is_empty() {
        true => vec![Finding::ok(
            ID,
            "this host's own firewall seems to let every port in; a cloud's security group is beyond its sight",
        )],
        false => vec![Finding::warning(
            ID,
            format!("this host's firewall drops by default, and has no rule for {}", closed.join(", ")),
            "turnpike firewall --format nft (or iptables, ufw, firewalld) prints the lines that open them",
        )],
    }
}

/// How a firewall writes that it drops, that it accepts, and which ports.
struct Dialect {
    drops: &'static [&'static str],
    accepts: &'static str,
    protocol: fn(Protocol) -> &'static [&'static str],
    ports: &'static [&'static str],
}

const NFT: Dialect = Dialect {
    drops: &["hook input priority filter; policy drop", "hook input priority 0; policy drop"],
    accepts: "accept",
    protocol: |protocol| match protocol {
        Protocol::Udp => &["udp dport", "th dport"],
        Protocol::Tcp => &["tcp dport", "th dport"],
    },
    ports: &["dport"],
};

const IPTABLES: Dialect = Dialect {
    drops: &["-P INPUT DROP", "-P INPUT REJECT"],
    accepts: "-j ACCEPT",
    protocol: |protocol| match protocol {
        Protocol::Udp => &["-p udp"],
        Protocol::Tcp => &["-p tcp"],
    },
    ports: &["--dports", "--dport"],
};

/// The openings that a ruleset which drops by default has no accepting rule for.
fn closed_by(rules: &str, wanted: &[Opening], dialect: Dialect) -> Vec<String> {
    if !dialect.drops.iter().any(|drops| rules.contains(drops)) {
        return Vec::new();
    }
    let is_open = |opening: &Opening| {
        rules.lines().filter(|line| line.contains(dialect.accepts)).any(|line| {
            (dialect.protocol)(opening.protocol).iter().any(|words| line.contains(words))
                && dialect.ports.iter().filter_map(|word| line.split_once(word)).any(|(_, rest)| {
                    let listed = rest.split(dialect.accepts).next().unwrap_or(rest);
                    ranges(listed).any(|(first, last)| first <= opening.first && opening.last <= last)
                })
        })
    };
    let closed = wanted.iter().filter(|opening| !is_open(opening) && !opening.what.contains("leave it out"));
    closed
        .map(|opening| {
            let ports = match opening.first == opening.last {
                true => opening.first.to_string(),
                false => format!("{}-{}", opening.first, opening.last),
            };
            format!("{} {ports}", opening.protocol.word().to_uppercase())
        })
        .collect()
}

/// Ports and ranges of them in a text, whatever stands between.
fn ranges(text: &str) -> impl Iterator<Item = (u16, u16)> + '_ {
    let words = text.split(|character: char| !(character.is_ascii_digit() || "-:".contains(character)));
    words.filter_map(|word| {
        let (first, last) = word.split_once(['-', ':']).unwrap_or((word, word));
        Some((first.parse().ok()?, last.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnpike_config::Config;

    fn wanted() -> Vec<Opening> {
        openings(&Config { tcp_relay: false, ..Config::default() })
    }

    #[test]
    fn what_a_dropping_nft_ruleset_leaves_out_is_named() {
        let rules = "table inet filter {\n chain input {\n type filter hook input priority filter; policy drop;\n \
                     ct state established accept\n tcp dport { 22, 3478 } accept\n udp dport 3478 accept\n }\n}\n";
        assert_eq!(closed_by(rules, &wanted(), NFT), ["UDP 49152-65535"]);
        let open = rules.replace("udp dport 3478", "udp dport { 3478, 49152-65535 }");
        assert!(closed_by(&open, &wanted(), NFT).is_empty());
        let lax = rules.replace("policy drop", "policy accept");
        assert!(closed_by(&lax, &wanted(), NFT).is_empty());
    }

    #[test]
    fn likewise_with_iptables() {
        let rules = "-P INPUT DROP\n-A INPUT -p udp -m udp --dport 3478 -j ACCEPT\n\
                     -A INPUT -p udp -m multiport --dports 5000:5010,49152:65535 -j ACCEPT\n";
        assert_eq!(closed_by(rules, &wanted(), IPTABLES), ["TCP 3478"]);
    }

    #[test]
    fn few_ports_and_ports_that_the_system_hands_out_are_told_of() {
        use crate::commands::doctor::tests::patient_at;
        use crate::findings::Severity;
        let files = tempfile::tempdir().unwrap();
        let sys = files.path().join("proc/sys/net/ipv4");
        std::fs::create_dir_all(&sys).unwrap();
        std::fs::write(sys.join("ip_local_port_range"), "32768\t60999\n").unwrap();
        let severities = |config: Config| -> Vec<Severity> {
            relay_ports(&patient_at(config, files.path())).iter().map(|finding| finding.severity).collect()
        };
        assert_eq!(severities(Config::default()), [Severity::Ok, Severity::Note]);
        let few = Config { min_port: 61_000, max_port: 61_010, ..Config::default() };
        assert_eq!(severities(few), [Severity::Warning]);
        std::fs::write(sys.join("ip_local_reserved_ports"), "49152-65535\n").unwrap();
        assert_eq!(severities(Config::default()), [Severity::Ok]);
    }
}
