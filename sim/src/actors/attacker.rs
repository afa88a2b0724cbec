//! Attackers: they listen in on everything, forge sources, replay, damage, flood and send garbage.

use super::{Actor, Surroundings, endpoints};
use crate::network::{Datagram, damage};

/// One attacker without an address of his own.
#[derive(Debug, Default)]
pub(crate) struct Attacker;

impl Actor for Attacker {
    fn wake(&mut self, surroundings: &mut Surroundings<'_>) -> u64 {
        let (from, to) = endpoints(surroundings.random, surroundings.rumours);
        let random = &mut *surroundings.random;
        let overheard = random.pick_some(&surroundings.rumours.overheard).cloned();
        match (random.below(10), overheard) {
            (0..=2, Some(Datagram { from, to, bytes })) => surroundings.send(from, to, bytes),
            (3..=4, Some(Datagram { bytes, .. })) => surroundings.send(from, to, bytes),
            (5..=7, Some(Datagram { from, to, mut bytes })) => {
                damage(&mut bytes, random);
                surroundings.send(from, to, bytes);
            }
            (8, _) => {
                let length = random.below(80) as usize;
                let mut bytes = random.blob(length);
                if let Some(first) = bytes.first_mut().filter(|_| random.chance(700)) {
                    *first &= 0x43;
                }
                surroundings.send(from, to, bytes);
            }
            _ => {
                for _ in 0..random.between(1, 40) {
                    let mut allocate = vec![0, 3, 0, 0, 0x21, 0x12, 0xA4, 0x42];
                    allocate.extend(surroundings.random.bytes::<12>());
                    surroundings.send(from, to, allocate);
                }
            }
        }
        surroundings.pause()
    }

    fn receive(&mut self, _: &mut Surroundings<'_>, _: &Datagram) -> bool {
        false
    }
}
