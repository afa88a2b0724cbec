//! Mobility (RFC 8016, `-M`): a session takes its allocation along to another socket before it relays anything.
//!
//! Every second session does it as a client whose network goes away does: the old socket is closed first. The others keep
//! it until the new one is good.

use anyhow::{Context, Result, bail};
use turnpike_client::RequestId;

use super::session::Stage;
use super::sessions::{Sessions, watch};
use super::transport::{Interest, Transport};
use super::verbose;

impl Sessions {
    /// Opens another socket and shows the ticket by it.
    pub(super) fn begin_move(&mut self, number: usize, has_ticket: bool) -> Result<()> {
        if !has_ticket {
            bail!("the server gives no mobility ticket");
        }
        let now = self.now();
        let session = &mut self.all[number];
        self.poller.remove(&session.transport).context("cannot stop waiting for a socket")?;
        let breaks_first = number % 2 == 1;
        let way = self.settings.client.transport;
        let open = |settings| Transport::open(settings, session.server, session.domain.as_deref());
        if breaks_first {
            session.transport = open(&self.settings)?;
        } else {
            session.left = Some(std::mem::replace(&mut session.transport, open(&self.settings)?));
        }
        session.watched = Interest::Input;
        watch(&self.poller, session, number, true)?;
        let local = session.transport.local_address()?;
        verbose!(self.settings, "refresh sent from {local}");
        session.essential = vec![session.client.resume(now, way)?];
        session.stage = Stage::Moving;
        session.transmit(&mut self.output);
        Ok(())
    }

    /// The server has answered at the new socket.
    pub(super) fn end_move(&mut self, number: usize, request: RequestId) {
        let session = &mut self.all[number];
        if session.stage == Stage::Moving && session.essential.contains(&request) {
            session.left = None;
            session.essential.clear();
            session.stage = Stage::Allocated;
        }
    }
}
