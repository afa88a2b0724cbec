//! Numbers nobody outside can guess, from one seed: a keyed hash of a counter.

use core::hash::Hasher;

use siphasher::sip::SipHasher24;

/// A generator whose output is predictable only to who knows the seed.
#[derive(Clone)]
pub(crate) struct Random {
    key: (u64, u64),
    counter: u64,
}

impl Random {
    pub(crate) fn new(seed: [u8; 16]) -> Self {
        let [k0, k1] = halves(seed);
        Random { key: (k0, k1), counter: 0 }
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        let mut hasher = SipHasher24::new_with_keys(self.key.0, self.key.1);
        hasher.write_u64(self.counter);
        hasher.finish()
    }

    pub(crate) fn transaction_id(&mut self) -> turnpike_wire::TransactionId {
        let mut id = [0; 12];
        id[..8].copy_from_slice(&self.next_u64().to_be_bytes());
        id[8..].copy_from_slice(&(self.counter as u32).to_be_bytes());
        turnpike_wire::TransactionId(id)
    }
}

impl core::fmt::Debug for Random {
    /// Whoever knows the key knows every port and token to come.
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("Random([redacted])")
    }
}

/// Two little-endian words of a 16-byte key.
pub(crate) fn halves(key: [u8; 16]) -> [u64; 2] {
    let number = u128::from_le_bytes(key);
    [number as u64, (number >> 64) as u64]
}
