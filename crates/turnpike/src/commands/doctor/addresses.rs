//! Addresses and names: what the configuration says, what the machine has, and what others see.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use turnpike_net::{default_route_source, local_addresses};

use super::Patient;
use crate::addresses::Addresses;
use crate::certificate_checks::first_name;
use crate::external_address::{is_public, whom_to_ask};
use crate::findings::Finding;

pub(super) fn external_address(patient: &Patient) -> Vec<Finding> {
    const ID: &str = "external-address";
    let Some(addresses) = &patient.addresses else { return Vec::new() };
    let config = &patient.config;
    let mut findings = Vec::new();
    for relay in addresses.relays.iter().filter(|relay| !relay.address.is_loopback()) {
        let judgement = patient.survey.on(relay.address);
        let found = judgement.and_then(|judgement| judgement.told);
        let address = relay.address;
        findings.push(match (relay.external, found) {
            (Some(told), Some(found)) if told == found => Finding::ok(
                ID,
                format!(
                    "clients are told {told} for {address}; {}",
                    judgement.map(|it| it.sentence()).unwrap_or_default()
                ),
            ),
            (Some(told), Some(found)) => Finding::error(
                ID,
                format!(
                    "clients are told {told} for {address}, but {}",
                    judgement.map(|it| it.sentence()).unwrap_or_default()
                ),
                format!("set external-ip={found}, or external-ip=auto"),
            ),
            (Some(told), None) if is_public(told) => {
                Finding::ok(ID, format!("clients are told {told} for {address}; nobody to compare with"))
            }
            (Some(told), None) => Finding::warning(
                ID,
                format!("clients are told {told} for {address}, which is not of the Internet"),
                "fine inside one network; else give the public address by external-ip",
            ),
            (None, Some(found)) => Finding::error(
                ID,
                format!(
                    "clients are told {address}, but {}",
                    judgement.map(|it| it.sentence()).unwrap_or_default()
                ),
                format!("set external-ip={found}, or external-ip=auto"),
            ),
            (None, None) if is_public(address) => {
                Finding::ok(ID, format!("{address} is of the Internet itself"))
            }
            (None, None) => Finding::warning(
                ID,
                format!("clients are told {address}, which the Internet cannot reach"),
                match patient.try_server {
                    true => whom_to_ask(&patient.survey, config),
                    false => "fine inside one network; else give external-ip=PUBLIC",
                },
            ),
        });
        for odd in judgement.into_iter().flat_map(|judgement| judgement.oddities()) {
            findings.push(Finding::warning(ID, odd, "see docs/external-address.md"));
        }
    }
    findings
}

pub(super) fn dns(patient: &Patient) -> Vec<Finding> {
    const ID: &str = "dns";
    let Some(addresses) = patient.addresses.as_ref().filter(|_| patient.try_server) else {
        return Vec::new();
    };
    let mut names: Vec<String> = Vec::new();
    let realm = patient.config.realm.trim_end_matches('.');
    if realm.contains('.') && realm.parse::<IpAddr>().is_err() {
        names.push(realm.to_owned());
    }
    let chain = super::tls::read_chain(&patient.config).unwrap_or_default();
    names.extend(chain.first().and_then(|own| first_name(own)).filter(|name| !names.contains(name)));
    let here = reached_at(addresses);
    names.iter().map(|name| name_leads_here(name, &here, ID, *name == realm)).collect()
}

/// What a name of this server ought to resolve to.
fn reached_at(addresses: &Addresses) -> Vec<IpAddr> {
    let relays = addresses.relays.iter().map(|relay| relay.advertised());
    let listening = addresses.listening.iter().map(SocketAddr::ip);
    relays.chain(listening).filter(|ip| !ip.is_loopback()).collect()
}

fn name_leads_here(name: &str, here: &[IpAddr], id: &'static str, is_realm: bool) -> Finding {
    let found: Vec<IpAddr> = match (name, 0).to_socket_addrs() {
        Ok(found) => found.map(|address| address.ip()).collect(),
        Err(error) => {
            let evidence = format!("{name} does not resolve: {error}");
            // A realm need not be a name of the DNS.
            return match is_realm {
                true => Finding::note(id, evidence, "a realm need not; a name in URIs does"),
                false => Finding::warning(id, evidence, "add an A record, and AAAA if IPv6 is served"),
            };
        }
    };
    let listed: Vec<String> = found.iter().map(IpAddr::to_string).collect();
    match found.iter().any(|ip| here.contains(ip)) {
        true => Finding::ok(id, format!("{name} leads here ({})", listed.join(", "))),
        false if is_realm => Finding::note(
            id,
            format!("{name}, the realm, leads to {}, which is not this server", listed.join(", ")),
            "a realm need not; a name in URIs does",
        ),
        false => Finding::warning(
            id,
            format!("{name} leads to {}, which is not this server", listed.join(", ")),
            "correct the A and AAAA records, or external-ip; behind a load balancer it is as it should be",
        ),
    }
}

pub(super) fn ipv6(patient: &Patient) -> Vec<Finding> {
    const ID: &str = "ipv6";
    let Some(addresses) = &patient.addresses else { return Vec::new() };
    let global = addresses.own.iter().copied().find(|ip| ip.is_ipv6() && is_public(*ip));
    let route = default_route_source(false).is_some();
    let listening =
        addresses.listening.iter().any(|address| address.is_ipv6() && !address.ip().is_loopback());
    let relays = addresses.relays.iter().any(|relay| relay.address.is_ipv6() && !relay.address.is_loopback());
    vec![match (global, route) {
        (None, _) if !listening => Finding::ok(ID, "there is none here, and none is served"),
        (None, _) => Finding::note(
            ID,
            "it is served on private addresses alone",
            "leave them out of listening-ip, unless clients of this network use them",
        ),
        (Some(ip), false) => Finding::warning(
            ID,
            format!("{ip} is there, but no route leads from it to the Internet"),
            "clients try it in vain: give it a default route, or name the IPv4 addresses by listening-ip",
        ),
        (Some(ip), true) if listening && relays => {
            Finding::ok(ID, format!("{ip} is served and relayed from"))
        }
        (Some(ip), true) => Finding::note(
            ID,
            format!(
                "this machine has {ip}, and {}",
                if listening { "nothing is relayed from it" } else { "it is not served" }
            ),
            "add it to listening-ip and relay-ip, or see that no AAAA record names it",
        ),
    }]
}

pub(super) fn container(patient: &Patient) -> Vec<Finding> {
    const ID: &str = "container";
    let system = &patient.system;
    let groups = system.read("/proc/1/cgroup").unwrap_or_default();
    let contained = system.has("/.dockerenv")
        || system.has("/run/.containerenv")
        || ["docker", "kubepods", "containerd"].iter().any(|word| groups.contains(word));
    if !contained {
        return vec![Finding::ok(ID, "this is no container")];
    }
    let Some(source) = default_route_source(true) else { return Vec::new() };
    let local = local_addresses().unwrap_or_default();
    let has_many = local.iter().map(|it| &it.interface).filter(|name| *name != "lo").count() > 1;
    let IpAddr::V4(ip) = source else { return Vec::new() };
    // What Docker, Podman and most of Kubernetes give a container of its own network.
    let bridged = !has_many && (ip.octets()[0] == 172 && ip.is_private() || ip.octets()[0] == 10);
    let ports = u32::from(patient.config.max_port.saturating_sub(patient.config.min_port)) + 1;
    vec![match (bridged, ports) {
        (false, _) => Finding::ok(ID, "a container, as it seems with the host's network"),
        (true, 201..) => Finding::warning(
            ID,
            format!(
                "a container behind a bridge ({ip}): {ports} relay ports would have to be published, a process each"
            ),
            "docker run --network host; or publish few ports: min-port and max-port 200 apart, or multiplex-peer",
        ),
        (true, _) => Finding::note(
            ID,
            format!("a container behind a bridge ({ip}) with {ports} relay ports"),
            "publish them all, with the same numbers, as UDP; --network host spares that",
        ),
    }]
}
