//! What a load balancer puts before a connection or a datagram.

use turnpike_net::{Carrier, ProxyHeader};

/// As soon as there are bytes enough to tell what a connection begins with, more of them change nothing; of a datagram
/// nothing more is awaited.
pub fn proxy_header(bytes: &[u8]) {
    let whole = ProxyHeader::read(bytes, Carrier::Stream);
    let mut told = None;
    for end in 0..=bytes.len().min(ProxyHeader::LONGEST) {
        let read = ProxyHeader::read(&bytes[..end], Carrier::Stream);
        match (told, read) {
            (None, Ok(None)) => {}
            (None, read) => {
                assert!(
                    read.is_ok_and(|header| header.is_none_or(|header| header.length == end))
                        || read.is_err()
                );
                told = Some(read);
            }
            (Some(before), read) => assert_eq!(read, before, "after {end} bytes"),
        }
    }
    match told {
        Some(told) => assert_eq!(whole, told),
        None => assert!(bytes.len() < ProxyHeader::LONGEST, "it is waited for without end"),
    }
    let datagram = ProxyHeader::read(bytes, Carrier::Datagram);
    assert!(!matches!(datagram, Ok(None)));
    if let Ok(Some(header)) = datagram {
        assert!(header.length <= bytes.len() && ProxyHeader::begins(bytes));
    }
}
