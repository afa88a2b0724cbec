//! Several workers of one server and the letters between them.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use turnpike_turn::{Claim, ClaimOutcome, ClaimRefusal, Claimed, Client, Letter, Link, WaitId};

use super::setup;
use crate::harness::{Caller, Outcome, Reply, Setup, World, carry_out};

pub(super) struct Workers {
    pub(super) worlds: Vec<World>,
    mail: BTreeMap<(usize, usize), VecDeque<Mail>>,
    /// Answers that came of letters, in order.
    outcomes: VecDeque<Outcome>,
    /// Whether letters are delivered at once.
    pub(super) delivers: bool,
    /// Between whom they wait, because whoever is to read them is busy.
    pub(super) stuck: Option<(usize, usize)>,
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
        Workers { worlds, mail: BTreeMap::new(), outcomes: VecDeque::new(), delivers: true, stuck: None }
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

    /// Answers that came of mail since the last time.
    pub(super) fn replies(&mut self) -> Vec<Reply> {
        let replies = self.outcomes.drain(..).filter_map(|outcome| match outcome {
            Outcome::Reply(reply) => Some(reply),
            _ => None,
        });
        replies.collect()
    }

    /// Hands in all mail, and what comes of it.
    pub(super) fn deliver(&mut self) {
        for _ in 0..100_000 {
            let Some((from, to)) = self.waiting().into_iter().next() else { return };
            self.deliver_one(from, to);
        }
        panic!("mail without end");
    }

    /// Who has mail for whom.
    pub(super) fn waiting(&mut self) -> Vec<(usize, usize)> {
        for from in 0..self.worlds.len() {
            self.collect(from);
        }
        let waits =
            |(way, mail): &(&(usize, usize), &VecDeque<Mail>)| !mail.is_empty() && self.stuck != Some(**way);
        self.mail.iter().filter(waits).map(|(way, _)| *way).collect()
    }

    /// Hands in what one worker has sent another first of all.
    pub(super) fn deliver_one(&mut self, from: usize, to: usize) {
        match self.mail.get_mut(&(from, to)).and_then(VecDeque::pop_front) {
            Some(Mail::Letter(letter)) => self.hand_in(from, to, letter),
            Some(Mail::Claimed(wait, claimed)) => self.take_in(from, to, wait, claimed),
            None => {}
        }
        self.collect(to);
    }

    fn collect(&mut self, from: usize) {
        // There may be no such worker.
        let Some(world) = self.worlds.get_mut(from) else { return };
        world.drain();
        for (to, letter) in world.posted.drain(..) {
            self.mail.entry((from, usize::from(to))).or_default().push_back(Mail::Letter(letter));
        }
    }

    fn hand_in(&mut self, from: usize, worker: usize, letter: Letter) {
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

    /// What the owner does: sockets go out of its tables, and along.
    fn claim(&mut self, owner: usize, claim: Claim) {
        let (wait, asker) = (claim.wait, usize::from(claim.asker));
        let outcome = match self.worlds.get_mut(owner) {
            Some(world) => world.server.handle_claim(world.now, claim),
            None => ClaimOutcome::Refused(ClaimRefusal::NO_OWNER),
        };
        let claimed = match outcome {
            ClaimOutcome::Forwarded => return,
            ClaimOutcome::Refused(refusal) => Err(refusal),
            ClaimOutcome::Given(claimed) => {
                let open = &mut self.worlds[owner].open;
                let taken = claimed.relays().map(|relay| {
                    let at = open.iter().position(|(open, _)| *open == relay).expect("its socket is open");
                    open.remove(at).1
                });
                let addresses = taken.collect();
                Ok((claimed, addresses))
            }
        };
        self.mail.entry((owner, asker)).or_default().push_back(Mail::Claimed(wait, claimed));
    }

    /// What the asker does.
    fn take_in(&mut self, owner: usize, asker: usize, wait: WaitId, claimed: Answer) {
        let world = &mut self.worlds[asker];
        let claimed = claimed.map(|(mut claimed, addresses)| {
            if let Some(client) = claimed.client() {
                claimed.set_link(abroad(client, owner).link);
            }
            let names = world.server.name_relays(&claimed);
            world.open.extend(names.iter().copied().zip(addresses));
            (claimed, names)
        });
        let verdict = world.server.handle_claimed(world.now, wait, claimed);
        self.outcomes.push_back(carry_out(verdict, &[]));
    }
}

/// What one worker sends another; from each to each it keeps its order.
enum Mail {
    Letter(Letter),
    Claimed(WaitId, Answer),
}

type Answer = Result<(Box<Claimed>, Vec<SocketAddr>), ClaimRefusal>;

/// A client as another worker calls it: connections have other names there, listeners have the same.
pub(super) fn abroad(client: Client, home: usize) -> Client {
    if client.tuple.transport.is_stream() && client.link != Link::NOWHERE {
        Client { link: Link(1000 * (home as u64 + 1) + client.link.0), ..client }
    } else {
        client
    }
}
