//! The records of a datagram, by their headers alone (RFC 6347 §4.1).

use crate::hello::{RECORD_HEADER, VERSION_MAJOR};

/// The epoch of a datagram's first record: zero while nothing is encrypted.
pub fn first_epoch(datagram: &[u8]) -> Option<u16> {
    records(datagram).next().map(|record| record.epoch)
}

/// How many records of a datagram are encrypted. OpenSSL keeps those that come before it has the key, each in a buffer
/// of full size.
pub fn later_records(datagram: &[u8]) -> usize {
    records(datagram).filter(|record| record.epoch > 0).count()
}

/// How many bytes at the front of a datagram are whole records; `least_sealed` is what an encrypted one has at least.
#[cfg_attr(not(feature = "sessions"), allow(dead_code, reason = "only sessions take records in"))]
pub(crate) fn sound_records(datagram: &[u8], least_sealed: usize) -> usize {
    let is_sound = |record: &Record| record.length >= if record.epoch == 0 { 1 } else { least_sealed };
    records(datagram).take_while(is_sound).last().map_or(0, |record| record.end)
}

struct Record {
    epoch: u16,
    length: usize,
    /// Where it ends in the datagram.
    end: usize,
}

/// The whole records at the front of a datagram.
fn records(datagram: &[u8]) -> impl Iterator<Item = Record> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let header = datagram.get(start..start + RECORD_HEADER)?;
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        let end = start + RECORD_HEADER + length;
        let is_whole = header[1] == VERSION_MAJOR && end <= datagram.len();
        start = end;
        is_whole.then(|| Record { epoch: u16::from_be_bytes([header[3], header[4]]), length, end })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(epoch: u8, length: u8) -> Vec<u8> {
        let mut bytes = vec![23, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, 0, 0, length];
        bytes.resize(13 + usize::from(length), 7);
        bytes
    }

    #[test]
    fn what_is_cut_off_or_too_short_to_be_sealed_ends_what_is_sound() {
        let good = record(1, 30);
        assert_eq!(sound_records(&good, 24), 43);
        assert_eq!(sound_records(&good, 31), 0);
        assert_eq!(sound_records(&good[..42], 24), 0);
        let several = [good.clone(), record(0, 1), record(1, 23), good].concat();
        assert_eq!(sound_records(&several, 24), 43 + 14);
        assert_eq!((first_epoch(&several), later_records(&several)), (Some(1), 3));
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at_within_their_bounds(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(sound_records(&bytes, 16) <= bytes.len());
            prop_assert!(later_records(&bytes) <= bytes.len() / RECORD_HEADER);
        }
    }
}
