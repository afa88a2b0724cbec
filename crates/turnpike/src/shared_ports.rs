//! The ports that sessions share with `multiplex-peer`: whether they can be had is found out at start, although each is
//! opened only for its first session.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use turnpike_config::Config;
use turnpike_control::Log;
use turnpike_net::{UdpOptions, UdpSocket};
use turnpike_turn::Multiplex;

use crate::addresses::Addresses;

/// Sees that every thread's port is free on every relay address and is none to listen on, and says which they are.
///
/// # Errors
/// One is not; the message says which and what to do.
pub(crate) fn probe(log: &Log, config: &Config, addresses: &Addresses, threads: u16) -> anyhow::Result<()> {
    if !config.multiplex || config.stun_only {
        return Ok(());
    }
    let first = config.multiplex_port;
    let last = u32::from(first) + 2 * u32::from(threads) - 1;
    if last > u32::from(u16::MAX) {
        bail!(
            "multiplex-peer-port {first} leaves no room for two ports for each of {threads} threads: lower it"
        );
    }
    let listening: Vec<u16> = addresses.listening.iter().map(SocketAddr::port).collect();
    if let Some(port) = listening.iter().find(|port| (u32::from(first)..=last).contains(&u32::from(**port))) {
        bail!(
            "port {port} is one to listen on and one of the shared relay ports {first} to {last}: set another \
             multiplex-peer-port"
        );
    }
    let multiplex = Multiplex { first_port: first, most_peers: config.multiplex_most_peers.into() };
    for relay in &addresses.relays {
        for worker in 0..threads {
            let port = multiplex.port(worker, relay.address.is_ipv4());
            let address = SocketAddr::new(relay.address, port);
            UdpSocket::bind(address, &UdpOptions::default()).with_context(|| {
                format!("cannot relay from UDP {address}, which multiplex-peer needs: set another multiplex-peer-port")
            })?;
        }
    }
    log.info(&format!("Relay ports: {first} to {last}, shared by all sessions (multiplex-peer)"));
    Ok(())
}
