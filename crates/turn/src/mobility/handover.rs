//! What of mobility goes to another process with an allocation: its ticket, and where its client is about to be.

use turnpike_wire::TransactionId;

use super::{Arriving, Departed, Mobile, Mobility, Move, Serial};
use crate::handover::codec::{Reader, Value, value};
use crate::handover::here;
use crate::server::Server;
use crate::time::Timestamp;
use crate::timers::Timer;
use crate::tuple::{Client, Link, RelayId, SessionId, Transport};

/// What goes with an allocation that has a ticket.
#[derive(Debug)]
pub(crate) struct MobilityValue {
    serial: Serial,
    arriving: Option<(Client, Timestamp)>,
    last: Option<(TransactionId, Serial)>,
    home: Option<u16>,
    superseded: bool,
}
value!(MobilityValue { serial, arriving, last, home, superseded });

/// An old 5-tuple whose allocation another worker has.
#[derive(Debug)]
pub(crate) struct DepartedValue {
    client: Client,
    session: SessionId,
    to: u16,
}
value!(DepartedValue { client, session, to });

impl Value for Serial {
    fn write(&self, to: &mut Vec<u8>) {
        self.bytes().write(to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Value::read(from).map(Serial::from_bytes)
    }
}

impl MobilityValue {
    /// Where the client is about to be.
    pub(crate) fn arriving_client(&self) -> Option<Client> {
        self.arriving.map(|(client, _)| client)
    }
}

impl Mobile {
    /// Where the client of a session is about to be.
    pub(crate) fn arriving_client(&self, session: SessionId) -> Option<Client> {
        self.sessions.get(&session)?.arriving.map(|arriving| arriving.client)
    }

    pub(crate) fn value(&self, session: SessionId) -> Option<MobilityValue> {
        let Mobility { serial, arriving, last, home, superseded, .. } = self.sessions.get(&session)?;
        Some(MobilityValue {
            serial: *serial,
            arriving: arriving.map(|arriving| (arriving.client, arriving.until)),
            last: last.map(|last| (last.transaction, last.serial)),
            home: *home,
            superseded: *superseded,
        })
    }

    /// The old 5-tuples whose packets the other process will receive, in the order of their sessions.
    pub(crate) fn departed_value(&self, moves: &dyn Fn(Link) -> bool) -> Vec<DepartedValue> {
        let moving = self.departed.values().filter(|departed| is_moving(&departed.client, moves));
        let value = |&Departed { client, session, to }: &Departed| DepartedValue { client, session, to };
        let mut values: Vec<DepartedValue> = moving.map(value).collect();
        values.sort_unstable_by_key(|value| value.session);
        values
    }

    /// Forgets what went over with a session.
    pub(crate) fn release(&mut self, session: SessionId) {
        if let Some(arriving) = self.sessions.remove(&session).and_then(|mobility| mobility.arriving) {
            self.arriving.remove(&arriving.client.tuple);
        }
    }

    /// Forgets the old 5-tuples that went over.
    pub(crate) fn release_departed(&mut self, moves: &dyn Fn(Link) -> bool) {
        for DepartedValue { client, .. } in self.departed_value(moves) {
            self.forget_departed(&client.tuple);
        }
    }
}

impl Server {
    /// Takes in what goes with a session that has a ticket.
    pub(crate) fn resume_mobility(
        &mut self,
        session: SessionId,
        relay: RelayId,
        value: MobilityValue,
        link: &dyn Fn(Link) -> Option<Link>,
    ) {
        let MobilityValue { serial, arriving, last, home, superseded } = value;
        let arriving = arriving.map(|(client, until)| Arriving { client: here(client, link), until });
        if let Some(Arriving { client, until }) = arriving {
            self.mobile.arriving.insert(client.tuple, session);
            self.set_timer(until, Timer::Overlap(session));
        }
        let last = last.map(|(transaction, serial)| Move { transaction, serial });
        let mobility = Mobility { relay, serial, arriving, last, home, superseded };
        self.mobile.sessions.insert(session, mobility);
    }

    /// Takes in the old 5-tuples of sessions that other workers have.
    pub(crate) fn resume_departed(
        &mut self,
        departed: &[DepartedValue],
        link: &dyn Fn(Link) -> Option<Link>,
    ) {
        for DepartedValue { client, session, to } in departed {
            let client = here(*client, link);
            if client.link != Link::NOWHERE && !self.mobile.departed_sessions.contains_key(session) {
                self.mobile.set_departed(Departed { client, session: *session, to: *to });
            }
        }
    }
}

fn is_moving(client: &Client, moves: &dyn Fn(Link) -> bool) -> bool {
    client.tuple.transport == Transport::Udp && moves(client.link)
}
