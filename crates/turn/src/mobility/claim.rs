//! Across workers (RFC 8016): the kernel brings a client's new 5-tuple to whichever worker it likes, and the allocation
//! goes there, once, with its relay sockets. Packets do not follow it from worker to worker, but for those of the old
//! 5-tuple as long as that one holds.
//!
//! The worker that receives the Refresh verifies it wholly and parks it, then asks the owner that the ticket names. The
//! owner judges ticket and user and hands the allocation over as a value.
//!
//! Invariants: every claim is answered exactly once; requests that wait for one are bounded; an allocation is in one
//! worker's tables or in one letter.

use std::collections::HashMap;
use std::sync::Arc;

use turnpike_wire::{ErrorNumber, Family, Integrity, Method, TransactionId};

use super::{Departed, Mobility, Serial};
use crate::allocation::Allocation;
use crate::effect::{Effect, EndCause, Event};
use crate::reason::Reason;
use crate::requests::{Answer, Refusal, Refused, Renewal, refused};
use crate::server::Server;
use crate::time::Now;
use crate::timers::Timer;
use crate::tuple::{Client, FiveTuple, Link, RelayId, SessionId, WaitId};
use crate::user::User;
use crate::verdict::Verdict;

/// What one worker's server tells or asks another's.
#[derive(Debug)]
pub enum Letter {
    /// Asks for an allocation; to be handed to [`Server::handle_claim`].
    Claim(Claim),
    /// A packet of a 5-tuple whose allocation the other one has; for [`Server::handle_passed`]. May be dropped when too
    /// many wait.
    Packet {
        /// Who sent it.
        client: Client,
        /// What.
        packet: Box<[u8]>,
    },
    /// The connection of such a client has ended; for [`Server::handle_link_closed`].
    LinkClosed {
        /// Whose.
        client: Client,
    },
    /// No packets of this client are wanted any longer; for [`Server::handle_leave`].
    Leave {
        /// Whose.
        client: Client,
    },
}

/// One worker asks another for an allocation, on behalf of a client whose request it has verified.
#[derive(Debug)]
pub struct Claim {
    /// Which request waits for it.
    pub wait: WaitId,
    /// Which worker asks.
    pub asker: u16,
    pub(crate) session: SessionId,
    pub(crate) serial: Serial,
    pub(crate) user: Arc<User>,
    pub(crate) family: Option<Family>,
}

/// Why a claim was refused: what the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimRefusal(pub(crate) Refused);

impl ClaimRefusal {
    /// There is no such worker.
    pub const NO_OWNER: Self = ClaimRefusal(Refused {
        number: ErrorNumber::ALLOCATION_MISMATCH,
        reason: Reason::AllocationMismatch,
    });
}

/// What comes of a claim.
#[derive(Debug)]
pub enum ClaimOutcome {
    /// To be answered with this.
    Given(Box<Claimed>),
    /// To be answered with this.
    Refused(ClaimRefusal),
    /// Nothing to answer: another worker has been asked in turn.
    Forwarded,
}

/// An allocation between two workers.
#[derive(Debug)]
pub struct Claimed {
    session: SessionId,
    mobility: Mobility,
    /// Its relayed addresses, the one its 5-tuple led to first, with the names they had.
    halves: Vec<(RelayId, Box<Allocation>)>,
}

impl Claimed {
    /// The names its relayed addresses had with the worker that gave it.
    pub fn relays(&self) -> impl Iterator<Item = RelayId> + '_ {
        self.halves.iter().map(|(relay, _)| *relay)
    }

    /// Where its client was. The link is one of the worker that gave it, if the 5-tuple is a connection.
    pub fn client(&self) -> Option<Client> {
        self.halves.first().map(|(_, allocation)| allocation.client)
    }

    /// Replaces the link by one that means something to the worker that takes it.
    pub fn set_link(&mut self, link: Link) {
        self.halves.iter_mut().for_each(|(_, allocation)| allocation.client.link = link);
    }
}

/// A verified Refresh that waits for its allocation.
#[derive(Debug)]
pub(crate) struct PendingClaim {
    pub(crate) client: Client,
    pub(crate) transaction: TransactionId,
    pub(crate) user: Arc<User>,
    /// Seconds of lifetime to grant.
    pub(crate) granted: u32,
    pub(crate) family: Option<Family>,
    pub(crate) fingerprint: bool,
    pub(crate) integrity: Integrity,
    /// Whether its connection has ended since.
    pub(crate) lost: bool,
}

/// Everything that waits for an allocation of another worker.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    made: u64,
    by_tuple: HashMap<FiveTuple, PendingClaim>,
    tuples: HashMap<WaitId, FiveTuple>,
}

impl Claims {
    pub(crate) fn is_full(&self) -> bool {
        self.by_tuple.len() >= MOST_CLAIMS
    }

    pub(crate) fn insert(&mut self, pending: PendingClaim) -> WaitId {
        self.made += 1;
        let wait = WaitId { slot: self.made as u32, generation: (self.made >> 32) as u32 };
        self.tuples.insert(wait, pending.client.tuple);
        self.by_tuple.insert(pending.client.tuple, pending);
        wait
    }

    pub(crate) fn find(&self, tuple: &FiveTuple) -> Option<&PendingClaim> {
        self.by_tuple.get(tuple)
    }

    /// Notes that the connection of one that waits has ended.
    pub(crate) fn lose(&mut self, tuple: &FiveTuple) -> bool {
        self.by_tuple.get_mut(tuple).map(|pending| pending.lost = true).is_some()
    }

    fn take(&mut self, wait: WaitId) -> Option<PendingClaim> {
        self.by_tuple.remove(&self.tuples.remove(&wait)?)
    }
}

impl Server {
    /// Asks another worker for the allocation that a ticket is for.
    pub(crate) fn claim_session(
        &mut self,
        owner: u16,
        (session, serial): (SessionId, Serial),
        pending: PendingClaim,
    ) -> Result<WaitId, Refused> {
        if self.mobile.claims.is_full() {
            return Err(refused(ErrorNumber::INSUFFICIENT_CAPACITY, Reason::TooManyWaiting));
        }
        let (user, family) = (pending.user.clone(), pending.family);
        let wait = self.mobile.claims.insert(pending);
        let claim = Claim { wait, asker: self.worker, session, serial, user, family };
        self.effects.push_back(Effect::Post { to: owner, letter: Letter::Claim(claim) });
        Ok(wait)
    }

    /// Another worker asks for an allocation. If it is given, its sockets go along.
    pub fn handle_claim(&mut self, _now: Now, claim: Claim) -> ClaimOutcome {
        if let Some(to) = self.mobile.given_to(claim.session).filter(|to| *to != claim.asker) {
            self.effects.push_back(Effect::Post { to, letter: Letter::Claim(claim) });
            return ClaimOutcome::Forwarded;
        }
        match self.judge_move((claim.session, claim.serial), &claim.user, claim.family) {
            Ok(()) => match self.hand_over(&claim) {
                Some(claimed) => ClaimOutcome::Given(Box::new(claimed)),
                None => ClaimOutcome::Refused(ClaimRefusal::NO_OWNER),
            },
            // Counted where it is answered.
            Err(refused) => ClaimOutcome::Refused(ClaimRefusal(refused)),
        }
    }

    /// Takes an allocation out of this worker's tables.
    fn hand_over(&mut self, claim: &Claim) -> Option<Claimed> {
        // See `move_to`: the ticket proves the 5-tuple that it was sent to.
        let confirmed = self.confirm(claim.session).is_some();
        let mut mobility = self.mobile.sessions.remove(&claim.session)?;
        mobility.superseded |= confirmed;
        let mut halves = Vec::with_capacity(2);
        let places = &mut None;
        for relay in self.allocations.family_of(mobility.relay) {
            let mut allocation = self.allocations.remove(relay)?;
            *places = places.take().or(allocation.place.take());
            halves.push((relay, allocation));
        }
        let (_, first) = halves.first_mut()?;
        first.place = places.take();
        let client = first.client;
        self.stats.allocations_departed += 1;
        self.stats.count_gone(first);
        if client.link != Link::NOWHERE {
            match mobility.home {
                None => {
                    let Claim { session, asker: to, .. } = *claim;
                    self.mobile.set_departed(Departed { client, session, to });
                    mobility.home = Some(self.worker);
                }
                Some(home) if home == claim.asker => {}
                // It would take a third worker along: that 5-tuple is given up.
                Some(_) => {
                    self.leave(mobility.home.take(), client);
                    halves.iter_mut().for_each(|(_, allocation)| allocation.client.link = Link::NOWHERE);
                }
            }
        }
        Some(Claimed { session: claim.session, mobility, halves })
    }

    /// The names under which the relayed addresses of an allocation are to be watched here.
    pub fn name_relays(&mut self, claimed: &Claimed) -> Vec<RelayId> {
        claimed.relays().map(|_| self.allocations.reserve()).collect()
    }

    /// The answer to a claim, with the names that its sockets are watched under.
    pub fn handle_claimed(
        &mut self,
        now: Now,
        wait: WaitId,
        claimed: Result<(Box<Claimed>, Vec<RelayId>), ClaimRefusal>,
    ) -> Verdict<'_> {
        let Some(pending) = self.mobile.claims.take(wait) else {
            // Never: every claim is answered once. Were it not so, the allocation would wait for its client.
            if let Ok((claimed, names)) = claimed {
                self.take_over(now, *claimed, &names);
            }
            return self.drop_packet(Reason::StaleRelay);
        };
        let renewed = match claimed {
            Ok((claimed, names)) => self.resume_claimed(now, &pending, *claimed, &names),
            Err(ClaimRefusal(refused)) => Err(refused),
        };
        let (reply, user) = (pending.reply(), pending.user.clone());
        let refusal = renewed.as_ref().err().map(|refused| (refused.number, refused.reason));
        self.report_claim_answered(&pending, refusal);
        match renewed {
            Ok(answer) => self.succeed_claim(now, &reply, answer, &user),
            Err(refused) => {
                self.refuse_claim(&reply, &Refusal { refused, challenge: false, user: Some(user) })
            }
        }
    }

    /// A packet of a client whose packets another worker receives.
    pub fn handle_passed(&mut self, now: Now, client: Client, packet: &[u8]) -> Verdict<'_> {
        let found = self.allocations.find(&client.tuple).and_then(|relay| self.allocations.get(relay));
        if found.is_none_or(|allocation| allocation.client.link != client.link) {
            // The old 5-tuple is over. Whatever the client wants by it, the worker that receives it will know.
            return self.drop_packet(Reason::NoAllocation);
        }
        self.handle_client_packet(now, client, packet)
    }

    /// The worker that has an allocation wants no more packets of its old 5-tuple.
    pub fn handle_leave(&mut self, client: Client) {
        self.mobile.forget_departed(&client.tuple);
    }

    /// The socket of a relayed address that was taken over cannot be watched.
    pub fn handle_relay_lost(&mut self, now: Now, relay: RelayId) {
        self.end_relay(now.monotonic, relay, EndCause::Lost);
    }

    fn resume_claimed(
        &mut self,
        now: Now,
        pending: &PendingClaim,
        claimed: Claimed,
        names: &[RelayId],
    ) -> Result<Answer, Refused> {
        let session = claimed.session;
        self.take_over(now, claimed, names);
        let PendingClaim { client, transaction, .. } = *pending;
        let moved = self.move_to(now.monotonic, session, client, transaction);
        let relay = moved.ok_or(refused(ErrorNumber::ALLOCATION_MISMATCH, Reason::AllocationMismatch))?;
        let renewal = Renewal {
            now,
            tuple: client.tuple,
            transaction,
            user: pending.user.clone(),
            granted: pending.granted,
            family: pending.family,
        };
        let answer = self.renew(&renewal, relay);
        if pending.lost {
            self.lose_link(&client);
        }
        answer
    }

    fn report_claim_answered(&mut self, pending: &PendingClaim, refusal: Option<(ErrorNumber, Reason)>) {
        if self.config.verbose {
            let (tuple, user) = (pending.client.tuple, Some(pending.user.clone()));
            // As of every request, the session is the one that was there before.
            self.report(Event::Processed { tuple, session: None, user, method: Method::REFRESH, refusal });
        }
    }

    /// Puts an allocation of another worker into this one's tables.
    fn take_over(&mut self, now: Now, claimed: Claimed, names: &[RelayId]) {
        let Claimed { session, mut mobility, mut halves } = claimed;
        // Back from where it had gone, to the worker that its 5-tuple belongs to.
        let tuple = halves.first().map(|(_, allocation)| allocation.client.tuple);
        if let Some(departed) = tuple.and_then(|tuple| self.mobile.forget_departed(&tuple)) {
            halves.iter_mut().for_each(|(_, allocation)| allocation.client.link = departed.client.link);
            mobility.home = None;
        } else if mobility.home == Some(self.worker) {
            // Its connection has ended meanwhile.
            halves.iter_mut().for_each(|(_, allocation)| allocation.client.link = Link::NOWHERE);
            mobility.home = None;
        }
        self.mobile.forget_where_it_went(session);
        self.stats.allocations_arrived += 1;
        if let Some((_, first)) = halves.first_mut() {
            let realm = self.stats.realms.place(first.user.realm());
            halves.iter_mut().for_each(|(_, allocation)| allocation.realm = realm);
        }
        if let Some((_, first)) = halves.first() {
            self.stats.count_alive(first);
        }
        let mut first = None;
        for ((_, mut allocation), name) in halves.into_iter().zip(names.iter().copied()) {
            // What is left of its time is looked at from the start: timers do not travel.
            let due = allocation.next_expiry().max(now.monotonic).min(allocation.expires);
            allocation.wakes = due;
            allocation.sibling = None;
            match first {
                None => {
                    mobility.relay = name;
                    first = Some(name);
                    self.allocations.insert(name, allocation);
                }
                Some(first) => self.allocations.insert_beside(first, name, allocation),
            }
            self.set_timer(due, Timer::Allocation(name));
        }
        self.mobile.sessions.insert(session, mobility);
    }
}

/// Most requests that may wait at once.
const MOST_CLAIMS: usize = 1024;
