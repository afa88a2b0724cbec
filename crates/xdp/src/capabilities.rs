//! Giving up what only loading and attaching needed.

use std::io;

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::system;

/// Gives up, for this thread and those it starts, the capabilities that attached the program: from here on the server
/// only reads and writes its tables, by descriptors it has.
///
/// # Errors
/// The kernel refuses, which it has no reason to.
pub fn give_up_capabilities() -> io::Result<()> {
    let all =
        CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN | CapabilitySet::PERFMON | CapabilitySet::BPF;
    let gone = all - needed_capabilities();
    let mut sets = capabilities(None)?;
    sets.effective -= gone;
    sets.permitted -= gone;
    sets.inheritable -= gone;
    Ok(set_capabilities(None, sets)?)
}

/// What a program that is attached takes to go on working.
pub fn needed_capabilities() -> CapabilitySet {
    // Before, the kernel asks for it with every change of a table where others may not use BPF at all.
    if system::kernel_is_at_least(5, 19) { CapabilitySet::empty() } else { CapabilitySet::BPF }
}
