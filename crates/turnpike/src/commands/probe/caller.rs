//! A TURN client that does one thing after the other, and waits for each.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use turnpike_client::{
    AllocateOptions, Allocated, BindingAnswer, BindingOptions, Client, ClientConfig, Credentials, Event,
    Failure, RequestError, RequestId, Retransmission, Transport,
};
use turnpike_wire::Family;

use super::target::Carrier;
use super::way::Way;
use crate::randomness;

/// A client on its way to a server.
pub(crate) struct Caller {
    pub(crate) way: Way,
    client: Client,
    began: Instant,
    input: Vec<u8>,
}

/// Why a request came to nothing.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The server said so, or nothing.
    Failure(Failure),
    /// The way is gone.
    Broken(io::Error),
}

impl Caller {
    pub(crate) fn new(way: Way, carrier: Carrier, credentials: Option<Credentials>) -> anyhow::Result<Self> {
        let config = ClientConfig {
            transport: if carrier.is_stream() { Transport::Stream } else { Transport::Datagram },
            credentials,
            keep_alive: false,
            // What a server says without proof is just what is wanted here.
            accept_unprotected_errors: true,
            retransmission: Retransmission {
                initial_timeout: Duration::from_millis(300),
                transmissions: 4,
                last_wait: 4,
            },
            ..ClientConfig::default()
        };
        let client = Client::new(Arc::new(config), randomness::random()?);
        Ok(Caller { way, client, began: Instant::now(), input: vec![0; 1 << 16] })
    }

    pub(crate) fn binding(&mut self) -> Result<(BindingAnswer, Duration), Unanswered> {
        let began = Instant::now();
        match self.ask(|client, now| client.binding(now, BindingOptions::default()))? {
            Event::Binding(answer) => Ok((*answer, began.elapsed())),
            _ => Err(Unanswered::Failure(Failure::Malformed("answer"))),
        }
    }

    pub(crate) fn allocate(&mut self, family: Option<Family>) -> Result<Allocated, Unanswered> {
        let options = AllocateOptions { family, lifetime: Some(600), ..AllocateOptions::default() };
        match self.ask(|client, now| client.allocate(now, options))? {
            Event::Allocated(allocated) => Ok(*allocated),
            _ => Err(Unanswered::Failure(Failure::Malformed("answer"))),
        }
    }

    pub(crate) fn permit(&mut self, peer: IpAddr) -> Result<(), Unanswered> {
        self.ask(|client, now| client.create_permission(now, &[peer])).map(drop)
    }

    /// Gives the allocation back; whoever does not answer has lost it anyway.
    pub(crate) fn delete(&mut self) {
        if self.client.relayed().is_some() {
            let _ = self.ask(Client::delete);
        }
    }

    /// Sends data to a peer.
    pub(crate) fn send(&mut self, peer: SocketAddr, data: &[u8]) -> Result<(), Unanswered> {
        let mut buffer = [0; 2048];
        let length = self
            .client
            .write_send_indication(peer, data, &mut buffer)
            .map_err(|_| Unanswered::Failure(Failure::Malformed("peer")))?;
        self.way.send(&buffer[..length]).map_err(Unanswered::Broken)
    }

    /// The next data from a peer, if any comes in this time.
    pub(crate) fn receive(&mut self, patience: Duration) -> Option<(SocketAddr, Vec<u8>)> {
        let deadline = Instant::now() + patience;
        while let Ok(Some(event)) = self.next_event(deadline) {
            if let Event::Data { peer, span, .. } = event {
                return Some((peer, self.input[span].to_vec()));
            }
        }
        None
    }

    fn ask(
        &mut self,
        start: impl FnOnce(&mut Client, Duration) -> Result<RequestId, RequestError>,
    ) -> Result<Event, Unanswered> {
        if start(&mut self.client, self.began.elapsed()).is_err() {
            return Err(Unanswered::Failure(Failure::Malformed("state of the client")));
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.next_event(deadline).map_err(Unanswered::Broken)? {
                None => return Err(Unanswered::Failure(Failure::TimedOut)),
                Some(Event::Failed { failure, .. }) => return Err(Unanswered::Failure(failure)),
                Some(Event::Data { .. } | Event::PeerUnreachable { .. } | Event::Discarded(_)) => {}
                Some(event) => return Ok(event),
            }
        }
    }

    fn next_event(&mut self, deadline: Instant) -> io::Result<Option<Event>> {
        let mut output = [0; 4096];
        loop {
            while let Some(length) = self.client.poll_transmit(&mut output) {
                self.way.send(&output[..length])?;
            }
            if let Some(event) = self.client.poll_event() {
                return Ok(Some(event));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let due = self.client.poll_timeout().map(|due| due.saturating_sub(self.began.elapsed()));
            let wait = due.unwrap_or(left).min(left);
            match self.way.receive(&mut self.input, wait)? {
                Some(length) => {
                    let now = self.began.elapsed();
                    if let Some(event) = self.client.handle_input(now, &self.input[..length]) {
                        return Ok(Some(event));
                    }
                }
                None => self.client.handle_timeout(self.began.elapsed()),
            }
        }
    }
}

/// For any answer.
const PATIENCE: Duration = Duration::from_secs(6);
