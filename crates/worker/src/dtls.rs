//! Clients by DTLS (RFC 7350), told apart from the others on a UDP port by their first byte (RFC 7983).
//!
//! Nothing is kept of a client before it has brought back a cookie. What follows is bounded: handshakes begun in one
//! turn of the loop, handshakes under way in all and of each source, associations in all and of each source, and how
//! long either may be silent.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use turnpike_dtls::{Cookie, DtlsAcceptor, Exchange, Front, Judged, Unsealed, first_epoch, later_records};
use turnpike_turn::{Client, FiveTuple, Link, Timestamp, Transport};

use crate::associations::{Associations, Place, source};

/// A worker's DTLS clients.
pub(crate) struct Dtls {
    front: Front,
    acceptor: Arc<DtlsAcceptor>,
    associations: Associations,
    exchange: Exchange,
    /// Handshakes begun in this turn.
    begun: u32,
    /// Hellos with a right cookie that wait for a later turn.
    waiting: VecDeque<Hello>,
    limits: DtlsLimits,
    counters: DtlsCounters,
}

/// A ClientHello of somebody who receives what is sent to his address.
struct Hello {
    carrier: Client,
    tuple: FiveTuple,
    cookie: Cookie,
    datagram: Box<[u8]>,
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
    /// Clients that may wait for a later turn.
    pub waiting: u32,
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
            waiting: VecDeque::new(),
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
                let hello = Hello { carrier, tuple, cookie, datagram: datagram.into() };
                if self.is_known(&hello) {
                    self.counters.ignored += 1;
                    return Heard::Nothing;
                }
                self.admit(now, hello)
            }
            Judged::NoHello => self.known(&tuple, datagram),
            Judged::Unusable => {
                self.counters.ignored += 1;
                Heard::Nothing
            }
        }
    }

    /// Whether a hello has come before: the network or the client's timer has doubled it.
    fn is_known(&self, hello: &Hello) -> bool {
        let place = self.associations.place(&hello.tuple);
        let links = [place.half_open, place.established].into_iter().flatten();
        let mut begun = links.filter_map(|link| self.associations.get(link));
        begun.any(|association| association.cookie == hello.cookie)
            || self.waiting.iter().any(|waiting| waiting.cookie == hello.cookie)
    }

    fn admit(&mut self, now: Timestamp, hello: Hello) -> Heard {
        let DtlsLimits { per_source, total, half_open_per_source, begun_in_a_turn, waiting, .. } =
            self.limits;
        let ip = hello.tuple.client.ip();
        let (of_source, half_open) = self.associations.of_source(ip);
        let waits = |waiting: &&Hello| source(waiting.tuple.client.ip()) == source(ip);
        let waiting_of_source = self.waiting.iter().filter(waits).count() as u32;
        let begins = self.begun < begun_in_a_turn && self.waiting.is_empty();
        if self.associations.len() >= total as usize
            || of_source + waiting_of_source >= per_source
            || half_open + waiting_of_source >= half_open_per_source
            || !begins && self.waiting.len() >= waiting as usize
        {
            self.counters.refused += 1;
            return Heard::Nothing;
        }
        if !begins {
            self.waiting.push_back(hello);
            return Heard::Nothing;
        }
        self.begin(now, &hello);
        Heard::Flight
    }

    /// Begins with the next hello that has waited. What the exchange holds then is to be sent to the carrier.
    pub(crate) fn begin_waiting(&mut self, now: Timestamp) -> Option<Client> {
        if self.begun >= self.limits.begun_in_a_turn {
            return None;
        }
        let hello = self.waiting.pop_front()?;
        self.begin(now, &hello);
        Some(hello.carrier)
    }

    fn begin(&mut self, now: Timestamp, hello: &Hello) {
        // A client that has begun anew before it was done.
        if let Some(earlier) = self.associations.place(&hello.tuple).half_open {
            self.forget(earlier, Parting::Abandoned);
        }
        if self.associations.half_open() >= self.limits.half_open
            && let Some(oldest) = self.associations.oldest_half_open()
        {
            self.forget(oldest, Parting::Abandoned);
        }
        self.begun += 1;
        self.counters.begun += 1;
        match self.acceptor.begin(&mut self.exchange, &hello.datagram) {
            Ok(session) => {
                let client = Client { link: hello.carrier.link, tuple: hello.tuple };
                let link = self.associations.insert(client, hello.carrier, session, hello.cookie, now);
                self.watch_handshake(link, now);
            }
            Err(_) => self.counters.failed += 1,
        }
    }

    fn known(&mut self, tuple: &FiveTuple, datagram: &[u8]) -> Heard {
        let mut place = self.associations.place(tuple);
        if first_epoch(datagram) == Some(0) {
            // In the clear: no established association has any use for it.
            place.established = None;
        }
        if let Some(association) = place.half_open.and_then(|link| self.associations.get_mut(link)) {
            let early_records = later_records(datagram);
            association.early_records += early_records;
            if early_records > 0 && association.early_records > MOST_EARLY_RECORDS {
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
                let client = association.client;
                associations.note_busy(link);
                Opened::Message(client, length)
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
        associations.note_busy(link);
        counters.unsent += u64::from(carrier.is_none());
        carrier
    }

    /// The 5-tuple of an association.
    pub(crate) fn tuple(&self, link: Link) -> Option<FiveTuple> {
        self.associations.get(link).map(|association| association.client.tuple)
    }

    /// What an association agreed on.
    pub(crate) fn security(&self, link: Link) -> Option<turnpike_turn::Security> {
        let (version, cipher) = self.associations.get(link)?.session.security();
        Some(turnpike_turn::Security { version, cipher })
    }

    /// The server that an association's client has asked for.
    pub(crate) fn server_name(&self, link: Link) -> Option<&str> {
        self.associations.get(link)?.session.server_name()
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
        if self.waiting.is_empty() { self.associations.next_deadline() } else { Some(Timestamp(0)) }
    }

    /// A turn of the loop ends.
    pub(crate) fn end_turn(&mut self, now: Timestamp) {
        self.begun = 0;
        self.associations.rest(now);
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

    /// The clients, as those of plain UDP: by which listener each comes.
    pub(crate) fn carriers(&self) -> Vec<Client> {
        self.associations.links().into_iter().filter_map(|link| self.carrier(link)).collect()
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
const MOST_EARLY_RECORDS: usize = 8;
/// OpenSSL's clock and the worker's need not agree to the microsecond.
const SOONEST: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
