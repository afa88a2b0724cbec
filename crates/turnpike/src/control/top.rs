//! How much is relayed at this moment: what the counters gained since the same connection asked last.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Instant;

use serde_json::{Value, json};
use turnpike_turn::{Reason, Session, SessionFilter, SessionId, Stats, Usage};

use super::answers::Problem;
use super::rows::row;
use crate::operations::Operations;

/// What one connection was told last.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    last: Option<Sample>,
}

#[derive(Debug)]
struct Sample {
    at: Instant,
    totals: Totals,
    /// Bytes from the client and from peers, by session: as many entries as there are sessions.
    sessions: HashMap<SessionId, (u64, u64)>,
}

/// The workers' counters together.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    client_packets: u64,
    client_bytes: u64,
    peer_packets: u64,
    peer_bytes: u64,
    flow_packets: u64,
    requests: u64,
    errors: u64,
    /// Those of [`Reason::OverBandwidth`] and other drops of data and requests, challenges left out.
    refusals: u64,
    created: u64,
    ended: u64,
}

/// A session and how fast it is.
struct Ranked {
    worker: u16,
    session: Session,
    rates: (f64, f64),
}

impl Sampler {
    pub(super) fn look(&mut self, operations: &Operations, most: Option<u64>) -> Result<Value, Problem> {
        let most = most.unwrap_or(USUAL_ROWS).min(MOST_ROWS) as usize;
        let mut totals = Totals::default();
        let mut allocations = 0;
        for worker in 0..operations.workers.len() {
            let stats = operations.visit(worker as u16, |server, _| server.stats().clone())?;
            totals.add(&stats);
            allocations += stats.allocations();
        }
        let at = Instant::now();
        let before = self.last.take();
        let seconds = before.as_ref().map(|before| at.duration_since(before.at).as_secs_f64());
        let (mut sessions, mut fastest, mut in_kernel) = (HashMap::new(), Vec::new(), 0_u64);
        operations.every_session(&SessionFilter::default(), |worker, session| {
            let Usage { client_bytes, peer_bytes, .. } = session.usage;
            let known = before.as_ref().and_then(|before| before.sessions.get(&session.id));
            let gained = |now: u64, before: u64| now.saturating_sub(before) as f64;
            let rates = match (known, seconds) {
                (Some(known), Some(seconds)) if seconds > 0.0 => {
                    (gained(client_bytes, known.0) / seconds, gained(peer_bytes, known.1) / seconds)
                }
                _ => (0.0, 0.0),
            };
            sessions.insert(session.id, (client_bytes, peer_bytes));
            in_kernel += u64::from(session.flows > 0);
            fastest.push(Ranked { worker, session, rates });
            if fastest.len() >= most.max(1) * 8 {
                keep_fastest(&mut fastest, most);
            }
            true
        })?;
        keep_fastest(&mut fastest, most);
        let rates = totals.rates(before.as_ref().map(|before| before.totals), seconds);
        self.last = Some(Sample { at, totals, sessions });
        Ok(json!({
            "seconds": seconds,
            "allocations": allocations,
            "inKernel": in_kernel,
            "portsTaken": operations.ports.taken(),
            "uptime": operations.started.elapsed().unwrap_or_default().as_secs(),
            "draining": operations.draining.progress().map(|progress| progress.to_string()),
            "rates": rates,
            "sessions": fastest.iter().map(Ranked::json).collect::<Vec<_>>(),
        }))
    }
}

impl Totals {
    fn add(&mut self, stats: &Stats) {
        let (requests, relayed) = (&stats.requests, stats.relayed());
        self.client_packets += relayed.client_packets;
        self.client_bytes += relayed.client_bytes;
        self.peer_packets += relayed.peer_packets;
        self.peer_bytes += relayed.peer_bytes;
        self.flow_packets += relayed.flow_packets;
        self.requests += requests.binding + requests.allocate + requests.refresh + requests.create_permission;
        self.requests += requests.channel_bind + requests.connect + requests.connection_bind + requests.other;
        self.errors += stats.errors.saturating_sub(stats.challenges);
        self.refusals += Reason::ALL
            .iter()
            .filter(|reason| {
                !matches!(reason, Reason::NoCredentials | Reason::KeepAlive | Reason::StaleNonce)
            })
            .map(|reason| stats.refused(*reason))
            .sum::<u64>();
        self.created += stats.allocations_created;
        self.ended += stats.allocations_ended;
    }

    /// What was gained each second; nothing on the first look.
    fn rates(&self, before: Option<Totals>, seconds: Option<f64>) -> Value {
        let (Some(before), Some(seconds)) = (before, seconds.filter(|seconds| *seconds > 0.0)) else {
            return Value::Null;
        };
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        json!({
            "clientPackets": rate(self.client_packets, before.client_packets),
            "clientBytes": rate(self.client_bytes, before.client_bytes),
            "peerPackets": rate(self.peer_packets, before.peer_packets),
            "peerBytes": rate(self.peer_bytes, before.peer_bytes),
            "kernelPackets": rate(self.flow_packets, before.flow_packets),
            "requests": rate(self.requests, before.requests),
            "errors": rate(self.errors, before.errors),
            "refusals": rate(self.refusals, before.refusals),
            "allocationsMade": rate(self.created, before.created),
            "allocationsEnded": rate(self.ended, before.ended),
        })
    }
}

impl Ranked {
    fn json(&self) -> Value {
        let mut session = row(self.worker, &self.session);
        session["clientRate"] = json!(self.rates.0);
        session["peerRate"] = json!(self.rates.1);
        session
    }

    /// The fastest first; of the idle ones those that have relayed most.
    fn rank(&self) -> Reverse<(u64, u64)> {
        let Usage { client_bytes, peer_bytes, .. } = self.session.usage;
        Reverse(((self.rates.0 + self.rates.1) as u64, client_bytes + peer_bytes))
    }
}

fn keep_fastest(sessions: &mut Vec<Ranked>, most: usize) {
    sessions.sort_by_key(Ranked::rank);
    sessions.truncate(most);
}

const USUAL_ROWS: u64 = 20;
const MOST_ROWS: u64 = 256;
