//! A network with faults: what is sent may come late, in another order, twice, damaged, or not at all.

use std::fmt;
use std::net::SocketAddr;

use crate::random::Random;

/// A UDP datagram on its way.
#[derive(Clone, Hash, PartialEq, Eq)]
pub(crate) struct Datagram {
    /// The source it claims.
    pub(crate) from: SocketAddr,
    /// Where it goes.
    pub(crate) to: SocketAddr,
    /// Its payload.
    pub(crate) bytes: Vec<u8>,
}

impl fmt::Debug for Datagram {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} > {} ", self.from, self.to)?;
        self.bytes.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// How bad the network is, in permille of the datagrams, and delays in nanoseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// How many are lost.
    pub(crate) loss: u64,
    /// How many arrive twice.
    pub(crate) duplication: u64,
    /// How many arrive damaged.
    pub(crate) corruption: u64,
    /// The shortest way.
    pub(crate) least_delay: u64,
    /// By how much it varies; reorders.
    pub(crate) jitter: u64,
    /// How many are held back for seconds.
    pub(crate) straggling: u64,
}

impl Faults {
    /// A network as bad as this randomness says; one in four is perfect.
    pub(crate) fn random(random: &mut Random) -> Self {
        let least_delay = random.between(10_000, 40_000_000);
        if random.chance(250) {
            return Faults { least_delay, ..Faults::default() };
        }
        Faults {
            loss: random.below(120),
            duplication: random.below(120),
            corruption: random.below(80),
            least_delay,
            jitter: *random.pick(&[0, 1_000_000, 200_000_000]),
            straggling: random.below(30),
        }
    }

    /// When, after how many nanoseconds, the copies of a datagram arrive.
    pub(crate) fn transmit(&self, datagram: Datagram, random: &mut Random) -> Vec<(u64, Datagram)> {
        if random.chance(self.loss) {
            return Vec::new();
        }
        let copies = if random.chance(self.duplication) { 2 } else { 1 };
        let mut arrivals = Vec::new();
        for _ in 0..copies {
            let mut delay = self.least_delay + random.below(self.jitter + 1);
            if random.chance(self.straggling) {
                delay += random.below(45 * SECOND);
            }
            let mut copy = datagram.clone();
            if random.chance(self.corruption) {
                damage(&mut copy.bytes, random);
            }
            arrivals.push((delay, copy));
        }
        arrivals
    }
}

/// Flips bits, cuts off the end, or appends something.
pub(crate) fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    match random.below(8) {
        0 => bytes.truncate(random.index(bytes.len() + 1)),
        1 => {
            let more = random.between(1, 9) as usize;
            bytes.extend(random.blob(more));
        }
        2 if bytes.len() > 24 => {
            // An attribute's header is where damage hurts most.
            let at = 20 + random.index((bytes.len() - 20) / 4) * 4;
            let random: [u8; 4] = random.bytes();
            bytes[at..at + 4].copy_from_slice(&random);
        }
        _ => {
            for _ in 0..random.between(1, 4) {
                if !bytes.is_empty() {
                    let at = random.index(bytes.len());
                    bytes[at] ^= 1 << random.below(8);
                }
            }
        }
    }
}

/// Nanoseconds of a second.
pub(crate) const SECOND: u64 = 1_000_000_000;
