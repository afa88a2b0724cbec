//! Clients that come by TCP and have TCP relayed (RFC 6062): they connect, are connected to, and claim what there is with
//! further connections; now and then what is not theirs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use turnpike_client::{AllocateOptions, Client, ClientConfig, Credentials, Event, Transport};
use turnpike_wire::Family;
use turnpike_wire::attributes::RequestedTransport;

use super::{Actor, Surroundings, endpoints, keep, some_peer};
use crate::network::Datagram;
use crate::settings::USERS;
use crate::world::FIRST_STREAM;

/// One client with its connections.
pub(crate) struct Relaying {
    address: SocketAddr,
    server: SocketAddr,
    client: Client,
    /// Names of connections with peers that it has heard of.
    known: Vec<u32>,
    /// Its further connections, each with what asks for it to be bound.
    data: Vec<(SocketAddr, Client)>,
    left: u64,
}

impl Relaying {
    /// A client that starts at once.
    pub(crate) fn new(surroundings: &mut Surroundings<'_>) -> Self {
        let (address, server) = stream_endpoints(surroundings);
        let client = new_client(surroundings);
        let mut relaying = Relaying { address, server, client, known: Vec::new(), data: Vec::new(), left: 0 };
        relaying.begin(surroundings);
        relaying
    }

    fn begin(&mut self, surroundings: &mut Surroundings<'_>) {
        let random = &mut *surroundings.random;
        self.left = random.between(5, 60);
        let transport = if random.chance(850) { RequestedTransport::TCP } else { RequestedTransport::UDP };
        let dual = random.chance(250);
        let family = (!dual && !self.address.is_ipv4()).then_some(Family::Ipv6);
        let additional_family = dual.then_some(Family::Ipv6);
        let dont_fragment = random.chance(30);
        let options = AllocateOptions {
            transport,
            family,
            additional_family,
            dont_fragment,
            ..AllocateOptions::default()
        };
        let _ = self.client.allocate(Duration::from_nanos(surroundings.now), options);
    }

    fn act(&mut self, surroundings: &mut Surroundings<'_>) {
        let now = Duration::from_nanos(surroundings.now);
        if self.client.relayed().is_none() {
            if self.client.requests_under_way() == 0 {
                self.start_over(surroundings);
            }
            return;
        }
        self.left = self.left.saturating_sub(1);
        let peer = some_peer(surroundings.random, surroundings.rumours);
        match surroundings.random.below(100) {
            _ if self.left == 0 => self.leave(surroundings),
            0..=19 => _ = self.client.create_permission(now, &[peer.ip()]),
            20..=49 => _ = self.client.connect(now, peer),
            50..=79 => self.bind(surroundings),
            80..=84 => _ = self.client.refresh(now, None, None),
            85..=89 => _ = self.client.bind_channel(now, 0x4000, peer),
            90..=95 => self.send_raw(surroundings),
            _ => self.send_indication(surroundings, peer),
        }
    }

    /// Claims a connection: its own, another's it has heard of, or none that there is; on one of its own, as a rule.
    fn bind(&mut self, surroundings: &mut Surroundings<'_>) {
        let now = Duration::from_nanos(surroundings.now);
        let random = &mut *surroundings.random;
        let heard = random.pick_some(&surroundings.rumours.connections).copied();
        let connection = match random.below(10) {
            0 => random.next_u64() as u32,
            1 | 2 => heard.unwrap_or_default(),
            _ => match self.known.pop() {
                Some(connection) => connection,
                None => return,
            },
        };
        if random.chance(20) {
            _ = self.client.bind_connection(now, connection);
            return;
        }
        let mut address = self.address;
        // Another port, and rarely no connection at all.
        let ports = if random.chance(30) { 40_000..40_015 } else { FIRST_STREAM + 100..FIRST_STREAM + 4000 };
        address.set_port(random.between(ports.start.into(), ports.end.into()) as u16);
        let mut client = self.client.beside(random.bytes());
        _ = client.bind_connection(now, connection);
        keep(&mut self.data, (address, client), 8);
    }

    /// Bytes on a connection that may be a peer's by now.
    fn send_raw(&mut self, surroundings: &mut Surroundings<'_>) {
        let Some(at) = surroundings.random.below(8).checked_rem(self.data.len() as u64) else { return };
        let bytes = surroundings.random.blob(300);
        surroundings.send(self.data[at as usize].0, self.server, bytes);
    }

    fn send_indication(&mut self, surroundings: &mut Surroundings<'_>, peer: SocketAddr) {
        let mut buffer = [0; 600];
        let data = surroundings.random.blob(100);
        if let Ok(length) = self.client.write_send_indication(peer, &data, &mut buffer) {
            surroundings.send(self.address, self.server, buffer[..length].to_vec());
        }
    }

    fn leave(&mut self, surroundings: &mut Surroundings<'_>) {
        if surroundings.random.chance(600) {
            _ = self.client.delete(Duration::from_nanos(surroundings.now));
            self.left = 1;
        } else {
            self.start_over(surroundings);
        }
    }

    fn start_over(&mut self, surroundings: &mut Surroundings<'_>) {
        (self.address, self.server) = stream_endpoints(surroundings);
        self.client = new_client(surroundings);
        (self.known, self.data) = (Vec::new(), Vec::new());
        self.begin(surroundings);
    }

    fn flush(&mut self, surroundings: &mut Surroundings<'_>) {
        let server = self.server;
        let own = std::iter::once((self.address, &mut self.client));
        let all = own.chain(self.data.iter_mut().map(|(address, client)| (*address, client)));
        let mut buffer = [0; 4096];
        for (address, client) in all {
            while let Some(length) = client.poll_transmit(&mut buffer) {
                surroundings.send(address, server, buffer[..length].to_vec());
            }
        }
    }
}

impl Actor for Relaying {
    fn wake(&mut self, surroundings: &mut Surroundings<'_>) -> u64 {
        let now = Duration::from_nanos(surroundings.now);
        for client in std::iter::once(&mut self.client).chain(self.data.iter_mut().map(|(_, it)| it)) {
            client.handle_timeout(now);
            while client.poll_event().is_some() {}
        }
        self.act(surroundings);
        self.flush(surroundings);
        surroundings.pause()
    }

    fn receive(&mut self, surroundings: &mut Surroundings<'_>, datagram: &Datagram) -> bool {
        let now = Duration::from_nanos(surroundings.now);
        if datagram.from != self.server {
            return false;
        }
        if let Some((_, client)) = self.data.iter_mut().find(|(address, _)| *address == datagram.to) {
            _ = client.handle_input(now, &datagram.bytes);
            self.flush(surroundings);
            return true;
        }
        if datagram.to != self.address {
            return false;
        }
        match self.client.handle_input(now, &datagram.bytes) {
            Some(Event::Connected { connection, .. } | Event::ConnectionAttempt { connection, .. }) => {
                keep(&mut self.known, connection, 8);
                keep(&mut surroundings.rumours.connections, connection, 16);
            }
            Some(Event::Allocated(allocated)) => {
                keep(&mut surroundings.rumours.relayed, allocated.relayed, 24);
            }
            _ => {}
        }
        self.flush(surroundings);
        true
    }
}

fn stream_endpoints(surroundings: &mut Surroundings<'_>) -> (SocketAddr, SocketAddr) {
    let (mut address, server) = endpoints(surroundings.random, surroundings.rumours);
    address.set_port(FIRST_STREAM + surroundings.random.below(16) as u16);
    (address, server)
}

fn new_client(surroundings: &mut Surroundings<'_>) -> Client {
    let (username, password) = *surroundings.random.pick(&USERS[..2]);
    let config = ClientConfig {
        transport: Transport::Stream,
        credentials: Some(Credentials { username: username.into(), password: password.into() }),
        fingerprint: surroundings.random.chance(700),
        keep_alive: surroundings.random.chance(500),
        ..ClientConfig::default()
    };
    Client::new(Arc::new(config), surroundings.random.bytes())
}
