//! What connections are to send in one turn of the loop: one buffer for all of them.

use std::io::IoSlice;

use turnpike_turn::Link;

/// Whether a message may be dropped when its client does not keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Application data: it is of no use later.
    Data,
    /// An answer.
    Control,
}

#[derive(Debug, Default)]
pub(crate) struct StreamOutput {
    bytes: Vec<u8>,
    /// Whose each message is and where it lies, in the order they were made.
    messages: Vec<Queued>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Queued {
    link: u64,
    start: u32,
    end: u32,
}

impl StreamOutput {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn push(&mut self, link: Link, parts: [&[u8]; 3]) {
        let start = self.bytes.len() as u32;
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.messages.push(Queued { link: link.0, start, end: self.bytes.len() as u32 });
    }

    /// Empties the buffer: for each connection its messages in order, some at a time.
    pub(crate) fn drain(&mut self, mut send: impl FnMut(Link, &[IoSlice<'_>])) {
        // By connection, and the messages of one in the order in which they were made.
        self.messages.sort_unstable();
        let mut slices = [IoSlice::new(&[]); SLICES];
        for messages in self.messages.chunk_by(|one, other| one.link == other.link) {
            for some in messages.chunks(SLICES) {
                for (slice, message) in slices.iter_mut().zip(some) {
                    *slice = IoSlice::new(&self.bytes[message.start as usize..message.end as usize]);
                }
                send(Link(some[0].link), &slices[..some.len()]);
            }
        }
        self.messages.clear();
        self.bytes.clear();
    }
}

/// Messages handed over at once.
const SLICES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_gets_its_messages_together_and_in_order() {
        let mut output = StreamOutput::default();
        for number in 0..200_u8 {
            output.push(Link(u64::from(number % 3)), [&[number], &[], &[number, number]]);
        }
        let mut sent = [const { Vec::new() }; 3];
        let mut calls = 0;
        output.drain(|link, slices| {
            calls += 1;
            slices.iter().for_each(|slice| sent[link.0 as usize].extend_from_slice(slice));
        });
        assert_eq!((calls, output.len()), (6, 0));
        for (link, bytes) in sent.iter().enumerate() {
            let expected: Vec<u8> = (0..200).filter(|number| number % 3 == link as u8).collect();
            assert_eq!(bytes.chunks(3).map(|message| message[0]).collect::<Vec<_>>(), expected);
            assert!(bytes.chunks(3).all(|message| message[1] == message[0] && message[2] == message[0]));
        }
    }
}
