//! Several workers of one server and the letters between them.

use std::collections::VecDeque;

use turnpike_turn::{Claim, ClaimOutcome, ClaimRefusal, Claimed, Client, Letter, Link, RelayId};

use super::setup;
use crate::harness::{Caller, Outcome, Setup, World, carry_out};

pub(super) struct Workers {
    pub(super) worlds: Vec<World>,
    /// Answers that came of letters, in order.
    outcomes: VecDeque<Outcome>,
    /// Whether letters are delivered at once.
    pub(super) delivers: bool,
}

impl Workers {
    pub(super) fn new(count: u16) -> Self {
        Workers::of(count, setup)
    }

    pub(super) fn of(count: u16, setup: impl Fn() -> Setup) -> Self {
        let first = setup().build();
        let mut worlds = vec![first];
        for number in 1..count {
            let mut setup = setup().sharing_with(&worlds[0]);
            (setup.worker, setup.seed) = (number, 20 + number as u8);
            let mut world = setup.build();
            // No two of them use the same transaction ids.
            for _ in 0..u32::from(number) * 1000 {
                world.transaction();
            }
            worlds.push(world);
        }
        Workers { worlds, outcomes: VecDeque::new(), delivers: true }
    }

    /// Lets a caller do something at a worker, and returns what the server as a whole makes of it.
    #[track_caller]
    pub(super) fn at(&mut self, worker: usize, act: impl FnOnce(&mut World) -> Outcome) -> Outcome {
        let outcome = act(&mut self.worlds[worker]);
        if !self.delivers {
            return outcome;
        }
        self.outcomes.clear();
        self.deliver();
        let outcome = self.outcomes.pop_back().unwrap_or(outcome);
        assert!(self.outcomes.is_empty(), "one answer to one packet");
        for world in &self.worlds {
            world.server.check_invariants();
        }
        outcome
    }

    /// Likewise for a request that is answered, with its integrity checked.
    #[track_caller]
    pub(super) fn answered(
        &mut self,
        worker: usize,
        caller: &mut Caller,
        act: impl FnOnce(&mut Caller, &mut World) -> Outcome,
    ) -> Outcome {
        let outcome = self.at(worker, |world| act(caller, world));
        if let Outcome::Reply(reply) = &outcome {
            caller.check_integrity(reply);
        }
        outcome
    }

    /// A connection ends.
    pub(super) fn close(&mut self, worker: usize, client: Client) {
        let World { server, now, .. } = &mut self.worlds[worker];
        server.handle_link_closed(*now, client);
        self.deliver();
    }

    pub(super) fn advance(&mut self, duration: std::time::Duration) {
        self.worlds.iter_mut().for_each(|world| world.advance(duration));
        self.deliver();
    }

    /// Hands all letters in, and those that come of them.
    pub(super) fn deliver(&mut self) {
        for _ in 0..10_000 {
            let Some((from, to, letter)) = self.next_letter() else { return };
            self.hand_in(from, to, letter);
        }
        panic!("letters without end");
    }

    fn next_letter(&mut self) -> Option<(usize, u16, Letter)> {
        self.worlds.iter_mut().enumerate().find_map(|(from, world)| {
            world.drain();
            world.posted.pop_front().map(|(to, letter)| (from, to, letter))
        })
    }

    fn hand_in(&mut self, from: usize, to: u16, letter: Letter) {
        let worker = usize::from(to);
        match letter {
            Letter::Claim(claim) => self.claim(worker, claim),
            Letter::Packet { client, packet } => {
                let client = abroad(client, from);
                let world = &mut self.worlds[worker];
                let verdict = world.server.handle_passed(world.now, client, &packet);
                self.outcomes.push_back(carry_out(verdict, &packet));
            }
            Letter::LinkClosed { client } => {
                let world = &mut self.worlds[worker];
                world.server.handle_link_closed(world.now, abroad(client, from));
            }
            Letter::Leave { client } => self.worlds[worker].server.handle_leave(client),
        }
    }

    fn claim(&mut self, owner: usize, claim: Claim) {
        let (wait, asker) = (claim.wait, usize::from(claim.asker));
        let outcome = match self.worlds.get_mut(owner) {
            Some(world) => world.server.handle_claim(world.now, claim),
            None => ClaimOutcome::Refused(ClaimRefusal::NO_OWNER),
        };
        let claimed = match outcome {
            ClaimOutcome::Given(claimed) => Ok(self.carry_over(owner, asker, claimed)),
            ClaimOutcome::Refused(refusal) => Err(refusal),
            ClaimOutcome::Forwarded => return,
        };
        let world = &mut self.worlds[asker];
        let verdict = world.server.handle_claimed(world.now, wait, claimed);
        self.outcomes.push_back(carry_out(verdict, &[]));
    }

    /// What the workers do: sockets change tables, and links are replaced.
    fn carry_over(
        &mut self,
        owner: usize,
        asker: usize,
        mut claimed: Box<Claimed>,
    ) -> (Box<Claimed>, Vec<RelayId>) {
        let open = &mut self.worlds[owner].open;
        let mut addresses = Vec::new();
        for relay in claimed.relays() {
            let at = open.iter().position(|(open, _)| *open == relay).expect("its socket is open");
            addresses.push(open.remove(at).1);
        }
        if let Some(client) = claimed.client() {
            claimed.set_link(abroad(client, owner).link);
        }
        let names = self.worlds[asker].server.name_relays(&claimed);
        self.worlds[asker].open.extend(names.iter().copied().zip(addresses));
        (claimed, names)
    }
}

/// A client as another worker calls it: connections have other names there, listeners have the same.
pub(super) fn abroad(client: Client, home: usize) -> Client {
    if client.tuple.transport.is_stream() && client.link != Link::NOWHERE {
        Client { link: Link(1000 * (home as u64 + 1) + client.link.0), ..client }
    } else {
        client
    }
}
