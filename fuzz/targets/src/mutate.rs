//! Damage to good input, as networks and attackers do it.

use crate::random::Random;

/// Damages `bytes` in one to four ways; they never grow beyond `longest`.
pub fn mutate(bytes: &mut Vec<u8>, random: &mut Random, longest: usize) {
    for _ in 0..=random.below(4) {
        damage(bytes, random);
        bytes.truncate(longest);
    }
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        let length = random.below(64);
        *bytes = random.blob(length);
        return;
    }
    let at = random.below(bytes.len());
    let length = 1 + random.below((bytes.len() - at).min(32));
    match random.below(9) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next_u64() as u8,
        2 => bytes[at] = [0, 1, 3, 4, 0x7F, 0x80, 0xFE, 0xFF][random.below(8)],
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(at..at + length)),
        5 => {
            let inserted = random.blob(length);
            drop(bytes.splice(at..at, inserted));
        }
        6 => {
            let copied = bytes[at..at + length].to_vec();
            let to = random.below(bytes.len());
            drop(bytes.splice(to..to, copied));
        }
        // A length field that lies, at a place where one can be.
        7 => {
            let at = (at & !3) + 2;
            if let Some(field) = bytes.get_mut(at..at + 2) {
                random.fill(field);
                if random.one_in(2) {
                    field[0] = 0;
                }
            }
        }
        _ => random.fill(&mut bytes[at..at + length]),
    }
}
