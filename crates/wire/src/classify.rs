//! Telling protocols on one port apart by their first byte (RFC 7983, RFC 8656 §12).

/// What a datagram or stream that starts with a given byte can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstByte {
    /// 0 to 3.
    Stun,
    /// 16 to 19.
    Zrtp,
    /// 20 to 63: DTLS on a datagram transport, TLS on a stream.
    Tls,
    /// 64 to 79: TURN ChannelData with a channel number that RFC 8656 allows (0x4000 to 0x4FFF).
    Channel,
    /// 80 to 127: ChannelData by RFC 5766 (0x5000 to 0x7FFF), reserved since RFC 8656.
    ReservedChannel,
    /// 128 to 191: RTP or RTCP.
    Rtp,
    /// Anything else.
    Unknown,
}

/// Classifies a first byte.
#[inline]
pub const fn classify(byte: u8) -> FirstByte {
    match byte {
        0..=3 => FirstByte::Stun,
        16..=19 => FirstByte::Zrtp,
        20..=63 => FirstByte::Tls,
        64..=79 => FirstByte::Channel,
        80..=127 => FirstByte::ReservedChannel,
        128..=191 => FirstByte::Rtp,
        _ => FirstByte::Unknown,
    }
}
