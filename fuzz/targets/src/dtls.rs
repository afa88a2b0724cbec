//! What meets the first datagrams of DTLS strangers.

use std::net::SocketAddr;
use std::time::Duration;

use turnpike_dtls::{Front, Judged, first_epoch, later_records};

/// Who asks is answered by less than was sent, and by a cookie that admits that very hello, from there and nowhere else.
pub fn dtls(bytes: &[u8]) {
    let front = Front::new([7; 16]);
    let now = Duration::from_secs(59);
    let judge = |now, client: SocketAddr, datagram: &[u8]| front.judge(now, address(1), client, datagram);
    if first_epoch(bytes).is_none() {
        assert_eq!(later_records(bytes), 0);
    }
    let challenge = match judge(now, address(2), bytes) {
        Judged::Challenge(challenge) => challenge,
        Judged::Admit(_) => panic!("nobody has been given a cookie"),
        Judged::NoHello | Judged::Unusable => return,
    };
    assert!(challenge.len() <= bytes.len());
    let again = with_cookie(bytes, &challenge[challenge.len() - COOKIE..]);
    for seconds in [59, 60, 119] {
        assert!(matches!(judge(Duration::from_secs(seconds), address(2), &again), Judged::Admit(_)));
    }
    assert!(matches!(judge(Duration::from_secs(120), address(2), &again), Judged::Challenge(_)));
    assert!(matches!(judge(now, address(3), &again), Judged::Challenge(_)));
}

/// The same hello with a cookie, all its lengths made to fit.
fn with_cookie(datagram: &[u8], cookie: &[u8]) -> Vec<u8> {
    let record_end = RECORD + usize::from(u16::from_be_bytes([datagram[11], datagram[12]]));
    let at = RECORD + MESSAGE + FIXED + 1 + usize::from(datagram[RECORD + MESSAGE + FIXED]);
    let old = usize::from(datagram[at]);
    let mut hello = datagram[..at].to_vec();
    hello.push(cookie.len() as u8);
    hello.extend_from_slice(cookie);
    hello.extend_from_slice(&datagram[at + 1 + old..record_end]);
    let body = (hello.len() - RECORD - MESSAGE) as u32;
    let length = ((hello.len() - RECORD) as u16).to_be_bytes();
    hello[11..13].copy_from_slice(&length);
    hello[RECORD + 1..RECORD + 4].copy_from_slice(&body.to_be_bytes()[1..]);
    hello[RECORD + 9..RECORD + 12].copy_from_slice(&body.to_be_bytes()[1..]);
    hello
}

fn address(host: u8) -> SocketAddr {
    ([192, 0, 2, host], 3478).into()
}

const COOKIE: usize = 16;
/// Bytes of a record's header, of a handshake message's, and of version and random.
const RECORD: usize = 13;
const MESSAGE: usize = 12;
const FIXED: usize = 34;
