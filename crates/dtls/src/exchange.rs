//! The bytes that come and go: OpenSSL reads and writes through it, a datagram each time.

use std::io::{self, ErrorKind, Read, Write};
use std::mem;

/// Room for one datagram that came and for those that are to go, shared by all sessions of a thread: a session holds
/// it only while it works.
#[derive(Debug)]
pub struct Exchange {
    lent: Lent,
}

/// Where a session looks for it.
#[derive(Debug, Default)]
pub(crate) struct Lent(Option<Box<Datagrams>>);

#[derive(Debug, Default)]
struct Datagrams {
    input: Vec<u8>,
    has_input: bool,
    output: Vec<u8>,
    /// Where each datagram of the output ends.
    ends: Vec<usize>,
    /// A record that is put together from parts.
    gathered: Vec<u8>,
}

impl Default for Exchange {
    fn default() -> Self {
        Exchange { lent: Lent(Some(Box::default())) }
    }
}

impl Exchange {
    /// Every datagram to send since [`Exchange::clear`], in order.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let datagrams = self.lent.0.as_deref();
        let ends = datagrams.map_or(&[][..], |datagrams| &datagrams.ends);
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let output = datagrams.map_or(&[][..], |datagrams| &datagrams.output);
        starts.zip(ends).map(|(start, end)| &output[start..*end])
    }

    /// Forgets what was to be sent.
    pub fn clear(&mut self) {
        if let Some(datagrams) = &mut self.lent.0 {
            datagrams.output.clear();
            datagrams.ends.clear();
        }
    }

    /// Puts in a datagram that came; one that was not read is forgotten.
    pub(crate) fn put(&mut self, datagram: &[u8]) {
        if let Some(datagrams) = &mut self.lent.0 {
            datagrams.input.clear();
            datagrams.input.extend_from_slice(datagram);
            datagrams.has_input = true;
        }
    }

    /// Whether that datagram was not read yet.
    pub(crate) fn has_input(&self) -> bool {
        self.lent.0.as_ref().is_some_and(|datagrams| datagrams.has_input)
    }

    /// Takes the room for a record in parts; it is to be given back.
    pub(crate) fn take_gathered(&mut self) -> Vec<u8> {
        self.lent.0.as_mut().map_or_else(Vec::new, |datagrams| mem::take(&mut datagrams.gathered))
    }

    pub(crate) fn give_gathered(&mut self, gathered: Vec<u8>) {
        if let Some(datagrams) = &mut self.lent.0 {
            datagrams.gathered = gathered;
        }
    }

    /// Lends it to a session, or takes it back.
    pub(crate) fn swap(&mut self, place: &mut Lent) {
        mem::swap(&mut self.lent, place);
    }
}

impl Read for Lent {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let Some(datagrams) = self.0.as_mut().filter(|datagrams| datagrams.has_input) else {
            return Err(ErrorKind::WouldBlock.into());
        };
        datagrams.has_input = false;
        // As from a socket: what does not fit is cut off, and the record then is no good.
        let length = datagrams.input.len().min(room.len());
        room[..length].copy_from_slice(&datagrams.input[..length]);
        Ok(length)
    }
}

impl Write for Lent {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        if let Some(datagrams) = &mut self.0 {
            datagrams.output.extend_from_slice(datagram);
            datagrams.ends.push(datagrams.output.len());
        }
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_keep_their_boundaries_both_ways() {
        let mut exchange = Exchange::default();
        exchange.put(b"what came");
        let mut lent = Lent::default();
        exchange.swap(&mut lent);
        let mut room = [0; 32];
        assert_eq!(lent.read(&mut room).unwrap(), 9);
        assert_eq!(lent.read(&mut room).unwrap_err().kind(), ErrorKind::WouldBlock);
        lent.write_all(b"one").unwrap();
        lent.write_all(b"other").unwrap();
        exchange.swap(&mut lent);
        assert_eq!(exchange.datagrams().collect::<Vec<_>>(), [&b"one"[..], b"other"]);
        exchange.clear();
        assert_eq!(exchange.datagrams().count(), 0);
    }
}
