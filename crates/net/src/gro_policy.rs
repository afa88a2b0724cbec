//! When to let the kernel join received datagrams: it costs a few per cent with thin flows and gains a third with
//! bursts, so what arrives decides.

use crate::receive::Received;

/// Watches one socket's batches.
///
/// Joining begins off. Batches in which most datagrams follow one of the same sender and size speak for it, single
/// datagrams and mixed batches against it; once there is enough evidence it is switched on. When no train arrives for long it is switched off again. If
/// there was none at all meanwhile, the bursts were such that the kernel could not join them, and more of them are
/// needed the next time, up to a thousand times as many.
#[derive(Clone, Copy, Debug)]
pub struct GroPolicy {
    on: bool,
    /// Whether a train has arrived since it was switched on.
    fruitful: bool,
    /// Batches that speak for a change.
    evidence: u16,
    /// How many it takes to switch it on.
    demanded: u16,
}

impl Default for GroPolicy {
    fn default() -> Self {
        GroPolicy { on: false, fruitful: false, evidence: 0, demanded: PATIENCE_ON }
    }
}

impl GroPolicy {
    /// Takes note of one batch; `Some` when the option is to be changed. A batch of no message says nothing.
    #[inline]
    pub fn observe(&mut self, batch: &[Received]) -> Option<bool> {
        // A thin flow's batch: a single message that is no train.
        if !self.on && batch.len() < 2 {
            self.evidence = self.evidence.saturating_sub(batch.len() as u16);
            return None;
        }
        if self.on { self.observe_on(batch) } else { self.observe_off(batch) }
    }

    /// Whether joining is on.
    pub fn is_on(&self) -> bool {
        self.on
    }

    fn observe_off(&mut self, batch: &[Received]) -> Option<bool> {
        let joinable = batch.windows(2).filter(|pair| could_be_joined(&pair[0], &pair[1])).count();
        self.evidence = if joinable * 2 >= batch.len() { self.evidence.saturating_add(1) } else { 0 };
        if self.evidence < self.demanded {
            return None;
        }
        *self = GroPolicy { on: true, fruitful: false, evidence: 0, demanded: self.demanded };
        Some(true)
    }

    fn observe_on(&mut self, batch: &[Received]) -> Option<bool> {
        if batch.iter().any(Received::is_train) {
            (self.fruitful, self.evidence, self.demanded) = (true, 0, PATIENCE_ON);
        } else if !batch.is_empty() {
            self.evidence = self.evidence.saturating_add(1);
        }
        if self.evidence < PATIENCE_OFF {
            return None;
        }
        let demanded = if self.fruitful { PATIENCE_ON } else { (self.demanded * 4).min(MOST_PATIENCE_ON) };
        *self = GroPolicy { on: false, fruitful: false, evidence: 0, demanded };
        Some(false)
    }
}

/// Whether the kernel could have joined two datagrams, one behind the other.
#[inline]
fn could_be_joined(first: &Received, second: &Received) -> bool {
    second.span.len() <= first.span.len() && first.from == second.from
}

/// Batches with bursts before joining is switched on.
const PATIENCE_ON: u16 = 4;
/// The same after it has been switched on in vain again and again.
const MOST_PATIENCE_ON: u16 = 4096;
/// Batches without a train in a row before it is switched off.
const PATIENCE_OFF: u16 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet_pool::Span;

    fn received(port: u16, segment: u32) -> Received {
        let span = Span { buffer: 0, start: 0, end: 1000 };
        let from = ([198, 51, 100, 7], port).into();
        Received { span, segment, from, local: None, interface: 0, tos: 0, ttl: 0 }
    }

    fn burst() -> [Received; 3] {
        [received(1, 1000), received(1, 1000), received(1, 1000)]
    }

    fn thin() -> [Received; 3] {
        [received(1, 1000), received(2, 1000), received(3, 1000)]
    }

    #[test]
    fn bursts_switch_it_on_and_thin_flows_switch_it_off_again() {
        let mut policy = GroPolicy::default();
        let train = [received(1, 500)];
        assert_eq!((0..100).find_map(|_| policy.observe(&thin())), None);
        assert_eq!((0..100).find_map(|_| policy.observe(&burst())), Some(true));
        assert_eq!((0..1000).find_map(|_| policy.observe(&train)), None);
        assert_eq!((0..100).find_map(|_| policy.observe(&thin())), Some(false));
        assert!(!policy.is_on());
    }

    #[test]
    fn single_datagrams_never_switch_it_on() {
        let mut policy = GroPolicy::default();
        assert_eq!((0..10_000).find_map(|_| policy.observe(&burst()[..1])), None);
        assert_eq!((0..10_000).find_map(|_| policy.observe(&[])), None);
    }

    #[test]
    fn growing_datagrams_are_no_burst_for_the_kernel_joins_equal_ones() {
        let mut policy = GroPolicy::default();
        let mut batch = burst();
        for (index, received) in batch.iter_mut().enumerate() {
            received.span.end = 100 * (index as u32 + 1);
        }
        assert_eq!((0..100).find_map(|_| policy.observe(&batch)), None);
    }

    #[test]
    fn bursts_that_never_become_trains_are_tried_ever_more_seldom() {
        let mut policy = GroPolicy::default();
        let changes = (0..100_000).filter(|_| policy.observe(&burst()).is_some()).count();
        assert!(changes < 70, "{changes} changes");
        // One train is enough to be trusted again.
        assert_eq!((0..5000).find_map(|_| policy.observe(&burst())), Some(true));
        assert_eq!(policy.observe(&[received(1, 500)]), None);
        assert_eq!((0..64).find_map(|_| policy.observe(&thin())), Some(false));
        assert_eq!((0..4).find_map(|_| policy.observe(&burst())), Some(true));
    }
}
