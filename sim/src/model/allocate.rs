//! Allocate, the plain way (RFC 8656 §7.2).

use std::net::SocketAddr;

use turnpike_turn::{Now, Reason};

use super::credentials::Identity;
use super::message::{Parsed, write_address};
use super::mobility::MOBILITY_TICKET;
use super::requests::{
    Granted, LIFETIME, REQUESTED_ADDRESS_FAMILY, Rule, of_length, read_family, read_lifetime,
};
use super::response::{Asked, begun_seconds};
use super::{Allocation, Model, Reservation, Source};

/// A socket that an Allocate needs.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(super) source: Source,
    pub(super) asked: Asked,
    pub(super) owner: Identity,
    pub(super) family_is_ipv4: bool,
    pub(super) tcp: bool,
    pub(super) even: bool,
    pub(super) pair: bool,
    /// Whether it is the port that was reserved before, which is this one.
    pub(super) by_token: bool,
    pub(super) local: Option<SocketAddr>,
    pub(super) lifetime: u32,
    /// Whether it is to have a ticket.
    pub(super) mobile: bool,
    /// Whether an IPv6 address is wanted after this one.
    pub(super) then_six: bool,
    /// The family that cannot be had, and the error.
    pub(super) lacks: Option<(u8, u16)>,
    /// Which pending request tries again.
    pub(super) instead_of: Option<usize>,
    /// Which pending request has its first address and wants this one as well.
    pub(super) after: Option<usize>,
    /// Which pending request could not have its first address.
    pub(super) after_failed: Option<usize>,
}

impl Model {
    /// RFC 8656 §7.2.
    pub(super) fn allocate(
        &mut self,
        now: Now,
        source: Source,
        message: &Parsed,
        asked: &Asked,
        user: &Identity,
    ) -> Rule {
        if let Some(existing) = self.allocation(&source) {
            if existing.id != message.id || !existing.owner.is_same(user) {
                return Err((437, Reason::AllocationMismatch));
            }
            let left = begun_seconds(existing.expires.since(now.monotonic));
            let Allocation { token, lacks, .. } = *existing;
            let session = existing.session;
            let locals: Vec<SocketAddr> = self.halves(source).map(|it| it.local).collect();
            let mut attributes = self.allocated(&locals, left, asked, token, lacks);
            let mobile = self.mobiles.iter().find(|it| it.session == session);
            attributes.extend(mobile.map(|it| (MOBILITY_TICKET, it.ticket.clone())));
            return Ok(Granted::Attributes(attributes));
        }
        let same = |it: &&super::Pending| {
            it.wanted.source.worker == source.worker
                && it.wanted.source.client.tuple == source.client.tuple
                && !it.abandoned
        };
        if let Some(pending) = self.pending.iter().find(same) {
            let copy = pending.wanted.asked.id == message.id;
            return if copy { Ok(Granted::InProgress) } else { Err((437, Reason::AllocationMismatch)) };
        }
        let mut wanted = self.read_wish(source, message, asked, user)?;
        if wanted.mobile && !self.offers_mobility() {
            return Err((405, Reason::MobilityForbidden));
        }
        if let Some(token) = message.value(RESERVATION_TOKEN) {
            let honoured = |it: &Reservation| it.token == token && it.expires > now.monotonic;
            let at = self.reservations.iter().position(honoured);
            let at = at.ok_or((508, Reason::UnknownReservation))?;
            // Its owner gets the place that it has kept.
            let kept = &self.reservations[at].place;
            if kept.as_ref().is_none_or(|owner| owner.account != user.account) {
                self.check_quota(user)?;
            }
            wanted.local = Some(self.reservations.remove(at).local);
            return Ok(Granted::Open(Box::new(wanted)));
        }
        let families = self.settings.relays.iter().map(|relay| relay.address.is_ipv4());
        let offered = |ipv4: bool| families.clone().any(|is_ipv4| is_ipv4 == ipv4);
        if wanted.then_six {
            // RFC 8656 §7.2: what is not offered is named, if there is something else.
            match (offered(true), offered(false)) {
                (true, true) | (false, false) => {}
                (true, false) => (wanted.then_six, wanted.lacks) = (false, Some((2, 440))),
                (false, true) => {
                    (wanted.then_six, wanted.lacks) = (false, Some((1, 440)));
                    wanted.family_is_ipv4 = false;
                }
            }
        }
        if !offered(wanted.family_is_ipv4) {
            return Err((440, Reason::UnsupportedFamily));
        }
        self.check_quota(user)?;
        if !self.some_port_fits(&wanted) && wanted.then_six {
            (wanted.then_six, wanted.lacks) = (false, Some((1, 508)));
            wanted.family_is_ipv4 = false;
        }
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
        let tcp = match message.value(REQUESTED_TRANSPORT) {
            Some([17, _, _, _]) if self.settings.udp_relay => false,
            Some([6, _, _, _]) if self.settings.tcp_relay => true,
            Some([_, _, _, _]) => return Err((442, Reason::UnsupportedTransport)),
            _ => return Err(bad),
        };
        // RFC 6062 §5.1.
        if tcp && !source.client.tuple.transport.is_stream() {
            return Err((400, Reason::NeedsConnection));
        }
        let datagrams = [DONT_FRAGMENT, EVEN_PORT, RESERVATION_TOKEN];
        if tcp && datagrams.iter().any(|kind| message.value(*kind).is_some()) {
            return Err(bad);
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
        // As coturn's older client asks for it.
        let drafted = message.value(0x8032).is_some_and(|value| value.len() == 4 && value[0] == 2);
        let drafted = drafted && !asks_family && token.is_none() && !pair;
        let client_family = if source.client.tuple.server.is_ipv4() { 1 } else { 2 };
        let default = self.settings.default_family.map_or(client_family, |family| family.number());
        let lifetime = read_lifetime(message)?;
        let ticket = message.value(MOBILITY_TICKET);
        if ticket.is_some_and(|ticket| !ticket.is_empty()) {
            return Err((400, Reason::BadTicket));
        }
        Ok(Wanted {
            source,
            asked: asked.clone(),
            owner: user.clone(),
            family_is_ipv4: additional.is_some() || drafted || family.unwrap_or(default) == 1,
            tcp,
            even: even_port.is_some(),
            pair,
            by_token: token.is_some(),
            local: None,
            lifetime: self.granted_lifetime(lifetime),
            mobile: ticket.is_some(),
            then_six: additional.is_some() || drafted,
            lacks: None,
            instead_of: None,
            after: None,
            after_failed: None,
        })
    }

    fn check_quota(&self, user: &Identity) -> Result<(), (u16, Reason)> {
        // Of two relayed addresses of one session one counts.
        let is_first = |it: &&Allocation| {
            let first = self.allocations.iter().find(|other| other.session == it.session);
            first.is_some_and(|first| first.local == it.local)
        };
        let allocations = self.allocations.iter().filter(is_first).map(|it| &it.owner);
        let pending = self.pending.iter().map(|it| &it.wanted.owner);
        let kept = self.reservations.iter().filter_map(|it| it.place.as_ref());
        let places = allocations.chain(pending).chain(kept).filter(|owner| owner.realm == user.realm);
        let places: Vec<&Identity> = places.collect();
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
        locals: &[SocketAddr],
        lifetime: u32,
        asked: &Asked,
        token: Option<[u8; 8]>,
        lacks: Option<(u8, u16)>,
    ) -> Vec<(u16, Vec<u8>)> {
        let mut attributes = self.mapped(asked, false);
        let relayed = locals.iter().map(|local| write_address(self.advertised(*local), true, &asked.id));
        attributes.extend(relayed.map(|value| (XOR_RELAYED_ADDRESS, value)));
        attributes.push((LIFETIME, lifetime.to_be_bytes().to_vec()));
        attributes.extend(token.map(|token| (RESERVATION_TOKEN, token.to_vec())));
        if let Some((family, error)) = lacks {
            let mut value = vec![family, 0, (error / 100) as u8, (error % 100) as u8];
            if self.settings.reason_phrases {
                let phrase =
                    if error == 440 { "Address Family not Supported" } else { "Insufficient Capacity" };
                value.extend(phrase.as_bytes());
            }
            attributes.push((ADDRESS_ERROR_CODE, value));
        }
        attributes
    }
}

const XOR_RELAYED_ADDRESS: u16 = 0x0016;
const EVEN_PORT: u16 = 0x0018;
const REQUESTED_TRANSPORT: u16 = 0x0019;
const DONT_FRAGMENT: u16 = 0x001A;
const RESERVATION_TOKEN: u16 = 0x0022;
const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
const ADDRESS_ERROR_CODE: u16 = 0x8001;
