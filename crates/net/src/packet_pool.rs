//! Buffers for received packets.

use std::fmt;
use std::io;

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
        self.end.saturating_sub(self.start) as usize
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// A part of this span, counted from its start; cut off at its end.
    #[must_use]
    pub fn part(&self, range: std::ops::Range<usize>) -> Self {
        let at = |offset: usize| {
            let offset = u32::try_from(offset).unwrap_or(u32::MAX);
            self.end.min(self.start.saturating_add(offset))
        };
        Span { buffer: self.buffer, start: at(range.start), end: at(range.end) }
    }
}

impl PacketPool {
    /// Bytes of a buffer: the largest train.
    pub const BUFFER: usize = BUFFER;

    /// A pool of `buffers` buffers of 64 KiB. Pages that no packet touches cost no memory.
    pub fn new(buffers: usize) -> Self {
        PacketPool { bytes: vec![0; buffers * STRIDE].into(), taken: 0, buffers }
    }

    /// The bytes of a span; none if there is no such place in the pool.
    #[inline]
    pub fn bytes(&self, span: Span) -> &[u8] {
        let base = span.buffer as usize * STRIDE;
        let end = (span.end as usize).min(BUFFER);
        self.bytes.get(base + span.start as usize..base + end).unwrap_or_default()
    }

    /// How many buffers are free.
    pub fn free(&self) -> usize {
        self.buffers - self.taken
    }

    /// Frees all buffers; their spans then mean nothing.
    pub fn clear(&mut self) {
        self.taken = 0;
    }

    /// Takes a free buffer and has it filled: `fill` returns how many bytes it wrote at the front. Nothing is taken
    /// when it fails.
    ///
    /// # Errors
    /// That of `fill`, or [`ErrorKind::OutOfMemory`](std::io::ErrorKind::OutOfMemory) when no buffer is free.
    pub fn fill_one(&mut self, fill: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<Span> {
        let (first, mut buffers) = self.offer(1);
        let buffer = buffers.next().ok_or(io::ErrorKind::OutOfMemory)?;
        let length = fill(buffer)?.min(buffer.len());
        drop(buffers);
        self.take(1);
        Ok(Span { buffer: first as u32, start: 0, end: length as u32 })
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

const BUFFER: usize = 65_536;
/// Buffers start a cache line apart within a page, or the first lines of all would share one set of the cache.
const STRIDE: usize = BUFFER + 4096 + 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_start_on_different_cache_lines_of_a_page() {
        let mut pool = PacketPool::new(64);
        let (_, buffers) = pool.offer(64);
        let mut lines: Vec<usize> = buffers.map(|buffer| buffer.as_ptr() as usize % 4096 / 64).collect();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), 64);
    }

    #[test]
    fn taken_buffers_are_not_offered_again_before_the_pool_is_cleared() {
        let mut pool = PacketPool::new(3);
        pool.take(2);
        let (first, buffers) = pool.offer(8);
        assert_eq!((first, buffers.count(), pool.free()), (2, 1, 1));
        pool.clear();
        assert_eq!((pool.free(), pool.offer(2).1.count()), (3, 2));
    }

    #[test]
    fn spans_of_nowhere_have_no_bytes() {
        let pool = PacketPool::new(1);
        for (buffer, start, end) in [(1, 0, 4), (u32::MAX, 0, 4), (0, 9, 4), (0, u32::MAX, u32::MAX)] {
            assert!(pool.bytes(Span { buffer, start, end }).is_empty());
        }
        assert_eq!(pool.bytes(Span { buffer: 0, start: 65_530, end: 70_000 }).len(), 6);
    }

    #[test]
    fn a_part_ends_where_its_whole_does() {
        let span = Span { buffer: 0, start: 100, end: 200 };
        assert_eq!(span.part(4..50), Span { buffer: 0, start: 104, end: 150 });
        assert_eq!(span.part(90..500), Span { buffer: 0, start: 190, end: 200 });
        assert!(span.part(300..usize::MAX).is_empty());
    }
}
