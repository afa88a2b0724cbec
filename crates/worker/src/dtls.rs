//! Clients by DTLS (RFC 7350), told apart from the others on a UDP port by their first byte (RFC 7983).
//!
//! Nothing is kept of a client before it has brought back a cookie. What follows is bounded: handshakes begun in one
//! turn of the loop, handshakes under way in all and of each source, associations in all and of each source, and how
//! long either may be silent.

use std::sync::Arc;
use std::time::Duration;

use turnpike_dtls::{DtlsAcceptor, Exchange, Front, Judged, Unsealed, first_epoch, later_records};
use turnpike_turn::{Client, FiveTuple, Link, Timestamp, Transport};

use crate::associations::{Associations, Place};

/// A worker's DTLS clients.
pub(crate) struct Dtls {
    front: Front,
    acceptor: Arc<DtlsAcceptor>,
    associations: Associations,
    exchange: Exchange,
    /// Handshakes begun in this turn.
    begun: u32,
    limits: DtlsLimits,
    counters: DtlsCounters,
}

/// What DTLS is born with.
#[derive(Clone, Debug)]
pub struct DtlsInit {
    /// Begins sessions.
    pub acceptor: Arc<DtlsAcceptor>,
    /// What makes cookies; nobody else's.
    pub cookie_secret: [u8; 16],
    /// How many clients there may be.
    pub limits: DtlsLimits,
}

/// How many DTLS clients there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DtlsLimits {
    /// Of one source address.
    pub per_source: u32,
    /// In all.
    pub total: u32,
    /// Handshakes under way, of one source address.
    pub half_open_per_source: u32,
    /// Handshakes under way; beyond that the oldest is given up.
    pub half_open: u32,
    /// Handshakes begun in one turn of the loop: each takes the processor for longer than many packets.
    pub begun_in_a_turn: u32,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// How long a client without an allocation may be silent.
    pub idle: Duration,
}

/// What became of DTLS clients and their datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DtlsCounters {
    /// Hellos that were asked for a cookie.
    pub challenged: u64,
    /// Handshakes begun.
    pub begun: u64,
    /// Handshakes that succeeded.
    pub established: u64,
    /// Hellos with a right cookie that were passed over, because there are too many of their kind.
    pub refused: u64,
    /// Handshakes in which nothing could be agreed on, and associations that an alert has ended.
    pub failed: u64,
    /// Handshakes that took too long or made room for another.
    pub abandoned: u64,
    /// Associations closed because they were silent for too long.
    pub idle: u64,
    /// Datagrams that belong to no association, or to one that has no use for them.
    pub ignored: u64,
    /// Messages too large for a record, or for a client that has gone.
    pub unsent: u64,
}

/// What is to be done about a datagram.
pub(crate) enum Heard {
    /// Nothing.
    Nothing,
    /// Say this to whoever sent it, and forget him.
    Answer([u8; 44]),
    /// Whatever the exchange holds is to be sent.
    Flight,
    /// One of these associations may be able to read it.
    For(Place),
}

/// What came of reading an association.
pub(crate) enum Opened {
    /// A message of so many bytes.
    Message(Client, usize),
    /// Hands were shaken just now. Another association of the client is over.
    Established(Option<Link>),
    Nothing,
    /// It is to be closed.
    Close(Parting),
}

/// Why an association ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parting {
    /// The client said goodbye, or the server does.
    Goodbye,
    Failed,
    Abandoned,
    Idle,
    /// The client has begun anew.
    Displaced,
}

impl Dtls {
    pub(crate) fn new(init: DtlsInit) -> Self {
        Dtls {
            front: Front::new(init.cookie_secret),
            acceptor: init.acceptor,
            associations: Associations::default(),
            exchange: Exchange::default(),
            begun: 0,
            limits: init.limits,
            counters: DtlsCounters::default(),
        }
    }

    pub(crate) fn counters(&self) -> DtlsCounters {
        self.counters
    }

    /// What is to be sent, and what has been sent then.
    pub(crate) fn exchange(&mut self) -> &mut Exchange {
        &mut self.exchange
    }

    /// Judges a datagram. `carrier` is who it came from, as a client of plain UDP.
    pub(crate) fn hear(&mut self, now: Timestamp, carrier: Client, datagram: &[u8]) -> Heard {
        let FiveTuple { server, client, .. } = carrier.tuple;
        let tuple = FiveTuple { transport: Transport::Dtls, server, client };
        match self.front.judge(Duration::from_nanos(now.0), server, client, datagram) {
            Judged::Challenge(answer) => {
                self.counters.challenged += 1;
                Heard::Answer(answer)
            }
            Judged::Admit(cookie) => {
                let place = self.associations.place(&tuple);
                let links = [place.half_open, place.established].into_iter().flatten();
                let known = links.filter_map(|link| self.associations.get(link));
                // The network or the client's timer has doubled it.
                if known.into_iter().any(|association| association.cookie == cookie) {
                    self.counters.ignored += 1;
                    return Heard::Nothing;
                }
                if let Some(earlier) = place.half_open {
                    self.forget(earlier, Parting::Abandoned);
                }
                self.begin(now, carrier, tuple, cookie, datagram)
            }
            Judged::NoHello => self.known(&tuple, datagram),
            Judged::Unusable => {
                self.counters.ignored += 1;
                Heard::Nothing
            }
        }
    }

    fn begin(
        &mut self,
        now: Timestamp,
        carrier: Client,
        tuple: FiveTuple,
        cookie: turnpike_dtls::Cookie,
        hello: &[u8],
    ) -> Heard {
        let DtlsLimits { per_source, total, half_open_per_source, half_open, begun_in_a_turn, .. } = self.limits;
        let (of_source, half_open_of_source) = self.associations.of_source(tuple.client.ip());
        if self.associations.len() >= total as usize
            || of_source >= per_source
            || half_open_of_source >= half_open_per_source
            || self.begun >= begun_in_a_turn
        {
            self.counters.refused += 1;
            return Heard::Nothing;
        }
        if self.associations.half_open() >= half_open
            && let Some(oldest) = self.associations.oldest_half_open()
        {
            self.forget(oldest, Parting::Abandoned);
        }
        self.begun += 1;
        self.counters.begun += 1;
        match self.acceptor.begin(&mut self.exchange, hello) {
            Ok(session) => {
                let client = Client { link: carrier.link, tuple };
                let link = self.associations.insert(client, carrier, session, cookie, now);
                self.watch_handshake(link, now);
            }
            Err(_) => self.counters.failed += 1,
        }
        Heard::Flight
    }

    fn known(&mut self, tuple: &FiveTuple, datagram: &[u8]) -> Heard {
        let mut place = self.associations.place(tuple);
        if first_epoch(datagram) == Some(0) {
            // In the clear: no established association has any use for it.
            place.established = None;
        }
        if let Some(association) = place.half_open.and_then(|link| self.associations.get_mut(link)) {
            association.early_records += later_records(datagram);
            if association.early_records > MOST_EARLY_RECORDS {
                place.half_open = None;
            }
        }
        if place == Place::default() {
            self.counters.ignored += 1;
            return Heard::Nothing;
        }
        Heard::For(place)
    }

    /// Gives a datagram to an association; [`Dtls::open`] tells what is in it.
    pub(crate) fn handle_datagram(&mut self, link: Link, datagram: &[u8]) {
        let Dtls { associations, exchange, .. } = self;
        if let Some(association) = associations.get_mut(link) {
            association.session.handle_datagram(exchange, datagram);
        }
    }

    /// The next thing in the datagram an association was given. What the exchange holds then is to be sent.
    pub(crate) fn open(&mut self, now: Timestamp, link: Link, room: &mut [u8]) -> Opened {
        let Dtls { associations, exchange, counters, .. } = self;
        let Some(association) = associations.get_mut(link) else { return Opened::Nothing };
        match association.session.read(exchange, room) {
            Unsealed::Message(length) => {
                association.heard = now;
                Opened::Message(association.client, length)
            }
            Unsealed::Established => {
                association.heard = now;
                counters.established += 1;
                let displaced = associations.establish(link);
                associations.watch(link, now + self.limits.idle);
                Opened::Established(displaced)
            }
            Unsealed::Nothing => {
                if !association.session.is_established() {
                    self.watch_handshake(link, now);
                }
                Opened::Nothing
            }
            Unsealed::Closed => Opened::Close(Parting::Goodbye),
            Unsealed::Failed => Opened::Close(Parting::Failed),
        }
    }

    /// Puts a message, in parts, into a datagram in the exchange. Returns the way it takes.
    pub(crate) fn seal(&mut self, link: Link, parts: [&[u8]; 3]) -> Option<Client> {
        let Dtls { associations, exchange, counters, .. } = self;
        let carrier = associations.get_mut(link).and_then(|association| {
            association.session.write(exchange, parts).then_some(association.carrier)
        });
        counters.unsent += u64::from(carrier.is_none());
        carrier
    }

    /// The 5-tuple of an association.
    pub(crate) fn tuple(&self, link: Link) -> Option<FiveTuple> {
        self.associations.get(link).map(|association| association.client.tuple)
    }

    /// The way to an association's client.
    pub(crate) fn carrier(&self, link: Link) -> Option<Client> {
        self.associations.get(link).map(|association| association.carrier)
    }

    /// Ends an association. A goodbye may be in the exchange then, for the carrier; the client is the one to be
    /// forgotten.
    pub(crate) fn close(&mut self, link: Link, parting: Parting) -> Option<(Client, Client)> {
        let mut association = self.forget(link, parting)?;
        if parting != Parting::Displaced {
            association.session.close(&mut self.exchange);
        }
        Some((association.client, association.carrier))
    }

    fn forget(&mut self, link: Link, parting: Parting) -> Option<crate::associations::Association> {
        let association = self.associations.remove(link)?;
        match parting {
            Parting::Goodbye | Parting::Displaced => {}
            Parting::Failed => self.counters.failed += 1,
            Parting::Abandoned => self.counters.abandoned += 1,
            Parting::Idle => self.counters.idle += 1,
        }
        Some(association)
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.associations.next_deadline()
    }

    /// A new turn of the loop begins.
    pub(crate) fn begin_turn(&mut self) {
        self.begun = 0;
    }

    /// The next association whose time has come.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<Link> {
        self.associations.pop_due(now)
    }

    /// Does what an association's time has come for; `is_used` is whether it has an allocation. What the exchange holds
    /// then is to be sent.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp, link: Link, is_used: bool) -> Option<Parting> {
        let Dtls { associations, exchange, limits, .. } = self;
        let association = associations.get_mut(link)?;
        if association.session.is_established() {
            let due = if is_used { now } else { association.heard } + limits.idle;
            if due <= now {
                return Some(Parting::Idle);
            }
            associations.watch(link, due);
            return None;
        }
        if association.begun + limits.handshake <= now || !association.session.handle_timeout(exchange) {
            return Some(Parting::Abandoned);
        }
        self.watch_handshake(link, now);
        None
    }

    /// Looks at a handshake again when its flight is to be repeated, by this worker's clock, or when it has taken long
    /// enough.
    fn watch_handshake(&mut self, link: Link, now: Timestamp) {
        let Some(association) = self.associations.get(link) else { return };
        let end = association.begun + self.limits.handshake;
        let again = association.session.timeout().map(|left| now + left.max(SOONEST));
        self.associations.watch(link, again.map_or(end, |again| again.min(end)));
    }

    /// Every association there is.
    pub(crate) fn links(&self) -> Vec<Link> {
        self.associations.links()
    }
}

/// Whether a datagram is a DTLS record (RFC 7983 §7).
#[inline]
pub(crate) fn is_dtls(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(20..=63))
}

/// Encrypted records that are kept for a client before its handshake is over: its last flight, and some that it may
/// send right behind.
const MOST_EARLY_RECORDS: usize = 16;
/// OpenSSL's clock and the worker's need not agree to the microsecond.
const SOONEST: Duration = Duration::from_millis(1);
