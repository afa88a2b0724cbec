//! The DTLS associations of a worker: who has one, how many a source has, and which are to be looked at when.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use turnpike_dtls::{Cookie, Session};
use turnpike_turn::{Client, FiveTuple, Link, Timestamp};

/// One client's session, with the way its datagrams take.
pub(crate) struct Association {
    pub(crate) client: Client,
    /// The same client as one of plain UDP: the listener it comes by.
    pub(crate) carrier: Client,
    pub(crate) session: Session,
    /// Of the hello that began it, which may come again.
    pub(crate) cookie: Cookie,
    pub(crate) begun: Timestamp,
    /// When something genuine last came.
    pub(crate) heard: Timestamp,
    /// Encrypted records that came before they could be read.
    pub(crate) early_records: usize,
    /// When it is looked at next; entries for any other time are stale.
    watched: Timestamp,
    is_noted_busy: bool,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Associations {
    slots: Vec<Slot>,
    free: Vec<u32>,
    places: HashMap<FiveTuple, Place>,
    sources: HashMap<IpAddr, Source>,
    /// Those whose handshake is not over, the oldest first; some may be over since.
    half_open: VecDeque<Link>,
    half_open_count: u32,
    deadlines: BinaryHeap<Reverse<(Timestamp, u64)>>,
    /// Busy sessions, by when they are to be looked at, with the records they had at the last look.
    busy: VecDeque<(Timestamp, Link, Option<u32>)>,
}

/// Who is at a 5-tuple.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The association that can be used.
    pub(crate) established: Option<Link>,
    /// A handshake that is under way: a client that forgot the other begins anew (RFC 6347 §4.2.8).
    pub(crate) half_open: Option<Link>,
}

#[derive(Default)]
struct Source {
    all: u32,
    half_open: u32,
}

struct Slot {
    generation: u32,
    association: Option<Association>,
}

impl Associations {
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn half_open(&self) -> u32 {
        self.half_open_count
    }

    /// How many a source has, and how many of them have not shaken hands.
    pub(crate) fn of_source(&self, ip: IpAddr) -> (u32, u32) {
        self.sources.get(&source(ip)).map_or((0, 0), |source| (source.all, source.half_open))
    }

    pub(crate) fn place(&self, tuple: &FiveTuple) -> Place {
        self.places.get(tuple).copied().unwrap_or_default()
    }

    pub(crate) fn get(&self, link: Link) -> Option<&Association> {
        let (slot, generation) = parts_of(link)?;
        let place = self.slots.get(slot as usize)?;
        place.association.as_ref().filter(|_| place.generation == generation)
    }

    pub(crate) fn get_mut(&mut self, link: Link) -> Option<&mut Association> {
        let (slot, generation) = parts_of(link)?;
        let place = self.slots.get_mut(slot as usize)?;
        place.association.as_mut().filter(|_| place.generation == generation)
    }

    /// Takes in a session that shakes hands; `client`'s link is still to be minted.
    pub(crate) fn insert(
        &mut self,
        mut client: Client,
        carrier: Client,
        session: Session,
        cookie: Cookie,
        now: Timestamp,
    ) -> Link {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, association: None });
            (self.slots.len() - 1) as u32
        });
        let place = &mut self.slots[slot as usize];
        let link = link_of(slot, place.generation);
        client.link = link;
        place.association = Some(Association {
            client,
            carrier,
            session,
            cookie,
            begun: now,
            heard: now,
            early_records: 0,
            watched: Timestamp(u64::MAX),
            is_noted_busy: false,
        });
        self.places.entry(client.tuple).or_default().half_open = Some(link);
        let source = self.sources.entry(source(client.tuple.client.ip())).or_default();
        source.all += 1;
        source.half_open += 1;
        self.half_open_count += 1;
        self.drop_stale_half_open();
        self.half_open.push_back(link);
        link
    }

    /// Hands were shaken. Returns the association that this one takes the place of.
    pub(crate) fn establish(&mut self, link: Link) -> Option<Link> {
        let client = self.get(link)?.client;
        let place = self.places.entry(client.tuple).or_default();
        if place.half_open != Some(link) {
            return None;
        }
        place.half_open = None;
        let displaced = place.established.replace(link);
        self.half_open_count -= 1;
        if let Some(source) = self.sources.get_mut(&source(client.tuple.client.ip())) {
            source.half_open -= 1;
        }
        displaced
    }

    /// The handshake that has been under way longest.
    pub(crate) fn oldest_half_open(&mut self) -> Option<Link> {
        self.drop_stale_half_open();
        self.half_open.front().copied()
    }

    fn drop_stale_half_open(&mut self) {
        while let Some(link) = self.half_open.front()
            && self.get(*link).is_none_or(|association| association.session.is_established())
        {
            self.half_open.pop_front();
        }
    }

    /// Forgets one.
    pub(crate) fn remove(&mut self, link: Link) -> Option<Association> {
        let (slot, generation) = parts_of(link)?;
        let place = self.slots.get_mut(slot as usize).filter(|place| place.generation == generation)?;
        let association = place.association.take()?;
        place.generation = (generation + 1) & GENERATIONS;
        self.free.push(slot);
        let tuple = association.client.tuple;
        let mut was_half_open = false;
        if let Some(place) = self.places.get_mut(&tuple) {
            was_half_open = place.half_open == Some(link);
            place.half_open = place.half_open.filter(|half_open| *half_open != link);
            place.established = place.established.filter(|established| *established != link);
            if *place == Place::default() {
                self.places.remove(&tuple);
            }
        }
        self.half_open_count -= u32::from(was_half_open);
        let ip = source(tuple.client.ip());
        if let Some(source) = self.sources.get_mut(&ip) {
            source.all -= 1;
            source.half_open -= u32::from(was_half_open);
            if source.all == 0 {
                self.sources.remove(&ip);
            }
        }
        Some(association)
    }

    /// Has one looked at, at this time and not at the one set before.
    pub(crate) fn watch(&mut self, link: Link, due: Timestamp) {
        if let Some(association) = self.get_mut(link)
            && association.watched != due
        {
            association.watched = due;
            self.deadlines.push(Reverse((due, link.0)));
        }
    }

    /// Notes a session that has become busy, to be put to rest later.
    #[inline]
    pub(crate) fn note_busy(&mut self, link: Link) {
        if let Some(association) = self.get_mut(link)
            && !association.is_noted_busy
            && association.session.records_while_busy().is_some()
        {
            association.is_noted_busy = true;
            self.busy.push_back((Timestamp(0), link, None));
        }
    }

    /// Puts to rest what has been quiet for a while.
    pub(crate) fn rest(&mut self, now: Timestamp) {
        while let Some((due, link, seen)) = self.busy.front().copied()
            && due <= now
        {
            self.busy.pop_front();
            let Some(association) = self.get_mut(link) else { continue };
            let records = association.session.records_while_busy();
            if records == seen {
                association.session.rest();
                association.is_noted_busy = false;
            } else {
                self.busy.push_back((now + QUIET, link, records));
            }
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        let watched = self.deadlines.peek().map(|Reverse((due, _))| *due);
        let busy = self.busy.front().map(|(due, ..)| *due);
        [watched, busy].into_iter().flatten().min()
    }

    /// The next one whose time has come.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<Link> {
        while self.deadlines.peek().is_some_and(|Reverse((due, _))| *due <= now) {
            let Reverse((due, bits)) = self.deadlines.pop()?;
            if let Some(association) = self.get_mut(Link(bits))
                && association.watched == due
            {
                association.watched = Timestamp(u64::MAX);
                return Some(Link(bits));
            }
        }
        None
    }

    /// Every one there is.
    pub(crate) fn links(&self) -> Vec<Link> {
        let open = self.slots.iter().filter_map(|slot| slot.association.as_ref());
        open.map(|association| association.client.link).collect()
    }
}

/// Whose addresses they are: with IPv6 whoever has one has the 2^64 around it.
pub(crate) fn source(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() >> 64 << 64).into()),
    }
}

/// Whether a link is an association's.
#[inline]
pub(crate) fn is_association(bits: u64) -> bool {
    bits >> 61 == ASSOCIATION >> 61
}

fn link_of(slot: u32, generation: u32) -> Link {
    Link(ASSOCIATION | u64::from(generation & GENERATIONS) << 32 | u64::from(slot))
}

fn parts_of(link: Link) -> Option<(u32, u32)> {
    is_association(link.0).then_some((link.0 as u32, (link.0 >> 32) as u32 & GENERATIONS))
}

/// What tells an association's link from a listener's (no high bit), a connection's (the highest one) and a proxied path's
/// (the two after that).
const ASSOCIATION: u64 = 0b010 << 61;
/// How long a busy session is quiet before it is put to rest.
const QUIET: Duration = Duration::from_millis(500);
const GENERATIONS: u32 = (1 << 29) - 1;
