//! What each packet carries: who sent it, its number, when it was due, and bytes that show whether it is whole.
//!
//! The time is the one at which the packet was to leave, not the one at which it left: a generator that was held up
//! must not thereby flatter the server ("coordinated omission").

/// Which way a packet travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    ToPeer,
    ToClient,
}

/// The beginning of every payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) direction: Direction,
    /// Tells this run's packets from those of others.
    pub(super) run: u32,
    /// Index of the call.
    pub(super) call: u32,
    /// Counts the packets of one call in one direction, from 1.
    pub(super) number: u32,
    /// When it was to leave, in nanoseconds since the run began.
    pub(super) due: u64,
}

/// The bytes behind the stamps: the same for all packets, beginning elsewhere in each.
pub(super) struct Filler {
    bytes: Vec<u8>,
}

impl Stamp {
    /// Fills a payload of at least [`SHORTEST_PAYLOAD`] bytes.
    pub(super) fn write(&self, filler: &Filler, payload: &mut [u8]) {
        let Some((head, rest)) = payload.split_first_chunk_mut::<SHORTEST_PAYLOAD>() else { return };
        let magic = match self.direction {
            Direction::ToPeer => TO_PEER,
            Direction::ToClient => TO_CLIENT,
        };
        for (place, word) in head.chunks_exact_mut(4).zip([magic, self.run, self.call, self.number]) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        head[16..].copy_from_slice(&self.due.to_be_bytes());
        rest.copy_from_slice(filler.part(self.number, rest.len()));
    }

    /// Reads the stamp of a payload that is whole: the right length, and every byte as it was sent.
    pub(super) fn read(filler: &Filler, payload: &[u8]) -> Option<Self> {
        let (head, rest) = payload.split_first_chunk::<SHORTEST_PAYLOAD>()?;
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let direction = match word(0) {
            TO_PEER => Direction::ToPeer,
            TO_CLIENT => Direction::ToClient,
            _ => return None,
        };
        let number = word(12);
        if rest.len() > LONGEST_PAYLOAD || rest != filler.part(number, rest.len()) {
            return None;
        }
        let due = u64::from(word(16)) << 32 | u64::from(word(20));
        Some(Stamp { direction, run: word(4), call: word(8), number, due })
    }
}

impl Filler {
    pub(super) fn new() -> Self {
        // Any fixed sequence without short periods will do.
        let mut state: u32 = 0x9E37_79B9;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        Filler { bytes: (0..SHIFTS + LONGEST_PAYLOAD).map(|_| next()).collect() }
    }

    fn part(&self, number: u32, length: usize) -> &[u8] {
        let start = number as usize % SHIFTS;
        &self.bytes[start..start + length]
    }
}

/// Bytes of a stamp.
pub(super) const SHORTEST_PAYLOAD: usize = 24;
/// With the headers of ChannelData, UDP and IPv6 it still fits an Ethernet frame.
pub(super) const LONGEST_PAYLOAD: usize = 1400;
const SHIFTS: usize = 251;
const TO_PEER: u32 = 0x6C64_7065;
const TO_CLIENT: u32 = 0x6C64_636C;

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp =
        Stamp { direction: Direction::ToClient, run: 9, call: 7, number: 300, due: 0x0102_0304_0506_0708 };

    #[test]
    fn a_payload_that_arrives_whole_gives_its_stamp_back() {
        let filler = Filler::new();
        for length in [SHORTEST_PAYLOAD, 160, LONGEST_PAYLOAD] {
            for direction in [Direction::ToPeer, Direction::ToClient] {
                let (stamp, mut payload) = (Stamp { direction, ..STAMP }, vec![0; length]);
                stamp.write(&filler, &mut payload);
                assert_eq!(Stamp::read(&filler, &payload), Some(stamp));
            }
        }
    }

    #[test]
    fn a_changed_or_foreign_payload_is_refused() {
        let filler = Filler::new();
        let mut payload = [0; 160];
        STAMP.write(&filler, &mut payload);
        payload[159] ^= 1;
        assert_eq!(Stamp::read(&filler, &payload), None);
        payload[159] ^= 1;
        payload[0] = 0;
        assert_eq!(Stamp::read(&filler, &payload), None);
        assert_eq!(Stamp::read(&filler, &payload[..23]), None);
        assert_eq!(Stamp::read(&filler, &[0x6C; 65_000]), None);
    }
}
