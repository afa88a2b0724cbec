//! What an old process still has to do: the sessions that could not move, until they end or their time is up.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use turnpike_worker::{Command, Remains};

use super::giver::ask_surely;
use crate::operations::{Operations, Request, Serving};

/// Watches until nothing remains, and has the main loop stop then.
pub(crate) fn watch(operations: Arc<Operations>, limit: Duration) {
    let _ = thread::Builder::new().name("remains".into()).spawn(move || {
        let began = Instant::now();
        let mut told = false;
        loop {
            // First of all: whoever asked for the upgrade is to hear of it.
            thread::sleep(PAUSE);
            if operations.stage.now() == Serving::Stopping {
                return;
            }
            let is_over = !limit.is_zero() && began.elapsed() >= limit;
            // Workers that do not answer now are asked again.
            let Some(remains) = count(&operations).or(is_over.then(Remains::default)) else { continue };
            let Remains { allocations, connections, associations } = remains;
            let nothing = !is_over && remains == Remains::default();
            if !told && !nothing {
                operations.log.info(&format!(
                    "Upgrade: this process goes on with what cannot move: {allocations} sessions, {connections} \
                     connections, {associations} DTLS associations"
                ));
                told = true;
            }
            if nothing || is_over {
                let why = match nothing {
                    true => "nothing is left here".to_owned(),
                    false => format!("upgrade-timeout is over, and {allocations} sessions end"),
                };
                operations.log.info(&format!("Upgrade: {why}; this process ends"));
                return ask_surely(&operations, || Request::NothingLeft);
            }
        }
    });
}

/// What all workers have together; `None` when one does not answer.
fn count(operations: &Operations) -> Option<Remains> {
    let (sender, answers) = channel();
    operations.workers.iter().for_each(|worker| worker.mailbox.send(Command::Count(sender.clone())));
    drop(sender);
    let mut all = Remains::default();
    for _ in &operations.workers {
        let remains = answers.recv_timeout(PATIENCE).ok()?;
        all.allocations += remains.allocations;
        all.connections += remains.connections;
        all.associations += remains.associations;
    }
    Some(all)
}

const PAUSE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(30);
