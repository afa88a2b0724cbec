//! What an allocation is good for: whether its address can be reached, whom it may reach, and whether data comes through.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use turnpike_client::{Allocated, Failure};

use super::caller::{Caller, Unanswered};
use super::credentials::Identity;
use super::steps::milliseconds;
use super::target::Carrier;
use super::way::Way;
use crate::commands::doctor::is_dangerous;
use crate::external_address::is_public;
use crate::findings::Finding;

/// Examines an allocation with the help of a second one.
pub(super) fn examine(
    (mut first, allocated): (Caller, Allocated),
    (identity, carrier, server): (&Identity, Carrier, SocketAddr),
    open: &dyn Fn() -> Option<Way>,
    findings: &mut Vec<Finding>,
) {
    findings.push(judge_address(allocated.relayed.ip(), server.ip()));
    findings.push(inner_peers(&mut first, allocated.relayed.ip()));
    let second = open().and_then(|way| Caller::new(way, carrier, Some(identity.credentials())).ok());
    if let Some(mut second) = second {
        match second.allocate(None) {
            Ok(other) => {
                let echo = echo((&mut first, allocated.relayed), (&mut second, other.relayed));
                findings.push(echo);
            }
            Err(Unanswered::Failure(failure)) => findings.push(Finding::warning(
                ECHO,
                format!("a second allocation was refused: {failure}"),
                "a user-quota of 1 is too little for a call; raise it",
            )),
            Err(Unanswered::Broken(error)) => {
                findings.push(Finding::warning(ECHO, format!("no second allocation: {error}"), ""));
            }
        }
        second.delete();
    }
    first.delete();
}

fn judge_address(relayed: IpAddr, server: IpAddr) -> Finding {
    match (is_public(relayed), is_public(server)) {
        (true, _) if relayed == server => {
            Finding::ok(ADDRESS, format!("the relayed address is the server's own, {relayed}"))
        }
        (true, _) => Finding::ok(ADDRESS, format!("relayed address {relayed}, server {server}")),
        (false, true) => Finding::error(
            ADDRESS,
            format!(
                "the server answers at {server}, but relays at {relayed}, which nobody on the Internet can reach"
            ),
            format!("set external-ip={server} on the server, or external-ip=auto"),
        ),
        (false, false) => Finding::note(
            ADDRESS,
            format!("relayed address {relayed}, server {server}: both of a private network"),
            "fine for clients of this network; for others tell the server its public address (external-ip)",
        ),
    }
}

/// Tries what an attacker would: whatever the server's own host and network offer.
fn inner_peers(client: &mut Caller, relayed: IpAddr) -> Finding {
    let peers: Vec<IpAddr> = match relayed {
        IpAddr::V4(_) => INNER.iter().filter_map(|text| text.parse().ok()).collect(),
        IpAddr::V6(_) => INNER_V6.iter().filter_map(|text| text.parse().ok()).collect(),
    };
    let (mut opened, mut unanswered) = (Vec::new(), 0);
    for peer in &peers {
        match client.permit(*peer) {
            Ok(()) => opened.push(*peer),
            Err(Unanswered::Failure(Failure::Refused { .. })) => {}
            Err(_) => unanswered += 1,
        }
    }
    if opened.is_empty() && unanswered > 0 {
        let evidence = format!("of {} inner addresses {unanswered} got no answer", peers.len());
        return Finding::note(INNER_ID, evidence, "try again: an answer may have been lost");
    }
    if opened.is_empty() {
        return Finding::ok(INNER_ID, format!("{} inner addresses were tried, all refused", peers.len()));
    }
    let worst = opened.iter().any(|peer| is_dangerous(*peer));
    let listed: Vec<String> = opened.iter().map(IpAddr::to_string).collect();
    let evidence = format!("the server lets its users reach {}", listed.join(", "));
    let fix = "take those ranges out of allowed-peer-ip, and allow-loopback-peers with them: whoever has a credential reaches \
               the host, its network and its cloud identity";
    if worst { Finding::error(INNER_ID, evidence, fix) } else { Finding::warning(INNER_ID, evidence, fix) }
}

/// Two clients talk with each other, each through the server.
fn echo((first, one): (&mut Caller, SocketAddr), (second, other): (&mut Caller, SocketAddr)) -> Finding {
    for (client, peer) in [(&mut *first, other), (&mut *second, one)] {
        match client.permit(peer.ip()) {
            Ok(()) => {}
            Err(Unanswered::Failure(Failure::Refused { number, .. })) if number.number() == 403 => {
                return Finding::error(
                    ECHO,
                    format!("the server does not let its users reach {peer}, its own relayed address"),
                    "denied-peer-ip covers the server itself: two users of it cannot call each other. Leave it out",
                );
            }
            Err(Unanswered::Failure(failure)) => {
                return Finding::error(
                    ECHO,
                    format!("CreatePermission: {failure}"),
                    "look at the server's log",
                );
            }
            Err(Unanswered::Broken(error)) => {
                return Finding::error(
                    ECHO,
                    format!("the connection broke: {error}"),
                    "look at the server's log",
                );
            }
        }
    }
    let (mut there, mut back, mut times) = (0, 0, Vec::new());
    for number in 0..MESSAGES {
        let payload = [b"turnpike probe ".as_slice(), &[number]].concat();
        let began = Instant::now();
        if first.send(other, &payload).is_err() || !arrives(second, &payload) {
            continue;
        }
        there += 1;
        if second.send(one, &payload).is_ok() && arrives(first, &payload) {
            back += 1;
            times.push(began.elapsed());
        }
        // Whatever is wrong is wrong for the rest as well.
        if there == 0 && number == 2 {
            break;
        }
    }
    judge_echo(there, back, times, other)
}

fn arrives(client: &mut Caller, payload: &[u8]) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while let Some((_, data)) = client.receive(deadline.saturating_duration_since(Instant::now())) {
        // A late one of an earlier round is none.
        if data == payload {
            return true;
        }
    }
    false
}

fn judge_echo(there: u8, back: u8, mut times: Vec<Duration>, other: SocketAddr) -> Finding {
    times.sort_unstable();
    match (back, times.get(times.len() / 2), times.last()) {
        (MESSAGES, Some(middle), Some(worst)) => Finding::ok(
            ECHO,
            format!(
                "{MESSAGES} messages to another allocation and back: none lost, {:.2} ms (worst {:.2} ms)",
                milliseconds(*middle),
                milliseconds(*worst)
            ),
        ),
        (0, ..) => Finding::error(
            ECHO,
            match there {
                0 => {
                    format!("nothing sent to {other} arrives there, though both allocations are the server's")
                }
                _ => "what is sent arrives, and nothing comes back".to_owned(),
            },
            "let the relay ports through the firewall (turnpike firewall), and see whether external-ip is the address that leads \
             here; a NAT in front that cannot hairpin looks the same",
        ),
        _ => Finding::warning(
            ECHO,
            format!("{back} of {MESSAGES} messages to another allocation and back came through"),
            "packets are lost: look at the network between, and at net.core.rmem_max on the server",
        ),
    }
}

pub(super) const ADDRESS: &str = "relayed-address";
const INNER: [&str; 6] =
    ["127.0.0.1", "169.254.169.254", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.100.100.200"];
const INNER_V6: [&str; 4] = ["::1", "fd00:ec2::254", "fe80::1", "::ffff:127.0.0.1"];
pub(super) const INNER_ID: &str = "inner-peers";
pub(super) const ECHO: &str = "echo";
const MESSAGES: u8 = 10;
const PATIENCE: Duration = Duration::from_secs(1);
