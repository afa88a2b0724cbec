//! Who hears of sessions: the log, keepers of records, Redis, metrics by user, the process after this one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread::{self, JoinHandle};

use turnpike_config::Config;
use turnpike_control::{Log, ReportSender, Reports};

use crate::monitoring::Monitoring;
use crate::recording::{self, Recording};
use crate::upgrade::{Successor, TellsSuccessor};

/// Who hears of sessions, and how they are told.
pub(crate) struct Hearing {
    /// Whether the log is.
    pub(crate) verbose: Arc<AtomicBool>,
    pub(crate) successor: Arc<Successor>,
    pub(crate) recording: Option<Recording>,
    pub(crate) sender: ReportSender,
    pub(crate) reports: Reports,
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
