//! From a request that is granted to an allocation: the sockets it waits for (RFC 8656 §7.2).

use std::net::SocketAddr;

use turnpike_turn::{Now, Reason, RelayError, WaitId};

use super::credentials::Refusal;
use super::{Expected, Model, Pending, Wanted};

impl Model {
    /// The answer to a request to open a socket.
    pub(crate) fn relay_opened(
        &mut self,
        now: Now,
        worker: u16,
        wait: WaitId,
        opened: Result<(), RelayError>,
    ) -> Expected {
        let at = self.pending.iter().position(|it| it.wait == wait && it.wanted.source.worker == worker);
        match at {
            None => self.drop_for(worker, Reason::StaleRelay),
            Some(at) if self.pending[at].abandoned => {
                let Pending { relay, local, first, .. } = self.pending.remove(at);
                let last = opened.is_ok().then_some((relay, local));
                for closed in first.into_iter().chain(last) {
                    self.closings.push(closed);
                    self.closing.push(closed.1);
                }
                self.drop_for(worker, Reason::Disconnected)
            }
            Some(at) => self.opened(now, at, opened),
        }
    }

    /// The request that the socket was for is granted, tried again, or refused; or the other socket it wants is next.
    fn opened(&mut self, now: Now, at: usize, opened: Result<(), RelayError>) -> Expected {
        let mut pending = self.pending[at].clone();
        let mut reason = Reason::RelayFailed;
        if opened == Err(RelayError::AddressInUse) && pending.attempts < 16 {
            if !pending.wanted.by_token && self.some_port_fits(&pending.wanted) {
                pending.wanted.instead_of = Some(at);
                return Expected::Open(Box::new(pending.wanted));
            }
            reason = Reason::NoPort;
        }
        let family = if pending.local.is_ipv4() { 1 } else { 2 };
        if opened.is_ok() && !pending.wanted.then_six {
            return self.complete(now, at, pending);
        }
        if opened.is_err() {
            if let Some((relay, local)) = pending.first.take() {
                pending.wanted.lacks = Some((family, 508));
                return self.complete(now, at, Pending { relay, local, ..pending });
            }
            if !pending.wanted.then_six {
                self.pending.remove(at);
                return self.give_up(pending.wanted.source.worker, &pending.wanted, reason);
            }
        }
        // The IPv6 one is still to come, whatever became of the IPv4 one.
        let six = Wanted { family_is_ipv4: false, then_six: false, ..pending.wanted.clone() };
        match (self.some_port_fits(&six), opened.is_ok()) {
            (true, true) => Expected::Open(Box::new(Wanted { after: Some(at), ..six })),
            (true, false) => {
                Expected::Open(Box::new(Wanted { after_failed: Some(at), lacks: Some((family, 508)), ..six }))
            }
            (false, true) => {
                pending.wanted.lacks = Some((2, 508));
                self.complete(now, at, pending)
            }
            (false, false) => {
                self.pending.remove(at);
                self.give_up(pending.wanted.source.worker, &pending.wanted, reason)
            }
        }
    }

    /// Grants the request with what is open: the first of two, if there is one, and the one at hand.
    fn complete(&mut self, now: Now, at: usize, pending: Pending) -> Expected {
        self.pending.remove(at);
        let Wanted { asked, owner, lifetime, pair, lacks, source, .. } = &pending.wanted;
        let locals: Vec<SocketAddr> =
            pending.first.iter().map(|(_, local)| *local).chain([pending.local]).collect();
        let attributes = self.allocated(&locals, *lifetime, asked, None, *lacks);
        let mut response = self.success(source.worker, asked, attributes, Some(owner));
        response.new_token = *pair;
        response.new_ticket = pending.wanted.mobile;
        let (response, pending) = (Box::new(response), Box::new(pending));
        Expected::Allocate { response, pending, now: now.monotonic }
    }

    fn give_up(&mut self, worker: u16, wanted: &Wanted, reason: Reason) -> Expected {
        if self.settings.verbose {
            self.processed(&wanted.asked, None, Some(&wanted.owner), Some((508, reason)));
        }
        let identity = Some(wanted.owner.clone());
        let refusal = Refusal { identity, ..Refusal::plain(508, reason) };
        Expected::Reply(Box::new(self.error(worker, &wanted.asked, &refusal, Vec::new())))
    }
}
