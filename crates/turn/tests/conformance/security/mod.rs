//! What strangers and hostile users try.

mod amplification;
mod downgrade;
mod exhaustion;
mod floods;
mod malformed;
mod own_addresses;
mod peer_rules;
mod secrets;
mod self_test;

use crate::harness::World;

/// The size of everything the server holds, written out: what grows without bound shows here, wherever it is kept.
fn written_out(world: &World) -> usize {
    format!("{:?}", world.server).len()
}
