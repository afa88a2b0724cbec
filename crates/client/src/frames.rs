//! Cutting what a stream delivers into messages (RFC 8489 §6.2.2, RFC 8656 §12.5).

use alloc::vec::Vec;

use turnpike_wire::framing::{Frame, next_frame};

/// Bytes read from a stream that have not been handed out yet.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    start: usize,
}

/// The stream carries neither STUN nor ChannelData and must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream carries something that is neither STUN nor ChannelData")]
pub struct NotFramed;

impl FrameBuffer {
    /// An empty buffer, which allocates nothing.
    pub const fn new() -> Self {
        FrameBuffer { bytes: Vec::new(), start: 0 }
    }

    /// Adds bytes the stream delivered.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
        } else {
            self.bytes.drain(..self.start);
        }
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether a whole message is there to be taken.
    pub fn holds_message(&self) -> bool {
        matches!(next_frame(&self.bytes[self.start..]), Frame::Whole { .. })
    }

    /// Takes bytes as they are, as many as there is room for: what follows the last message of a connection that has
    /// become a peer's (RFC 6062 §4.3).
    pub fn take_bytes(&mut self, buffer: &mut [u8]) -> usize {
        let rest = &self.bytes[self.start..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.start += length;
        length
    }

    /// Takes the next whole message, without the padding that may follow it. At most 64 KiB of an unfinished
    /// one stay behind.
    pub fn next_message(&mut self) -> Result<Option<&[u8]>, NotFramed> {
        match next_frame(&self.bytes[self.start..]) {
            Frame::Whole { length, consumed } => {
                let from = self.start;
                self.start += consumed;
                Ok(Some(&self.bytes[from..from + length]))
            }
            Frame::Partial { .. } => Ok(None),
            Frame::Invalid => Err(NotFramed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_whole_however_the_stream_is_cut() {
        let stream = [0x40, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0, 0x40, 1, 0, 4, 9, 9, 9, 9];
        for cut in 1..stream.len() {
            let mut frames = FrameBuffer::new();
            let mut messages = Vec::new();
            for part in stream.chunks(cut) {
                frames.push(part);
                while frames.holds_message() {
                    messages.push(frames.next_message().unwrap().unwrap().to_vec());
                }
                assert_eq!(frames.next_message(), Ok(None));
            }
            assert_eq!(messages, [stream[..9].to_vec(), stream[12..].to_vec()], "cut every {cut} bytes");
        }
    }

    #[test]
    fn a_stream_of_something_else_is_refused() {
        let mut frames = FrameBuffer::new();
        frames.push(b"\xffTTP/1.1 200 OK");
        assert_eq!(frames.next_message(), Err(NotFramed));
    }
}
