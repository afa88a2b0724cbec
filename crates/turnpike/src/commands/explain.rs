//! `turnpike explain`: what a reason code of the log means and what to do about it.

use std::process::ExitCode;

use anyhow::bail;
use clap::ArgMatches;
use turnpike_config::nearest;
use turnpike_turn::Reason;

use crate::terminal::{print, say};

/// Runs the command.
///
/// # Errors
/// The code is unknown.
pub fn run(arguments: &ArgMatches) -> anyhow::Result<ExitCode> {
    match arguments.get_one::<String>("code") {
        Some(code) => match Reason::from_code(code) {
            Some(reason) => say!("{}: {}", reason.code(), meaning(reason)),
            None => {
                let near = nearest(code, Reason::ALL.iter().map(|reason| reason.code()));
                let hint = near.map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
                bail!("{code:?} is no reason code{hint}; `turnpike explain` lists them all")
            }
        },
        None => {
            let lines =
                Reason::ALL.iter().map(|reason| format!("{:24}{}\n", reason.code(), meaning(*reason)));
            let _ = print(&lines.collect::<String>());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn meaning(reason: Reason) -> &'static str {
    MEANINGS.iter().find(|(known, _)| *known == reason).map_or("", |(_, meaning)| meaning)
}

/// What each reason means, and what to do about it.
const MEANINGS: &[(Reason, &str)] = &[
    (Reason::Empty, "an empty datagram; somebody probes the port"),
    (Reason::NotStun, "neither STUN nor ChannelData; somebody speaks another protocol to this port"),
    (Reason::Malformed, "a STUN message with wrong lengths; a broken client or a probe"),
    (
        Reason::NoMagicCookie,
        "a message of the obsolete RFC 3489; the client is very old: see rfc3489-compatibility",
    ),
    (Reason::WrongFingerprint, "a message damaged on the way, or another protocol that looks like STUN"),
    (Reason::UnexpectedResponse, "a response where only requests belong; perhaps a reflected packet"),
    (Reason::UnknownMethod, "a STUN method this server does not offer"),
    (Reason::UnknownAttribute, "an indication with an attribute that must be understood and is not"),
    (Reason::KeepAlive, "a Binding indication: only a sign of life, nothing to do"),
    (Reason::SwitchedOff, "the function is off: see stun-only, no-stun and no-tcp-relay"),
    (Reason::BadChannelData, "ChannelData longer than its datagram; the path may cut off large packets"),
    (
        Reason::NoAllocation,
        "data without an allocation: it expired, or the client's NAT gave it a new address",
    ),
    (
        Reason::NoChannel,
        "data on a channel that is not bound, or no longer: see channel-lifetime, 10 minutes by default",
    ),
    (
        Reason::NoPermission,
        "no permission for this peer: see permission-lifetime, 5 minutes by default; clients must renew it",
    ),
    (Reason::BadSend, "a Send indication without peer address or data"),
    (Reason::WrongFamily, "an IPv4 peer on an IPv6 allocation, or the other way round"),
    (
        Reason::PeerRefused,
        "the peer's address is not on the public Internet; to open it: allowed-peer-ip=ADDRESS",
    ),
    (
        Reason::OwnAddress,
        "an address of this server where no relayed port is open; only live relays are reachable",
    ),
    (
        Reason::OverBandwidth,
        "more data than max-bps allows a session in this second; the rest of it is dropped",
    ),
    (Reason::NoBandwidth, "all of bps-capacity is granted to sessions; raise it or lower max-bps"),
    (Reason::StaleRelay, "a late packet for a relayed address that is closed"),
    (Reason::Disconnected, "a client's connection ended before its request was carried out"),
    (
        Reason::UntoldIcmp,
        "an ICMP error that is not passed on: of another kind than unreachable or too large, or see icmp-errors",
    ),
    (
        Reason::PassedOn,
        "a packet for an allocation that has just moved to another thread of this server, which gets it",
    ),
    (
        Reason::ClientAway,
        "data for a client whose connection broke; it may come back with its mobility ticket until its allocation expires",
    ),
    (Reason::InProgress, "a retransmission of a request that is being worked on"),
    (
        Reason::RateLimited,
        "too many unauthenticated requests from this source; see unauthorized-ratelimit-rps",
    ),
    (Reason::TooManyWaiting, "too many requests wait for an answer; the machine or a database is too slow"),
    (
        Reason::StoreUnavailable,
        "the database of users did not answer in time, so the client was left to try again; the log says when it went \
             away and why",
    ),
    (Reason::TooLarge, "a message that does not fit a datagram"),
    (
        Reason::NoProxyHeader,
        "a source named by proxy-from, or whoever comes to tcp-proxy-port, must say by the PROXY protocol whose each \
             connection or datagram is: switch it on in the load balancer, or take the source out of proxy-from",
    ),
    (
        Reason::BadProxyHeader,
        "a header of the PROXY protocol that is broken, too long, or of an unknown version or another transport",
    ),
    (
        Reason::UntrustedProxy,
        "a connection to tcp-proxy-port from a source that may not speak for others: see proxy-from",
    ),
    (Reason::TooManyProxied, "too many clients with an allocation come by proxies over UDP: 65,536 a thread"),
    (
        Reason::NoCredentials,
        "the normal first request of every client: it is told realm and nonce, and tries again",
    ),
    (Reason::IncompleteCredentials, "USERNAME or USERHASH, REALM or NONCE is missing; a broken client"),
    (
        Reason::PasswordAlgorithms,
        "the client does not repeat the password algorithms it was offered: it is broken, or somebody on the way \
             has changed the offer",
    ),
    (Reason::Expired, "the time in the username has passed: mint a new credential, or correct the clock"),
    (Reason::WrongSecret, "the password fits no secret of this server; try `turnpike credentials decode`"),
    (Reason::UnknownUser, "no static user of this name, and the name holds no expiry time"),
    (Reason::WrongPassword, "the user exists, the password is another"),
    (
        Reason::UnknownKid,
        "the USERNAME beside an access token names no key of this server: see oauth-key; the authorisation server \
             uses another key",
    ),
    (Reason::ExpiredKid, "the key that sealed the access token is not yet or no longer good: see oauth-key"),
    (
        Reason::BadToken,
        "the access token cannot be opened: it was sealed with another key or cipher, for a server of another name (see \
             server-name), or damaged",
    ),
    (
        Reason::ExpiredToken,
        "the access token's time has passed, or has not come yet: the client must get a new one, or a clock is wrong",
    ),
    (Reason::NotTheBearer, "the request is not signed with the key inside its access token"),
    (Reason::WrongRealm, "the client used another realm than this server's"),
    (Reason::StaleNonce, "the nonce is too old; the client gets a new one and tries again"),
    (
        Reason::ForeignNonce,
        "the nonce is not from this server for this address: server restarted, the client's address changed, or users \
             were changed so that clients are offered something else",
    ),
    (Reason::BadRequest, "a request that is malformed or contradicts itself"),
    (Reason::UnknownAttributes, "a request with attributes that must be understood and are not"),
    (Reason::AllocationMismatch, "no allocation on this 5-tuple, or there is one already"),
    (Reason::NotTheOwner, "another user's allocation"),
    (
        Reason::TryAlternate,
        "the client is sent to another server (300): see alternate-server and its relatives, and udp-self-balance",
    ),
    (
        Reason::Draining,
        "the server drains (SIGUSR1, SIGTERM with drain-timeout, `turnpike drain`): it takes no new allocations and ends when those it has are gone; clients should know another server",
    ),
    (
        Reason::OriginMismatch,
        "another web origin than the session began with: see check-origin-consistency; sessions must not be shared by pages",
    ),
    (
        Reason::UnsupportedTransport,
        "a transport towards peers that is not offered: neither UDP nor TCP, or see no-udp-relay, no-tcp-relay",
    ),
    (
        Reason::UnsupportedFamily,
        "no relay address of this family: see relay-ip, and allocation-default-address-family for clients that name none",
    ),
    (Reason::UserQuota, "the user has as many allocations as user-quota allows"),
    (Reason::TotalQuota, "there are as many allocations as total-quota allows"),
    (Reason::NoPort, "all relay ports are taken; widen min-port and max-port, or add a relay-ip"),
    (Reason::UnknownReservation, "the reservation token was used, or is older than 30 s"),
    (Reason::RelayFailed, "the relay socket could not be opened; often the limit of file descriptors"),
    (Reason::TooManyPermissions, "the allocation has as many permissions as it may have"),
    (
        Reason::MobilityForbidden,
        "the client wants to keep its allocation when its address changes: see mobility",
    ),
    (
        Reason::BadTicket,
        "a mobility ticket that this server has not given out (it may have been restarted since), or where none belongs",
    ),
    (Reason::UsedTicket, "a mobility ticket that was used before; each is good for one move"),
    (
        Reason::PeerTaken,
        "with multiplex-peer: another session of the same thread has this peer, and from one port there can be no two; \
             more relay-threads or relay addresses make it rarer",
    ),
    (
        Reason::TooManyPeers,
        "with multiplex-peer: the session has as many peers as multiplex-peer-max-peers allows",
    ),
    (
        Reason::BadChannelNumber,
        "channels go from 0x4000 to 0x4FFF; for old clients see rfc5766-channel-numbers",
    ),
    (Reason::ChannelConflict, "the channel is bound to another peer, or the peer to another channel"),
    (
        Reason::OtherRelayTransport,
        "channels and Send indications on an allocation that relays TCP, or Connect on one that relays UDP",
    ),
    (
        Reason::NeedsConnection,
        "TCP is relayed for clients that come by TCP or TLS; this one came by datagrams",
    ),
    (Reason::ConnectionExists, "the allocation has a connection with this peer, or is about to"),
    (
        Reason::PeerUnreachable,
        "the peer refused the connection, or no way leads there from the relay address",
    ),
    (
        Reason::PeerTimeout,
        "the peer did not answer for 30 s; perhaps a firewall drops what comes from the relay",
    ),
    (
        Reason::TooManyConnections,
        "the allocation has 64 connections with peers, or there are as many as the file descriptors suffice for",
    ),
    (
        Reason::UnknownConnection,
        "a ConnectionBind for a connection that has ended, is taken or is another user's; or somebody guesses",
    ),
    (
        Reason::NeverBound,
        "the client did not come for a connection with a peer within 30 s, so it was closed",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_one_meaning() {
        for reason in Reason::ALL {
            let meanings = MEANINGS.iter().filter(|(known, _)| known == reason).count();
            assert_eq!(meanings, 1, "{}", reason.code());
        }
        assert!(MEANINGS.iter().all(|(_, meaning)| !meaning.is_empty()));
    }
}
