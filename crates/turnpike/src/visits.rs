//! Questions to the workers, each answered between two packets: how many allocations there are, which, and that one of
//! them is to end. No question asks for more than a page, and a worker has one of them at a time to answer from whoever
//! asks here.

use std::fmt;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use turnpike_turn::{Now, Server, Session, SessionFilter, SessionId};
use turnpike_worker::{Command, Visit};

use crate::operations::Operations;

/// Where a page of sessions begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) worker: u16,
    pub(crate) place: u32,
}

/// Some of the sessions.
#[derive(Debug)]
pub(crate) struct Page {
    /// Each with the worker that has it.
    pub(crate) sessions: Vec<(u16, Session)>,
    /// Where the next page begins; `None` after the last one.
    pub(crate) next: Option<Cursor>,
}

/// A worker did not answer in time, or is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unanswered;

impl Operations {
    /// Has something short done by a worker, and waits for what comes of it.
    pub(crate) fn visit<R: Send + 'static>(
        &self,
        worker: u16,
        work: impl FnOnce(&mut Server, Now) -> R + Send + 'static,
    ) -> Result<R, Unanswered> {
        let handle = self.workers.get(usize::from(worker)).ok_or(Unanswered)?;
        let (answer, answered) = sync_channel(1);
        handle.mailbox.send(Command::Visit(Visit::new(move |server, now| {
            let _ = answer.send(work(server, now));
        })));
        answered.recv_timeout(PATIENCE).map_err(|_| Unanswered)
    }

    /// How many allocations there are at this moment.
    pub(crate) fn allocations(&self) -> Result<u64, Unanswered> {
        self.each_worker().map(|worker| self.visit(worker, |server, _| server.stats().allocations())).sum()
    }

    /// The next page of sessions that fit. Where few fit, several questions are asked for it.
    pub(crate) fn sessions(&self, filter: &SessionFilter, from: Cursor) -> Result<Page, Unanswered> {
        let mut next = Some(from);
        for _ in 0..MOST_QUESTIONS {
            let Some(Cursor { worker, place }) = next.filter(|next| self.has(next.worker)) else { break };
            let wanted = filter.clone();
            let page = self.visit(worker, move |server, now| server.sessions(now, &wanted, place))?;
            next = match page.next {
                Some(place) => Some(Cursor { worker, place }),
                None => Some(Cursor { worker: worker + 1, place: 0 }),
            };
            if !page.sessions.is_empty() {
                let sessions = page.sessions.into_iter().map(|session| (worker, session)).collect();
                return Ok(Page { sessions, next: next.filter(|next| self.has(next.worker)) });
            }
        }
        Ok(Page { sessions: Vec::new(), next: next.filter(|next| self.has(next.worker)) })
    }

    /// Hands all sessions that fit to `each`, page by page, until it says that it has enough.
    pub(crate) fn every_session(
        &self,
        filter: &SessionFilter,
        mut each: impl FnMut(u16, Session) -> bool,
    ) -> Result<(), Unanswered> {
        let mut next = Some(Cursor::default());
        while let Some(from) = next {
            let page = self.sessions(filter, from)?;
            for (worker, session) in page.sessions {
                if !each(worker, session) {
                    return Ok(());
                }
            }
            next = page.next;
        }
        Ok(())
    }

    /// Ends the sessions that fit, and says which.
    pub(crate) fn end_sessions(&self, filter: &SessionFilter) -> Result<Vec<SessionId>, Unanswered> {
        let mut ended = Vec::new();
        let mut next = Some(Cursor::default());
        while let Some(from) = next {
            let page = self.sessions(filter, from)?;
            for (worker, Session { relay, id, .. }) in page.sessions {
                if self.visit(worker, move |server, now| server.end_session(now, relay, id))? {
                    ended.push(id);
                }
            }
            next = page.next;
        }
        Ok(ended)
    }

    fn each_worker(&self) -> impl Iterator<Item = u16> {
        (0..self.workers.len()).map(|worker| worker as u16)
    }

    fn has(&self, worker: u16) -> bool {
        usize::from(worker) < self.workers.len()
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "a worker did not answer within {} seconds, or the server is ending",
            PATIENCE.as_secs()
        )
    }
}

impl std::error::Error for Unanswered {}

/// How long a worker may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Questions asked for one page.
const MOST_QUESTIONS: usize = 64;
