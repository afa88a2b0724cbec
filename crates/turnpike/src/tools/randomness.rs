//! Random bytes from the operating system, and a fast generator for filler that need not be secret.

use anyhow::{Result, anyhow};

/// A secret seed.
pub(crate) fn seed() -> Result<[u8; 16]> {
    let mut seed = [0; 16];
    getrandom::fill(&mut seed).map_err(|error| anyhow!("the system gives no random bytes: {error}"))?;
    Ok(seed)
}

/// A small generator (SplitMix64) for test traffic: fast, repeatable from its seed, and no secret.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Result<Self> {
        let mut half = [0; 8];
        half.copy_from_slice(&seed()?[..8]);
        Ok(Dice(u64::from_le_bytes(half)))
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
