//! Inputs to begin with, made from code so that the repository holds no binaries.

use turnpike_wire::attributes::{
    ChannelNumber, Data, ErrorCode, Lifetime, PasswordAlgorithms, RequestedTransport, XorPeerAddress,
};
use turnpike_wire::vectors::ALL;
use turnpike_wire::{
    Class, ErrorNumber, LongTermKey, MessageWriter, Method, PasswordDigest, TransactionId,
    channel_data_header,
};

use crate::random::Random;

type Seeds = Vec<(String, Vec<u8>)>;

/// The RFCs' sample messages, and one of most kinds a client and a server exchange.
pub(crate) fn messages() -> Seeds {
    let vectors = ALL.iter().enumerate();
    let mut seeds: Seeds = vectors.map(|(at, vector)| (format!("rfc_{at}"), vector.bytes.to_vec())).collect();
    let peer = XorPeerAddress(([198, 51, 100, 7], 5000).into());
    let peer_v6 = XorPeerAddress(([0x2001, 0xDB8, 0, 0, 0, 0, 0, 7], 5000).into());
    let reason = "Unauthorized";
    let mut add = |name: &str, class, method, build: &dyn Fn(&mut MessageWriter<'_>)| {
        let mut room = [0; 1024];
        let mut writer = MessageWriter::new(&mut room, class, method, TransactionId(*b"seed for fuz"));
        build(&mut writer);
        let key = LongTermKey::derive(PasswordDigest::Md5, b"user", b"realm", b"password");
        writer.integrity_sha1(&key).integrity_sha256_with(key.bytes()).fingerprint();
        seeds.extend(writer.finish().ok().map(|bytes| (name.to_owned(), bytes.to_vec())));
    };
    add("allocate", Class::Request, Method::ALLOCATE, &|writer| {
        writer.add(&RequestedTransport::UDP).add(&Lifetime(600));
    });
    add("challenge", Class::Error, Method::ALLOCATE, &|writer| {
        writer
            .add(&ErrorCode { number: ErrorNumber::UNAUTHENTICATED, reason })
            .add(&PasswordAlgorithms::SHA256_THEN_MD5);
    });
    add("bind", Class::Request, Method::CHANNEL_BIND, &|writer| {
        writer.add(&ChannelNumber(0x4000)).add(&peer);
    });
    add("send", Class::Indication, Method::SEND, &|writer| {
        writer.add(&peer_v6).add(&Data(b"data of a peer"));
    });
    seeds.push(("channel_data".to_owned(), channel_data(b"hello")));
    seeds
}

/// ClientHellos of DTLS, with and without a cookie, and another record.
pub(crate) fn hellos() -> Seeds {
    let hello = |cookie: &[u8]| {
        let suites_and_methods = [0, 4, 0xC0, 0x2F, 0xC0, 0x2B, 1, 0];
        let fixed = [&[0xFE, 0xFD][..], &[9; 32], &[0, cookie.len() as u8]].concat();
        let body = [&fixed, cookie, &suites_and_methods, &[0, 4, 0, 23, 0, 0]].concat();
        let length = body.len() as u8;
        let record = [22, 0xFE, 0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0, 12 + length];
        let message = [1, 0, 0, length, 0, u8::from(!cookie.is_empty()), 0, 0, 0, 0, 0, length];
        [&record[..], &message, &body].concat()
    };
    let sealed = [&[23, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 1, 0, 30][..], &[5; 30]].concat();
    vec![
        ("hello".to_owned(), hello(&[])),
        ("cookie".to_owned(), hello(&[3; 16])),
        ("sealed".to_owned(), sealed),
    ]
}

/// Scripts: random decisions, and for `session` some that lead to an allocation.
pub(crate) fn scripts() -> Seeds {
    let mut random = Random::new(2026);
    let mut seeds: Seeds = (0..16).map(|at| (format!("random_{at}"), random.blob(16 << (at % 6)))).collect();
    for sockets_wait in [0, 2] {
        let mut script = vec![0, sockets_wait];
        for caller in [0_u8, 0x40, 0xC0] {
            // Allocate without and with credentials, a socket that opens, a permission, a channel, data.
            script.extend_from_slice(&[caller, 0x00, 0, 1, 0xE0]);
            script.extend_from_slice(&[caller, 0x10, 0, 2, 0xE0]);
            script.extend_from_slice(&[13, 2]);
            script.extend_from_slice(&[caller, 0x10, 2, 3, 2, 0, 1]);
            script.extend_from_slice(&[caller, 0x10, 3, 4, 0, 0]);
            script.extend_from_slice(&[caller | 8, 0, 4, 1, 2, 3, 4]);
            script.extend_from_slice(&[caller | 6, 0, 0, 0, 4, 1, 2, 3, 4]);
            script.extend_from_slice(&[9, 0, 0, 5, 1, 2, 3, 4, 5]);
            script.extend_from_slice(&[12, 1, 44, 0]);
        }
        seeds.push((format!("allocations_{sockets_wait}"), script));
        seeds.push((format!("relayed_tcp_{sockets_wait}"), relayed_tcp(sockets_wait)));
        seeds.push((format!("moves_{sockets_wait}"), moves(sockets_wait)));
    }
    seeds
}

/// A TCP allocation, a connection to a peer and one from another, both claimed and used.
fn relayed_tcp(sockets_wait: u8) -> Vec<u8> {
    // Two callers of one user who come by TCP.
    let (control, data) = (0x60_u8, 0xA0_u8);
    let mut script = vec![0, sockets_wait];
    script.extend_from_slice(&[control, 0x00, 0, 1, 0xE7]);
    script.extend_from_slice(&[control, 0x10, 0, 2, 0xE7]);
    script.extend_from_slice(&[13, 2]);
    script.extend_from_slice(&[control, 0x10, 2, 3, 1, 1]);
    // Connect, the attempt succeeds, the other caller claims it, bytes go both ways.
    script.extend_from_slice(&[control, 0x10, 6, 4, 0, 2]);
    script.extend_from_slice(&[15, 1, 9, 0]);
    script.extend_from_slice(&[data, 0x00, 0, 1, 0xE7]);
    script.extend_from_slice(&[data, 0x10, 7, 5, 0]);
    script.extend_from_slice(&[15, 1, 2, 0, 0x12, 0x34]);
    script.extend_from_slice(&[15, 1, 6, 0, 0x12, 0x34]);
    // A peer with permission connects, and is claimed likewise.
    script.extend_from_slice(&[15, 1, 0, 0, 1]);
    script.extend_from_slice(&[data, 0x10, 7, 6, 0]);
    // One ends, time passes, and the allocation takes the other along.
    script.extend_from_slice(&[15, 1, 3, 0]);
    script.extend_from_slice(&[12, 0, 31, 0]);
    script.extend_from_slice(&[control, 0x10, 1, 7, 0]);
    script
}

/// An allocation with a ticket, or one of both families, that goes from caller to caller of the same user.
fn moves(sockets_wait: u8) -> Vec<u8> {
    let mut script = vec![0, sockets_wait];
    for (first, family) in [(0_u8, 0xA0), (0xA0, 0xA0), (0xC0, 0xC0)] {
        script.extend_from_slice(&[first, 0x00, 0, 1, family]);
        script.extend_from_slice(&[first, 0x10, 0, 2, family]);
        script.extend_from_slice(&[13, 2, 13, 2]);
        script.extend_from_slice(&[first, 0x10, 3, 4, 0, 0]);
        for step in 1..=3_u8 {
            let caller = first.wrapping_add(0x40 * step);
            // A Refresh with the ticket for a nonce, and again with it; data both ways by both; then the next.
            script.extend_from_slice(&[caller, 0x00, 1, step, 0x19, 2, 88]);
            script.extend_from_slice(&[caller, 0x10, 1, 16 + step, 0x19, 2, 88]);
            script.extend_from_slice(&[5 | caller, 9, 0, 0, 5, 1, 2, 3, 4, 5]);
            script.extend_from_slice(&[caller.wrapping_sub(0x40) | 8, 0, 4, 1, 2, 3, 4]);
            script.extend_from_slice(&[caller | 8, 0, 4, 1, 2, 3, 4]);
        }
        // The connection ends, time passes.
        script.extend_from_slice(&[15, 3, 12, 0, 40, 0]);
    }
    script
}

/// Streams of frames, after eight bytes that say how to cut them.
pub(crate) fn streams() -> Seeds {
    let mut seeds = Seeds::new();
    for (at, cuts) in [[1_u8; 8], [2, 3, 5, 7, 11, 13, 17, 19], [200; 8]].into_iter().enumerate() {
        let mut stream = [&[cuts[0] & 0xFE], &cuts[1..]].concat();
        for (_, message) in messages() {
            stream.extend_from_slice(&message);
            stream.resize(stream.len().next_multiple_of(4), 0);
        }
        seeds.push((format!("whole_{at}"), stream));
        let mut script = [&[cuts[0] | 1], &cuts[1..]].concat();
        script.extend_from_slice(&[4, 5, 1, 2, 3, 4, 5, 1, 4, 9, 9, 9, 9, 12, 0, 0, 2, 7, 7]);
        seeds.push((format!("built_{at}"), script));
    }
    seeds
}

/// Headers of both versions of the PROXY protocol.
pub(crate) fn proxy_headers() -> Seeds {
    let binary = |command: u8, family: u8, body: &[u8]| {
        let fixed = [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x20 | command, family]].concat();
        [&fixed[..], &(body.len() as u16).to_be_bytes(), body].concat()
    };
    let extensions = [&[1, 0, 9][..], b"stun.turn", &[3, 0, 4, 0, 0, 0, 0, 4, 0, 0]].concat();
    let seeds = [
        ("text4", b"PROXY TCP4 203.0.113.9 192.0.2.1 4000 3478\r\nrest".to_vec()),
        ("text6", b"PROXY TCP6 2001:db8::9 2001:db8::1 4000 3478\r\n".to_vec()),
        ("unknown", b"PROXY UNKNOWN\r\n".to_vec()),
        ("local", binary(0, 0, &[])),
        ("stream4", binary(1, 0x11, &[&[7; 12][..], &extensions].concat())),
        ("stream6", binary(1, 0x21, &[7; 36])),
        ("datagram4", [binary(1, 0x12, &[7; 12]), b"payload".to_vec()].concat()),
        ("datagram6", binary(1, 0x22, &[&[7; 36][..], &extensions[..12]].concat())),
    ];
    seeds.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

/// Configurations as people write them.
pub(crate) fn configurations() -> Seeds {
    const FILES: [(&str, &str); 6] = [
        ("plain", "listening-port=3478\nrealm=example.org\nuser=hello:world\nlt-cred-mech\nfingerprint\n"),
        ("secret", "use-auth-secret\nstatic-auth-secret=north # the secret\nrealm example.org\nverbose\n"),
        (
            "peers",
            "no-auth\nallowed-peer-ip=10.0.0.0/8\ndenied-peer-ip=192.0.2.1-192.0.2.9\nmin-port=49152\n",
        ),
        (
            "quotes",
            "user=\"a:b # c\"\r\nrealm = \u{201C}x\u{201D};\rno-tls;\n\n# comment\nmax-port = 99999\n",
        ),
        (
            "addresses",
            "listening-ip=127.0.0.1\nrelay-ip=127.0.0.1\nexternal-ip=203.0.113.7/127.0.0.1\nno-auth\n",
        ),
        ("misspelt", "user-qota=4\nuser-quota=four\ntotal-quota=-1\nmax-bps=1e9\nno-auth=perhaps\n"),
    ];
    let mut seeds: Seeds =
        FILES.iter().map(|(name, text)| (name.to_string(), text.as_bytes().to_vec())).collect();
    seeds.push(("not_utf8".to_owned(), b"verbose\nrealm=\xFF\n".to_vec()));
    seeds.push(("sample".to_owned(), turnpike_config::sample().into_bytes()));
    seeds
}

fn channel_data(data: &[u8]) -> Vec<u8> {
    [&channel_data_header(0x4000, data.len() as u16), data].concat()
}
