//! The payload the tool sends: who sent it, its number, when, and filler.

use std::time::Duration;

use super::session::Session;

/// Writes the head of a payload; the rest of it is filler.
pub(super) fn write_head(payload: &mut [u8], session: u32, number: u32, now: Duration) {
    payload[..4].copy_from_slice(&session.to_be_bytes());
    payload[4..8].copy_from_slice(&number.to_be_bytes());
    payload[8..16].copy_from_slice(&nanoseconds(now).to_be_bytes());
}

/// Counts a payload that came back, and how long it was on its way.
pub(super) fn count(session: &mut Session, now: Duration, payload: &[u8]) {
    session.counts.received += 1;
    session.counts.received_bytes += payload.len() as u64;
    if let Some(sent) = payload.get(8..16).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes) {
        let delay = nanoseconds(now).checked_sub(sent).map(Duration::from_nanos);
        if let Some(delay) = delay.filter(|delay| *delay < LONGEST_DELAY) {
            session.delays.note(delay);
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A larger delay means that the payload is somebody else's.
const LONGEST_DELAY: Duration = Duration::from_secs(3600);
