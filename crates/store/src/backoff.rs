//! A store that is down is asked again after a while, not by everybody at once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::StoreError;

/// When to try connecting again, and what to say until then.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failure: Mutex<Option<Failure>>,
}

#[derive(Debug)]
struct Failure {
    error: StoreError,
    delay: Duration,
    until: Instant,
}

impl Backoff {
    /// The failure of the last attempt, while it is too early for another.
    pub(crate) fn too_early(&self) -> Option<StoreError> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.as_ref().filter(|failure| Instant::now() < failure.until).map(|failure| failure.error.clone())
    }

    pub(crate) fn failed(&self, error: &StoreError) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let delay = failure.as_ref().map_or(FIRST_DELAY, |failure| (failure.delay * 2).min(LAST_DELAY));
        *failure = Some(Failure { error: error.clone(), delay, until: Instant::now() + delay });
    }

    pub(crate) fn succeeded(&self) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

const FIRST_DELAY: Duration = Duration::from_millis(50);
/// Short enough that a server which is back is in use again at once, as people see it.
const LAST_DELAY: Duration = Duration::from_secs(2);
