//! Peers: they echo, and they send to relayed addresses whether they may or not.

use std::net::SocketAddr;

use super::{Actor, Surroundings};
use crate::network::Datagram;
use crate::settings::ip;

/// All peers together.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    /// Datagrams received.
    pub(crate) received: u64,
}

impl Actor for Peers {
    fn wake(&mut self, surroundings: &mut Surroundings<'_>) -> u64 {
        let Some(to) = surroundings.random.pick_some(&surroundings.rumours.relayed).copied() else {
            return surroundings.pause();
        };
        let mut from = match to.is_ipv4() {
            true => *surroundings.random.pick(&public()),
            false => *surroundings.random.pick(&public_six()),
        };
        if surroundings.random.chance(300) {
            from.set_port(surroundings.random.between(1, 9) as u16);
        }
        if surroundings.random.chance(30)
            && let Some(relayed) = surroundings.random.pick_some(&surroundings.rumours.relayed)
        {
            // A forged source: another relayed address, or one that is no longer open.
            from = *relayed;
        }
        let length = match surroundings.random.below(100) {
            0..=9 => 0,
            10..=97 => surroundings.random.below(200),
            98 => surroundings.random.between(65_400, 65_507),
            _ => 1400,
        };
        let bytes = surroundings.random.blob(length as usize);
        surroundings.send(from, to, bytes);
        surroundings.pause()
    }

    fn receive(&mut self, surroundings: &mut Surroundings<'_>, datagram: &Datagram) -> bool {
        let known = public().contains(&datagram.to) || public_six().contains(&datagram.to);
        if !known {
            return false;
        }
        self.received += 1;
        if surroundings.random.chance(600) {
            surroundings.send(datagram.to, datagram.from, datagram.bytes.clone());
        }
        true
    }
}

/// IPv4 peers.
pub(crate) fn public() -> [SocketAddr; 6] {
    std::array::from_fn(|at| SocketAddr::new(ip(&format!("44.1.0.{}", at / 2 + 1)), 7000 + at as u16))
}

/// IPv6 peers.
pub(crate) fn public_six() -> [SocketAddr; 4] {
    std::array::from_fn(|at| SocketAddr::new(ip(&format!("2600:1::{}", at / 2 + 1)), 7000 + at as u16))
}
