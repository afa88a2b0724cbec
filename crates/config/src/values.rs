//! Values as operators write them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs};
use std::str::FromStr;

/// Something that must not be shown: its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes charge of a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Secret(secret.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// Addresses from `first` to `last`, both included and of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerRange {
    /// The lowest address.
    pub first: IpAddr,
    /// The highest address.
    pub last: IpAddr,
}

impl FromStr for PeerRange {
    type Err = String;

    /// Reads `address`, `address-address`, or `address/prefix`.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((address, prefix)) = text.split_once('/') {
            return Ok(cidr(ip(address)?, prefix)?.canonical());
        }
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (ip(first)?, ip(last)?),
            None => (ip(text)?, ip(text)?),
        };
        if first.is_ipv4() != last.is_ipv4() {
            return Err(format!("{text}: both ends must be of one address family"));
        }
        if first > last {
            return Err(format!("{text}: the first address is above the last"));
        }
        Ok(PeerRange { first, last }.canonical())
    }
}

impl PeerRange {
    /// A range of IPv4-mapped IPv6 addresses is the IPv4 range it stands for: peers are judged in that form.
    fn canonical(self) -> Self {
        let canonical = PeerRange { first: self.first.to_canonical(), last: self.last.to_canonical() };
        let whole = canonical.first.is_ipv4() && canonical.last.is_ipv4();
        if whole { canonical } else { self }
    }
}

fn cidr(address: IpAddr, prefix: &str) -> Result<PeerRange, String> {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix: u32 = Some(prefix.trim())
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .filter(|prefix| *prefix <= bits)
        .ok_or_else(|| format!("/{prefix} is no prefix length: 0 to {bits}"))?;
    let host = u128::MAX.checked_shr(128 - bits + prefix).unwrap_or_default();
    Ok(match address {
        IpAddr::V4(ip) => {
            let first = ip.to_bits() & !(host as u32);
            PeerRange {
                first: Ipv4Addr::from_bits(first).into(),
                last: Ipv4Addr::from_bits(first | host as u32).into(),
            }
        }
        IpAddr::V6(ip) => {
            let first = ip.to_bits() & !host;
            PeerRange {
                first: Ipv6Addr::from_bits(first).into(),
                last: Ipv6Addr::from_bits(first | host).into(),
            }
        }
    })
}

/// Reads an address.
pub(crate) fn ip(text: &str) -> Result<IpAddr, String> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| format!("{text:?} is no IP address"))
}

/// Reads an address, or a host name that is resolved now, once.
pub(crate) fn host(text: &str) -> Result<IpAddr, String> {
    if let Ok(ip) = ip(text) {
        return Ok(ip.to_canonical());
    }
    let looks_like_address =
        text.contains(':') || text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if text.is_empty() || looks_like_address {
        return Err(format!("{text:?} is no IP address"));
    }
    let resolved =
        (text, 0).to_socket_addrs().map_err(|error| format!("{text:?} does not resolve: {error}"))?;
    resolved
        .map(|address| address.ip().to_canonical())
        .next()
        .ok_or_else(|| format!("{text:?} has no address"))
}

/// Reads a number in a range; `what` says what it is: "a port", "a number of seconds".
pub(crate) fn number<N>(text: &str, low: N, high: N, what: &str) -> Result<N, String>
where
    N: FromStr + PartialOrd + fmt::Display + Copy,
{
    let range = || format!("{text:?} is not {what} from {low} to {high}");
    let number: N = text.trim().parse().map_err(|_| range())?;
    if number < low || number > high { Err(range()) } else { Ok(number) }
}

/// Reads a number of bytes: digits, and perhaps K, M or G behind them, which are powers of 1024.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (digits, unit) = match text.chars().last().map(|last| last.to_ascii_uppercase()) {
        Some('K') => (&text[..text.len() - 1], 1 << 10),
        Some('M') => (&text[..text.len() - 1], 1 << 20),
        Some('G') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let number: Option<u64> = digits.trim_end().parse().ok();
    number
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| format!("{text:?} is not a number of bytes, such as 1048576, 512K, 100M or 2G"))
}

/// Reads a truth value by coturn's rule: nothing, `y…`, `t…`, `on` and 1-9 are true; `n…`, `f…`, `off` and 0 false.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text.as_bytes() {
        [] | [b'y' | b'Y' | b't' | b'T' | b'1'..=b'9', ..] => Ok(true),
        [b'n' | b'N' | b'f' | b'F' | b'0', ..] => Ok(false),
        _ if text.eq_ignore_ascii_case("on") => Ok(true),
        _ if text.eq_ignore_ascii_case("off") => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false: use yes or no")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Result<(String, String), String> {
        text.parse::<PeerRange>().map(|range| (range.first.to_string(), range.last.to_string()))
    }

    #[test]
    fn ranges_are_single_addresses_pairs_or_prefixes() {
        let owned = |first: &str, last: &str| Ok((first.to_owned(), last.to_owned()));
        assert_eq!(range("10.0.0.1"), owned("10.0.0.1", "10.0.0.1"));
        assert_eq!(range("10.0.0.1-10.0.0.9"), owned("10.0.0.1", "10.0.0.9"));
        assert_eq!(range("10.1.2.3/8"), owned("10.0.0.0", "10.255.255.255"));
        assert_eq!(range("10.1.2.3/32"), owned("10.1.2.3", "10.1.2.3"));
        assert_eq!(range("0.0.0.0/0"), owned("0.0.0.0", "255.255.255.255"));
        assert_eq!(range("fd00::/8"), owned("fd00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
        assert_eq!(range("::/0"), owned("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
        assert_eq!(range("::ffff:10.1.2.3/104"), owned("10.0.0.0", "10.255.255.255"));
        assert_eq!(range("::ffff:10.0.0.1"), owned("10.0.0.1", "10.0.0.1"));
        for wrong in [
            "10.0.0.0/+8",
            "",
            "10.0.0",
            "10.0.0.9-10.0.0.1",
            "10.0.0.1-::1",
            "10.0.0.0/33",
            "10.0.0.0/",
            "::/129",
            "a-b",
        ] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn truth_has_many_words_and_no_silent_default() {
        for text in ["", "1", "yes", "true", "T", "on", "ON"] {
            assert_eq!(boolean(text), Ok(true), "{text}");
        }
        for text in ["0", "no", "false", "off", "N"] {
            assert_eq!(boolean(text), Ok(false), "{text}");
        }
        assert!(boolean("maybe").is_err() && boolean("-").is_err());
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[redacted]");
    }
}
