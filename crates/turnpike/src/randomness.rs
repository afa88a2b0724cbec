//! Random bytes from the operating system, and a fast generator for filler that need not be secret.

use std::io;

/// As many secret bytes as are asked for.
///
/// # Errors
/// The system gives none.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(io::Error::other(format!("the system gives no random bytes: {error}"))),
    }
}

/// A small generator (SplitMix64) for test traffic: fast, repeatable from its seed, and no secret.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Dice(u64::from_le_bytes(random()?)))
    }

    pub(crate) fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ (value >> 31)
    }

    /// A number below `limit`, which is not zero.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.throw() % limit.max(1) as u64) as usize
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.throw().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }
}
