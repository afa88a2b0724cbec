//! Requests, the plain way (RFC 8656 §7 to §12).

use std::net::SocketAddr;
use std::time::Duration;

use turnpike_turn::{EndCause, Now, Reason, SessionId, Timestamp};

use super::allocate::Wanted;
use super::credentials::{Identity, Refusal};
use super::message::{Parsed, read_xored, write_address};
use super::mobility::{MOBILITY_TICKET, Resumed};
use super::peers::{Access, canonical, judge};
use super::response::Asked;
use super::tcp_relay::{Attempt, CONNECTION_ID};
use super::{Allocation, Channel, Deleted, Expected, Model, Permission, Source};
use crate::observed::Report;

/// What a request leads to when it is granted.
pub(super) enum Granted {
    Attributes(Vec<(u16, Vec<u8>)>),
    /// Likewise, and the next ticket of this session.
    Moved(Vec<(u16, Vec<u8>)>, SessionId),
    Open(Box<Wanted>),
    Connect(Box<Attempt>),
    HandOver(u16),
    InProgress,
}

pub(super) type Rule = Result<Granted, (u16, Reason)>;

impl Model {
    pub(super) fn request(&mut self, now: Now, source: Source, message: &Parsed) -> Result<Expected, Reason> {
        self.counters[usize::from(source.worker)].requests.push(message.method);
        match message.method {
            BINDING if self.settings.binding => {}
            ALLOCATE | REFRESH | CREATE_PERMISSION | CHANNEL_BIND if self.settings.relaying => {}
            CONNECT | CONNECTION_BIND if self.settings.relaying && self.settings.tcp_relay => {}
            BINDING | ALLOCATE | REFRESH | CREATE_PERMISSION | CHANNEL_BIND | CONNECT | CONNECTION_BIND => {
                return Err(Reason::SwitchedOff);
            }
            _ => return Err(Reason::UnknownMethod),
        }
        let asked = Asked::of(&source, message);
        let session = self.allocation(&source).map(|allocation| allocation.session);
        let mut identity = None;
        let granted = self.grant(now, source, message, &asked, &mut identity);
        let refusal = granted.as_ref().err().map(|refusal| (refusal.number, refusal.reason));
        let immediate = matches!(granted, Ok(Granted::Attributes(_) | Granted::Moved(..)) | Err(_));
        if self.settings.verbose && immediate {
            self.processed(&asked, session, identity.as_ref(), refusal);
        }
        match granted {
            Ok(Granted::InProgress) => Err(Reason::InProgress),
            Ok(Granted::Open(wanted)) => Ok(Expected::Open(wanted)),
            Ok(Granted::Connect(attempt)) => Ok(Expected::Connect(attempt)),
            Ok(Granted::HandOver(worker)) => Ok(Expected::HandOver(worker)),
            Ok(Granted::Attributes(attributes)) => {
                let response = self.success(source.worker, &asked, attributes, identity.as_ref());
                Ok(Expected::Reply(Box::new(response)))
            }
            Ok(Granted::Moved(attributes, session)) => {
                let mut response = self.success(source.worker, &asked, attributes, identity.as_ref());
                (response.new_ticket, response.moved) = (true, Some(session));
                Ok(Expected::Reply(Box::new(response)))
            }
            Err(refusal) => {
                let unknown = unknown_attributes(message);
                let listed =
                    if refusal.number == 420 { vec![(UNKNOWN_ATTRIBUTES, unknown)] } else { Vec::new() };
                let response = self.refuse(now, &source, &asked, &refusal, listed);
                let dropped = Expected::Drop(Reason::RateLimited);
                Ok(response.map_or(dropped, |response| Expected::Reply(Box::new(response))))
            }
        }
    }

    /// RFC 8489 §6.3.1: authentication, unknown attributes, then what the method says.
    fn grant(
        &mut self,
        now: Now,
        source: Source,
        message: &Parsed,
        asked: &Asked,
        identity: &mut Option<Identity>,
    ) -> Result<Granted, Refusal> {
        if message.method != BINDING || self.settings.authenticated_binding {
            *identity = Some(self.authenticate(now, &source, message)?);
        }
        let refuse =
            |(number, reason)| Refusal { identity: identity.clone(), ..Refusal::plain(number, reason) };
        if !unknown_attributes(message).is_empty() {
            return Err(refuse((420, Reason::UnknownAttributes)));
        }
        let rule = match (message.method, identity.as_ref()) {
            (ALLOCATE, Some(user)) => self.allocate(now, source, message, asked, user),
            (REFRESH, Some(user)) => self.refresh(now, source, message, user),
            (CREATE_PERMISSION, Some(user)) => self.create_permission(now, source, message, user),
            (CHANNEL_BIND, Some(user)) => self.channel_bind(now, source, message, user),
            (CONNECT, Some(user)) => self.connect(source, message, asked, user),
            (CONNECTION_BIND, Some(user)) => self.connection_bind(now, source, message, user),
            _ => Ok(Granted::Attributes(self.mapped(asked, self.settings.mapped_address))),
        };
        rule.map_err(refuse)
    }

    pub(super) fn mapped(&self, asked: &Asked, plain_too: bool) -> Vec<(u16, Vec<u8>)> {
        let client = asked.client.tuple.client;
        let mut attributes = vec![(XOR_MAPPED_ADDRESS, write_address(client, true, &asked.id))];
        if plain_too {
            attributes.push((MAPPED_ADDRESS, write_address(client, false, &asked.id)));
        }
        attributes
    }

    /// RFC 8656 §8.2.
    fn refresh(&mut self, now: Now, source: Source, message: &Parsed, user: &Identity) -> Rule {
        let copy = self.deleted.iter().any(|it| {
            it.worker == source.worker
                && it.client.tuple == source.client.tuple
                && it.id == message.id
                && it.owner.is_same(user)
                && it.forgotten > now.monotonic
        });
        if copy {
            // It was carried out before, and must not end what came after it.
            return Ok(Granted::Attributes(vec![(LIFETIME, vec![0; 4])]));
        }
        let moved = match message.value(MOBILITY_TICKET) {
            Some(ticket) => Some(self.resume(now, source, message, user, ticket)?),
            None => None,
        };
        let session = match &moved {
            Some(moved) => moved.session,
            None => self.own_allocation(source, user)?,
        };
        let asked = read_lifetime(message)?;
        let family = of_length(message, REQUESTED_ADDRESS_FAMILY, 4)?;
        let granted = if asked == Some(0) { 0 } else { self.granted_lifetime(asked) };
        let lifetime = Duration::from_secs(granted.into());
        let verbose = self.settings.verbose;
        let meant = |it: &Allocation| {
            let number = if it.local.is_ipv4() { 1 } else { 2 };
            it.session == session && family.is_none_or(|value| value[0] == number)
        };
        if !self.allocations.iter().any(meant) {
            return Err((443, Reason::WrongFamily));
        }
        self.allocations
            .iter_mut()
            .filter(|it| meant(it))
            .for_each(|it| it.expires = now.monotonic + lifetime);
        if verbose {
            self.reports.push(Report::Refreshed { session, user: user.name.clone(), lifetime });
        }
        if granted == 0 {
            self.remember_deletion(now.monotonic, source, message.id, user);
            while let Some(at) = self.allocations.iter().position(meant) {
                self.end(now.monotonic, at, EndCause::Deleted);
            }
        }
        let lifetime = (LIFETIME, granted.to_be_bytes().to_vec());
        match moved.filter(|_| self.mobiles.iter().any(|it| it.session == session)) {
            None => Ok(Granted::Attributes(vec![lifetime])),
            Some(Resumed { known: Some(ticket), .. }) => {
                Ok(Granted::Attributes(vec![lifetime, (MOBILITY_TICKET, ticket)]))
            }
            Some(Resumed { known: None, .. }) => Ok(Granted::Moved(vec![lifetime], session)),
        }
    }

    fn remember_deletion(&mut self, now: Timestamp, source: Source, id: [u8; 12], user: &Identity) {
        let same = |worker: u16, tuple| worker == source.worker && tuple == source.client.tuple;
        self.deleted.retain(|it| !same(it.worker, it.client.tuple));
        self.deleted.push(Deleted {
            worker: source.worker,
            client: source.client,
            id,
            owner: user.clone(),
            forgotten: now + Duration::from_secs(40),
        });
    }

    /// RFC 8656 §10.2: all or nothing.
    fn create_permission(&mut self, now: Now, source: Source, message: &Parsed, user: &Identity) -> Rule {
        self.own_allocation(source, user)?;
        let peers: Vec<&[u8]> = message
            .attributes
            .iter()
            .filter(|it| it.kind == XOR_PEER_ADDRESS)
            .map(|it| &it.value[..])
            .collect();
        if peers.is_empty() {
            return Err((400, Reason::BadRequest));
        }
        let mut read = Vec::new();
        for value in peers {
            read.push(self.read_peer(message, value)?);
        }
        let mut judged = Vec::new();
        for peer in read {
            judged.push((peer, self.judge_peer(source, peer)?));
        }
        self.check_room(now, source, &judged)?;
        for (peer, access) in judged {
            self.grant_permission(now.monotonic, source, peer, access);
        }
        Ok(Granted::Attributes(Vec::new()))
    }

    /// RFC 8656 §12.2.
    fn channel_bind(&mut self, now: Now, source: Source, message: &Parsed, user: &Identity) -> Rule {
        let session = self.own_allocation(source, user)?;
        if self.allocation(&source).is_some_and(|it| it.tcp) {
            return Err((403, Reason::OtherRelayTransport));
        }
        let channel = of_length(message, CHANNEL_NUMBER, 4)?.ok_or((400, Reason::BadRequest))?;
        let number = u16::from_be_bytes([channel[0], channel[1]]);
        let highest = if self.settings.rfc5766_channels { 0x7FFF } else { 0x4FFF };
        if number < 0x4000 || number > highest {
            return Err((400, Reason::BadChannelNumber));
        }
        let value = message.value(XOR_PEER_ADDRESS).ok_or((400, Reason::BadRequest))?;
        let peer = self.read_peer(message, value)?;
        // A number is one peer's, of whatever family.
        let bound = self.halves(source).flat_map(|it| &it.channels);
        let live: Vec<_> = bound.filter(|it| it.expires > now.monotonic).collect();
        if live.iter().any(|it| (it.number == number) != (it.peer == peer)) {
            return Err((400, Reason::ChannelConflict));
        }
        let access = self.judge_peer(source, peer)?;
        self.check_room(now, source, &[(peer, access)])?;
        let lifetime = Duration::from_secs(self.settings.channel_lifetime);
        if let Some(at) = self.towards(&source, peer) {
            let allocation = &mut self.allocations[at];
            allocation.channels.retain(|it| it.expires > now.monotonic);
            allocation.channels.retain(|it| it.number != number);
            allocation.channels.push(Channel { number, peer, expires: now.monotonic + lifetime });
        }
        self.grant_permission(now.monotonic, source, peer, access);
        if self.settings.verbose {
            self.reports.push(Report::ChannelBound { session, channel: number, peer });
        }
        Ok(Granted::Attributes(Vec::new()))
    }

    pub(super) fn read_peer(&self, message: &Parsed, value: &[u8]) -> Result<SocketAddr, (u16, Reason)> {
        let peer = read_xored(value, &message.id).ok_or((400, Reason::BadRequest))?;
        Ok(canonical(&self.settings, peer))
    }

    pub(super) fn judge_peer(&mut self, source: Source, peer: SocketAddr) -> Result<Access, (u16, Reason)> {
        let tuple = source.client.tuple;
        let at = self.towards(&source, peer).ok_or((443, Reason::WrongFamily))?;
        let session = self.allocations[at].session;
        let Some(access) = judge(&self.settings, peer.ip()) else {
            self.reports.push(Report::PeerRefused { tuple, session, peer: peer.ip() });
            return Err((403, Reason::PeerRefused));
        };
        Ok(access)
    }

    /// Whether the allocation would have too many permissions with these.
    fn check_room(
        &self,
        now: Now,
        source: Source,
        more: &[(SocketAddr, Access)],
    ) -> Result<(), (u16, Reason)> {
        for half in self.halves(source) {
            let live = half.permissions.iter().filter(|it| it.expires > now.monotonic).map(|it| it.peer);
            let before: Vec<_> = live.collect();
            let mut after = before.clone();
            let own = more.iter().filter(|(peer, _)| peer.is_ipv4() == half.local.is_ipv4());
            after.extend(own.map(|(peer, _)| peer.ip()));
            after.sort();
            after.dedup();
            // Those that were there before a reload may stay and be renewed.
            if after.len() != before.len() && after.len() > self.settings.max_permissions {
                return Err((508, Reason::TooManyPermissions));
            }
        }
        Ok(())
    }

    fn grant_permission(&mut self, now: Timestamp, source: Source, peer: SocketAddr, access: Access) {
        let lifetime = Duration::from_secs(self.settings.permission_lifetime);
        let Some(at) = self.towards(&source, peer) else { return };
        let allocation = &mut self.allocations[at];
        let (peer, expires) = (peer.ip(), now + lifetime);
        // An expired one stays in the list until the core tells that it is gone.
        allocation.permissions.retain(|it| it.peer != peer || it.expires <= now);
        allocation.permissions.push(Permission { peer, access, expires, told: false });
        let session = allocation.session;
        if self.settings.verbose {
            self.reports.push(Report::PermissionGranted { session, peer, lifetime });
        }
    }

    /// The session on this 5-tuple, if `user` owns it (RFC 8656 §5).
    pub(super) fn own_allocation(
        &mut self,
        source: Source,
        user: &Identity,
    ) -> Result<SessionId, (u16, Reason)> {
        let allocation = self.allocation(&source).ok_or((437, Reason::AllocationMismatch))?;
        if !allocation.owner.is_same(user) {
            return Err((441, Reason::NotTheOwner));
        }
        let session = allocation.session;
        self.arrived(&source);
        Ok(session)
    }

    /// RFC 8656 §7.2: at least the default of 600 s, at most the server's maximum.
    pub(super) fn granted_lifetime(&self, asked: Option<u32>) -> u32 {
        asked.unwrap_or(600).clamp(600, self.settings.max_lifetime.max(600))
    }
}

/// The value of an attribute that must have this length; 400 if it has another.
pub(super) fn of_length(message: &Parsed, kind: u16, length: usize) -> Result<Option<&[u8]>, (u16, Reason)> {
    match message.value(kind) {
        Some(value) if value.len() != length => Err((400, Reason::BadRequest)),
        value => Ok(value),
    }
}

pub(super) fn read_lifetime(message: &Parsed) -> Result<Option<u32>, (u16, Reason)> {
    let value = of_length(message, LIFETIME, 4)?;
    Ok(value.map(|value| u32::from_be_bytes([value[0], value[1], value[2], value[3]])))
}

/// 1 for IPv4, 2 for IPv6; 440 for another family.
pub(super) fn read_family(message: &Parsed, kind: u16) -> Result<Option<u8>, (u16, Reason)> {
    match of_length(message, kind, 4)? {
        Some([1 | 2, ..]) | None => Ok(message.value(kind).map(|value| value[0])),
        Some(_) => Err((440, Reason::UnsupportedFamily)),
    }
}

/// The types a server must understand and does not, as UNKNOWN-ATTRIBUTES lists them.
pub(super) fn unknown_attributes(message: &Parsed) -> Vec<u8> {
    let kinds = message.attributes.iter().map(|attribute| attribute.kind);
    // RFC 6062 has one for a single method.
    let known =
        |kind: &u16| KNOWN.contains(kind) || *kind == CONNECTION_ID && message.method == CONNECTION_BIND;
    kinds.filter(|kind| *kind < 0x8000 && !known(kind)).flat_map(u16::to_be_bytes).collect()
}

/// Comprehension-required attributes of RFC 8489 and RFC 8656; and BANDWIDTH, which coturn's client still sends.
const KNOWN: &[u16] = &[
    0x0001, 0x0006, 0x0009, 0x000A, 0x000C, 0x000D, 0x0010, 0x0012, 0x0013, 0x0014, 0x0015, 0x0016, 0x0017,
    0x0018, 0x0019, 0x001A, 0x001D, 0x001E, 0x0020, 0x0022,
];

const BINDING: u16 = 0x001;
const ALLOCATE: u16 = 0x003;
const REFRESH: u16 = 0x004;
const CREATE_PERMISSION: u16 = 0x008;
const CHANNEL_BIND: u16 = 0x009;
const CONNECT: u16 = 0x00A;
const CONNECTION_BIND: u16 = 0x00B;

const MAPPED_ADDRESS: u16 = 0x0001;
const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
const CHANNEL_NUMBER: u16 = 0x000C;
pub(super) const LIFETIME: u16 = 0x000D;
const XOR_PEER_ADDRESS: u16 = 0x0012;
pub(super) const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
