//! Malformed messages: whole classes of them, and random damage to good ones. A sound server answers some with
//! an error, drops the others, and goes on serving.

use std::time::Duration;

use anyhow::Result;
use turnpike_wire::attributes::{Lifetime, RequestedTransport, Software, Username};
use turnpike_wire::{Class, HEADER_LENGTH, MessageWriter, Method, TransactionId};

use super::sessions::{Sessions, TIMER_TICK};
use crate::randomness::Dice;
use crate::tools::output::info;

/// Sends a few of every kind on each session's socket before its real requests. A server closes a connection that it
/// cannot follow any further, so that the real requests go by another one.
pub(super) fn pester(sessions: &mut Sessions) -> Result<()> {
    let mut dice = Dice::new()?;
    let mut message = vec![0; LARGEST];
    let mut sent = 0u64;
    for number in 0..sessions.all.len() {
        for _ in 0..MESSAGES_A_SESSION {
            let length = write(&mut dice, &mut message);
            sent += u64::from(sessions.all[number].transport.send(&message[..length]));
        }
        sessions.turn(Duration::ZERO)?;
    }
    if sessions.settings.way.is_stream() {
        begin_again(sessions)?;
    }
    info!("{sent} malformed messages sent");
    Ok(())
}

/// New connections for all, once the old ones delivered what they had or were closed.
fn begin_again(sessions: &mut Sessions) -> Result<()> {
    let deadline = sessions.now() + PATIENCE;
    while sessions.is_sending() && sessions.now() < deadline {
        sessions.turn(TIMER_TICK)?;
    }
    (0..sessions.all.len()).try_for_each(|number| sessions.reopen(number, sessions.settings.server, None))
}

/// Writes one malformed message, at most [`LARGEST`] bytes, and returns its length.
pub(super) fn write(dice: &mut Dice, message: &mut [u8]) -> usize {
    let good = write_good(dice, message);
    match dice.below(8) {
        0 => {
            let length = 1 + dice.below(LARGEST / 2);
            dice.fill(&mut message[..length]);
            length
        }
        // Cut short, so that the length field lies.
        1 => 1 + dice.below(good - 1),
        // Not the magic cookie.
        2 => {
            dice.fill(&mut message[4..8]);
            good
        }
        // A length field of any value.
        3 => {
            dice.fill(&mut message[2..4]);
            good
        }
        // The first attribute runs over the end.
        4 => {
            message[HEADER_LENGTH + 2..HEADER_LENGTH + 4].copy_from_slice(&[0xFF, 0xFF]);
            good
        }
        // A response nobody asked for, or an unknown method.
        5 => {
            message[0] = (dice.throw() & 0x3F) as u8;
            message[1] = dice.throw() as u8;
            good
        }
        // ChannelData on a channel nobody bound, with any length.
        6 => {
            message[0] = 0x40 | (dice.throw() & 0x3F) as u8;
            dice.fill(&mut message[1..4]);
            good
        }
        _ => {
            for _ in 0..=dice.below(4) {
                message[dice.below(good)] ^= 1 << dice.below(8);
            }
            good
        }
    }
}

fn write_good(dice: &mut Dice, message: &mut [u8]) -> usize {
    let mut id = [0; 12];
    dice.fill(&mut id);
    let methods = [Method::ALLOCATE, Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND];
    let method = methods[dice.below(methods.len())];
    let mut writer = MessageWriter::new(message, Class::Request, method, TransactionId(id));
    writer
        .add(&RequestedTransport::UDP)
        .add(&Lifetime(dice.throw() as u32))
        .add(&Username(b"nobody"))
        .add(&Software(b"malformed"));
    writer.finish().map_or(HEADER_LENGTH, <[u8]>::len)
}

/// Bytes a buffer for [`write`] has.
pub(super) const LARGEST: usize = 512;
const MESSAGES_A_SESSION: usize = 50;
const PATIENCE: Duration = Duration::from_secs(5);
