//! When to let the kernel join received datagrams: it costs with thin flows and gains with bursts, so what
//! arrives decides.

use crate::receive::Received;

/// Watches one socket's batches.
#[derive(Clone, Copy, Debug, Default)]
pub struct GroPolicy {
    on: bool,
    /// Evidence for a change: batches in a row that speak for it.
    evidence: u8,
}

impl GroPolicy {
    /// Takes note of one batch; `Some` when the option is to be changed.
    #[inline]
    pub fn observe(&mut self, batch: &[Received]) -> Option<bool> {
        let speaks_for_change = if self.on {
            !batch.iter().any(Received::is_train)
        } else {
            batch.windows(2).filter(|pair| pair[0].from == pair[1].from).count() * 2 >= batch.len().max(2)
        };
        self.evidence = if speaks_for_change { self.evidence.saturating_add(1) } else { 0 };
        if self.evidence < if self.on { PATIENCE_OFF } else { PATIENCE_ON } {
            return None;
        }
        self.on = !self.on;
        self.evidence = 0;
        Some(self.on)
    }

    /// Whether joining is on.
    pub fn is_on(&self) -> bool {
        self.on
    }
}

/// Batches with bursts in a row before joining is switched on.
const PATIENCE_ON: u8 = 4;
/// Batches without a train in a row before it is switched off.
const PATIENCE_OFF: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet_pool::Span;

    fn received(port: u16, segment: u32) -> Received {
        let span = Span { buffer: 0, start: 0, end: 1000 };
        Received { span, segment, from: ([198, 51, 100, 7], port).into(), local: None }
    }

    #[test]
    fn bursts_switch_it_on_and_thin_flows_switch_it_off_again() {
        let mut policy = GroPolicy::default();
        let burst = [received(1, 1000), received(1, 1000), received(1, 1000)];
        let thin = [received(1, 1000), received(2, 1000), received(3, 1000)];
        let train = [received(1, 500)];
        assert_eq!((0..100).find_map(|_| policy.observe(&thin)), None);
        assert_eq!((0..100).find_map(|_| policy.observe(&burst)), Some(true));
        assert_eq!((0..1000).find_map(|_| policy.observe(&train)), None);
        assert_eq!((0..100).find_map(|_| policy.observe(&thin)), Some(false));
        assert!(!policy.is_on());
    }
}
