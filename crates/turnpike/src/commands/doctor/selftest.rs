//! The running server, tried as a client would from this very host.

use std::net::SocketAddr;

use turnpike_config::Password;
use turnpike_net::{holder_of_tcp_address, holder_of_udp_address};

use super::Patient;
use crate::commands::probe::target::{Carrier, Target};
use crate::commands::probe::{Probe, ProbeIdentity, probe};
use crate::findings::{Finding, Severity};

pub(super) fn self_test(patient: &Patient) -> Vec<Finding> {
    const ID: &str = "self-test";
    if !patient.try_server {
        return Vec::new();
    }
    let Some((carrier, address)) = running(patient) else {
        let fix = "start it, and ask again";
        return vec![Finding::note(ID, "the server is not running on any of its addresses", fix)];
    };
    let target = Target { host: address.ip().to_string(), port: address.port(), carrier };
    let identity = patient.identity.clone().or_else(|| known(patient));
    let tried = probe(&Probe { target, identity, authorities: None, name: None, at: Some(address) });
    tried.into_iter().map(|finding| of_step(finding, patient)).collect()
}

/// The steps of the probe, under the name of this check.
fn of_step(mut finding: Finding, patient: &Patient) -> Finding {
    // Told by another check, with better words: here both ends are this host.
    if finding.id == "relayed-address" {
        finding.severity = finding.severity.min(Severity::Note);
    }
    // Whoever opened ranges is told by the check of peers; loopback is reached from a server on loopback alone.
    if finding.id == "inner-peers" && patient.config.allow_loopback_peers {
        finding.severity = finding.severity.min(Severity::Warning);
    }
    finding.evidence = format!("{}: {}", finding.id, finding.evidence);
    finding.id = "self-test";
    finding
}

/// Where a server of ours listens.
fn running(patient: &Patient) -> Option<(Carrier, SocketAddr)> {
    let addresses = patient.addresses.as_ref()?;
    let mut listening = addresses.listening.clone();
    // An address that others may come by, rather than loopback.
    listening.sort_by_key(|address| (address.ip().is_loopback(), address.is_ipv6()));
    listening.into_iter().find_map(|address| {
        if patient.config.udp && holder_of_udp_address(address).is_some() {
            return Some((Carrier::Udp, address));
        }
        (patient.config.tcp && holder_of_tcp_address(address).is_some()).then_some((Carrier::Tcp, address))
    })
}

/// Somebody whom the configuration lets in.
fn known(patient: &Patient) -> Option<ProbeIdentity> {
    let config = &patient.config;
    let secret = config.secrets.first().filter(|_| config.use_auth_secret && config.rest_separator == ':');
    if let Some(secret) = secret {
        return Some(ProbeIdentity::Secret { secret: secret.expose().to_owned(), user: "doctor".to_owned() });
    }
    config.users.iter().find_map(|user| match &user.password {
        Password::Clear(password) => {
            Some(ProbeIdentity::User { user: user.name.clone(), password: password.expose().to_owned() })
        }
        Password::Key(_) => None,
    })
}
