//! Who meets strangers: asks each for a cookie, without keeping anything (RFC 6347 §4.2.1).
//!
//! The cookie is a keyed hash of both addresses and of what the ClientHello asks for, so that it proves the address and
//! fits no other hello. Its key follows from a secret and the minute; the minute before is accepted too.

use core::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::hello::{Beginning, ClientHello, HANDSHAKE, MESSAGE_HEADER, RECORD_HEADER, VERSION_MAJOR};

/// Judges the first datagrams of handshakes.
pub struct Front {
    secret: [u8; 16],
}

/// What is to be done with a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Answer with this HelloVerifyRequest, which is shorter than the hello, and forget it.
    Challenge([u8; CHALLENGE]),
    /// It is a ClientHello of somebody who receives what is sent to his address.
    Admit(Cookie),
    /// It begins no handshake; a session may know what it is.
    NoHello,
    /// A ClientHello that nobody needs to answer.
    Unusable,
}

/// Names one ClientHello of one client.
pub type Cookie = [u8; 16];

impl Front {
    /// With a secret of its own.
    pub fn new(secret: [u8; 16]) -> Self {
        Front { secret }
    }

    /// Judges a datagram from `client` to `server`. `now` is the time of a clock that never goes back.
    pub fn judge(&self, now: Duration, server: SocketAddr, client: SocketAddr, datagram: &[u8]) -> Judged {
        let hello = match ClientHello::look(datagram) {
            Beginning::Hello(hello) => hello,
            Beginning::Unusable => return Judged::Unusable,
            Beginning::Other => return Judged::NoHello,
        };
        let minute = now.as_secs() / KEY_SECONDS;
        let cookie = |minute| self.cookie(minute, server, client, &hello);
        let fresh = cookie(minute);
        if hello.cookie.is_empty() {
            return Judged::Challenge(challenge(&hello, fresh));
        }
        if hello.cookie == fresh {
            return Judged::Admit(fresh);
        }
        match minute.checked_sub(1).map(cookie) {
            Some(earlier) if hello.cookie == earlier => Judged::Admit(earlier),
            // RFC 6347 §4.2.1: one that is wrong is treated as none.
            _ => Judged::Challenge(challenge(&hello, fresh)),
        }
    }

    fn cookie(&self, minute: u64, server: SocketAddr, client: SocketAddr, hello: &ClientHello<'_>) -> Cookie {
        let mut key = SipHasher24::new_with_key(&self.secret);
        key.write_u64(minute);
        let mut hasher = SipHasher24::new_with_key(&key.finish128().as_bytes());
        (server, client).hash(&mut hasher);
        hasher.write_usize(hello.before_cookie.len());
        hasher.write(hello.before_cookie);
        hasher.write(hello.after_cookie);
        hasher.finish128().as_bytes()
    }
}

fn challenge(hello: &ClientHello<'_>, cookie: Cookie) -> [u8; CHALLENGE] {
    let mut bytes = [0; CHALLENGE];
    bytes[0] = HANDSHAKE;
    // The version of DTLS 1.0, whatever will be agreed on (RFC 6347 §4.2.1).
    bytes[1..3].copy_from_slice(&VERSION_1_0);
    bytes[5..11].copy_from_slice(&hello.sequence);
    bytes[12] = (CHALLENGE - RECORD_HEADER) as u8;
    let message = &mut bytes[RECORD_HEADER..];
    message[0] = HELLO_VERIFY_REQUEST;
    message[3] = BODY as u8;
    message[11] = BODY as u8;
    let body = &mut message[MESSAGE_HEADER..];
    body[..2].copy_from_slice(&VERSION_1_0);
    body[2] = cookie.len() as u8;
    body[3..].copy_from_slice(&cookie);
    bytes
}

const HELLO_VERIFY_REQUEST: u8 = 3;
const VERSION_1_0: [u8; 2] = [VERSION_MAJOR, 0xFF];
/// Version, and the cookie with its length.
const BODY: usize = 2 + 1 + size_of::<Cookie>();
const CHALLENGE: usize = RECORD_HEADER + MESSAGE_HEADER + BODY;
/// How long a key makes cookies; it is accepted as long again.
const KEY_SECONDS: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn server() -> SocketAddr {
        address("192.0.2.1:3478")
    }

    fn client() -> SocketAddr {
        address("198.51.100.7:4000")
    }

    fn hello(cookie: &[u8], random: u8) -> Vec<u8> {
        let mut body = vec![0xFE, 0xFD];
        body.extend([random; 32]);
        body.push(0);
        body.push(cookie.len() as u8);
        body.extend(cookie);
        body.extend([0, 2, 0xC0, 0x2B, 1, 0]);
        let length = body.len() as u8;
        let mut record = vec![22, 0xFE, 0xFF, 0, 0, 0, 0, 0, 0, 0, 9, 0, 12 + length];
        record.extend([1, 0, 0, length, 0, u8::from(!cookie.is_empty()), 0, 0, 0, 0, 0, length]);
        record.extend(body);
        record
    }

    fn cookie_of(judged: &Judged) -> Cookie {
        let Judged::Challenge(bytes) = judged else { panic!("{judged:?}") };
        bytes[CHALLENGE - 16..].try_into().unwrap()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_hello_without_cookie_is_answered_by_less_than_it_was_with_its_own_sequence_number() {
        let front = Front::new([1; 16]);
        let datagram = hello(&[], 3);
        let Judged::Challenge(bytes) = front.judge(at(0), server(), client(), &datagram) else { panic!() };
        assert!(bytes.len() < datagram.len());
        assert_eq!(bytes[..13], [22, 0xFE, 0xFF, 0, 0, 0, 0, 0, 0, 0, 9, 0, 31]);
        assert_eq!(bytes[13..28], [3, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0, 19, 0xFE, 0xFF, 16]);
    }

    #[test]
    fn a_cookie_admits_its_own_hello_from_its_own_address_for_one_to_two_minutes() {
        let front = Front::new([1; 16]);
        let cookie = cookie_of(&front.judge(at(59), server(), client(), &hello(&[], 3)));
        let judge =
            |seconds, client, random| front.judge(at(seconds), server(), client, &hello(&cookie, random));
        for seconds in [59, 60, 119] {
            assert_eq!(judge(seconds, client(), 3), Judged::Admit(cookie), "{seconds}");
        }
        assert_ne!(cookie_of(&judge(120, client(), 3)), cookie);
        assert_ne!(cookie_of(&judge(59, address("198.51.100.7:4001"), 3)), cookie);
        assert_ne!(cookie_of(&judge(59, address("198.51.100.8:4000"), 3)), cookie);
        assert_ne!(cookie_of(&judge(59, client(), 4)), cookie);
        let other = Front::new([2; 16]);
        assert!(matches!(other.judge(at(59), server(), client(), &hello(&cookie, 3)), Judged::Challenge(_)));
    }

    #[test]
    fn hellos_in_pieces_out_of_order_or_cut_off_are_not_answered() {
        let front = Front::new([1; 16]);
        let whole = hello(&[], 3);
        for length in 14..whole.len() {
            let judged = front.judge(at(0), server(), client(), &whole[..length]);
            assert_eq!(judged, Judged::Unusable, "{length}");
        }
        // Message number, fragment's offset, fragment's length, record's version, the hello's version.
        for (place, value) in [(18, 2), (21, 1), (24, 9), (1, 3), (25, 3)] {
            let mut damaged = whole.clone();
            damaged[place] = value;
            assert_eq!(front.judge(at(0), server(), client(), &damaged), Judged::Unusable, "{place}");
        }
    }

    #[test]
    fn other_records_are_left_to_sessions() {
        let front = Front::new([1; 16]);
        let mut encrypted = hello(&[], 3);
        encrypted[4] = 1;
        for datagram in [&encrypted[..], &[22], &[], &[23, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]] {
            assert_eq!(front.judge(at(0), server(), client(), datagram), Judged::NoHello);
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_the_answer_is_no_longer(
            datagram in proptest::collection::vec(any::<u8>(), 0..200),
            damage in proptest::collection::vec((0_usize..80, any::<u8>()), 0..6),
        ) {
            let front = Front::new([1; 16]);
            let mut damaged = hello(&[7; 16], 3);
            for (place, value) in damage {
                let length = damaged.len();
                damaged[place % length] = value;
            }
            for bytes in [&datagram, &damaged] {
                if let Judged::Challenge(answer) = front.judge(at(0), server(), client(), bytes) {
                    prop_assert!(answer.len() <= bytes.len());
                }
            }
        }
    }
}
