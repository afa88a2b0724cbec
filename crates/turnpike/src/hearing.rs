//! Who hears of sessions: the log, keepers of records, Redis, metrics by user, the process after this one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread::{self, JoinHandle};

use turnpike_config::Config;
use turnpike_control::{Log, ReportSender, Reports};

use crate::monitoring::Monitoring;
use crate::operations::WorkerHandle;
use crate::recording::{self, Recording, Tellings};
use crate::rulebook::Rulebook;
use crate::upgrade::{Successor, TellsSuccessor};

/// Who hears of sessions, and how they are told.
pub(crate) struct Hearing {
    /// Whether the log is.
    verbose: Arc<AtomicBool>,
    successor: Arc<Successor>,
    recording: Option<Recording>,
    pub(crate) sender: ReportSender,
    reports: Reports,
}

impl Hearing {
    pub(crate) fn new(log: &Arc<Log>, config: &Config, monitoring: &Monitoring) -> anyhow::Result<Self> {
        let verbose = Arc::new(AtomicBool::new(config.verbose || config.extra_verbose));
        let successor = Arc::new(Successor::default());
        let (recording, mut watchers) = recording::open(config, log)?;
        watchers.push(Box::new(TellsSuccessor(successor.clone())));
        watchers.extend(monitoring.users.clone().map(|users| Box::new(users) as _));
        let realm = config.realm.as_str().into();
        let (sender, reports) = Reports::channel(log.clone(), realm, verbose.clone(), watchers);
        Ok(Hearing { verbose, successor, recording: Some(recording), sender, reports })
    }

    /// Begins to tell of the workers' sessions where they are kept.
    ///
    /// # Errors
    /// As [`Recording::start`].
    pub(crate) fn record(
        &mut self,
        workers: &[WorkerHandle],
        rulebook: &Arc<Rulebook>,
        has_taken_over: bool,
    ) -> io::Result<Tellings> {
        let Some(recording) = self.recording.take() else { return Ok(Tellings::default()) };
        let mailboxes = workers.iter().map(|worker| worker.mailbox.clone()).collect();
        recording.start(mailboxes, rulebook, has_taken_over)
    }

    /// Begins to hear, until the last worker ends.
    pub(crate) fn begin(self) -> io::Result<Heard> {
        let Hearing { verbose, successor, sender, reports, .. } = self;
        let lost = sender.losses();
        let reports = thread::Builder::new().name("reports".into()).spawn(move || reports.run())?;
        Ok(Heard { reports, lost, verbose, successor })
    }
}

/// What is left of it once it hears.
pub(crate) struct Heard {
    pub(crate) reports: JoinHandle<()>,
    /// How many reports could not be taken.
    pub(crate) lost: Arc<AtomicU64>,
    pub(crate) verbose: Arc<AtomicBool>,
    pub(crate) successor: Arc<Successor>,
}
