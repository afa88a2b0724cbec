//! What workers say to each other, delivered at once: a move between two of them is one step of this world.

use std::collections::VecDeque;

use turnpike_turn::{Claim, ClaimOutcome, Client, Effect, Letter, PeerConnectionId, RelayId, RelayedPort};

use crate::observed::{Action, Connect, Opening, Report};
use crate::world::World;

/// What an input has led to so far, whichever worker it was.
#[derive(Debug, Default)]
pub(crate) struct Consequences {
    pub(crate) openings: Vec<Opening>,
    pub(crate) closings: Vec<(RelayId, std::net::SocketAddr)>,
    pub(crate) reports: Vec<Report>,
    pub(crate) ports: Vec<RelayedPort>,
    pub(crate) connects: Vec<Connect>,
    pub(crate) splices: Vec<(Client, PeerConnectionId)>,
    pub(crate) closed: Vec<PeerConnectionId>,
    letters: VecDeque<(u16, u16, Letter)>,
}

impl World {
    /// Drains the effects of an input to `worker`, and delivers letters until there are none. Returns what came of it in
    /// the end, and which worker did that.
    pub(crate) fn follow(&mut self, worker: u16, action: Action) -> (u16, Action, Consequences) {
        let mut consequences = Consequences::default();
        let (mut last, mut action) = (worker, action);
        self.drain(worker, &mut consequences);
        while let Some((from, to, letter)) = consequences.letters.pop_front() {
            if let Some(answered) = self.hand_in(from, to, letter, &mut consequences) {
                (last, action) = answered;
            }
        }
        (last, action, consequences)
    }

    fn drain(&mut self, worker: u16, consequences: &mut Consequences) {
        while let Some(effect) = self.servers[usize::from(worker)].poll_effect() {
            match effect {
                Effect::OpenRelay { wait, relay, address, transport, .. } => {
                    consequences.openings.push(Opening { wait, relay, address, transport });
                }
                Effect::ConnectPeer { connection, from, peer, deadline } => {
                    consequences.connects.push(Connect { connection, from, peer, deadline });
                }
                Effect::Splice { client, connection } => consequences.splices.push((client, connection)),
                Effect::ClosePeer { connection } => consequences.closed.push(connection),
                Effect::CloseRelay { relay, port } => {
                    assert!(!self.kernel.has_flows(worker, relay), "a relayed address takes its flows along");
                    consequences.closings.push((relay, port.local()));
                    consequences.ports.push(port);
                }
                // Nobody else takes ports in this world, so none need to be held.
                Effect::DropReserved { .. } => {}
                Effect::FlowUp(flow) => self.kernel.up(worker, flow),
                Effect::FlowDown { flow, owner } => {
                    self.kernel.down(worker, flow, owner, &mut self.servers[usize::from(worker)]);
                }
                // No world keeps its users outside.
                Effect::FindCredential { .. } => {}
                Effect::Post { to, letter } => consequences.letters.push_back((worker, to, letter)),
                Effect::Report(event) => consequences.reports.push(Report::of(&event)),
            }
        }
    }

    fn hand_in(
        &mut self,
        from: u16,
        to: u16,
        letter: Letter,
        consequences: &mut Consequences,
    ) -> Option<(u16, Action)> {
        let now = self.clocks();
        let server = &mut self.servers[usize::from(to)];
        let answered = match letter {
            Letter::Claim(claim) => return self.claim(to, claim, consequences),
            Letter::Packet { client, packet } => {
                *self.actions.entry("passed on".into()).or_default() += 1;
                Some((to, Action::of(server.handle_passed(now, client, &packet), &packet)))
            }
            Letter::LinkClosed { client } => {
                server.handle_link_closed(now, client);
                None
            }
            Letter::Leave { client } => {
                server.handle_leave(client);
                None
            }
        };
        debug_assert_ne!(from, to, "nobody writes to himself");
        self.drain(to, consequences);
        answered
    }

    fn claim(&mut self, owner: u16, claim: Claim, consequences: &mut Consequences) -> Option<(u16, Action)> {
        let now = self.clocks();
        let (asker, wait) = (claim.asker, claim.wait);
        let outcome = self.servers[usize::from(owner)].handle_claim(now, claim);
        self.drain(owner, consequences);
        let claimed = match outcome {
            ClaimOutcome::Forwarded => return None,
            ClaimOutcome::Refused(refusal) => Err(refusal),
            ClaimOutcome::Given(claimed) => {
                *self.actions.entry("moved between workers".into()).or_default() += 1;
                let names = self.servers[usize::from(asker)].name_relays(&claimed);
                for (old, new) in claimed.relays().zip(&names) {
                    let socket = self.sockets.iter_mut().find(|it| (it.worker, it.relay) == (owner, old));
                    let socket = socket.expect("its socket is open");
                    (socket.worker, socket.relay) = (asker, *new);
                    self.model.renamed(socket.local, *new);
                }
                Ok((claimed, names))
            }
        };
        let verdict = self.servers[usize::from(asker)].handle_claimed(now, wait, claimed);
        let action = Action::of(verdict, &[]);
        self.drain(asker, consequences);
        Some((asker, action))
    }
}
