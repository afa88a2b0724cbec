//! Handing a worker's clients over to the worker of the same number in another process, in steps.
//!
//! The worker stands still meanwhile: it reads no socket, and what comes waits in the sockets for whoever reads them
//! next. Nothing is taken apart before the other process has everything, so that this one can go on where it stopped.
//! Descriptors that both processes have open for that moment are the same sockets, with the same queues; and the
//! listeners that share an address keep their places, so that every 5-tuple stays where it is.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use turnpike_net::{Line, Parcel};
use turnpike_turn::codec::{Reader, Value};
use turnpike_turn::{Client, Elsewhere, Estate, Link};

use crate::datapath::Datapath;
use crate::kernel_flows::KernelFlows;
use crate::migration::is_listener;
use crate::proxied::Arrival;
use crate::stub::{Predecessor, Successor};

/// Leads a worker through the steps.
pub struct Handover {
    /// What to do next. If nobody says so any more, the worker goes on as if nothing had been.
    pub steps: Receiver<Step>,
    /// What came of each step.
    pub answers: Sender<Result<usize, String>>,
}

/// What a worker that stands still is to do.
#[derive(Debug)]
pub enum Step {
    /// Take in what other workers have sent. Answered when it is done.
    Settle,
    /// Send the other process everything that can go. Answered with the number of sessions.
    Give(Gift),
    /// Forget what was given, and go on with the rest. Answered when it is done.
    Leave,
    /// The other process did not take it: go on with everything.
    GoOn,
}

/// What to give, and how.
#[derive(Clone, Debug)]
pub struct Gift {
    /// The way to the other process; one worker's parcel at a time.
    pub line: Arc<Mutex<Line>>,
    /// What kind of parcel it is.
    pub kind: u8,
    /// Which listeners it has taken.
    pub taken: Arc<Taken>,
    /// Whether this worker gives what all have in common.
    pub common: bool,
}

/// Which listeners another process has taken over, by their numbers.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Those for datagrams.
    pub datagrams: Vec<bool>,
    /// Those for connections.
    pub streams: Vec<bool>,
}

/// What a worker still has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// Allocations.
    pub allocations: u64,
    /// Connections of clients.
    pub connections: usize,
    /// DTLS associations.
    pub associations: usize,
}

/// What a worker was given.
#[derive(Debug)]
pub struct Inheritance {
    /// How many relayed addresses.
    pub relays: usize,
    /// What the other process keeps.
    pub elsewhere: Vec<Elsewhere>,
}

/// What was given, until it is known whether it was taken.
pub(crate) struct Given {
    estate: Estate,
    taken: Arc<Taken>,
    successor: Option<Successor>,
    common: bool,
}

/// How a proxy brings a client's datagrams: the client, and the proxy's address, the listener, and the address there.
type Path = (Client, (SocketAddr, (u64, Option<IpAddr>)));

impl Handover {
    pub(crate) fn next(&self) -> Step {
        self.steps.recv().unwrap_or(Step::GoOn)
    }

    pub(crate) fn answer(&self, outcome: Result<usize, String>) {
        // Whoever does not listen any more says no next step either.
        let _ = self.answers.send(outcome);
    }
}

impl fmt::Debug for Handover {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Handover")
    }
}

impl Given {
    pub(crate) fn sessions(&self) -> usize {
        self.estate.relays.len()
    }
}

impl Taken {
    fn has(&self, listener: usize) -> bool {
        self.datagrams.get(listener).copied().unwrap_or_default()
    }
}

impl Datapath {
    /// Sends another process everything that can go. Nothing is forgotten yet.
    pub(crate) fn give(&mut self, gift: Gift) -> Result<Given, String> {
        // What the kernel has relayed is counted before the counts are written down.
        self.server.withdraw_all_flows();
        self.carry_out_effects();
        self.flush();
        let Gift { line, kind, taken, common } = gift;
        let has = |listener: usize| taken.has(listener);
        let estate = self.server.write_estate(&|link| self.links.go_with(link, &has), common);
        let associations: Vec<(SocketAddr, SocketAddr)> = self.associations_by(&has);
        let (successor, passage) = match associations.is_empty() {
            true => (None, None),
            false => Successor::pair().map(|(here, there)| (Some(here), Some(there))).map_err(in_words)?,
        };
        let bytes = self.written(&estate, &associations);
        let held = self.relays.held();
        let mut descriptors: Vec<BorrowedFd<'_>> = Vec::with_capacity(estate.relays.len() + 1);
        for relay in &estate.relays {
            let socket = self.relays.socket(*relay).and_then(|socket| self.sockets.get(socket));
            descriptors.push(socket.ok_or("a relayed address has no socket of its own")?.as_fd());
        }
        for token in &estate.reserved {
            descriptors.push(held.get(token).ok_or("a reserved port has no socket")?.as_fd());
        }
        descriptors.extend(passage.as_ref().map(AsFd::as_fd));
        let line = line.lock().unwrap_or_else(PoisonError::into_inner);
        line.send(kind, &bytes, &descriptors).map_err(in_words)?;
        drop(held);
        Ok(Given { estate, taken, successor, common })
    }

    /// Forgets what another process has taken, and goes on with the rest; what comes back of it, under `token`.
    pub(crate) fn leave(&mut self, given: Given, token: u64) {
        let Given { estate, taken, successor, common } = given;
        let has = |listener: usize| taken.has(listener);
        self.links.leave(&has, &self.sockets, &self.poller);
        let streams = |listener: usize| taken.streams.get(listener).copied().unwrap_or_default();
        self.streams.listeners.leave(streams, &self.poller);
        for relay in &estate.relays {
            let Some(socket) = self.relays.take(*relay).and_then(|socket| self.sockets.remove(socket)) else {
                continue;
            };
            // Closing alone would not do: the other process has it open.
            let _ = self.poller.remove(&socket);
        }
        let Datapath { server, links, .. } = self;
        let released = server.release_estate(&estate, &|link| links.go_with(link, &has));
        self.released = Some(released);
        // Their tables are the other process's: it may use any place in them.
        self.flows = KernelFlows::default();
        if common {
            self.relays.held().clear();
        }
        if let Some(successor) = successor
            && self.poller.add(successor.socket(), token).is_ok()
        {
            self.successor = Some(successor);
        }
    }

    /// Nothing was taken: everything is as before.
    pub(crate) fn go_on_relaying(&mut self) {
        self.server.offer_all_flows();
        self.carry_out_effects();
    }

    /// What is still here.
    pub(crate) fn remains(&self) -> Remains {
        Remains {
            allocations: self.server.stats().allocations(),
            connections: self.streams.open_count(),
            associations: self.dtls.as_ref().map_or(0, |dtls| dtls.carriers().len()),
        }
    }

    /// Takes what a worker of another process hands over.
    pub(crate) fn inherit(
        &mut self,
        parcel: Parcel,
        listener: &dyn Fn(usize) -> Option<usize>,
    ) -> Result<Inheritance, String> {
        let damaged = || "what the other process hands over is damaged".to_owned();
        let mut reader = Reader::new(&parcel.bytes);
        let paths: Vec<Path> = Value::read(&mut reader).ok_or_else(damaged)?;
        let associations: Vec<(SocketAddr, SocketAddr)> = Value::read(&mut reader).ok_or_else(damaged)?;
        let now = self.now.monotonic;
        let mut proxied = std::collections::HashMap::new();
        for (client, (from, (by, local))) in paths {
            let here = usize::try_from(by).ok().and_then(listener).ok_or_else(damaged)?;
            let arrival = Arrival { from, listener: here, local };
            proxied.extend(
                self.links.resume_proxied(client.tuple, arrival, now).map(|here| (client.link, here)),
            );
        }
        let way = |link: Link| match is_listener(link) {
            true => usize::try_from(link.0).ok().and_then(listener).map(|here| Link(here as u64)),
            false => proxied.get(&link).copied(),
        };
        let taken = self.server.read_estate(self.now, reader.rest(), &way).map_err(in_words)?;
        let mut descriptors = parcel.descriptors.into_iter();
        let mut next = || descriptors.next().ok_or_else(damaged);
        for relay in &taken.relays {
            let Datapath { relays, sockets, poller, .. } = self;
            relays.resume(*relay, next()?, sockets, poller).map_err(in_words)?;
        }
        for token in &taken.reserved {
            self.relays.resume_held(*token, next()?).map_err(in_words)?;
        }
        if !associations.is_empty() {
            self.meet_predecessor(next()?, associations, listener).map_err(in_words)?;
        }
        self.server.offer_all_flows();
        self.carry_out_effects();
        Ok(Inheritance { relays: taken.relays.len(), elsewhere: taken.elsewhere })
    }

    fn meet_predecessor(
        &mut self,
        passage: OwnedFd,
        associations: Vec<(SocketAddr, SocketAddr)>,
        listener: &dyn Fn(usize) -> Option<usize>,
    ) -> io::Result<()> {
        let passage = UnixDatagram::from(passage);
        passage.set_nonblocking(true)?;
        let mut theirs = Vec::new();
        for number in 0..MOST_LISTENERS {
            let Some(here) = listener(number) else { continue };
            if theirs.len() <= here {
                theirs.resize(here + 1, None);
            }
            theirs[here] = Some(number);
        }
        self.predecessor = Some(Box::new(Predecessor::new(passage, associations, theirs)));
        Ok(())
    }

    /// The DTLS clients that come by these listeners, and not by a proxy.
    fn associations_by(&self, has: &dyn Fn(usize) -> bool) -> Vec<(SocketAddr, SocketAddr)> {
        let carriers = self.dtls.as_ref().map(|dtls| dtls.carriers()).unwrap_or_default();
        let moving = carriers.iter().filter(|it| is_listener(it.link) && has(it.link.0 as usize));
        moving.map(|carrier| (carrier.tuple.server, carrier.tuple.client)).collect()
    }

    /// What goes over in bytes.
    fn written(&self, estate: &Estate, associations: &[(SocketAddr, SocketAddr)]) -> Vec<u8> {
        let clients = self.server.clients_of(estate);
        let path = |client: &Client| {
            let Arrival { from, listener, local } = self.links.arrival(client.link)?;
            Some((*client, (from, (listener as u64, local))))
        };
        let paths: Vec<Path> = clients.iter().filter_map(path).collect();
        let mut bytes = Vec::new();
        paths.write(&mut bytes);
        associations.to_vec().write(&mut bytes);
        bytes.extend_from_slice(&estate.bytes);
        bytes
    }
}

fn in_words(error: impl fmt::Display) -> String {
    error.to_string()
}

/// Listeners of one worker.
const MOST_LISTENERS: usize = 65_536;
