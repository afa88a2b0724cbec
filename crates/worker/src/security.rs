//! What a client's TLS or DTLS agreed on, in the words that people know: OpenSSL's.

use rustls::{CipherSuite, ProtocolVersion, ServerConnection};
use turnpike_turn::{Event, Security, Transport};

use crate::dtls::Dtls;
use crate::streams::Streams;

/// Adds to the news of an allocation how its client's transport is secured.
pub(crate) fn add_security(event: &mut Event, streams: &Streams, dtls: Option<&Dtls>) {
    let Event::Allocated { tuple, link, security, .. } = event else { return };
    *security = match tuple.transport {
        Transport::Udp | Transport::Tcp => None,
        Transport::Tls => streams.security(*link),
        Transport::Dtls => dtls.and_then(|dtls| dtls.security(*link)),
    };
}

/// Of a TLS session whose handshake is over.
pub(crate) fn of_tls(connection: &ServerConnection) -> Option<Security> {
    let version = match connection.protocol_version()? {
        ProtocolVersion::TLSv1_3 => "TLSv1.3",
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        _ => "TLS",
    };
    let suite = connection.negotiated_cipher_suite()?.suite();
    let known = SUITES.iter().find(|(known, _)| *known == suite).map(|(_, name)| *name);
    Some(Security { version, cipher: known.or(suite.as_str()).unwrap_or("UNKNOWN") })
}

const SUITES: &[(CipherSuite, &str)] = &[
    (CipherSuite::TLS13_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256"),
    (CipherSuite::TLS13_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384"),
    (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256"),
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256"),
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384"),
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305"),
    (CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256"),
    (CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384"),
    (CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305"),
];
