//! A script of what happens to a server: clients with and without credentials, good and damaged messages, peers,
//! passing time, relay sockets that open, fail or keep everybody waiting, and connections with peers that do so.
//!
//! After each step the server's tables must agree, and everything it wants to send must make sense.

mod check;
mod connections;
mod messages;
mod world;

use std::time::Duration;

use turnpike_turn::{RelayError, RelayId, WaitId};

use crate::input::Input;
use world::World;

/// Whatever happens, no panic, no contradiction, and in the end nothing is left.
pub fn session(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut world = World::from_input(&mut input);
    let mut steps = 0;
    while !input.is_empty() && steps < MOST_STEPS {
        step(&mut world, &mut input);
        world.check();
        steps += 1;
    }
    world.end();
}

fn step(world: &mut World, input: &mut Input<'_>) {
    let action = input.byte();
    let caller = usize::from(action >> 5);
    match action % 16 {
        0..=2 => {
            let packet = world.message(caller, input, false);
            world.client_packet(caller, &packet);
        }
        3 => {
            let packet = world.message(caller, input, true);
            world.client_packet(caller, &packet);
        }
        4 => world.client_packet(caller, input.blob()),
        5 => world.repeat_last_packet(caller),
        6 | 7 => {
            let packet = world.send_indication(caller, input);
            world.client_packet(caller, &packet);
        }
        8 => {
            let packet = messages::channel_data(input);
            world.client_packet(caller, &packet);
        }
        9 => world.peer_packet(input),
        10 => {
            let relay = RelayId { slot: u32::from(input.byte()), generation: u32::from(input.byte()) };
            let peer = messages::peer(input);
            world.packet_to(relay, peer, input.blob());
        }
        11 => world.pass(Duration::from_millis(u64::from(input.number_u16())), input.byte() & 1 == 0),
        12 => world.pass(Duration::from_secs(u64::from(input.number_u16() % 2048)), input.byte() & 1 == 0),
        13 => world.answer_oldest(match input.byte() % 4 {
            0 => Err(RelayError::AddressInUse),
            1 => Err(RelayError::Other),
            _ => Ok(()),
        }),
        14 => {
            // An answer to a question that may never have been asked is refused, or belongs to one that was.
            let wait = WaitId { slot: u32::from(input.byte()), generation: u32::from(input.byte()) };
            world.stray_answer(wait);
        }
        _ if input.byte() & 3 != 0 => world.peer_connection(input),
        _ => world.change(input),
    }
}

const MOST_STEPS: usize = 400;
