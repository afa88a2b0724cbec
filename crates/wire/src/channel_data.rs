//! ChannelData messages (RFC 8656 §12.4): a four-byte header before the data of a bound channel.

/// A received ChannelData message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelData<'b> {
    /// 0x4000 to 0x7FFF; which part of it may be bound is the server's decision.
    pub channel: u16,
    /// The application's data.
    pub data: &'b [u8],
}

/// Why bytes are not a ChannelData message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelDataError {
    /// Fewer than four bytes.
    #[error("shorter than a ChannelData header")]
    TooShort,
    /// The first two bits are not 01.
    #[error("the channel number is out of range")]
    NotAChannel,
    /// The length field runs over the end.
    #[error("the length runs over the end")]
    WrongLength,
}

impl<'b> ChannelData<'b> {
    /// Reads a message at the start of `bytes`. What follows the data is padding and is ignored
    /// (RFC 8656 §12.6).
    #[inline]
    pub fn parse(bytes: &'b [u8]) -> Result<Self, ChannelDataError> {
        let (&[n0, n1, l0, l1], rest) =
            bytes.split_first_chunk::<CHANNEL_HEADER>().ok_or(ChannelDataError::TooShort)?;
        if n0 & 0xC0 != 0x40 {
            return Err(ChannelDataError::NotAChannel);
        }
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let data = rest.get(..length).ok_or(ChannelDataError::WrongLength)?;
        Ok(ChannelData { channel: u16::from_be_bytes([n0, n1]), data })
    }
}

/// The header to put before `length` bytes of data.
#[inline]
pub const fn channel_data_header(channel: u16, length: u16) -> [u8; CHANNEL_HEADER] {
    let [n0, n1] = channel.to_be_bytes();
    let [l0, l1] = length.to_be_bytes();
    [n0, n1, l0, l1]
}

/// Bytes of a ChannelData header.
pub const CHANNEL_HEADER: usize = 4;
