//! Which client addresses have challenge budgets of their own.

use std::net::{IpAddr, SocketAddr};

use turnpike_turn::{
    Client, FiveTuple, Init, Link, NonceKey, Now, Ports, Quotas, Server, Transport, Verdict,
};

use crate::settings::{Settings, ip};
use crate::world::LISTENERS;

/// Client addresses whose challenge budgets are their own. Which sources share one is the core's secret, so it
/// is found out by asking: whoever is refused at once shares with somebody before him.
pub(crate) fn separate_sources(candidates: &[IpAddr], settings: &Settings) -> Vec<IpAddr> {
    let single = Settings { challenge_burst: 1, challenge_rate: 0, anonymous: false, ..settings.clone() };
    let single = Settings { relaying: true, ..single };
    let mut server = Server::new(Init {
        config: single.config(),
        worker: 0,
        workers: 1,
        ports: Ports::new(&single.relays, single.first_port..=single.last_port),
        quotas: Quotas::new(0, 0),
        nonce_key: NonceKey::new([0; 16]),
        seed: seed([0; 16]),
    });
    let allocate = [0, 3, 0, 0, 0x21, 0x12, 0xA4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut separate = Vec::new();
    for candidate in candidates {
        let (server_address, client) =
            (SocketAddr::new(ip(LISTENERS[0]), 3478), SocketAddr::new(*candidate, 9));
        let tuple = FiveTuple { transport: Transport::Udp, server: server_address, client };
        let verdict = server.handle_client_packet(Now::default(), Client { link: Link(0), tuple }, &allocate);
        if matches!(verdict, Verdict::Reply { .. }) {
            separate.push(*candidate);
        }
    }
    separate
}

/// A worker's seed: the half that its challenge budget hashes with is the same for all of them.
pub(crate) fn seed(first: [u8; 16]) -> [u8; 32] {
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(&first);
    seed[16..].copy_from_slice(&HASH_SEED);
    seed
}

const HASH_SEED: [u8; 16] = [7; 16];
