//! What the measured packets carry, so that whoever receives one can tell whether it is whole and in order.
//!
//! A payload is a stamp (direction, call, number, run, time) and then bytes of a fixed pattern whose beginning
//! shifts with the number: a relay that truncates, mixes up or repeats packets shows.

/// Which way a packet travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToPeer,
    ToClient,
}

/// The beginning of every payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) direction: Direction,
    /// Index of the call.
    pub(crate) call: u32,
    /// Counts the packets of one call in one direction, from 1.
    pub(crate) number: u32,
    /// Tells the packets of one run from late ones of the run before.
    pub(crate) run: u32,
    /// Nanoseconds since the run began.
    pub(crate) sent: u64,
}

/// The bytes all payloads are cut from.
pub(crate) struct Pattern {
    bytes: Vec<u8>,
}

impl Pattern {
    pub(crate) fn new() -> Self {
        // Any fixed sequence without short periods will do: a multiplicative generator's high bits.
        let mut state: u32 = 0x9E37_79B9;
        let bytes = (0..SHIFTS + LONGEST_PAYLOAD)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        Pattern { bytes }
    }

    /// Fills `payload`, which has at least [`STAMP`] bytes and at most [`LONGEST_PAYLOAD`].
    pub(crate) fn write(&self, stamp: &Stamp, payload: &mut [u8]) {
        let (head, rest) = payload.split_at_mut(STAMP);
        let direction = match stamp.direction {
            Direction::ToPeer => TO_PEER,
            Direction::ToClient => TO_CLIENT,
        };
        head[..4].copy_from_slice(&direction.to_be_bytes());
        head[4..8].copy_from_slice(&stamp.call.to_be_bytes());
        head[8..12].copy_from_slice(&stamp.number.to_be_bytes());
        head[12..16].copy_from_slice(&stamp.run.to_be_bytes());
        head[16..24].copy_from_slice(&stamp.sent.to_be_bytes());
        rest.copy_from_slice(self.part(stamp.number, rest.len()));
    }

    /// Reads the stamp if the payload is whole: `length` bytes, all of them right.
    pub(crate) fn read(&self, payload: &[u8], length: usize) -> Option<Stamp> {
        if payload.len() != length {
            return None;
        }
        let (head, rest) = payload.split_first_chunk::<STAMP>()?;
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let direction = match word(0) {
            TO_PEER => Direction::ToPeer,
            TO_CLIENT => Direction::ToClient,
            _ => return None,
        };
        let number = word(8);
        if rest != self.part(number, rest.len()) {
            return None;
        }
        let sent = u64::from(word(16)) << 32 | u64::from(word(20));
        Some(Stamp { direction, call: word(4), number, run: word(12), sent })
    }

    fn part(&self, number: u32, length: usize) -> &[u8] {
        let start = number as usize % SHIFTS;
        &self.bytes[start..start + length]
    }
}

/// Bytes of a stamp.
pub(crate) const STAMP: usize = 24;
/// Bytes of the longest payload.
pub(crate) const LONGEST_PAYLOAD: usize = 1400;
const SHIFTS: usize = 251;
const TO_PEER: u32 = 0x7465_7065;
const TO_CLIENT: u32 = 0x746F_636C;

#[cfg(test)]
mod tests {
    use super::*;

    const STAMPED: Stamp =
        Stamp { direction: Direction::ToClient, call: 7, number: 300, run: 2, sent: 0x0102_0304_0506_0708 };

    #[test]
    fn a_payload_that_arrives_whole_gives_its_stamp_back() {
        let pattern = Pattern::new();
        let mut payload = [0; 160];
        pattern.write(&STAMPED, &mut payload);
        assert_eq!(pattern.read(&payload, 160), Some(STAMPED));
    }

    #[test]
    fn a_changed_truncated_or_foreign_payload_is_refused() {
        let pattern = Pattern::new();
        let mut payload = [0; 160];
        pattern.write(&STAMPED, &mut payload);
        assert_eq!(pattern.read(&payload[..159], 160), None);
        payload[159] ^= 1;
        assert_eq!(pattern.read(&payload, 160), None);
        payload[159] ^= 1;
        payload[0] = 0;
        assert_eq!(pattern.read(&payload, 160), None);
        assert_eq!(pattern.read(&[], 160), None);
    }

    #[test]
    fn packets_that_follow_each_other_differ_beyond_the_stamp() {
        let pattern = Pattern::new();
        let (mut first, mut second) = ([0; 64], [0; 64]);
        pattern.write(&STAMPED, &mut first);
        pattern.write(&Stamp { number: 301, ..STAMPED }, &mut second);
        assert_ne!(first[STAMP..], second[STAMP..]);
    }
}
