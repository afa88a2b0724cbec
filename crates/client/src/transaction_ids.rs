//! Transaction ids nobody can guess (RFC 8489 §5): a keyed hash of a counter.

use core::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};
use turnpike_wire::TransactionId;

/// An endless sequence of transaction ids from one secret seed.
pub struct TransactionIds {
    key: [u8; 16],
    counter: u64,
}

impl TransactionIds {
    /// `seed` should come from the operating system's randomness and serve one client only: equal seeds give
    /// equal ids.
    pub fn new(seed: [u8; 16]) -> Self {
        TransactionIds { key: seed, counter: 0 }
    }

    /// The next id.
    pub fn next_id(&mut self) -> TransactionId {
        self.counter += 1;
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write_u64(self.counter);
        let mut id = [0; 12];
        id.copy_from_slice(&hasher.finish128().as_bytes()[..12]);
        TransactionId(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_depend_on_the_seed_alone() {
        let mut first = TransactionIds::new([1; 16]);
        let mut same = TransactionIds::new([1; 16]);
        let mut other = TransactionIds::new([2; 16]);
        let (one, two) = (first.next_id(), first.next_id());
        assert_ne!(one, two);
        assert_eq!((same.next_id(), same.next_id()), (one, two));
        assert_ne!(other.next_id(), one);
    }
}
