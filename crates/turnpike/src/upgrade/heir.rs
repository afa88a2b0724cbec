//! The new process's side: takes over from the one that has started it.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use turnpike_control::Log;
use turnpike_net::{Line, Parcel};
use turnpike_turn::{Elsewhere, HANDOVER_VERSION, NonceKey, SessionId};
use turnpike_worker::Worker;

use super::listening::{Inherited, Listening};
use super::program::port_of_predecessor;
use super::protocol::{
    ENDED, ESTATE, GO, GREETING, Greeting, NoGreeting, READY, REFUSED, SERVING, TAKEN, bytes_of, only,
};

/// The process before this one.
#[derive(Debug)]
pub(crate) struct Predecessor {
    line: Line,
    /// Its process id.
    pub(crate) process: u32,
    /// How many workers it has: as many as there are to be here, for each 5-tuple belongs to one.
    pub(crate) threads: u16,
    pub(crate) nonce_key: NonceKey,
}

impl Predecessor {
    /// The process that hands over to this one, if there is such a one, and the sockets that clients come by.
    ///
    /// # Errors
    /// There is, and it is not understood.
    pub(crate) fn find() -> anyhow::Result<Option<(Self, Inherited)>> {
        if port_of_predecessor().is_none() {
            return Ok(None);
        }
        let line = Line::from_standard_input().context(
            "TURNPIKE_HANDOVER says that another process hands over to this one, and none does: unset it",
        )?;
        line.set_patience(Some(PATIENCE))?;
        let Some(Parcel { kind: GREETING, bytes, descriptors }) = line.receive()? else {
            bail!("the process that hands over to this one has gone");
        };
        let greeting = match Greeting::from_bytes(&bytes) {
            Ok(greeting) => greeting,
            Err(NoGreeting::Version(version)) => {
                let why =
                    format!("it hands over in version {version}, and this program reads {HANDOVER_VERSION}");
                let _ = line.send(REFUSED, why.as_bytes(), &[]);
                bail!("the process before this one cannot be understood: {why}");
            }
            Err(NoGreeting::Damaged) => bail!("the process before this one cannot be understood"),
        };
        let Greeting { process, threads, nonce_key, groups, kernel } = greeting;
        let nonce_key = NonceKey::new(nonce_key);
        let inherited = Inherited::new((groups, kernel), threads, descriptors);
        let inherited =
            inherited.context("the process before this one hands over other sockets than it says")?;
        Ok(Some((Predecessor { line, process, threads, nonce_key }, inherited)))
    }

    /// Another descriptor of the line, to say that this process does not take over after all.
    ///
    /// # Errors
    /// No descriptors are left.
    pub(crate) fn line(&self) -> std::io::Result<Line> {
        Ok(self.line.as_fd().try_clone_to_owned()?.into())
    }

    /// Takes everything over: as soon as this returns, the workers are to begin.
    ///
    /// # Errors
    /// It cannot be taken, or the other process has changed its mind. Nothing is lost: it goes on.
    pub(crate) fn take_over(
        &self,
        workers: &mut [Worker],
        (inherited, listening): (&Inherited, &Listening),
    ) -> anyhow::Result<Took> {
        let addresses = inherited.datagrams();
        let number = |theirs: usize| listening.number_of((*addresses.get(theirs)?)?);
        self.line.send(READY, &bytes_of(&inherited.taken()), &[])?;
        let mut took = Took::default();
        for worker in workers {
            let parcel = self.expect(ESTATE)?;
            let inheritance = worker.inherit(parcel, &number).map_err(anyhow::Error::msg)?;
            took.relays += inheritance.relays;
            took.elsewhere.extend(inheritance.elsewhere);
        }
        self.line.send(TAKEN, &[], &[])?;
        self.expect(GO)?;
        Ok(took)
    }

    /// Says that this process serves, and listens from here on which of the sessions that could not move have ended.
    pub(crate) fn serving(self, took: Took, log: Arc<Log>, count: Arc<Mutex<usize>>) {
        let Predecessor { line, process, .. } = self;
        let _ = line.send(SERVING, &[], &[]);
        let Took { relays, elsewhere } = took;
        let staying = elsewhere.len();
        let stays = match staying {
            0 => String::new(),
            _ => format!("; {staying} sessions that cannot move stay there until they end"),
        };
        log.info(&format!("Upgrade: took over {relays} relayed addresses from process {process}{stays}"));
        let mut elsewhere: HashMap<SessionId, Elsewhere> =
            elsewhere.into_iter().map(|elsewhere| (elsewhere.session, elsewhere)).collect();
        note(&count, elsewhere.len());
        let _ = line.set_patience(None);
        let _ = thread::Builder::new().name("predecessor".into()).spawn(move || {
            while let Ok(Some(parcel)) = line.receive() {
                if parcel.kind == ENDED
                    && let Some(number) = only::<u64>(&parcel.bytes)
                {
                    elsewhere.retain(|session, _| session.number() != number);
                    note(&count, elsewhere.len());
                }
            }
            drop(elsewhere);
            note(&count, 0);
            log.info(&format!("Upgrade: process {process}, from which this one took over, has ended"));
        });
    }

    fn expect(&self, kind: u8) -> anyhow::Result<Parcel> {
        match self.line.receive().context("the process before this one is silent")? {
            Some(parcel) if parcel.kind == kind => Ok(parcel),
            Some(_) => bail!("the process before this one says something else than it should"),
            None => bail!("the process before this one has gone"),
        }
    }
}

/// What was taken over.
#[derive(Debug, Default)]
pub(crate) struct Took {
    relays: usize,
    elsewhere: Vec<Elsewhere>,
}

/// Tells the process that hands over to this one, if there is such a one, why this one does not start.
pub fn refuse(why: &str) {
    if port_of_predecessor().is_some()
        && let Ok(line) = Line::from_standard_input()
    {
        refuse_over(&line, why);
    }
}

/// Whether another process hands over to this one.
pub(crate) fn takes_over() -> bool {
    port_of_predecessor().is_some()
}

pub(crate) fn refuse_over(line: &Line, why: &str) {
    let _ = line.send(REFUSED, why.as_bytes(), &[]);
}

fn note(count: &Mutex<usize>, sessions: usize) {
    *count.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = sessions;
}

/// For what takes milliseconds, and for the other one's workers to stand still.
const PATIENCE: Duration = Duration::from_secs(30);
