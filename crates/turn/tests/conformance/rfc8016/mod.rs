//! RFC 8016: mobility with TURN.

mod section_3_1_2;
mod section_3_2_1;
mod section_3_2_2;
mod section_3_2_2_connections;
mod section_3_2_2_workers;
mod section_5;
mod workers;

use std::net::SocketAddr;

use turnpike_turn::{Client, FiveTuple, Link, Transport};
use turnpike_wire::attributes::{Lifetime, MobilityTicket, XorRelayedAddress};
use turnpike_wire::{Method, TransactionId};

use crate::harness::{Caller, LISTENER, Outcome, PEER, Setup, World, address};

const HOME: &str = "203.0.113.1:4000";
const CAFE: &str = "198.51.100.2:5000";
const TRAIN: &str = "198.51.100.3:6000";

fn setup() -> Setup {
    Setup::new().config(|config| config.mobility = true)
}

/// A client with an allocation, a channel to a peer, and a ticket.
struct Mobile {
    caller: Caller,
    relayed: SocketAddr,
    ticket: Vec<u8>,
}

impl Mobile {
    /// alice, from home.
    #[track_caller]
    fn new(world: &mut World) -> Self {
        Mobile::of(world, Caller::new(HOME))
    }

    #[track_caller]
    fn of(world: &mut World, mut caller: Caller) -> Self {
        let reply = allocate_mobile(&mut caller, world).expect_success();
        let XorRelayedAddress(relayed) = reply.expect();
        let MobilityTicket(ticket) = reply.expect();
        let ticket = ticket.to_vec();
        caller.bind(world, 0x4000, PEER).expect_success();
        Mobile { caller, relayed, ticket }
    }

    /// Moves, and keeps the next ticket. Returns how the client is to be called where it was.
    #[track_caller]
    fn move_to(&mut self, world: &mut World, caller: Caller) -> Caller {
        let before = std::mem::replace(&mut self.caller, caller);
        let reply = resume(&mut self.caller, world, &self.ticket).expect_success();
        let MobilityTicket(ticket) = reply.expect();
        assert_ne!(ticket, self.ticket, "the next ticket is another one");
        self.ticket = ticket.to_vec();
        before
    }

    /// Where a packet from the peer goes.
    #[track_caller]
    fn reached_at(&self, world: &mut World) -> Client {
        match world.receive_from_peer(self.relayed, PEER, b"ping") {
            Outcome::ToClient { to, .. } => to,
            other => panic!("the client is not reached: {other:?}"),
        }
    }
}

/// The same user from elsewhere.
fn alice_at(from: &str) -> Caller {
    Caller::new(from)
}

/// The same user on a connection.
fn alice_by(transport: Transport, from: &str, link: u64) -> Caller {
    let mut caller = Caller::new(from);
    let tuple = FiveTuple { transport, server: address(LISTENER), client: address(from) };
    caller.client = Client { link: Link(link), tuple };
    caller
}

fn allocate_mobile(caller: &mut Caller, world: &mut World) -> Outcome {
    caller.allocate_with(world, |writer| {
        writer.add(&MobilityTicket(b""));
    })
}

/// A Refresh with this ticket.
#[track_caller]
fn resume(caller: &mut Caller, world: &mut World, ticket: &[u8]) -> Outcome {
    caller.request(world, Method::REFRESH, |writer| {
        writer.add(&Lifetime(600)).add(&MobilityTicket(ticket));
    })
}

/// Likewise under this transaction id, with a nonce that is there already.
#[track_caller]
fn resume_as(caller: &Caller, world: &mut World, id: TransactionId, ticket: &[u8]) -> Outcome {
    caller.request_as(world, id, Method::REFRESH, |writer| {
        writer.add(&Lifetime(600)).add(&MobilityTicket(ticket));
    })
}
