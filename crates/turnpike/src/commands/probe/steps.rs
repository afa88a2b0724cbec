//! The steps before anybody logs in: name, way, certificate, and what a stranger is told.

use std::net::SocketAddr;

use turnpike_client::Failure;

use super::caller::{Caller, Unanswered};
use super::credentials::{Identity, log_in};
use super::relay;
use super::target::{Carrier, Target};
use super::way::{NoWay, Way};
use crate::certificate_checks::{authorities, judge};
use crate::findings::Finding;

/// What is to be tried.
pub(crate) struct Probe {
    pub(crate) target: Target,
    pub(crate) identity: Option<Identity>,
    /// The file of those who may vouch for the certificate.
    pub(crate) authorities: Option<String>,
    /// The name the certificate must bear; `None` for the host of the URI.
    pub(crate) name: Option<String>,
    /// Where the server is, when that need not be looked up.
    pub(crate) at: Option<SocketAddr>,
}

/// Tries a server, as far as it goes.
pub(crate) fn probe(probe: &Probe) -> Vec<Finding> {
    let mut findings = Vec::new();
    let addresses = match probe.at {
        Some(address) => vec![address],
        None => match look_up(&probe.target, &mut findings) {
            Some(addresses) => addresses,
            None => return findings,
        },
    };
    for address in addresses.into_iter().take(MOST_ADDRESSES) {
        try_address(probe, address, &mut findings);
    }
    findings
}

fn look_up(target: &Target, findings: &mut Vec<Finding>) -> Option<Vec<SocketAddr>> {
    match target.addresses() {
        Ok(addresses) if !addresses.is_empty() => {
            let listed: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
            findings.push(Finding::ok(DNS, format!("{} is {}", target.host, listed.join(", "))));
            Some(addresses)
        }
        Ok(_) => {
            findings.push(Finding::error(
                DNS,
                format!("{} has no address", target.host),
                "add an A or AAAA record",
            ));
            None
        }
        Err(error) => {
            let fix = "is it spelled right? add an A record for it, or try its IP address";
            findings.push(Finding::error(DNS, format!("{} does not resolve: {error}", target.host), fix));
            None
        }
    }
}

fn try_address(probe: &Probe, address: SocketAddr, findings: &mut Vec<Finding>) {
    let carrier = probe.target.carrier;
    let way = match Way::open(carrier, address, &probe.target.host) {
        Ok(way) => way,
        Err(no_way) => return findings.push(unreachable(carrier, address, &no_way)),
    };
    if !way.chain.is_empty() {
        let name = probe.name.as_deref().or((probe.at.is_none()).then_some(probe.target.host.as_str()));
        findings.extend(judge(&way.chain, name, authorities(probe.authorities.as_deref()).as_ref()));
    }
    let Ok(mut stranger) = Caller::new(way, carrier, None) else { return };
    if !greet(&mut stranger, carrier, address, findings) {
        return;
    }
    if !challenge(&mut stranger, findings) {
        return;
    }
    let Some(identity) = &probe.identity else {
        let fix = "give --user and --password, or --secret-file, to go on from here";
        return findings.push(Finding::note(CHALLENGE, "without credentials nothing more can be tried", fix));
    };
    let open = || Way::open(carrier, address, &probe.target.host).ok();
    let Some((first, allocated)) = log_in(identity, carrier, &open, findings) else { return };
    relay::examine((first, allocated), (identity, carrier, address), &open, findings);
}

/// A Binding request; false where there is no use in going on.
fn greet(stranger: &mut Caller, carrier: Carrier, address: SocketAddr, findings: &mut Vec<Finding>) -> bool {
    let by = carrier.name();
    match stranger.binding() {
        Ok((answer, latency)) => {
            let set_up = match carrier {
                Carrier::Udp => String::new(),
                _ => format!(", set up in {:.1} ms", milliseconds(stranger.way.set_up)),
            };
            let security = stranger.way.security.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
            let mapped = match stranger.way.local() {
                Ok(local) if local != answer.mapped => format!(", which sees this host as {}", answer.mapped),
                _ => String::new(),
            };
            findings.push(Finding::ok(
                REACH,
                format!(
                    "{by} to {address}{security}: answered in {:.1} ms{set_up}{mapped}",
                    milliseconds(latency)
                ),
            ));
            true
        }
        // Some servers answer nobody without credentials (secure-stun), and say so.
        Err(Unanswered::Failure(Failure::NoCredentials { .. })) => {
            findings
                .push(Finding::ok(REACH, format!("{by} to {address}: answers, to those with credentials")));
            true
        }
        Err(Unanswered::Failure(Failure::TimedOut)) if carrier == Carrier::Udp => {
            findings.push(unreachable(carrier, address, &NoWay::Silent));
            false
        }
        Err(Unanswered::Failure(failure)) => {
            let evidence = format!("{by} to {address}: Binding came to nothing: {failure}");
            findings.push(Finding::warning(
                REACH,
                evidence,
                "with no-stun that is as wanted; else look at the server's log",
            ));
            true
        }
        Err(Unanswered::Broken(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            findings.push(unreachable(carrier, address, &NoWay::Refused));
            false
        }
        Err(Unanswered::Broken(error)) => {
            let evidence = format!("{by} to {address}: {error}");
            let fix = "does a TURN server listen there, or something else, such as a web server?";
            findings.push(Finding::error(REACH, evidence, fix));
            false
        }
    }
}

/// An Allocate without credentials; false where there is no use in going on.
fn challenge(stranger: &mut Caller, findings: &mut Vec<Finding>) -> bool {
    match stranger.allocate(None) {
        Ok(allocated) => {
            let evidence = format!(
                "a stranger was given the relayed address {} without any credentials",
                allocated.relayed
            );
            let fix = "take no-auth out and give users or a secret: else everybody relays at your expense";
            findings.push(Finding::error(CHALLENGE, evidence, fix));
            stranger.delete();
            true
        }
        Err(Unanswered::Failure(Failure::NoCredentials { realm })) => {
            findings.push(Finding::ok(
                CHALLENGE,
                format!("strangers are asked for credentials of realm {realm:?}"),
            ));
            true
        }
        Err(Unanswered::Failure(Failure::TryAlternate { server, domain, .. })) => {
            let name = domain.map(|domain| format!(" ({domain})")).unwrap_or_default();
            let evidence = format!("the server sends its clients to {server}{name}");
            findings.push(Finding::note(
                CHALLENGE,
                evidence,
                format!("try that one: turnpike probe turn:{server}"),
            ));
            false
        }
        Err(Unanswered::Failure(Failure::TimedOut)) => {
            let evidence = "Binding is answered, Allocate is not";
            let fix = "a STUN server alone (stun-only)? Or this address was refused too often: wait a minute \
                       (unauthorized-ratelimit)";
            findings.push(Finding::error(CHALLENGE, evidence, fix));
            false
        }
        Err(Unanswered::Failure(failure)) => {
            let fix = "it does not relay: with stun-only that is as wanted; else look at the server's log";
            findings.push(Finding::error(CHALLENGE, format!("Allocate without credentials: {failure}"), fix));
            false
        }
        Err(Unanswered::Broken(error)) => {
            findings.push(Finding::error(
                CHALLENGE,
                format!("the connection broke: {error}"),
                "look at the server's log",
            ));
            false
        }
    }
}

fn unreachable(carrier: Carrier, address: SocketAddr, why: &NoWay) -> Finding {
    let port = address.port();
    let by = carrier.name();
    let under = if carrier.is_stream() { "TCP" } else { "UDP" };
    let (evidence, fix) = match why {
        NoWay::Refused => (
            format!("{by} to {address}: nobody listens there"),
            format!(
                "start the server, or correct the port; `ss -ln | grep {port}` on its host shows who listens"
            ),
        ),
        NoWay::Silent => (
            format!("{by} to {address}: no answer"),
            format!(
                "let {under} {port} through the firewall and the cloud's security group (turnpike firewall prints the lines); \
                 is {address} the server's public address?"
            ),
        ),
        NoWay::NotSecure(why) => (
            format!("{by} to {address}: {under} is there, {by} is not: {why}"),
            format!(
                "give the server a certificate (cert and pkey){}, or try turn: rather than turns:",
                match carrier {
                    Carrier::Dtls => " and dtls",
                    _ => "",
                }
            ),
        ),
        NoWay::Other(why) => {
            (format!("{by} to {address}: {why}"), "can this host reach that network at all?".to_owned())
        }
    };
    Finding::error(REACH, evidence, fix)
}

pub(super) fn milliseconds(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

pub(super) const DNS: &str = "dns";
pub(super) const REACH: &str = "reach";
pub(super) const CHALLENGE: &str = "challenge";

/// Of a host with many.
const MOST_ADDRESSES: usize = 4;
