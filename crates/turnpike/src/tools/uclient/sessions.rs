//! All sessions of a run on one thread: waiting for any of their sockets, feeding each protocol state, and
//! taking each session from its Allocate request to an open way to its peer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use turnpike_client::{Allocated, Event, Failure, Port};
use turnpike_net::{Events, Poller};
use turnpike_wire::{ErrorNumber, Method};

use super::session::{Session, Stage};
use super::settings::{Peers, Settings, TcpRelay};
use super::transport::Interest;
use super::{message, verbose};
use crate::tools::output::{error, info, warning};

/// The sessions and what they share.
pub(super) struct Sessions {
    pub(super) settings: Settings,
    pub(super) all: Vec<Session>,
    pub(super) poller: Poller,
    events: Events,
    started: Instant,
    next_timers: Duration,
    /// Messages from the server that answer nothing that was asked.
    pub(super) discarded: u64,
    pub(super) input: Box<[u8]>,
    pub(super) output: Box<[u8]>,
}

impl Sessions {
    /// Opens a socket for each session.
    pub(super) fn open(settings: Settings) -> Result<Self> {
        let count = settings.sessions;
        let poller = Poller::new().context("cannot wait for sockets")?;
        let mut all = Vec::with_capacity(count);
        for number in 0..count {
            let session = Session::open(&settings, settings.server, None, number)?;
            watch(&poller, &session, number, true)?;
            all.push(session);
        }
        Ok(Sessions {
            settings,
            all,
            poller,
            events: Events::with_capacity(count.clamp(1, MOST_EVENTS)),
            started: Instant::now(),
            next_timers: Duration::ZERO,
            discarded: 0,
            input: vec![0; LARGEST_MESSAGE].into(),
            output: vec![0; LARGEST_MESSAGE].into(),
        })
    }

    /// Time since the start.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Allocates for all, then opens the way to all peers.
    pub(super) fn connect(&mut self) -> Result<()> {
        self.allocate_all()?;
        if self.settings.peers == Peers::Nobody {
            return Ok(());
        }
        for number in 0..self.all.len() {
            self.all[number].peer = match self.settings.echo_peer(number) {
                Some(peer) => Some(peer),
                // The peer is on this host, which the server sees under the client's address.
                None if self.settings.tcp_relay == Some(TcpRelay::Passive) => self.all[number].mapped,
                None => self.all[self.settings.partner(number)].relayed,
            };
        }
        self.advance_all(Stage::Allocated, Stage::Open, Sessions::open_way)?;
        self.join_all()
    }

    /// Allocates for all.
    pub(super) fn allocate_all(&mut self) -> Result<()> {
        self.advance_all(Stage::Idle, Stage::Allocated, Sessions::allocate)
    }

    /// Gives all allocations back; what does not answer in time is left to expire.
    pub(super) fn delete_all(&mut self) -> Result<()> {
        let now = self.now();
        let reachable = |session: &&mut Session| session.relayed.is_some() && !session.transport.has_ended();
        for session in self.all.iter_mut().filter(reachable) {
            if session.client.delete(now).is_ok() {
                session.stage = Stage::Deleting;
            }
            session.transmit(&mut self.output);
        }
        let deadline = now + PATIENCE_AT_THE_END;
        while self.all.iter().any(|session| session.stage == Stage::Deleting) && self.now() < deadline {
            self.turn(TIMER_TICK)?;
        }
        Ok(())
    }

    /// One turn: waits at most `patience` for something to arrive, handles all of it and all timers.
    pub(super) fn turn(&mut self, patience: Duration) -> Result<()> {
        self.wait(patience)?;
        for index in 0..self.events.len() {
            if let Some(number) = self.heard_of(index) {
                self.receive(number)?;
            } else if let Some((number, end)) = self.events.token(index).and_then(|it| self.data_heard_of(it))
            {
                self.receive_data(number, end)?;
            }
        }
        let now = self.now();
        if now >= self.next_timers {
            self.next_timers = now + TIMER_TICK;
            self.handle_timers(now)?;
        }
        Ok(())
    }

    /// Waits at most `patience` for something to arrive, and sends what waited for room.
    pub(super) fn wait(&mut self, patience: Duration) -> Result<()> {
        self.watch_connections()?;
        self.poller.wait(Some(patience), &mut self.events)?;
        for index in 0..self.events.len() {
            if let Some(number) = self.heard_of(index).filter(|_| self.events.is_writable(index)) {
                self.all[number].transport.flush();
            } else if let Some((number, end)) = self.events.token(index).and_then(|it| self.data_heard_of(it))
            {
                self.all[number].data[end].transport.flush();
            }
        }
        Ok(())
    }

    /// A new socket for a session that begins again, perhaps at another server.
    pub(super) fn reopen(&mut self, number: usize, server: SocketAddr, domain: Option<&str>) -> Result<()> {
        let mut session = Session::open(&self.settings, server, domain, number)?;
        session.restarts = self.all[number].restarts;
        watch(&self.poller, &session, number, true)?;
        self.all[number] = session;
        Ok(())
    }

    pub(super) fn poller(&self) -> &Poller {
        &self.poller
    }

    /// Whether something that was sent has not left yet.
    pub(super) fn is_sending(&self) -> bool {
        self.all.iter().any(|session| session.transport.is_congested())
    }

    /// The session an event is about.
    fn heard_of(&self, index: usize) -> Option<usize> {
        let number = self.events.token(index).and_then(|token| usize::try_from(token).ok());
        number.filter(|number| *number < self.all.len())
    }

    /// Watches for room where something waits to be sent, and no longer watches what has ended.
    fn watch_connections(&mut self) -> Result<()> {
        if !self.settings.way.can_end() {
            return Ok(());
        }
        for number in 0..self.all.len() {
            let session = &mut self.all[number];
            let interest = session.transport.interest();
            if interest == session.watched {
                continue;
            }
            session.watched = interest;
            if interest != Interest::Nothing {
                watch(&self.poller, session, number, false)?;
            } else {
                self.poller.remove(&session.transport).context("cannot stop waiting for a socket")?;
                self.handle_trouble(number)?;
            }
        }
        self.watch_data()
    }

    fn advance_all(
        &mut self,
        from: Stage,
        to: Stage,
        advance: fn(&mut Sessions, usize) -> Result<()>,
    ) -> Result<()> {
        loop {
            let under_way = self.all.iter().filter(|session| session.client.requests_under_way() > 0).count();
            let waiting: Vec<usize> = (0..self.all.len())
                .filter(|&number| self.all[number].stage == from && self.may_start(number))
                .take(MOST_UNDER_WAY.saturating_sub(under_way))
                .collect();
            for number in waiting {
                advance(self, number)?;
                self.all[number].transmit(&mut self.output);
            }
            if self.all.iter().all(|session| session.stage == to || session.stage == Stage::Closed) {
                return Ok(());
            }
            self.turn(TIMER_TICK)?;
        }
    }

    /// RTCP waits for the port its RTP session reserves.
    fn may_start(&self, number: usize) -> bool {
        let waits = self.settings.is_rtcp(number) && self.settings.even_port;
        !waits || self.all[number - 1].relayed.is_some()
    }

    fn allocate(&mut self, number: usize) -> Result<()> {
        let reserved = match self.settings.is_rtcp(number) {
            true => self.all[number - 1].reservation.take(),
            false => None,
        };
        let port = match reserved {
            Some(token) => Port::Reserved(token),
            None if self.settings.rtcp && self.settings.even_port => Port::EvenAndReserveNext,
            None => Port::Any,
        };
        let now = self.now();
        let options = self.settings.allocate_options(port);
        let session = &mut self.all[number];
        if let Some(trouble) = session.transport.trouble().filter(|_| session.transport.has_ended()) {
            bail!(trouble.about(session.server));
        }
        let request = session.client.allocate(now, options)?;
        session.essential.push(request);
        session.stage = Stage::Allocating;
        if self.settings.verbose {
            info!("allocate sent");
        }
        Ok(())
    }

    /// Installs a permission or binds a channel, and asks for more than needed if so told.
    fn open_way(&mut self, number: usize) -> Result<()> {
        let now = self.now();
        let session = &mut self.all[number];
        let Some(peer) = session.peer else { bail!("the session has no peer to talk to") };
        let mut requests = Vec::new();
        let channels = !self.settings.send_indications && self.settings.tcp_relay.is_none();
        if channels {
            requests.push(session.client.bind_channel(now, session.channel, peer)?);
            verbose!(self.settings, "channel bind sent");
        } else if self.settings.permissions {
            requests.push(session.client.create_permission(now, &[peer.ip()])?);
            verbose!(self.settings, "create perm sent");
        }
        if self.settings.extra_requests {
            let mut neighbour = peer;
            for step in 1..=EXTRA_PEERS {
                neighbour.set_port(peer.port().wrapping_add(64 * step));
                session.client.create_permission(now, &[neighbour.ip()])?;
                session.client.bind_channel(now, 0x4FFF - step - session.channel % 0x400, neighbour)?;
            }
            session.client.refresh(now, None, None)?;
        }
        session.stage = if requests.is_empty() { Stage::Open } else { Stage::Opening };
        session.essential = requests;
        Ok(())
    }

    fn receive(&mut self, number: usize) -> Result<()> {
        for received in 0.. {
            let session = &mut self.all[number];
            // What was read already has to be handled now: the poller does not know of it.
            if received >= MESSAGES_A_TURN && !session.transport.holds_message() {
                break;
            }
            let Some(length) = session.transport.receive(&mut self.input) else {
                return self.handle_trouble(number);
            };
            let now = self.started.elapsed();
            if let Some(event) = session.client.handle_input(now, &self.input[..length]) {
                if let Event::Data { span, .. } = event {
                    message::count(session, now, &self.input[span]);
                    continue;
                }
                self.handle_event(number, event)?;
            }
            self.all[number].transmit(&mut self.output);
        }
        Ok(())
    }

    /// What trouble with a session's socket means for the run.
    fn handle_trouble(&mut self, number: usize) -> Result<()> {
        let session = &mut self.all[number];
        let Some(trouble) = session.transport.trouble() else { return Ok(()) };
        match session.stage {
            Stage::Allocating | Stage::Moving => bail!(trouble.about(session.server)),
            _ if !session.transport.has_ended() => {}
            Stage::Allocated | Stage::Opening | Stage::Joining => bail!(trouble.about(session.server)),
            Stage::Open => {
                warning!("{}", trouble.about(session.server));
                session.stage = Stage::Closed;
            }
            Stage::Deleting => session.stage = Stage::Closed,
            // One that has not begun says so when it begins.
            Stage::Idle | Stage::Closed => {}
        }
        Ok(())
    }

    fn handle_timers(&mut self, now: Duration) -> Result<()> {
        for number in 0..self.all.len() {
            let session = &mut self.all[number];
            session.transport.handle_timeout();
            if session.client.poll_timeout().is_some_and(|due| due <= now) {
                session.client.handle_timeout(now);
                while let Some(event) = self.all[number].client.poll_event() {
                    self.handle_event(number, event)?;
                }
                self.all[number].transmit(&mut self.output);
            }
            self.handle_data_timers(number, now)?;
        }
        Ok(())
    }

    fn handle_event(&mut self, number: usize, event: Event) -> Result<()> {
        let verbose = self.settings.verbose;
        let session = &mut self.all[number];
        match event {
            Event::Allocated(allocated) => {
                self.handle_allocated(number, &allocated);
                if self.settings.mobility {
                    return self.begin_move(number, allocated.mobile);
                }
            }
            Event::PermissionsCreated { request } | Event::ChannelBound { request, .. } => {
                session.essential.retain(|essential| *essential != request);
                if session.essential.is_empty() && session.stage == Stage::Opening {
                    session.stage = Stage::Open;
                }
                if verbose {
                    report_opened(&event);
                }
            }
            Event::Refreshed { request, .. } => {
                verbose!(self.settings, "refresh response received: success");
                self.end_move(number, request);
            }
            Event::Deleted { .. } => session.stage = Stage::Closed,
            Event::Expired => warning!("the allocation expired"),
            Event::PeerUnreachable { peer, kind, code } => {
                warning!("peer {peer} cannot be reached (ICMP type {kind}, code {code})");
            }
            Event::Discarded(reason) => {
                self.discarded += 1;
                verbose!(self.settings, "received and dropped: {reason}");
            }
            Event::Failed { request, method, failure } => {
                let essential = session.essential.contains(&request);
                return self.handle_failure(number, essential, method, &failure);
            }
            Event::Connected { .. } | Event::ConnectionAttempt { .. } => {
                return self.handle_connection(number, &event);
            }
            Event::ConnectionBound { .. } => {}
            Event::Data { .. } | Event::Binding(_) | Event::CustomSucceeded { .. } => {}
        }
        Ok(())
    }

    fn handle_allocated(&mut self, number: usize, allocated: &Allocated) {
        let session = &mut self.all[number];
        session.relayed = Some(allocated.relayed);
        session.mapped = allocated.mapped;
        session.relayed_additional = allocated.relayed_additional;
        session.reservation = allocated.reservation;
        session.stage = Stage::Allocated;
        session.essential.clear();
        if self.settings.verbose {
            info!("allocate response received: ");
            info!("success");
            for relayed in [Some(allocated.relayed), allocated.relayed_additional].into_iter().flatten() {
                info!("{}. Received relay addr: {relayed}", crate::tools::output::family(&relayed));
            }
        }
    }

    fn handle_failure(
        &mut self,
        number: usize,
        essential: bool,
        method: Method,
        failure: &Failure,
    ) -> Result<()> {
        if method == Method::ALLOCATE && self.all[number].restarts < MOST_RESTARTS {
            match failure {
                Failure::TryAlternate { server, domain, .. } => {
                    return self.restart(number, *server, domain.as_deref());
                }
                // An allocation of an earlier user of this port still lives: another port (RFC 8656 §7.4).
                Failure::Refused { number: ErrorNumber::ALLOCATION_MISMATCH, .. } => {
                    let Session { server, domain, .. } = &self.all[number];
                    let (server, domain) = (*server, domain.clone());
                    return self.restart(number, server, domain.as_deref());
                }
                _ => {}
            }
        }
        let name = request_name(method);
        if !essential {
            if self.settings.verbose {
                info!("{name}: {failure}");
            }
            if self.all[number].stage == Stage::Deleting {
                self.all[number].stage = Stage::Closed;
            }
            return Ok(());
        }
        error!("{name}: {failure}");
        match method {
            Method::ALLOCATE => bail!("Cannot complete Allocation"),
            Method::CHANNEL_BIND => bail!("Cannot bind channel"),
            Method::CONNECT => bail!("Cannot connect to the peer"),
            Method::REFRESH => bail!("Cannot complete Refresh"),
            _ => bail!("Cannot create permission"),
        }
    }

    fn restart(&mut self, number: usize, server: SocketAddr, domain: Option<&str>) -> Result<()> {
        verbose!(self.settings, "starting again from another port, at {server}");
        self.all[number].restarts += 1;
        self.reopen(number, server, domain)?;
        self.allocate(number)
    }
}

pub(super) fn watch(poller: &Poller, session: &Session, number: usize, first: bool) -> Result<()> {
    let writing = session.watched == Interest::InputAndRoom;
    poller.watch(&session.transport, number as u64, writing, first).context("cannot wait for a socket")
}

fn report_opened(event: &Event) {
    match event {
        Event::ChannelBound { channel, .. } => {
            info!("cb response received: ");
            info!("success: {channel:#x}");
        }
        _ => {
            info!("cp response received: ");
            info!("success");
        }
    }
}

fn request_name(method: Method) -> &'static str {
    match method {
        Method::ALLOCATE => "allocate",
        Method::REFRESH => "refresh",
        Method::CREATE_PERMISSION => "create permission",
        Method::CHANNEL_BIND => "channel bind",
        Method::CONNECT => "connect",
        Method::BINDING => "binding",
        _ => "request",
    }
}

/// A STUN header and as much as its length field can say: more than any datagram holds.
const LARGEST_MESSAGE: usize = 20 + 65_535;
/// Timers are looked at this often: they count in hundreds of milliseconds.
pub(super) const TIMER_TICK: Duration = Duration::from_millis(20);
/// Messages taken from one socket before the next gets its turn.
const MESSAGES_A_TURN: usize = 64;
/// Sockets heard of at once; the others are heard of in the next turn.
const MOST_EVENTS: usize = 1024;
/// Sessions with requests under way at once, so that setting up thousands does not flood the server's buffer.
const MOST_UNDER_WAY: usize = 64;
/// How often a session follows ALTERNATE-SERVER or tries another port.
const MOST_RESTARTS: u8 = 8;
const PATIENCE_AT_THE_END: Duration = Duration::from_secs(1);
/// Channels bound beyond need with `-G`.
const EXTRA_PEERS: u16 = 3;
