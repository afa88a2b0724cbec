//! A socket for tests that gives and takes a few bytes at a time, and in between says that it would block.

use std::io::{self, ErrorKind, Read, Write};

pub(super) struct Dribble {
    input: Vec<u8>,
    /// Bytes of one read.
    at_once: usize,
    /// Every second read would block.
    ready: bool,
    /// Bytes that may still be written.
    pub(super) room: usize,
    pub(super) written: Vec<u8>,
}

impl Dribble {
    /// Delivers these bytes one by one, then the end.
    pub(super) fn reading(input: Vec<u8>) -> Self {
        Dribble { input, at_once: 1, ready: true, room: 0, written: Vec::new() }
    }

    /// Delivers this many by each read.
    pub(super) fn at_once(mut self, length: usize) -> Self {
        self.at_once = length;
        self
    }

    /// Takes this many bytes.
    pub(super) fn writing(room: usize) -> Self {
        Dribble { room, ..Dribble::reading(Vec::new()) }
    }
}

impl Read for Dribble {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.ready = !self.ready;
        if self.ready {
            return Err(ErrorKind::WouldBlock.into());
        }
        let length = self.at_once.min(self.input.len()).min(buffer.len());
        buffer[..length].copy_from_slice(&self.input[..length]);
        self.input.drain(..length);
        Ok(length)
    }
}

impl Write for Dribble {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(self.room).min(3);
        if length == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= length;
        self.written.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
