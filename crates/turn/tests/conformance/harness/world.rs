//! The server, its worker and the clock.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use turnpike_turn::{
    Client, Effect, Egress, Event, Flow, FlowId, Forward, IcmpError, InquiryId, Letter, Now,
    PeerConnectionId, PeerTransport, Ports, Quotas, RelayError, RelayId, RelayedPort, Server, Timestamp,
    UnixTime, Usage, Verdict, WaitId,
};

use super::{Connecting, Outcome, Reply};

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) now: Now,
    pub(crate) ports: Arc<Ports>,
    pub(crate) quotas: Arc<Quotas>,
    /// Everything reported so far.
    pub(crate) events: Vec<Event>,
    /// Relay sockets that are open.
    pub(crate) open: Vec<(RelayId, SocketAddr)>,
    /// Those of them that listen.
    pub(crate) listening: Vec<RelayId>,
    /// Connections with peers that were asked for.
    pub(crate) connecting: Vec<Connecting>,
    /// Connections that were spliced.
    pub(crate) spliced: Vec<(Client, PeerConnectionId)>,
    /// Connections with peers that were to be closed.
    pub(crate) closed: Vec<PeerConnectionId>,
    /// Relay sockets asked for and not answered yet; only with `answers` off.
    pub(crate) asked: VecDeque<(WaitId, RelayId, SocketAddr)>,
    /// Users who were asked for.
    pub(crate) inquiries: VecDeque<(InquiryId, Box<str>, Box<str>)>,
    /// Whether relay sockets are opened at once.
    pub(crate) answers: bool,
    /// How the next openings fail.
    pub(crate) failures: VecDeque<RelayError>,
    /// Every address that was to be opened.
    pub(crate) attempts: Vec<SocketAddr>,
    /// Whether ports are kept after their socket was closed.
    pub(crate) keeps_ports: bool,
    pub(crate) kept_ports: Vec<RelayedPort>,
    /// What other workers are to be told.
    pub(crate) posted: VecDeque<(u16, Letter)>,
    /// Every flow that was offered to whoever relays faster.
    pub(crate) flows_up: Vec<Flow>,
    /// Every flow that was taken back.
    pub(crate) flows_down: Vec<FlowId>,
    /// What each flow turns out to have relayed when it is taken back.
    pub(crate) last_usage: Usage,
    transactions: u64,
}

impl World {
    pub(crate) fn new(server: Server, ports: Arc<Ports>, quotas: Arc<Quotas>) -> Self {
        World {
            server,
            now: Now { monotonic: Timestamp(3_600_000_000_000), unix: UnixTime(1_800_000_000) },
            ports,
            quotas,
            events: Vec::new(),
            open: Vec::new(),
            listening: Vec::new(),
            connecting: Vec::new(),
            spliced: Vec::new(),
            closed: Vec::new(),
            asked: VecDeque::new(),
            inquiries: VecDeque::new(),
            answers: true,
            failures: VecDeque::new(),
            attempts: Vec::new(),
            keeps_ports: false,
            kept_ports: Vec::new(),
            posted: VecDeque::new(),
            flows_up: Vec::new(),
            flows_down: Vec::new(),
            last_usage: Usage::default(),
            transactions: 0,
        }
    }

    /// A transaction id that was not used before.
    pub(crate) fn transaction(&mut self) -> turnpike_wire::TransactionId {
        self.transactions += 1;
        let mut id = [0xC0; 12];
        id[4..].copy_from_slice(&self.transactions.to_be_bytes());
        turnpike_wire::TransactionId(id)
    }

    /// A packet from a client; a relay that is asked for is opened and the final answer returned.
    pub(crate) fn receive(&mut self, from: Client, packet: &[u8]) -> Outcome {
        let verdict = self.server.handle_client_packet(self.now, from, packet);
        let outcome = carry_out(verdict, packet);
        self.settle(outcome)
    }

    /// A datagram from a peer to the relayed address with this local form.
    #[track_caller]
    pub(crate) fn receive_from_peer(&mut self, relayed: SocketAddr, peer: &str, packet: &[u8]) -> Outcome {
        let relay = self.relay_at(relayed);
        self.receive_at(relay, peer.parse().expect("an address"), packet)
    }

    pub(crate) fn receive_at(&mut self, relay: RelayId, peer: SocketAddr, packet: &[u8]) -> Outcome {
        let verdict = self.server.handle_peer_packet(self.now, relay, peer, packet);
        let outcome = carry_out(verdict, packet);
        self.settle(outcome)
    }

    /// A datagram from a peer to the port that sessions share on the relay address of this number.
    pub(crate) fn receive_shared(&mut self, relay_address: u16, peer: &str, packet: &[u8]) -> Outcome {
        let peer = peer.parse().expect("an address");
        let verdict = self.server.handle_shared_packet(self.now, relay_address, peer, packet);
        let outcome = carry_out(verdict, packet);
        self.settle(outcome)
    }

    /// An ICMP error about what was sent from that port.
    pub(crate) fn receive_shared_icmp(
        &mut self,
        relay_address: u16,
        peer: &str,
        error: IcmpError,
    ) -> Outcome {
        let peer = peer.parse().expect("an address");
        let verdict = self.server.handle_shared_icmp(self.now, relay_address, peer, error);
        carry_out(verdict, &[])
    }

    /// An ICMP error about what was sent from the relayed address with this local form.
    #[track_caller]
    pub(crate) fn receive_icmp(&mut self, relayed: SocketAddr, peer: &str, error: IcmpError) -> Outcome {
        let relay = self.relay_at(relayed);
        let peer = peer.parse().expect("an address");
        let verdict = self.server.handle_peer_icmp(self.now, relay, peer, error);
        let outcome = carry_out(verdict, &[]);
        self.settle(outcome)
    }

    /// Answers a relay that was asked for.
    pub(crate) fn answer(&mut self, wait: WaitId, opened: Result<(), RelayError>) -> Outcome {
        let verdict = self.server.handle_relay_opened(self.now, wait, opened);
        let outcome = carry_out(verdict, &[]);
        self.settle(outcome)
    }

    /// Lets time pass, with a look at everything that falls due on the way.
    pub(crate) fn advance(&mut self, duration: Duration) {
        let end = Now {
            monotonic: self.now.monotonic + duration,
            unix: UnixTime(self.now.unix.0 + duration.as_secs()),
        };
        while let Some(due) = self.server.poll_timeout().filter(|due| *due <= end.monotonic) {
            let passed = due.since(self.now.monotonic);
            self.now.monotonic = self.now.monotonic + passed;
            self.now.unix.0 += passed.as_secs();
            self.server.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
        self.server.check_invariants();
    }

    /// The name of the relay that is open at this local address.
    #[track_caller]
    pub(crate) fn relay_at(&self, local: SocketAddr) -> RelayId {
        let found = self.open.iter().find(|(_, address)| *address == local);
        found.unwrap_or_else(|| panic!("no relay is open at {local}")).0
    }

    /// Hands everything over to the server of another process, which goes on in its place.
    pub(crate) fn hand_over_to(mut self, mut heir: World) -> World {
        heir.now = self.now;
        heir.transactions = self.transactions;
        self.server.withdraw_all_flows();
        self.drain();
        let told = self.events.len();
        let estate = self.server.write_estate(&|_| true, true);
        let inherited = heir.server.read_estate(heir.now, &estate.bytes, &Some).expect("it can be read");
        assert_eq!(inherited.reserved, estate.reserved);
        for (before, now) in estate.relays.iter().zip(inherited.relays) {
            let at = self.open.iter().find(|(relay, _)| relay == before).expect("a relay that is open").1;
            heir.open.push((now, at));
        }
        heir.server.offer_all_flows();
        heir.drain();
        let _released = self.server.release_estate(&estate, &|_| true);
        self.server.check_invariants();
        heir.server.check_invariants();
        assert_eq!(self.server.stats().allocations(), 0, "everything could go");
        self.drain();
        let ended = |event: &Event| matches!(event, Event::Ended { .. } | Event::RelayEnded { .. });
        heir.events = std::mem::take(&mut self.events);
        assert!(!heir.events[told..].iter().any(ended), "whoever goes over does not end");
        heir
    }

    /// Does what the server asks of its worker.
    pub(crate) fn drain(&mut self) {
        while let Some(effect) = self.server.poll_effect() {
            match effect {
                Effect::OpenRelay { wait, relay, address, transport, .. } => {
                    if transport == PeerTransport::Tcp {
                        self.listening.push(relay);
                    }
                    self.attempts.push(address);
                    self.asked.push_back((wait, relay, address));
                }
                Effect::CloseRelay { relay, port } => {
                    let before = self.open.len();
                    self.open.retain(|(open, _)| *open != relay);
                    assert_eq!(self.open.len() + 1, before, "exactly one open relay is closed");
                    if self.keeps_ports {
                        self.kept_ports.push(port);
                    }
                }
                // Nobody else takes ports in this world, so none need to be held.
                Effect::DropReserved { .. } => {}
                Effect::ConnectPeer { connection, from, peer, deadline } => {
                    self.connecting.push(Connecting { connection, from, peer, deadline });
                }
                Effect::Splice { client, connection } => self.spliced.push((client, connection)),
                Effect::ClosePeer { connection } => self.closed.push(connection),
                Effect::Post { to, letter } => self.posted.push_back((to, letter)),
                Effect::FlowUp(flow) => self.flows_up.push(flow),
                Effect::FlowDown { flow, owner } => {
                    self.flows_down.push(flow);
                    self.server.handle_flow_usage(owner, self.last_usage);
                }
                Effect::FindCredential { inquiry, realm, name } => {
                    self.inquiries.push_back((inquiry, realm, name));
                }
                Effect::Report(event) => self.events.push(event),
            }
        }
    }

    /// Whether this is a wait for another worker.
    fn has_claimed(&self, wait: WaitId) -> bool {
        self.posted.iter().any(|(_, letter)| matches!(letter, Letter::Claim(claim) if claim.wait == wait))
    }

    pub(crate) fn settle(&mut self, outcome: Outcome) -> Outcome {
        self.drain();
        match outcome {
            Outcome::Wait(wait) if self.answers && !self.has_claimed(wait) => {
                let (asked, relay, address) = self.asked.pop_front().expect("a wait has its effect");
                assert_eq!(asked, wait);
                let opened = self.failures.pop_front().map_or(Ok(()), Err);
                if opened.is_ok() {
                    self.open.push((relay, address));
                }
                self.answer(wait, opened)
            }
            Outcome::ToPeer { relay, peer, data, dont_fragment, .. } => {
                let from =
                    self.open.iter().find(|(open, _)| *open == relay).expect("sent from an open relay").1;
                Outcome::ToPeer { relay, from, peer, data, dont_fragment }
            }
            outcome => outcome,
        }
    }
}

pub(crate) fn carry_out(verdict: Verdict<'_>, packet: &[u8]) -> Outcome {
    match verdict {
        Verdict::Reply { to, bytes } => Outcome::Reply(Reply { to, bytes: bytes.to_vec() }),
        Verdict::Wait(wait) => Outcome::Wait(wait),
        Verdict::Asking(inquiry) => Outcome::Asking(inquiry),
        Verdict::Connecting(connection) => Outcome::Connecting(connection),
        Verdict::HandOver { worker } => Outcome::HandOver { worker },
        Verdict::Drop(reason) => Outcome::Drop(reason),
        Verdict::Forward(Forward { to, head, span, tail, dont_fragment }) => {
            let bytes = [head.as_slice(), &packet[span], tail.as_slice()].concat();
            match to {
                Egress::Client(to) => Outcome::ToClient { to, bytes },
                Egress::Peer { relay, peer } => {
                    let from = SocketAddr::from(([0; 4], 0));
                    Outcome::ToPeer { relay, from, peer, data: bytes, dont_fragment }
                }
            }
        }
    }
}
