//! Comparing what the core did with what it was to do, and learning what it chose.

use std::net::SocketAddr;
use std::time::Duration;

use turnpike_turn::{Egress, Now, PeerTransport, Reason, Stats, Timestamp};

use super::allocate::Wanted;
use super::message::{Parsed, Protection, read_xored};
use super::mobility::Mobile;
use super::response::{Learned, ensure, same};
use super::{Allocation, Expected, Model, Pending, Reservation};
use crate::observed::{Action, Observed, Opening, Report};

/// What one worker is to have counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    pub(super) refusals: Vec<Reason>,
    pub(super) requests: Vec<u16>,
    pub(super) successes: u64,
    pub(super) errors: u64,
    pub(super) challenges: u64,
    pub(super) allocations_created: u64,
    pub(super) allocations_ended: u64,
    pub(super) allocations_arrived: u64,
    pub(super) allocations_departed: u64,
    pub(super) client_packets: u64,
    pub(super) client_bytes: u64,
    pub(super) peer_packets: u64,
    pub(super) peer_bytes: u64,
    pub(super) flow_packets: u64,
    pub(super) flow_bytes: u64,
    pub(super) icmp_errors: u64,
    /// Connections that were closed with their allocation, or just before.
    pub(super) perhaps_never_bound: u64,
}

impl Model {
    /// Compares everything one input led to with what was expected of it.
    pub(crate) fn settle(&mut self, now: Now, expected: Expected, observed: &Observed) -> Result<(), String> {
        let action = &observed.action;
        let mut openings = observed.openings.iter();
        let attempting = (matches!(expected, Expected::Connect(_)), expected.attempted().is_some());
        match expected {
            Expected::Nothing => same("action", action, &Action::Nothing)?,
            Expected::Drop(reason) => same("action", action, &Action::Drop(reason))?,
            Expected::ToPeer { relay, peer, data, dont_fragment } => {
                let (to, span) = (Egress::Peer { relay, peer }, data.clone());
                same("action", action, &Action::Forward { to, bytes: data, span, dont_fragment })?;
            }
            Expected::ToClient { to, channel, peer, fingerprint, data } => {
                let Action::Forward { to: found, bytes, span, dont_fragment } = action else {
                    return Err(format!("expected data for {:?}", to.tuple.client));
                };
                same("destination", found, &Egress::Client(to))?;
                same("span and fragmentation", &(span, *dont_fragment), &(&data, false))?;
                let padded = channel.is_some() && to.tuple.transport.is_stream();
                check_data(bytes, channel, peer, fingerprint, (&data, padded))?;
            }
            Expected::Icmp { to, peer, value, fingerprint } => {
                let Action::Reply { to: found, bytes } = action else {
                    return Err(format!("expected an ICMP error for {:?}", to.tuple.client));
                };
                same("destination", found, &to)?;
                check_icmp(bytes, peer, value, fingerprint)?;
            }
            Expected::Reply(response) => {
                let learned = self.check_response(now, &response, action)?;
                if let (Some(session), Some(ticket)) = (response.moved, learned.ticket) {
                    self.learn_ticket(session, ticket)?;
                }
            }
            Expected::Allocate { response, pending, now: made } => {
                let learned = self.check_response(now, &response, action)?;
                self.insert(made, *pending, learned, &observed.reports)?;
            }
            Expected::Connect(attempt) => self.learn_attempt(now, *attempt, observed)?,
            Expected::Attempted { .. } => self.learn_accepted(now, &expected, observed)?,
            Expected::HandOver(worker) => same("action", action, &Action::HandOver(worker))?,
            Expected::Open(wanted) => {
                let opening = openings.next().ok_or("a socket is to be opened")?;
                same("action", action, &Action::Wait(opening.wait))?;
                self.learn_opening(*wanted, opening)?;
            }
        }
        ensure(openings.next().is_none(), "a socket is opened without need")?;
        let mut closings = std::mem::take(&mut self.closings);
        let mut closed = observed.closings.clone();
        closings.sort_by_key(|(_, local)| *local);
        closed.sort_by_key(|(_, local)| *local);
        same("sockets closed", &closed, &closings)?;
        self.check_connections(attempting, observed)?;
        self.check_reports(now, &observed.reports)
    }

    /// Compares the counters of a worker.
    pub(crate) fn check_stats(&self, worker: u16, stats: &Stats) -> Result<(), String> {
        let counters = &self.counters[usize::from(worker)];
        for reason in Reason::ALL {
            let expected = counters.refusals.iter().filter(|it| *it == reason).count() as u64;
            let (found, perhaps) = (stats.refused(*reason), counters.perhaps_never_bound);
            if *reason == Reason::NeverBound && (expected..=expected + perhaps).contains(&found) {
                continue;
            }
            same(reason.code(), &found, &expected)?;
        }
        let count = |method: u16| counters.requests.iter().filter(|it| **it == method).count() as u64;
        let named = [count(1), count(3), count(4), count(8), count(9), count(10), count(11)];
        let other = counters.requests.len() as u64 - named.iter().sum::<u64>();
        let found = &stats.requests;
        let found_named = [
            found.binding,
            found.allocate,
            found.refresh,
            found.create_permission,
            found.channel_bind,
            found.connect,
            found.connection_bind,
        ];
        same("requests by method", &(found_named, found.other), &(named, other))?;
        let expected = [counters.successes, counters.errors, counters.challenges];
        same("responses", &[stats.successes, stats.errors, stats.challenges], &expected)?;
        let expected = [counters.allocations_created, counters.allocations_ended];
        let expected_moves = [counters.allocations_arrived, counters.allocations_departed];
        same("moves", &[stats.allocations_arrived, stats.allocations_departed], &expected_moves)?;
        same("allocations", &[stats.allocations_created, stats.allocations_ended], &expected)?;
        same("ICMP errors", &stats.icmp_errors, &counters.icmp_errors)?;
        let Counters { client_packets, client_bytes, peer_packets, peer_bytes, .. } = *counters;
        let relayed = stats.relayed();
        let found = [relayed.client_packets, relayed.client_bytes, relayed.peer_packets, relayed.peer_bytes];
        same("traffic", &found, &[client_packets, client_bytes, peer_packets, peer_bytes])?;
        let expected = [counters.flow_packets, counters.flow_bytes];
        same("relayed elsewhere", &[relayed.flow_packets, relayed.flow_bytes], &expected)
    }

    /// Connections are made, spliced and closed as expected, and no others.
    fn check_connections(
        &mut self,
        (connecting, accepting): (bool, bool),
        observed: &Observed,
    ) -> Result<(), String> {
        same("connections asked for", &observed.connects.len(), &usize::from(connecting))?;
        same("a connection accepted", &observed.accepted.is_some(), &accepting)?;
        same("connections spliced", &observed.splices, &std::mem::take(&mut self.splices))?;
        let mut expected = std::mem::take(&mut self.closed_connections);
        let mut closed = observed.closed.clone();
        expected.sort_by_key(|it| it.number());
        closed.sort_by_key(|it| it.number());
        same("connections closed", &closed, &expected)
    }

    fn learn_opening(&mut self, wanted: Wanted, opening: &Opening) -> Result<(), String> {
        let Opening { wait, relay, address, transport } = *opening;
        same("transport", &(transport == PeerTransport::Tcp), &wanted.tcp)?;
        match wanted.local {
            Some(local) => same("reserved port", &address, &local)?,
            None => ensure(self.port_fits(&wanted, address), &format!("{address} may not be chosen"))?,
        }
        let (mut attempts, mut first) = (1, None);
        if let Some(at) = wanted.instead_of {
            let before = self.pending.remove(at);
            same("name of the relay", &relay, &before.relay)?;
            (attempts, first) = (before.attempts + 1, before.first);
        }
        if let Some(at) = wanted.after {
            let before = self.pending.remove(at);
            first = Some((before.relay, before.local));
        }
        if let Some(at) = wanted.after_failed {
            self.pending.remove(at);
        }
        let known = self.pending.iter().any(|it| {
            let named = it.relay == relay || it.first.is_some_and(|(first, _)| first == relay);
            it.wanted.source.worker == wanted.source.worker && (it.wait == wait || named)
        });
        ensure(!known, "a name is in use twice")?;
        ensure(first.is_none_or(|(first, _)| first != relay), "two relayed addresses have one name")?;
        let wanted = Wanted { instead_of: None, after: None, after_failed: None, ..wanted };
        let abandoned = false;
        self.pending.push(Pending { wait, relay, local: address, wanted, attempts, first, abandoned });
        Ok(())
    }

    fn insert(
        &mut self,
        now: Timestamp,
        pending: Pending,
        Learned { token, ticket }: Learned,
        reports: &[Report],
    ) -> Result<(), String> {
        let Pending { relay, local, wanted, first, .. } = pending;
        let halves: Vec<_> = first.into_iter().chain([(relay, local)]).collect();
        let session = reports.iter().find_map(|report| match report {
            Report::Allocated { session, .. } => Some(*session),
            _ => None,
        });
        let session = session.ok_or("a new allocation was not reported")?;
        let worker = wanted.source.worker;
        ensure(!self.sessions.contains(&session), "a session's name was used before")?;
        same("worker of the session", &(session.number() / 1_000_000_000_000_000), &u64::from(worker))?;
        self.sessions.push(session);
        if let Some(token) = token {
            ensure(!self.tokens.contains(&token), "a token was used before")?;
            self.tokens.push(token);
            let local = SocketAddr::new(local.ip(), local.port() + 1);
            let expires = now + Duration::from_secs(30);
            self.reservations.push(Reservation { worker, token, local, expires, place: None });
        }
        let lifetime = Duration::from_secs(wanted.lifetime.into());
        self.reports.push(Report::Allocated {
            session,
            user: wanted.owner.name.clone(),
            tuple: wanted.source.client.tuple,
            relayed: self.advertised(halves[0].1),
            additional: halves.get(1).map(|(_, local)| self.advertised(*local)),
            lifetime,
        });
        if self.settings.verbose {
            self.processed(&wanted.asked, Some(session), Some(&wanted.owner), None);
        }
        self.counters[usize::from(worker)].allocations_created += 1;
        self.allocations.extend(halves.into_iter().map(|(relay, local)| Allocation {
            worker,
            client: wanted.source.client,
            owner: wanted.owner.clone(),
            relay,
            session,
            local,
            tcp: wanted.tcp,
            id: wanted.asked.id,
            created: now,
            expires: now + lifetime,
            token,
            lacks: wanted.lacks,
            fingerprint: wanted.asked.fingerprint,
            permissions: Vec::new(),
            channels: Vec::new(),
            usage: Default::default(),
        }));
        if let Some(ticket) = ticket {
            self.mobiles.push(Mobile::new(session));
            self.learn_ticket(session, ticket)?;
        }
        Ok(())
    }

    /// Every report is expected and every expected report is there, in any order. Expired permissions may be
    /// reported at any time, once.
    fn check_reports(&mut self, now: Now, reports: &[Report]) -> Result<(), String> {
        let mut expected = std::mem::take(&mut self.reports);
        for report in reports {
            if let Report::PermissionExpired { session, peer } = report {
                let of_family =
                    |it: &&mut Allocation| it.session == *session && it.local.is_ipv4() == peer.is_ipv4();
                let allocation = self.allocations.iter_mut().find(of_family);
                let permissions = &mut allocation.ok_or("a permission of no allocation expired")?.permissions;
                let at = permissions.iter().position(|it| it.peer == *peer && it.expires <= now.monotonic);
                permissions.remove(at.ok_or(format!("the permission for {peer} has not expired"))?);
                continue;
            }
            let at = expected.iter().position(|it| it == report);
            expected.remove(at.ok_or(format!("unexpected {report:?}; expected {expected:?}"))?);
        }
        ensure(expected.is_empty(), &format!("not reported: {expected:?}"))
    }
}

/// A Data indication with nothing but the peer and the ICMP error.
fn check_icmp(bytes: &[u8], peer: SocketAddr, value: [u8; 8], fingerprint: bool) -> Result<(), String> {
    let message = Parsed::read(bytes).map_err(|_| "the Data indication cannot be read")?;
    same("class and method", &(message.class, message.method), &(1, 0x007))?;
    same("FINGERPRINT", &message.has_fingerprint(), &fingerprint)?;
    ensure(message.fingerprint_fits(), "a wrong FINGERPRINT")?;
    same("integrity", &message.protection(), &Protection::None)?;
    same("number of attributes", &message.attributes.len(), &2)?;
    let found = message.value(0x0012).and_then(|value| read_xored(value, &message.id));
    same("peer", &found, &Some(peer))?;
    same("ICMP", &message.value(0x8004), &Some(&value[..]))
}

/// ChannelData, or a Data indication with nothing but the peer and the data.
fn check_data(
    bytes: &[u8],
    channel: Option<u16>,
    peer: SocketAddr,
    fingerprint: bool,
    (data, padded): (&[u8], bool),
) -> Result<(), String> {
    if let Some(channel) = channel {
        let mut expected = channel.to_be_bytes().to_vec();
        expected.extend((data.len() as u16).to_be_bytes());
        expected.extend(data);
        if padded {
            expected.resize(expected.len().next_multiple_of(4), 0);
        }
        return same("ChannelData", &bytes, &&expected[..]);
    }
    let message = Parsed::read(bytes).map_err(|_| "the Data indication cannot be read")?;
    same("class and method", &(message.class, message.method), &(1, 0x007))?;
    same("FINGERPRINT", &message.has_fingerprint(), &fingerprint)?;
    ensure(message.fingerprint_fits(), "a wrong FINGERPRINT")?;
    same("integrity", &message.protection(), &Protection::None)?;
    same("number of attributes", &message.attributes.len(), &2)?;
    let found = message.value(0x0012).and_then(|value| read_xored(value, &message.id));
    same("peer", &found, &Some(peer))?;
    same("DATA", &message.value(0x0013), &Some(data))
}
