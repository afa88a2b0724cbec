//! Honest clients: whole lifecycles by the real client library, with its retransmissions and refreshes. Some
//! are forgetful and just go away; some change their port as NATs make them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use turnpike_client::{
    AllocateOptions, BindingOptions, Client, ClientConfig, Credentials, DiscardReason, Event, Port, Transport,
};
use turnpike_wire::Family;
use turnpike_wire::attributes::ReservationToken;

use super::{Actor, Surroundings, endpoints, keep, some_peer};
use crate::model::rest_password;
use crate::network::{Datagram, SECOND};
use crate::settings::{SECRETS, USERS};

/// One client and what it is about.
pub(crate) struct Honest {
    address: SocketAddr,
    server: SocketAddr,
    client: Client,
    peers: Vec<SocketAddr>,
    channels: Vec<u16>,
    /// Whether it has a ticket, and the port it had before it used it.
    mobile: bool,
    port_before: u16,
    /// How many things it does before it ends.
    left: u64,
    next_action: u64,
    /// Whether the network damages nothing.
    undamaged: bool,
}

impl Honest {
    /// A client that starts at once.
    pub(crate) fn new(surroundings: &mut Surroundings<'_>, undamaged: bool) -> Self {
        let (address, server) = endpoints(surroundings.random, surroundings.rumours);
        let mut honest = Honest {
            address,
            server,
            client: new_client(surroundings),
            peers: Vec::new(),
            channels: Vec::new(),
            mobile: false,
            port_before: address.port(),
            left: 0,
            next_action: 0,
            undamaged,
        };
        honest.begin(surroundings);
        honest
    }

    fn begin(&mut self, surroundings: &mut Surroundings<'_>) {
        let random = &mut *surroundings.random;
        let port = match random.below(10) {
            0 => Port::Even,
            1 => Port::EvenAndReserveNext,
            2 => match random.pick_some(&surroundings.rumours.tokens) {
                Some(token) => Port::Reserved(ReservationToken(*token)),
                None => Port::Any,
            },
            _ => Port::Any,
        };
        let reserved = matches!(port, Port::Reserved(_));
        let dual = random.chance(250) && !reserved && !matches!(port, Port::EvenAndReserveNext);
        let six = !self.address.is_ipv4() && !reserved && !dual;
        let family = if six { Some(Family::Ipv6) } else { None };
        let additional_family = dual.then_some(Family::Ipv6);
        let lifetime = if random.chance(300) { Some(random.below(5000) as u32) } else { None };
        let options = AllocateOptions {
            port,
            family,
            additional_family,
            lifetime,
            mobility: random.chance(350),
            ..AllocateOptions::default()
        };
        self.left = random.between(2, 30);
        let now = Duration::from_nanos(surroundings.now);
        if random.chance(200) {
            let _ = self.client.binding(now, BindingOptions::default());
        }
        let _ = self.client.allocate(now, options);
    }

    /// Something a client does while its allocation lives.
    fn act(&mut self, surroundings: &mut Surroundings<'_>) {
        let now = Duration::from_nanos(surroundings.now);
        if self.client.relayed().is_none() {
            if self.client.requests_under_way() == 0 {
                self.start_over(surroundings);
            }
            return;
        }
        self.left = self.left.saturating_sub(1);
        let random = &mut *surroundings.random;
        match random.below(100) {
            _ if self.left == 0 => self.leave(surroundings),
            0..=9 => {
                let peer = some_peer(random, surroundings.rumours);
                let _ = self.client.create_permission(now, &[peer.ip()]);
                keep(&mut self.peers, peer, 6);
            }
            10..=19 => {
                let peer = some_peer(random, surroundings.rumours);
                let channel = 0x4000 + random.below(6) as u16;
                let _ = self.client.bind_channel(now, channel, peer);
                keep(&mut self.channels, channel, 6);
            }
            20..=21 => {
                let _ = self.client.refresh(now, None, None);
            }
            22 => {
                // One of two, or the wrong one of one.
                let family = *random.pick(&[Family::Ipv4, Family::Ipv6]);
                let lifetime = *random.pick(&[None, None, Some(0)]);
                let _ = self.client.refresh(now, lifetime, Some(family));
            }
            23..=24 => self.address.set_port(random.between(40_000, 40_015) as u16),
            25..=34 if self.mobile => self.travel(surroundings),
            _ => self.send_data(surroundings),
        }
    }

    /// Goes to another port, or back to the one before, with its ticket.
    fn travel(&mut self, surroundings: &mut Surroundings<'_>) {
        let random = &mut *surroundings.random;
        let new = match random.chance(250) {
            true => self.port_before,
            false => random.between(40_000, 40_015) as u16,
        };
        self.port_before = self.address.port();
        self.address.set_port(new);
        let _ = self.client.resume(Duration::from_nanos(surroundings.now), Transport::Datagram);
    }

    fn send_data(&mut self, surroundings: &mut Surroundings<'_>) {
        let mut buffer = [0; 1600];
        let length = surroundings.random.below(300) as usize;
        let data = surroundings.random.blob(length);
        let by_channel = surroundings.random.chance(500);
        let channel = surroundings.random.pick_some(&self.channels).copied();
        let written = match (channel, surroundings.random.pick_some(&self.peers)) {
            (Some(channel), _) if by_channel => self.client.write_channel_data(channel, &data, &mut buffer),
            (_, Some(peer)) => self.client.write_send_indication(*peer, &data, &mut buffer),
            _ => return,
        };
        if let Ok(length) = written {
            surroundings.send(self.address, self.server, buffer[..length].to_vec());
        }
    }

    /// Ends politely, or not at all.
    fn leave(&mut self, surroundings: &mut Surroundings<'_>) {
        if surroundings.random.chance(600) {
            let _ = self.client.delete(Duration::from_nanos(surroundings.now));
            self.left = 1;
        } else {
            self.start_over(surroundings);
        }
    }

    fn start_over(&mut self, surroundings: &mut Surroundings<'_>) {
        if surroundings.random.chance(500) {
            (self.address, self.server) = endpoints(surroundings.random, surroundings.rumours);
        }
        self.client = new_client(surroundings);
        (self.peers, self.channels) = (Vec::new(), Vec::new());
        self.begin(surroundings);
    }

    fn flush(&mut self, surroundings: &mut Surroundings<'_>) {
        let mut buffer = [0; 4096];
        while let Some(length) = self.client.poll_transmit(&mut buffer) {
            surroundings.send(self.address, self.server, buffer[..length].to_vec());
        }
    }

    fn notice(&mut self, surroundings: &mut Surroundings<'_>, event: &Event) {
        match event {
            Event::Allocated(allocated) => {
                self.mobile = allocated.mobile;
                keep(&mut surroundings.rumours.relayed, allocated.relayed, 24);
                if let Some(additional) = allocated.relayed_additional {
                    keep(&mut surroundings.rumours.relayed, additional, 24);
                }
                if let Some(token) = allocated.reservation {
                    keep(&mut surroundings.rumours.tokens, token.0, 6);
                }
            }
            Event::Discarded(
                reason @ (DiscardReason::NotStun(_)
                | DiscardReason::BadFingerprint
                | DiscardReason::BadIntegrity
                | DiscardReason::BadChannelData
                | DiscardReason::BadIndication),
            ) if self.undamaged => {
                surroundings.complaints.push(format!("{} got something bad: {reason}", self.address));
            }
            _ => {}
        }
    }
}

impl Actor for Honest {
    fn wake(&mut self, surroundings: &mut Surroundings<'_>) -> u64 {
        let now = surroundings.now;
        self.client.handle_timeout(Duration::from_nanos(now));
        while let Some(event) = self.client.poll_event() {
            self.notice(surroundings, &event);
        }
        if self.next_action <= now {
            self.act(surroundings);
            self.next_action = now + surroundings.pause();
        }
        self.flush(surroundings);
        let due = self.client.poll_timeout().map_or(u64::MAX, |due| due.as_nanos() as u64);
        due.min(self.next_action).saturating_sub(now).max(SECOND / 1000)
    }

    fn receive(&mut self, surroundings: &mut Surroundings<'_>, datagram: &Datagram) -> bool {
        if datagram.to != self.address || datagram.from != self.server {
            return false;
        }
        let now = Duration::from_nanos(surroundings.now);
        if let Some(event) = self.client.handle_input(now, &datagram.bytes) {
            self.notice(surroundings, &event);
        }
        self.flush(surroundings);
        true
    }
}

fn new_client(surroundings: &mut Surroundings<'_>) -> Client {
    let random = &mut *surroundings.random;
    let (username, password) = if random.chance(600) {
        let (name, password) = *random.pick(&USERS);
        (name.to_owned(), password.to_owned())
    } else {
        let name = format!("{}:{}", surroundings.unix + 7200, random.pick(&["x", "y", "y:z"]));
        let password = rest_password(random.pick::<&str>(&SECRETS), &name);
        (name, password)
    };
    let config = ClientConfig {
        credentials: Some(Credentials { username, password }),
        fingerprint: random.chance(600),
        keep_alive: random.chance(800),
        password_algorithms: random.chance(600),
        ..ClientConfig::default()
    };
    Client::new(Arc::new(config), random.bytes())
}
