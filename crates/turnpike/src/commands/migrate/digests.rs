//! Rows as digests: what two databases are compared by, in whatever order they list them.
//!
//! The digests are keyed with random bytes that no two runs share: a checksum that is printed says nothing to anybody
//! who would guess a secret.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};
use turnpike_store::{Row, StoredUser};

use crate::randomness;
use crate::tools::turnadmin::row_values;

/// Makes digests of rows.
#[derive(Clone)]
pub(super) struct Digester {
    key: [u8; 16],
    /// Whether SHA-256 keys count: not where the destination has no place for them.
    with_sha256: bool,
}

/// The digests of rows of one kind: of what names a row, and of the whole of it. 32 bytes a row, and a table around
/// them: a million users take some 70 MB on each side.
#[derive(Debug, Default)]
pub(super) struct Digests(HashMap<[u8; 16], [u8; 16]>);

/// What a row is to some digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Absent,
    Same,
    /// Its name is there with other values.
    Different,
}

/// How many rows there are, and the sum of their digests, whatever their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Checksum {
    pub(super) rows: u64,
    pub(super) sum: u128,
}

impl Digester {
    pub(super) fn new(with_sha256: bool) -> anyhow::Result<Self> {
        Ok(Digester { key: randomness::random()?, with_sha256 })
    }

    fn name(&self, row: &Row) -> [u8; 16] {
        // What is not part of a row's name is taken out of it.
        let named = match row.clone() {
            Row::User { realm, name, .. } => vec![realm, name],
            Row::Origin { origin, .. } => vec![origin],
            Row::RealmLimit { realm, option, .. } => vec![realm, option.name().to_owned()],
            Row::OAuthKey(key) => vec![key.kid],
            Row::AdminUser(admin) => vec![admin.name],
            row @ (Row::Secret { .. } | Row::AllowedPeer { .. } | Row::DeniedPeer { .. }) => row_values(&row),
        };
        self.digest(&named)
    }

    fn whole(&self, row: &Row) -> [u8; 16] {
        match row {
            Row::User { realm, name, user } if !self.with_sha256 => {
                let user = StoredUser { hmackey: user.hmackey, sha256: None };
                let row = Row::User { realm: realm.clone(), name: name.clone(), user };
                self.digest(&row_values(&row))
            }
            row => self.digest(&row_values(row)),
        }
    }

    fn digest(&self, values: &[String]) -> [u8; 16] {
        let mut hash = Sha256::new_with_prefix(self.key);
        for value in values {
            hash.update((value.len() as u64).to_le_bytes());
            hash.update(value);
        }
        let mut digest = [0; 16];
        digest.copy_from_slice(&hash.finalize()[..16]);
        digest
    }
}

impl Digests {
    /// Takes a row in. A list may repeat a row: of two the later one counts.
    pub(super) fn add(&mut self, digester: &Digester, row: &Row) {
        self.0.insert(digester.name(row), digester.whole(row));
    }

    pub(super) fn standing(&self, digester: &Digester, row: &Row) -> Standing {
        match self.0.get(&digester.name(row)) {
            None => Standing::Absent,
            Some(whole) if *whole == digester.whole(row) => Standing::Same,
            Some(_) => Standing::Different,
        }
    }

    pub(super) fn checksum(&self) -> Checksum {
        let sum = |sum: u128, whole: &[u8; 16]| sum.wrapping_add(u128::from_le_bytes(*whole));
        Checksum { rows: self.0.len() as u64, sum: self.0.values().fold(0, sum) }
    }

    /// The checksum of those rows alone that `other` names too.
    pub(super) fn checksum_of_shared(&self, other: &Digests) -> Checksum {
        let shared = self.0.iter().filter(|(name, _)| other.0.contains_key(*name));
        shared.fold(Checksum::default(), |sum, (_, whole)| Checksum {
            rows: sum.rows + 1,
            sum: sum.sum.wrapping_add(u128::from_le_bytes(*whole)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, key: u8, sha256: Option<u8>) -> Row {
        let user = StoredUser { hmackey: [key; 16], sha256: sha256.map(|byte| [byte; 32]) };
        Row::User { realm: "r".into(), name: name.into(), user }
    }

    fn digests(digester: &Digester, rows: &[Row]) -> Digests {
        let mut digests = Digests::default();
        rows.iter().for_each(|row| digests.add(digester, row));
        digests
    }

    #[test]
    fn neither_the_order_of_rows_nor_a_repetition_changes_a_checksum_and_any_value_does() {
        let digester = Digester::new(true).unwrap();
        let sum = |rows: &[Row]| digests(&digester, rows).checksum();
        let (alice, bob) = (user("alice", 1, None), user("bob", 2, Some(3)));
        let both = sum(&[alice.clone(), bob.clone()]);
        assert_eq!(both, sum(&[bob.clone(), alice.clone(), bob.clone()]));
        for other in
            [user("bob", 3, Some(3)), user("bob", 2, Some(4)), user("bob", 2, None), user("bo", 2, Some(3))]
        {
            assert_ne!(both, sum(&[alice.clone(), other]));
        }
        assert_ne!(both, sum(&[alice]));
    }

    #[test]
    fn values_that_run_together_alike_are_not_the_same() {
        let digester = Digester::new(true).unwrap();
        let secret = |realm: &str, value: &str| Row::Secret { realm: realm.into(), value: value.into() };
        let known = digests(&digester, &[secret("ab", "c")]);
        assert_eq!(known.standing(&digester, &secret("a", "bc")), Standing::Absent);
        assert_eq!(known.standing(&digester, &secret("ab", "c")), Standing::Same);
    }

    #[test]
    fn a_key_that_has_no_place_does_not_count() {
        let digester = Digester::new(false).unwrap();
        let known = digests(&digester, &[user("a", 1, None)]);
        assert_eq!(known.standing(&digester, &user("a", 1, Some(1))), Standing::Same);
        assert_eq!(known.standing(&digester, &user("a", 2, None)), Standing::Different);
    }

    #[test]
    fn rows_that_only_one_side_has_are_told_apart() {
        let digester = Digester::new(true).unwrap();
        let source = digests(&digester, &[user("a", 1, None)]);
        let more = digests(&digester, &[user("a", 1, None), user("b", 1, None)]);
        assert_eq!(more.checksum_of_shared(&source), source.checksum());
        assert_ne!(more.checksum(), source.checksum());
        let other = digests(&digester, &[user("a", 2, None)]);
        assert_ne!(other.checksum_of_shared(&source), source.checksum());
    }
}
