//! TCP relaying (RFC 6062, `-T` and `-P`): each session's data goes over connections of its own, as it is.
//!
//! With `-T` clients talk to each other in pairs: one asks for a connection to the other's relayed address, which the
//! server announces there, and both bind a connection to their end of it. With `-P` each client waits for a plain
//! connection to its relayed address, which this tool makes as well, and both ends send.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use turnpike_client::{Client, Event};
use turnpike_net::Poller;

use super::session::{Session, Stage};
use super::sessions::{Sessions, TIMER_TICK};
use super::settings::TcpRelay;
use super::transport::{Interest, Transport};
use super::{message, verbose};
use crate::randomness;
use crate::tools::output::{error, info, warning};

/// One end of a relayed connection.
pub(super) struct DataConnection {
    pub(super) transport: Transport,
    watched: Interest,
    /// Asks for it to be bound, until it is; a peer's end needs none.
    binding: Option<Client>,
    /// A message that has not come to its end.
    partial: Vec<u8>,
}

impl DataConnection {
    /// Whether bytes pass.
    pub(super) fn is_open(&self) -> bool {
        self.binding.is_none()
    }
}

impl Sessions {
    /// Takes all sessions from a permission to connections that are bound at both ends.
    pub(super) fn join_all(&mut self) -> Result<()> {
        let Some(mode) = self.settings.tcp_relay else { return Ok(()) };
        for number in 0..self.all.len() {
            self.all[number].stage = Stage::Joining;
            match mode {
                TcpRelay::Active if number % 2 == 0 => self.ask_for_connection(number)?,
                TcpRelay::Active => {}
                TcpRelay::Passive => self.connect_as_peer(number)?,
            }
            self.all[number].transmit(&mut self.output);
        }
        let deadline = self.now() + PATIENCE;
        while self.all.iter().any(|session| session.stage == Stage::Joining) {
            if self.now() >= deadline {
                bail!("Cannot relay TCP: connections were neither made nor refused in time");
            }
            self.turn(TIMER_TICK)?;
        }
        let connections: usize = self.all.iter().map(|session| session.data.len()).sum();
        info!("{connections} connections are completed");
        Ok(())
    }

    /// Something of RFC 6062 came to a session's control connection.
    pub(super) fn handle_connection(&mut self, number: usize, event: &Event) -> Result<()> {
        match event {
            Event::Connected { connection, .. } => {
                verbose!(self.settings, "connect response received: success");
                self.all[number].essential.clear();
                self.bind_connection(number, *connection)
            }
            Event::ConnectionAttempt { peer, connection } => {
                verbose!(self.settings, "connection attempt received: {peer}");
                self.bind_connection(number, *connection)
            }
            _ => Ok(()),
        }
    }

    /// One of a session's data connections can be read.
    pub(super) fn receive_data(&mut self, number: usize, end: usize) -> Result<()> {
        let length = self.settings.length;
        for _ in 0..READS_A_TURN {
            let now = self.now();
            let session = &mut self.all[number];
            let Some(data) = session.data.get_mut(end) else { return Ok(()) };
            if data.binding.is_some() {
                if !self.receive_bound(number, end)? {
                    break;
                }
                continue;
            }
            let Some(received) = data.transport.receive_bytes(&mut self.input) else { break };
            let mut partial = std::mem::take(&mut data.partial);
            partial.extend_from_slice(&self.input[..received]);
            let whole = partial.len() - partial.len() % length;
            partial[..whole].chunks_exact(length).for_each(|payload| message::count(session, now, payload));
            partial.drain(..whole);
            if let Some(data) = session.data.get_mut(end) {
                data.partial = partial;
            }
        }
        self.handle_data_trouble(number, end)
    }

    /// Watches for what data connections wait for.
    pub(super) fn watch_data(&mut self) -> Result<()> {
        for number in 0..self.all.len() {
            for end in 0..self.all[number].data.len() {
                let token = self.data_token(number, end);
                let data = &mut self.all[number].data[end];
                let interest = data.transport.interest();
                if interest == data.watched {
                    continue;
                }
                data.watched = interest;
                if interest == Interest::Nothing {
                    self.poller().remove(&self.all[number].data[end].transport)?;
                    self.handle_data_trouble(number, end)?;
                } else {
                    let data = &self.all[number].data[end];
                    watch(self.poller(), data, token, false)?;
                }
            }
        }
        Ok(())
    }

    /// The session and the end that a token is about.
    pub(super) fn data_heard_of(&self, token: u64) -> Option<(usize, usize)> {
        let index = usize::try_from(token).ok()?.checked_sub(self.all.len())?;
        let (number, end) = (index / MOST_ENDS, index % MOST_ENDS);
        self.all.get(number)?.data.get(end).map(|_| (number, end))
    }

    fn data_token(&self, number: usize, end: usize) -> u64 {
        (self.all.len() + number * MOST_ENDS + end) as u64
    }

    fn ask_for_connection(&mut self, number: usize) -> Result<()> {
        let now = self.now();
        let session = &mut self.all[number];
        let Some(peer) = session.peer else { bail!("the session has no peer to talk to") };
        session.essential.push(session.client.connect(now, peer)?);
        verbose!(self.settings, "connect sent: {peer}");
        Ok(())
    }

    /// Connects to a session's relayed address, as a peer that knows nothing of the server.
    fn connect_as_peer(&mut self, number: usize) -> Result<()> {
        let Some(relayed) = self.all[number].relayed else { bail!("the session has no relayed address") };
        let transport = Transport::connect_plain(&self.settings, relayed)?;
        self.add_data(number, transport, None)
    }

    fn bind_connection(&mut self, number: usize, connection: u32) -> Result<()> {
        let session = &self.all[number];
        let server: SocketAddr = session.server;
        if session.data.iter().any(|data| data.binding.is_some()) || session.data.len() >= MOST_ENDS {
            warning!("more connections than asked for");
            return Ok(());
        }
        let transport = Transport::open(&self.settings, server, session.domain.as_deref())?;
        let mut client = session.client.beside(randomness::random()?);
        client.bind_connection(self.now(), connection)?;
        verbose!(self.settings, "connection bind sent");
        self.add_data(number, transport, Some(client))?;
        let end = self.all[number].data.len() - 1;
        self.transmit_data(number, end);
        Ok(())
    }

    fn add_data(&mut self, number: usize, transport: Transport, binding: Option<Client>) -> Result<()> {
        let end = self.all[number].data.len();
        let data = DataConnection { transport, watched: Interest::Input, binding, partial: Vec::new() };
        watch(self.poller(), &data, self.data_token(number, end), true)?;
        self.all[number].data.push(data);
        Ok(())
    }

    /// Takes one message of a connection that is to be bound; returns whether there was one.
    fn receive_bound(&mut self, number: usize, end: usize) -> Result<bool> {
        let now = self.now();
        let data = &mut self.all[number].data[end];
        let Some(client) = &mut data.binding else { return Ok(false) };
        let Some(length) = data.transport.receive(&mut self.input) else { return Ok(false) };
        match client.handle_input(now, &self.input[..length]) {
            Some(Event::ConnectionBound { .. }) => {
                verbose!(self.settings, "connection bind response received: success");
                data.binding = None;
                let session = &mut self.all[number];
                let ends = self.settings.ends();
                if session.data.iter().filter(|data| data.is_open()).count() >= ends {
                    session.stage = Stage::Open;
                }
            }
            Some(Event::Failed { failure, .. }) => {
                error!("connection bind: {failure}");
                bail!("Cannot bind connection");
            }
            _ => self.transmit_data(number, end),
        }
        Ok(true)
    }

    /// Timers of connections that are to be bound.
    pub(super) fn handle_data_timers(&mut self, number: usize, now: Duration) -> Result<()> {
        for data in &mut self.all[number].data {
            let Some(client) = &mut data.binding else { continue };
            client.handle_timeout(now);
            if let Some(Event::Failed { failure, .. }) = client.poll_event() {
                bail!("Cannot bind connection: {failure}");
            }
        }
        Ok(())
    }

    fn transmit_data(&mut self, number: usize, end: usize) {
        let data = &mut self.all[number].data[end];
        let Some(client) = &mut data.binding else { return };
        while let Some(length) = client.poll_transmit(&mut self.output) {
            data.transport.send(&self.output[..length]);
        }
    }

    fn handle_data_trouble(&mut self, number: usize, end: usize) -> Result<()> {
        let session = &mut self.all[number];
        let Some(trouble) = session.data.get(end).and_then(|data| data.transport.trouble()) else {
            return Ok(());
        };
        match session.stage {
            Stage::Open => {
                warning!("{}", trouble.about(session.server));
                session.stage = Stage::Closed;
            }
            Stage::Joining => bail!("Cannot relay TCP: {}", trouble.about(session.server)),
            _ => {}
        }
        Ok(())
    }
}

/// The end over which a session sends its next message, if any is open: each in turn.
pub(super) fn next_end(session: &mut Session, attempts: u64) -> Option<&mut DataConnection> {
    let ends = session.data.len() as u64;
    let end = attempts.checked_rem(ends)? as usize;
    session.data.get_mut(end).filter(|data| data.is_open())
}

fn watch(poller: &Poller, data: &DataConnection, token: u64, first: bool) -> Result<()> {
    let writing = data.watched == Interest::InputAndRoom;
    poller.watch(&data.transport, token, writing, first).context("cannot wait for a socket")
}

/// Ends a session can have: its client's, and with `-P` a peer's.
const MOST_ENDS: usize = 2;
/// Times one connection is read before the next gets its turn.
const READS_A_TURN: usize = 16;
/// A server may try to connect for 30 s.
const PATIENCE: Duration = Duration::from_secs(40);
