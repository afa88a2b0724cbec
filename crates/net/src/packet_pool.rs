//! Buffers for received packets.

use std::fmt;

/// A fixed number of buffers, each large enough for a train of datagrams that the kernel has joined.
pub struct PacketPool {
    bytes: Box<[u8]>,
    taken: usize,
    buffers: usize,
}

/// Where bytes lie in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which buffer.
    pub buffer: u32,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// How many bytes.
    pub const fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.end == self.start
    }

    /// A part of this span, counted from its start; cut off at its end.
    #[must_use]
    pub fn part(&self, range: std::ops::Range<usize>) -> Self {
        let at = |offset: usize| self.end.min(self.start.saturating_add(offset as u32));
        Span { buffer: self.buffer, start: at(range.start), end: at(range.end) }
    }
}

impl PacketPool {
    /// A pool of `buffers` buffers of 64 KiB. Pages that no packet touches cost no memory.
    pub fn new(buffers: usize) -> Self {
        PacketPool { bytes: vec![0; buffers * STRIDE].into(), taken: 0, buffers }
    }

    /// The bytes of a span.
    #[inline]
    pub fn bytes(&self, span: Span) -> &[u8] {
        let base = span.buffer as usize * STRIDE;
        self.bytes.get(base + span.start as usize..base + span.end as usize).unwrap_or_default()
    }

    /// How many buffers are free.
    pub fn free(&self) -> usize {
        self.buffers - self.taken
    }

    /// Frees all buffers; their spans then mean nothing.
    pub fn clear(&mut self) {
        self.taken = 0;
    }

    /// The next `count` free buffers (fewer if there are fewer), not yet taken: their numbers start at the
    /// first value.
    pub(crate) fn offer(&mut self, count: usize) -> (usize, impl Iterator<Item = &mut [u8]>) {
        let first = self.taken;
        let count = count.min(self.free());
        let bytes = &mut self.bytes[first * STRIDE..(first + count) * STRIDE];
        (first, bytes.chunks_exact_mut(STRIDE).map(|buffer| &mut buffer[..BUFFER]))
    }

    /// Takes the first `count` buffers of the last offer.
    pub(crate) fn take(&mut self, count: usize) {
        self.taken = self.buffers.min(self.taken + count);
    }
}

impl fmt::Debug for PacketPool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PacketPool({} of {} taken)", self.taken, self.buffers)
    }
}

/// Bytes of a buffer: the largest train.
const BUFFER: usize = 65_536;
/// Buffers start a cache line apart within a page, or the first lines of all would share one set of the cache.
const STRIDE: usize = BUFFER + 4096 + 64;
