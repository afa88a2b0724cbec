//! Requests, the plain way (RFC 8656 §7 to §12).

use std::net::SocketAddr;
use std::time::Duration;

use turnpike_turn::{EndCause, Now, Reason, Timestamp};

use super::credentials::{Identity, Refusal};
use super::message::{Parsed, read_xored, write_address};
use super::peers::{Access, canonical, judge};
use super::response::{Asked, begun_seconds};
use super::{Allocation, Channel, Deleted, Expected, Model, Permission, Reservation, Source};
use crate::observed::Report;

/// A socket that an Allocate needs.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(super) source: Source,
    pub(super) asked: Asked,
    pub(super) owner: Identity,
    pub(super) family_is_ipv4: bool,
    pub(super) even: bool,
    pub(super) pair: bool,
    /// Whether it is the port that was reserved before, which is this one.
    pub(super) by_token: bool,
    pub(super) local: Option<SocketAddr>,
    pub(super) lifetime: u32,
    pub(super) lacks_family: bool,
    /// Which pending request tries again.
    pub(super) instead_of: Option<usize>,
}

/// What a request leads to when it is granted.
enum Granted {
    Attributes(Vec<(u16, Vec<u8>)>),
    Open(Box<Wanted>),
    InProgress,
}

type Rule = Result<Granted, (u16, Reason)>;

impl Model {
    pub(super) fn request(&mut self, now: Now, source: Source, message: &Parsed) -> Result<Expected, Reason> {
        self.counters[usize::from(source.worker)].requests.push(message.method);
        match message.method {
            BINDING if self.settings.binding => {}
            ALLOCATE | REFRESH | CREATE_PERMISSION | CHANNEL_BIND if self.settings.relaying => {}
            BINDING | ALLOCATE | REFRESH | CREATE_PERMISSION | CHANNEL_BIND => {
                return Err(Reason::SwitchedOff);
            }
            _ => return Err(Reason::UnknownMethod),
        }
        let asked = Asked::of(&source, message);
        let session = self.allocation(&source).map(|allocation| allocation.session);
        let mut identity = None;
        let granted = self.grant(now, source, message, &asked, &mut identity);
        let refusal = granted.as_ref().err().map(|refusal| (refusal.number, refusal.reason));
        let immediate = matches!(granted, Ok(Granted::Attributes(_)) | Err(_));
        if self.settings.verbose && immediate {
            self.processed(&asked, session, identity.as_ref(), refusal);
        }
        match granted {
            Ok(Granted::InProgress) => Err(Reason::InProgress),
            Ok(Granted::Open(wanted)) => Ok(Expected::Open(wanted)),
            Ok(Granted::Attributes(attributes)) => {
                let response = self.success(source.worker, &asked, attributes, identity.as_ref());
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
            _ => Ok(Granted::Attributes(self.mapped(asked, self.settings.mapped_address))),
        };
        rule.map_err(refuse)
    }

    fn mapped(&self, asked: &Asked, plain_too: bool) -> Vec<(u16, Vec<u8>)> {
        let client = asked.client.tuple.client;
        let mut attributes = vec![(XOR_MAPPED_ADDRESS, write_address(client, true, &asked.id))];
        if plain_too {
            attributes.push((MAPPED_ADDRESS, write_address(client, false, &asked.id)));
        }
        attributes
    }

    /// RFC 8656 §7.2.
    fn allocate(
        &mut self,
        now: Now,
        source: Source,
        message: &Parsed,
        asked: &Asked,
        user: &Identity,
    ) -> Rule {
        if let Some(existing) = self.allocation(&source) {
            if existing.id != message.id || existing.owner.name != user.name {
                return Err((437, Reason::AllocationMismatch));
            }
            let left = begun_seconds(existing.expires.since(now.monotonic));
            let Allocation { local, token, lacks_family, .. } = *existing;
            return Ok(Granted::Attributes(self.allocated(local, left, asked, token, lacks_family)));
        }
        let same = |it: &&super::Pending| {
            it.wanted.source.worker == source.worker && it.wanted.source.client.tuple == source.client.tuple
        };
        if let Some(pending) = self.pending.iter().find(same) {
            let copy = pending.wanted.asked.id == message.id;
            return if copy { Ok(Granted::InProgress) } else { Err((437, Reason::AllocationMismatch)) };
        }
        let mut wanted = self.read_wish(source, message, asked, user)?;
        if let Some(token) = message.value(RESERVATION_TOKEN) {
            let honoured = |it: &Reservation| it.token == token && it.expires > now.monotonic;
            let at = self.reservations.iter().position(honoured);
            let at = at.ok_or((508, Reason::UnknownReservation))?;
            self.check_quota(user)?;
            wanted.local = Some(self.reservations.remove(at).local);
            return Ok(Granted::Open(Box::new(wanted)));
        }
        let families = self.settings.relays.iter().map(|relay| relay.address.is_ipv4());
        if !families.clone().any(|is_ipv4| is_ipv4 == wanted.family_is_ipv4) {
            return Err((440, Reason::UnsupportedFamily));
        }
        self.check_quota(user)?;
        if !self.some_port_fits(&wanted) {
            return Err((508, Reason::NoPort));
        }
        Ok(Granted::Open(Box::new(wanted)))
    }

    fn read_wish(
        &self,
        source: Source,
        message: &Parsed,
        asked: &Asked,
        user: &Identity,
    ) -> Result<Wanted, (u16, Reason)> {
        let bad = (400, Reason::BadRequest);
        match message.value(REQUESTED_TRANSPORT) {
            Some([17, _, _, _]) => {}
            Some([_, _, _, _]) => return Err((442, Reason::UnsupportedTransport)),
            _ => return Err(bad),
        }
        let even_port = of_length(message, EVEN_PORT, 1)?;
        let token = of_length(message, RESERVATION_TOKEN, 8)?;
        let pair = even_port.is_some_and(|value| value[0] >= 0x80);
        let [asks_family, asks_additional] =
            [REQUESTED_ADDRESS_FAMILY, ADDITIONAL_ADDRESS_FAMILY].map(|kind| message.value(kind).is_some());
        if token.is_some() && (even_port.is_some() || asks_family || asks_additional) {
            return Err(bad);
        }
        if asks_family && asks_additional {
            return Err(bad);
        }
        let family = read_family(message, REQUESTED_ADDRESS_FAMILY)?;
        let additional = read_family(message, ADDITIONAL_ADDRESS_FAMILY)?;
        if additional.is_some() && pair || additional == Some(1) {
            return Err(bad);
        }
        let client_family = if source.client.tuple.server.is_ipv4() { 1 } else { 2 };
        let default = self.settings.default_family.map_or(client_family, |family| family.number());
        let lifetime = read_lifetime(message)?;
        Ok(Wanted {
            source,
            asked: asked.clone(),
            owner: user.clone(),
            family_is_ipv4: family.unwrap_or(default) == 1,
            even: even_port.is_some(),
            pair,
            by_token: token.is_some(),
            local: None,
            lifetime: self.granted_lifetime(lifetime),
            lacks_family: additional.is_some(),
            instead_of: None,
        })
    }

    fn check_quota(&self, user: &Identity) -> Result<(), (u16, Reason)> {
        let allocations = self.allocations.iter().map(|it| &it.owner);
        let places: Vec<&Identity> =
            allocations.chain(self.pending.iter().map(|it| &it.wanted.owner)).collect();
        let own = places.iter().filter(|owner| owner.account == user.account).count();
        let reached = |count: usize, quota: u32| quota != 0 && count >= quota as usize;
        if reached(places.len(), self.settings.total_quota) {
            return Err((486, Reason::TotalQuota));
        }
        if reached(own, self.settings.user_quota) {
            return Err((486, Reason::UserQuota));
        }
        Ok(())
    }

    /// Whether any free port has what is asked for.
    pub(super) fn some_port_fits(&self, wanted: &Wanted) -> bool {
        self.settings.relays.iter().any(|relay| {
            let mut ports = self.settings.first_port..=self.settings.last_port;
            ports.any(|port| self.port_fits(wanted, SocketAddr::new(relay.address, port)))
        })
    }

    /// Whether this port may be given for what is asked.
    pub(super) fn port_fits(&self, wanted: &Wanted, local: SocketAddr) -> bool {
        let range = self.settings.first_port..=self.settings.last_port;
        let relay = self.settings.relays.iter().any(|relay| relay.address == local.ip());
        let free = |local: SocketAddr| range.contains(&local.port()) && !self.is_taken(local);
        let next = || SocketAddr::new(local.ip(), local.port() + 1);
        relay
            && local.is_ipv4() == wanted.family_is_ipv4
            && free(local)
            && (!wanted.even || local.port().is_multiple_of(2))
            && (!wanted.pair || free(next()))
    }

    /// The attributes of a successful Allocate.
    pub(super) fn allocated(
        &self,
        local: SocketAddr,
        lifetime: u32,
        asked: &Asked,
        token: Option<[u8; 8]>,
        lacks_family: bool,
    ) -> Vec<(u16, Vec<u8>)> {
        let mut attributes = self.mapped(asked, false);
        attributes.push((XOR_RELAYED_ADDRESS, write_address(self.advertised(local), true, &asked.id)));
        attributes.push((LIFETIME, lifetime.to_be_bytes().to_vec()));
        attributes.extend(token.map(|token| (RESERVATION_TOKEN, token.to_vec())));
        if lacks_family {
            // IPv6 was asked for besides IPv4: 440.
            attributes.push((ADDRESS_ERROR_CODE, vec![2, 0, 4, 40]));
        }
        attributes
    }

    /// RFC 8656 §8.2.
    fn refresh(&mut self, now: Now, source: Source, message: &Parsed, user: &Identity) -> Rule {
        let copy = self.deleted.iter().any(|it| {
            it.worker == source.worker
                && it.client.tuple == source.client.tuple
                && it.id == message.id
                && it.name == user.name
                && it.forgotten > now.monotonic
        });
        if copy {
            // It was carried out before, and must not end what came after it.
            return Ok(Granted::Attributes(vec![(LIFETIME, vec![0; 4])]));
        }
        let session = self.own_allocation(source, user)?;
        let asked = read_lifetime(message)?;
        let family = of_length(message, REQUESTED_ADDRESS_FAMILY, 4)?;
        let granted = if asked == Some(0) { 0 } else { self.granted_lifetime(asked) };
        let lifetime = Duration::from_secs(granted.into());
        let verbose = self.settings.verbose;
        if let Some(allocation) = self.allocation_mut(&source) {
            let number = if allocation.local.is_ipv4() { 1 } else { 2 };
            if family.is_some_and(|value| value[0] != number) {
                return Err((443, Reason::WrongFamily));
            }
            allocation.expires = now.monotonic + lifetime;
        }
        if verbose {
            self.reports.push(Report::Refreshed { session, user: user.name.clone(), lifetime });
        }
        if granted == 0 {
            self.delete(now.monotonic, source, message.id, user);
        }
        Ok(Granted::Attributes(vec![(LIFETIME, granted.to_be_bytes().to_vec())]))
    }

    fn delete(&mut self, now: Timestamp, source: Source, id: [u8; 12], user: &Identity) {
        let same = |worker: u16, tuple| worker == source.worker && tuple == source.client.tuple;
        self.deleted.retain(|it| !same(it.worker, it.client.tuple));
        self.deleted.push(Deleted {
            worker: source.worker,
            client: source.client,
            id,
            name: user.name.clone(),
            forgotten: now + Duration::from_secs(40),
        });
        if let Some(at) = self.allocations.iter().position(|it| same(it.worker, it.client.tuple)) {
            let ended = self.allocations.remove(at);
            self.end(now, ended, EndCause::Deleted);
        }
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
        let channel = of_length(message, CHANNEL_NUMBER, 4)?.ok_or((400, Reason::BadRequest))?;
        let number = u16::from_be_bytes([channel[0], channel[1]]);
        let highest = if self.settings.rfc5766_channels { 0x7FFF } else { 0x4FFF };
        if number < 0x4000 || number > highest {
            return Err((400, Reason::BadChannelNumber));
        }
        let value = message.value(XOR_PEER_ADDRESS).ok_or((400, Reason::BadRequest))?;
        let peer = self.read_peer(message, value)?;
        let live = self.allocation(&source).into_iter().flat_map(|it| &it.channels);
        let mut live = live.filter(|it| it.expires > now.monotonic);
        if live.any(|it| (it.number == number) != (it.peer == peer)) {
            return Err((400, Reason::ChannelConflict));
        }
        let access = self.judge_peer(source, peer)?;
        self.check_room(now, source, &[(peer, access)])?;
        let lifetime = Duration::from_secs(self.settings.channel_lifetime);
        if let Some(allocation) = self.allocation_mut(&source) {
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

    fn read_peer(&self, message: &Parsed, value: &[u8]) -> Result<SocketAddr, (u16, Reason)> {
        let peer = read_xored(value, &message.id).ok_or((400, Reason::BadRequest))?;
        Ok(canonical(&self.settings, peer))
    }

    fn judge_peer(&mut self, source: Source, peer: SocketAddr) -> Result<Access, (u16, Reason)> {
        let tuple = source.client.tuple;
        let allocation = self.allocation(&source).ok_or((437, Reason::AllocationMismatch))?;
        let (session, is_ipv4) = (allocation.session, allocation.local.is_ipv4());
        if peer.is_ipv4() != is_ipv4 {
            return Err((443, Reason::WrongFamily));
        }
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
        let live = self.allocation(&source).into_iter().flat_map(|it| &it.permissions);
        let live = live.filter(|it| it.expires > now.monotonic).map(|it| it.peer);
        let before: Vec<_> = live.collect();
        let mut after = before.clone();
        after.extend(more.iter().map(|(peer, _)| peer.ip()));
        after.sort();
        after.dedup();
        // Those that were there before a reload may stay and be renewed.
        let fits = after.len() == before.len() || after.len() <= self.settings.max_permissions;
        if fits { Ok(()) } else { Err((508, Reason::TooManyPermissions)) }
    }

    fn grant_permission(&mut self, now: Timestamp, source: Source, peer: SocketAddr, access: Access) {
        let lifetime = Duration::from_secs(self.settings.permission_lifetime);
        let (peer, expires) = (peer.ip(), now + lifetime);
        let Some(allocation) = self.allocation_mut(&source) else { return };
        // An expired one stays in the list until the core tells that it is gone.
        allocation.permissions.retain(|it| it.peer != peer || it.expires <= now);
        allocation.permissions.push(Permission { peer, access, expires, told: false });
        let session = allocation.session;
        if self.settings.verbose {
            self.reports.push(Report::PermissionGranted { session, peer, lifetime });
        }
    }

    /// The session on this 5-tuple, if `user` owns it (RFC 8656 §5).
    fn own_allocation(
        &self,
        source: Source,
        user: &Identity,
    ) -> Result<turnpike_turn::SessionId, (u16, Reason)> {
        let allocation = self.allocation(&source).ok_or((437, Reason::AllocationMismatch))?;
        if allocation.owner.name != user.name {
            return Err((441, Reason::NotTheOwner));
        }
        Ok(allocation.session)
    }

    /// RFC 8656 §7.2: at least the default of 600 s, at most the server's maximum.
    fn granted_lifetime(&self, asked: Option<u32>) -> u32 {
        asked.unwrap_or(600).clamp(600, self.settings.max_lifetime.max(600))
    }
}

/// The value of an attribute that must have this length; 400 if it has another.
fn of_length(message: &Parsed, kind: u16, length: usize) -> Result<Option<&[u8]>, (u16, Reason)> {
    match message.value(kind) {
        Some(value) if value.len() != length => Err((400, Reason::BadRequest)),
        value => Ok(value),
    }
}

fn read_lifetime(message: &Parsed) -> Result<Option<u32>, (u16, Reason)> {
    let value = of_length(message, LIFETIME, 4)?;
    Ok(value.map(|value| u32::from_be_bytes([value[0], value[1], value[2], value[3]])))
}

/// 1 for IPv4, 2 for IPv6; 440 for another family.
fn read_family(message: &Parsed, kind: u16) -> Result<Option<u8>, (u16, Reason)> {
    match of_length(message, kind, 4)? {
        Some([1 | 2, ..]) | None => Ok(message.value(kind).map(|value| value[0])),
        Some(_) => Err((440, Reason::UnsupportedFamily)),
    }
}

/// The types a server must understand and does not, as UNKNOWN-ATTRIBUTES lists them.
pub(super) fn unknown_attributes(message: &Parsed) -> Vec<u8> {
    let kinds = message.attributes.iter().map(|attribute| attribute.kind);
    kinds.filter(|kind| *kind < 0x8000 && !KNOWN.contains(kind)).flat_map(u16::to_be_bytes).collect()
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

const MAPPED_ADDRESS: u16 = 0x0001;
const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
const CHANNEL_NUMBER: u16 = 0x000C;
const LIFETIME: u16 = 0x000D;
const XOR_PEER_ADDRESS: u16 = 0x0012;
const XOR_RELAYED_ADDRESS: u16 = 0x0016;
const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
const EVEN_PORT: u16 = 0x0018;
const REQUESTED_TRANSPORT: u16 = 0x0019;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const RESERVATION_TOKEN: u16 = 0x0022;
const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
const ADDRESS_ERROR_CODE: u16 = 0x8001;
