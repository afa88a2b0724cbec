//! Reading a fuzzer's bytes as decisions. When they run out, every further decision is zero.

use std::net::SocketAddr;

/// What is left of an input.
#[derive(Clone, Debug)]
pub(crate) struct Input<'i>(&'i [u8]);

impl<'i> Input<'i> {
    pub(crate) fn new(bytes: &'i [u8]) -> Self {
        Input(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `limit`, which is 1 to 256.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    pub(crate) fn number_u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    pub(crate) fn number_u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    /// Up to 255 bytes, as many as the next byte says.
    pub(crate) fn blob(&mut self) -> &'i [u8] {
        let length = usize::from(self.byte());
        self.take(length)
    }

    /// Up to `length` bytes.
    pub(crate) fn take(&mut self, length: usize) -> &'i [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn rest(&mut self) -> &'i [u8] {
        std::mem::take(&mut self.0)
    }

    /// Text without a trailing part that is not UTF-8.
    pub(crate) fn text(&mut self) -> &'i str {
        let bytes = self.blob();
        match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
        }
    }

    /// An address of either family.
    pub(crate) fn address(&mut self) -> SocketAddr {
        if self.byte().is_multiple_of(2) {
            SocketAddr::from((self.array::<4>(), self.number_u16()))
        } else {
            SocketAddr::from((self.array::<16>(), self.number_u16()))
        }
    }
}
