//! Clients whose datagrams come by a proxy that says whose they are (PROXY protocol, version 2).
//!
//! Some proxies put a header before each datagram, others before the first of a flow alone. So what a header said is
//! remembered for the proxy's address and port, for as long as a flow that a proxy has given up cannot have become
//! another client's. Answers go without a header to where the client's last datagram came from.
//!
//! Invariants: a proxy's address and port leads to one client, and nothing of an earlier one is sent there. A client's
//! link stays the same when its proxy takes another port. The paths are bounded in number: those without an allocation
//! go first, and a new client is refused when all have one.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use turnpike_net::{Carrier, ProxiedPath, ProxyHeader, ProxyHeaderError};
use turnpike_turn::{Client, FiveTuple, Link, Reason, Timestamp, Transport};

/// The paths of a worker's clients that come by proxies.
#[derive(Debug, Default)]
pub(crate) struct Proxied {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// By whom a client's datagrams come, and by which listener.
    by_proxy: HashMap<(SocketAddr, usize), u32>,
    by_ends: HashMap<(SocketAddr, SocketAddr), u32>,
    /// When room was last looked for.
    swept: Timestamp,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    path: Option<Path>,
}

#[derive(Clone, Copy, Debug)]
struct Path {
    client: Client,
    /// Where the client's last datagram came from; `None` when that is another client's now.
    proxy: Option<Arrival>,
    heard: Timestamp,
}

/// How a datagram came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// From which address of a proxy.
    pub(crate) from: SocketAddr,
    /// By which listener.
    pub(crate) listener: usize,
    /// To which address, where the listener has none of its own.
    pub(crate) local: Option<IpAddr>,
}

/// Whose a datagram is, and where what he sent begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The proxy's own.
    Proxy { start: usize },
    /// A client's.
    Client { client: Client, start: usize },
}

impl Proxied {
    /// Takes in a datagram. `is_used` tells whether a client has an allocation.
    ///
    /// # Errors
    /// It has no header that can be read, or there are too many clients.
    pub(crate) fn receive(
        &mut self,
        arrival: Arrival,
        bytes: &[u8],
        now: Timestamp,
        is_used: impl Fn(&FiveTuple) -> bool,
    ) -> Result<Origin, Reason> {
        if !ProxyHeader::begins(bytes) {
            return self.remembered(arrival, now).ok_or(Reason::NoProxyHeader);
        }
        let header = match ProxyHeader::read(bytes, Carrier::Datagram) {
            Ok(Some(header)) => header,
            Ok(None) | Err(ProxyHeaderError::Missing | ProxyHeaderError::Malformed) => {
                return Err(Reason::BadProxyHeader);
            }
        };
        let start = header.length;
        let Some(ends) = header.path else { return Ok(Origin::Proxy { start }) };
        let client = self.attach(ends, arrival, now, is_used)?;
        Ok(Origin::Client { client, start })
    }

    /// A client whose datagrams a proxy brought to the process before this one.
    pub(crate) fn resume(&mut self, tuple: FiveTuple, arrival: Arrival, now: Timestamp) -> Option<Link> {
        let ends = ProxiedPath { client: tuple.client, server: tuple.server };
        self.attach(ends, arrival, now, |_| true).ok().map(|client| client.link)
    }

    /// Where a client's datagrams go.
    pub(crate) fn way_to(&self, link: Link) -> Option<Arrival> {
        let (slot, generation) = parts_of(link)?;
        let place = self.slots.get(slot as usize).filter(|place| place.generation == generation)?;
        place.path.as_ref()?.proxy
    }

    /// The client of a flow that has begun with a header.
    fn remembered(&mut self, arrival: Arrival, now: Timestamp) -> Option<Origin> {
        let slot = *self.by_proxy.get(&(arrival.from, arrival.listener))?;
        let path = self.slots.get_mut(slot as usize)?.path.as_mut()?;
        if now.since(path.heard) > REMEMBERED {
            return None;
        }
        path.heard = now;
        Some(Origin::Client { client: path.client, start: 0 })
    }

    /// The client that a header names, who is at that address of the proxy from here on.
    fn attach(
        &mut self,
        ends: ProxiedPath,
        arrival: Arrival,
        now: Timestamp,
        is_used: impl Fn(&FiveTuple) -> bool,
    ) -> Result<Client, Reason> {
        let key = (arrival.from, arrival.listener);
        let slot = match self.by_ends.get(&(ends.client, ends.server)) {
            Some(slot) => *slot,
            None => self.insert(ends, now, is_used)?,
        };
        match self.by_proxy.insert(key, slot) {
            Some(earlier) if earlier != slot => self.detach(earlier),
            _ => {}
        }
        let path = self.slots.get_mut(slot as usize).and_then(|place| place.path.as_mut());
        let path = path.ok_or(Reason::BadProxyHeader)?;
        path.heard = now;
        let before = path.proxy.replace(arrival).map(|before| (before.from, before.listener));
        let client = path.client;
        if let Some(before) = before.filter(|before| *before != key)
            && self.by_proxy.get(&before) == Some(&slot)
        {
            self.by_proxy.remove(&before);
        }
        Ok(client)
    }

    /// Nothing more is sent to where this client was.
    fn detach(&mut self, slot: u32) {
        if let Some(path) = self.slots.get_mut(slot as usize).and_then(|place| place.path.as_mut()) {
            path.proxy = None;
        }
    }

    fn insert(
        &mut self,
        ends: ProxiedPath,
        now: Timestamp,
        is_used: impl Fn(&FiveTuple) -> bool,
    ) -> Result<u32, Reason> {
        if self.by_ends.len() >= MOST_PATHS {
            self.sweep(now, is_used);
        }
        if self.by_ends.len() >= MOST_PATHS {
            return Err(Reason::TooManyProxied);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, path: None });
            (self.slots.len() - 1) as u32
        });
        let ProxiedPath { client, server } = ends;
        let place = &mut self.slots[slot as usize];
        let tuple = FiveTuple { transport: Transport::Udp, server, client };
        let client = Client { link: link_of(slot, place.generation), tuple };
        place.path = Some(Path { client, proxy: None, heard: now });
        self.by_ends.insert((tuple.client, tuple.server), slot);
        Ok(slot)
    }

    /// Forgets silent clients without an allocation; seldom, for it looks at all.
    fn sweep(&mut self, now: Timestamp, is_used: impl Fn(&FiveTuple) -> bool) {
        if now.since(self.swept) < SWEEP_INTERVAL {
            return;
        }
        self.swept = now;
        let Proxied { slots, free, by_proxy, by_ends, .. } = self;
        for (slot, place) in slots.iter_mut().enumerate() {
            let idle = |path: &mut Path| now.since(path.heard) > IDLE && !is_used(&path.client.tuple);
            if let Some(path) = place.path.take_if(idle) {
                place.generation = (place.generation + 1) & GENERATIONS;
                free.push(slot as u32);
                by_ends.remove(&(path.client.tuple.client, path.client.tuple.server));
            }
        }
        by_proxy.retain(|_, slot| slots.get(*slot as usize).is_some_and(|place| place.path.is_some()));
    }
}

fn link_of(slot: u32, generation: u32) -> Link {
    Link(PROXIED | u64::from(generation & GENERATIONS) << 32 | u64::from(slot))
}

fn parts_of(link: Link) -> Option<(u32, u32)> {
    (link.0 >> 61 == PROXIED >> 61).then_some((link.0 as u32, (link.0 >> 32) as u32 & GENERATIONS))
}

/// What tells a proxied path's link from a listener's (no high bit), a connection's (10) and the tokens of listeners
/// (11): 01, and a third bit that leaves room for links of another kind.
const PROXIED: u64 = 0b011 << 61;
const GENERATIONS: u32 = (1 << 29) - 1;
/// Clients at once.
const MOST_PATHS: usize = 65_536;
/// How long a flow's datagrams may go without a header after the last of them: no longer than proxies keep a flow.
const REMEMBERED: Duration = Duration::from_secs(120);
/// How long a client without an allocation is kept when there are too many.
const IDLE: Duration = Duration::from_secs(60);
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
#[path = "proxied_tests.rs"]
mod tests;
