//! The server: packets and answers in, verdicts and effects out.
//!
//! Contract: after any `handle_` call drain [`Server::poll_effect`], then re-read [`Server::poll_timeout`].
//! A verdict is used before the next call; the borrow enforces it.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use turnpike_wire::{Class, FirstByte, Message, Method, ParseError, classify};

use crate::allocation::Allocations;
use crate::alternate::Turns;
use crate::challenge_budget::ChallengeBudget;
use crate::config::{Config, Init};
use crate::deleted::Deleted;
use crate::effect::{Effect, EndCause, Event};
use crate::flows::{FlowOwner, withdraw};
use crate::inquiries::Inquiries;
use crate::mobility::Mobile;
use crate::multiplex::Claims;
use crate::nonce::NonceKey;
use crate::ports::Ports;
use crate::quota::Quotas;
use crate::random::{Random, halves};
use crate::reason::Reason;
use crate::requests::{Request, is_receivable};
use crate::stats::Stats;
use crate::tcp_relay::{PeerConnections, PeerTransport};
use crate::time::{Now, Timestamp};
use crate::timers::{Timer, Timers};
use crate::tuple::{Client, FiveTuple, Link, RelayId, Transport};
use crate::user::User;
use crate::verdict::Verdict;
use crate::waiting::Waiting;

/// One worker's STUN/TURN server. It does no I/O, reads no clock, and repeats itself exactly from the same seed
/// and inputs.
#[derive(Debug)]
pub struct Server {
    pub(crate) config: Arc<Config>,
    pub(crate) worker: u16,
    pub(crate) workers: u16,
    pub(crate) ports: Arc<Ports>,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) nonce_key: NonceKey,
    pub(crate) random: Random,
    pub(crate) budget: ChallengeBudget,
    pub(crate) allocations: Allocations,
    pub(crate) waiting: Waiting,
    /// Requests whose senders nobody knows yet.
    pub(crate) inquiries: Inquiries,
    pub(crate) peer_connections: PeerConnections,
    /// Whose the peers on shared ports are.
    pub(crate) claims: Claims,
    pub(crate) deleted: Deleted,
    pub(crate) mobile: Mobile,
    pub(crate) timers: Timers,
    pub(crate) effects: VecDeque<Effect>,
    pub(crate) stats: Stats,
    /// Where replies are built.
    pub(crate) scratch: Box<[u8; SCRATCH]>,
    /// Whose turn it is among the relay addresses.
    pub(crate) turn: usize,
    /// Likewise among the servers that clients are sent to.
    pub(crate) alternate_turns: Turns,
    /// Sessions made so far.
    pub(crate) sessions: u64,
    /// When it was last reported that something of a proxy's was refused.
    pub(crate) proxy_refusal_told: Timestamp,
    /// Everybody, where no password is asked for.
    pub(crate) nobody: Arc<User>,
    /// The realms of those whose TLS or DTLS sessions have named one of several servers.
    pub(crate) named_links: HashMap<Link, Box<str>>,
    /// Whether other peers may be reached than when the permissions were granted.
    pub(crate) peers_changed: bool,
}

impl Server {
    /// A server without allocations.
    pub fn new(init: Init) -> Self {
        let (random, hashing) = init.seed.split_at(16);
        let mut seed = [0; 16];
        seed.copy_from_slice(random);
        let mut hash_seed = [0; 16];
        hash_seed.copy_from_slice(hashing);
        let [tuples, sources] = halves(hash_seed);
        let Config { challenge_rate, challenge_burst, .. } = *init.config;
        Server {
            nobody: init.config.credentials.nobody(),
            config: init.config,
            worker: init.worker,
            workers: init.workers,
            ports: init.ports,
            quotas: init.quotas,
            mobile: Mobile::new(&init.nonce_key),
            nonce_key: init.nonce_key,
            random: Random::new(seed),
            budget: ChallengeBudget::new(challenge_rate, challenge_burst, sources),
            allocations: Allocations::new(tuples),
            waiting: Waiting::default(),
            inquiries: Inquiries::default(),
            peer_connections: PeerConnections::default(),
            claims: Claims::default(),
            deleted: Deleted::default(),
            timers: Timers::default(),
            effects: VecDeque::new(),
            stats: Stats::default(),
            scratch: Box::new([0; SCRATCH]),
            turn: usize::from(init.worker),
            alternate_turns: Turns::new(init.worker),
            sessions: 0,
            proxy_refusal_told: Timestamp(0),
            named_links: HashMap::new(),
            peers_changed: false,
        }
    }

    /// A datagram, or one whole frame of a stream, from a client.
    #[inline]
    pub fn handle_client_packet(&mut self, now: Now, from: Client, packet: &[u8]) -> Verdict<'_> {
        let Some(&first) = packet.first() else {
            return self.drop_packet(Reason::Empty);
        };
        match classify(first) {
            FirstByte::Channel | FirstByte::ReservedChannel => self.relay_channel_data(now, from, packet),
            FirstByte::Stun => self.handle_message(now, from, packet),
            _ => self.drop_packet(Reason::NotStun),
        }
    }

    /// A datagram from a peer to a relayed address.
    #[inline]
    pub fn handle_peer_packet(
        &mut self,
        now: Now,
        relay: RelayId,
        peer: SocketAddr,
        packet: &[u8],
    ) -> Verdict<'_> {
        self.relay_to_client(now, relay, peer, packet.len(), packet)
    }

    /// A client's connection has ended: ends its allocation, unless that has a ticket, and the one that is being made.
    /// Where proxies name the clients, the same 5-tuple may have come by another connection since.
    pub fn handle_link_closed(&mut self, now: Now, client: Client) {
        if !self.named_links.is_empty() {
            self.forget_server_name(client.link);
        }
        self.waiting.abandon(&client);
        self.inquiries.abandon(&client);
        let relay = self.allocations.find(&client.tuple);
        let found = relay.and_then(|relay| self.allocations.get(relay)).map(|found| found.client.link);
        if found.is_some_and(|link| link != client.link && link != Link::NOWHERE) || self.lose_link(&client) {
            return;
        }
        let cause = match client.tuple.transport {
            Transport::Dtls => EndCause::Dissociated,
            _ => EndCause::Disconnected,
        };
        self.end_allocation(now.monotonic, &client.tuple, cause);
    }

    /// What a proxy passed on was refused before anything in it was looked at. Told once a second at most.
    pub fn handle_proxy_refused(
        &mut self,
        now: Timestamp,
        source: SocketAddr,
        transport: Transport,
        reason: Reason,
    ) {
        self.stats.count(reason);
        if now.since(self.proxy_refusal_told) >= PROXY_REFUSAL_INTERVAL {
            self.proxy_refusal_told = now;
            self.report(Event::ProxyRefused { source, transport, reason });
        }
    }

    /// Whether there is an allocation on this 5-tuple, be it in another worker's tables.
    pub fn is_allocated(&self, tuple: &FiveTuple) -> bool {
        self.allocation_on(tuple).is_some() || self.mobile.has_departed(tuple)
    }

    /// Time has passed: ends what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(timer) = self.timers.pop_due(now.monotonic) {
            match timer {
                Timer::Allocation(relay) => self.wake(now.monotonic, relay),
                Timer::Reservation(token) => {
                    self.ports.expire(token, now.monotonic);
                    self.effects.push_back(Effect::DropReserved { token });
                }
                Timer::Deleted(tuple) => self.deleted.forget(now.monotonic, &tuple),
                Timer::Unbound(connection) => self.expire_connection(now.monotonic, connection),
                Timer::Overlap(session) => self.end_overlap(now.monotonic, session),
                Timer::Inquiry(inquiry) => self.end_inquiry(now.monotonic, inquiry),
            }
        }
    }

    /// New rules. Allocations and permissions that exist stay, until [`Server::handle_revocation`] at least.
    pub fn handle_config(&mut self, config: Arc<Config>) {
        self.peers_changed |= self.config.judges_peers_otherwise(&config);
        if self.config.alternate_servers != config.alternate_servers {
            // Whoever made the list may have put it into an order that counts.
            self.alternate_turns = Turns::new(self.worker);
        }
        self.nobody = config.credentials.nobody();
        self.budget.set_limits(config.challenge_rate, config.challenge_burst);
        self.config = config;
    }

    /// The server stops: ends every allocation, so that its usage is reported.
    pub fn handle_shutdown(&mut self, now: Now) {
        for relay in self.allocations.names() {
            if let Some(tuple) = self.allocations.get(relay).map(|allocation| allocation.client.tuple) {
                self.end_allocation(now.monotonic, &tuple, EndCause::Shutdown);
            }
            // One whose client is away is on no 5-tuple.
            self.end_relay(now.monotonic, relay, EndCause::Shutdown);
        }
    }

    /// The next thing to be done outside.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Server::handle_timeout`] is to be called, if at all.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.next_due()
    }

    /// Brings up to date those counters that would cost something to keep so all the time: to be called now and then,
    /// before they are read.
    pub fn survey(&mut self, now: Timestamp) {
        (self.stats.limited_sources, self.stats.source_places) = self.budget.survey(now);
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Numbers the next sessions from here on, for those whose numbers must be others than another server's.
    pub fn count_sessions_from(&mut self, count: u64) {
        self.sessions = self.sessions.max(count);
    }

    /// Panics if the tables contradict each other: for tests and simulations.
    pub fn check_invariants(&self) {
        self.allocations.check_invariants();
        self.check_connections();
        self.check_sessions();
        self.inquiries.check_invariants();
        self.claims.check_invariants(|relay| self.allocations.get(relay).is_some());
        assert_eq!(self.allocations.count() as u64, self.stats.allocations(), "counted right");
        let by_transport: u64 = self.stats.by_transport().map(|(_, count)| count).sum();
        let by_realm: u64 = self.stats.realms.iter().map(|(_, realm)| realm.allocations).sum();
        assert_eq!(
            (by_transport, by_realm),
            (self.stats.allocations(), self.stats.allocations()),
            "and in parts"
        );
        self.mobile.check_invariants(|relay| {
            self.allocations.get(relay).map(|allocation| (allocation.session, allocation.client))
        });
    }

    fn handle_message(&mut self, now: Now, client: Client, packet: &[u8]) -> Verdict<'_> {
        let message = match Message::parse(packet) {
            Ok(message) => message,
            Err(ParseError::NoMagicCookie) if self.config.classic => {
                return self.handle_classic(now, client, packet);
            }
            Err(ParseError::NoMagicCookie) => return self.drop_packet(Reason::NoMagicCookie),
            Err(_) => return self.drop_packet(Reason::Malformed),
        };
        if !is_receivable(message.class()) {
            return self.drop_packet(Reason::UnexpectedResponse);
        }
        if message.fingerprint_is_valid() == Some(false) {
            return self.drop_packet(Reason::WrongFingerprint);
        }
        match (message.class(), message.method()) {
            (Class::Indication, Method::SEND) if self.config.relaying => {
                self.relay_send(now, client, &message)
            }
            (Class::Indication, Method::BINDING) => self.drop_packet(Reason::KeepAlive),
            (Class::Indication, _) => self.drop_packet(Reason::UnknownMethod),
            _ => match self.passed_to(&client, &message) {
                Some(worker) => self.pass_on(worker, client, packet),
                None => self.handle_request(&Request { now, client, message, asked: false }),
            },
        }
    }

    #[inline]
    pub(crate) fn drop_packet(&mut self, reason: Reason) -> Verdict<'_> {
        self.stats.count(reason);
        Verdict::Drop(reason)
    }

    pub(crate) fn report(&mut self, event: Event) {
        self.effects.push_back(Effect::Report(event));
    }

    /// Sees to it that the allocation is looked at when `due`.
    pub(crate) fn wake_by(&mut self, relay: RelayId, due: Timestamp) {
        if let Some(allocation) = self.allocations.get_mut(relay)
            && due < allocation.wakes
        {
            allocation.wakes = due;
            self.set_timer(due, Timer::Allocation(relay));
        }
    }

    /// Sets a timer, and takes out those that nobody waits for any more when there are many.
    pub(crate) fn set_timer(&mut self, due: Timestamp, timer: Timer) {
        let Server { timers, allocations, deleted, peer_connections, mobile, inquiries, .. } = self;
        timers.set(due, timer);
        if timers.are_crowded() {
            timers.retain(|due, timer| match timer {
                Timer::Allocation(relay) => allocations.get(*relay).is_some_and(|it| it.wakes == due),
                // Even when the token was claimed through another worker, what is held for it is to be closed.
                Timer::Reservation(_) => true,
                Timer::Deleted(tuple) => deleted.expiry(tuple) == Some(due),
                Timer::Unbound(connection) => peer_connections.deadline(*connection) == Some(due),
                Timer::Overlap(session) => mobile.overlap_end(*session) == Some(due),
                Timer::Inquiry(inquiry) => inquiries.deadline(*inquiry) == Some(due),
            });
        }
    }

    /// An allocation's timer fired: ends it, or what of it has expired, and sets the next timer.
    fn wake(&mut self, now: Timestamp, relay: RelayId) {
        let Some(allocation) = self.allocations.get(relay) else { return };
        if allocation.wakes > now {
            return;
        }
        if allocation.expires <= now {
            return self.expire(now, relay);
        }
        self.sweep(now, relay);
        if let Some(allocation) = self.allocations.get_mut(relay) {
            // What has expired is void at once, swept or not. A client whose many permissions and channels expire at
            // as many moments would otherwise buy a sweep over all of them with each.
            let due = allocation.next_expiry().max(now + SWEEP_INTERVAL).min(allocation.expires);
            allocation.wakes = due;
            self.set_timer(due, Timer::Allocation(relay));
        }
    }

    /// Takes out an allocation's expired permissions and channels.
    pub(crate) fn sweep(&mut self, now: Timestamp, relay: RelayId) {
        let Server { allocations, effects, config, .. } = self;
        let Some(allocation) = allocations.get_mut(relay) else { return };
        let session = allocation.session;
        allocation.permissions.sweep(now, |permission| {
            if config.verbose {
                let event = Event::PermissionExpired { session, peer: permission.ip };
                effects.push_back(Effect::Report(event));
            }
        });
        let owner = FlowOwner { relay, session };
        allocation.channels.sweep(now, |binding| withdraw(effects, relay, owner, binding));
    }

    /// Ends those of an allocation's relayed addresses whose lifetime has run out: the first one first, whichever's
    /// timer it was.
    fn expire(&mut self, now: Timestamp, relay: RelayId) {
        let Some(session) = self.allocations.get(relay).map(|allocation| allocation.session) else { return };
        // Both may be due, and it is ended by the 5-tuple it has come to.
        self.end_overlap(now, session);
        let Some(client) = self.allocations.get(relay).map(|allocation| allocation.client) else { return };
        let indexed = (client.link != Link::NOWHERE).then(|| self.allocations.find(&client.tuple)).flatten();
        let first = indexed.unwrap_or(relay);
        for relay in self.allocations.family_of(first) {
            if self.allocations.get(relay).is_some_and(|allocation| allocation.expires <= now) {
                self.end_relay(now, relay, EndCause::Expired);
            }
        }
    }

    /// Ends an allocation with all its relayed addresses.
    fn end_allocation(&mut self, now: Timestamp, tuple: &FiveTuple, cause: EndCause) {
        while let Some(relay) = self.allocations.find(tuple) {
            self.end_relay(now, relay, cause);
        }
    }

    /// Ends a relayed address, and with the last one of an allocation the allocation.
    pub(crate) fn end_relay(&mut self, now: Timestamp, relay: RelayId, cause: EndCause) {
        let Some(mut allocation) = self.allocations.remove(relay) else { return };
        self.release_claims(relay, &allocation);
        let (session, user) = (allocation.session, allocation.user.clone());
        let heir = allocation.sibling.unwrap_or(relay);
        self.withdraw_flows(relay, &mut allocation, heir);
        let relayed = allocation.port.advertised();
        let left = allocation.sibling.filter(|sibling| self.allocations.get(*sibling).is_some());
        self.forget_mobility(session, left, allocation.client);
        let event = match allocation.sibling.and_then(|sibling| self.allocations.get_mut(sibling)) {
            // One session, one account of what it used, one place in the quotas: the other carries them on.
            Some(sibling) => {
                sibling.usage.add(&allocation.usage);
                sibling.place = sibling.place.take().or(allocation.place.take());
                Event::RelayEnded { session, user, relayed, cause }
            }
            None => {
                if let (Some(token), Some(place)) = (allocation.reservation, allocation.place.take()) {
                    self.ports.keep_place(token, place);
                }
                let (tuple, usage) = (allocation.client.tuple, allocation.usage);
                let duration = now.since(allocation.created);
                self.stats.count_gone(&allocation);
                self.stats.count_ended(cause, duration);
                Event::Ended { session, user, tuple, relayed, cause, duration, usage }
            }
        };
        self.report(event);
        // RFC 6062 §5.5: what it has with peers ends with it.
        let transport = match &allocation.tcp {
            None => PeerTransport::Udp,
            Some(tcp) => {
                self.close_connections(&tcp.connections);
                PeerTransport::Tcp
            }
        };
        allocation.port.set_live(transport, false);
        self.effects.push_back(Effect::CloseRelay { relay, port: allocation.port });
    }
}

/// An allocation's expired permissions and channels are swept no more often than this.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Refusals of what proxies pass on are reported no more often than this.
const PROXY_REFUSAL_INTERVAL: Duration = Duration::from_secs(1);
/// Largest response: the list of the 16,384 unknown attributes that the largest request has room for, and 2 KiB for a
/// phrase, a long realm, a nonce, SOFTWARE and integrity.
const SCRATCH: usize = 2 * 16_384 + 2048;
