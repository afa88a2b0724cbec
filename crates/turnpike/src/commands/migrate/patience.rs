//! A database that does not answer for a moment is asked again.

use std::time::Duration;

use turnpike_store::StoreError;

/// The answer, or the error of the last attempt; what asking again cannot mend is not repeated.
pub(super) async fn patiently<T>(ask: impl AsyncFn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let mut delay = FIRST_DELAY;
    for _ in 1..ATTEMPTS {
        match ask().await {
            Err(error) if error.is_transient() => tokio::time::sleep(delay).await,
            answer => return answer,
        }
        delay *= 2;
    }
    ask().await
}

/// With the delays between them, half a minute on top of the time-outs.
const ATTEMPTS: u32 = 8;
const FIRST_DELAY: Duration = Duration::from_millis(250);
