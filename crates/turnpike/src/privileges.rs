//! `proc-user` and `proc-group`: what root started goes on as somebody who may do less.

use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::Context;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_keep_capabilities};
use turnpike_config::ProcessSettings;
use turnpike_control::Log;
use turnpike_net::Identity;
use turnpike_xdp::needed_capabilities;

use crate::certificates::Certificates;

/// Looks up who is to be become.
///
/// # Errors
/// There is no such user or group. A server that was told to give up rights does not start with them.
pub(crate) fn find(process: &ProcessSettings) -> anyhow::Result<Option<Identity>> {
    let (user, group) = (process.user.as_deref(), process.group.as_deref());
    let option = if user.is_some() { "proc-user" } else { "proc-group" };
    Identity::find(user, group).with_context(|| format!("{option}: the server does not start"))
}

/// Becomes that user, once everything is bound that takes more rights than he has, and before anything is opened that he
/// has to be able to open again.
///
/// # Errors
/// This process may not become somebody else. It must not go on then: it was told not to serve as who it is.
pub(crate) fn give_up(
    log: &Log,
    process: &ProcessSettings,
    identity: Option<&Identity>,
    certificates: Option<&Certificates>,
) -> anyhow::Result<()> {
    let Some(identity) = identity else { return Ok(()) };
    let name = name(process);
    if identity.is_assumed() {
        log.info(&format!("Runs as {name} already"));
        return Ok(());
    }
    // A process that leaves root loses all capabilities unless it says otherwise. Two are of use later: listeners below
    // port 1024 that a reload adds, and, with old kernels, the tables of the fast path.
    let kept = CapabilitySet::NET_BIND_SERVICE | needed_capabilities();
    let leaves_root = identity.user().is_some_and(|user| user != 0);
    if leaves_root {
        set_keep_capabilities(true)?;
    }
    identity.assume().with_context(|| {
        format!("the server cannot become {name}: only root can, so start it as root or as {name} itself")
    })?;
    if leaves_root {
        keep_only(kept).context("what few capabilities the server needs cannot be kept")?;
        set_keep_capabilities(false)?;
    }
    log.info(&format!("Runs as {name} from here on"));
    certificates
        .into_iter()
        .flat_map(Certificates::paths)
        .for_each(|file| warn_if_unreadable(log, &file, &name));
    Ok(())
}

/// A file that root could read is renewed in vain if this user cannot.
fn warn_if_unreadable(log: &Log, file: &Path, name: &str) {
    if let Err(error) = File::open(file) {
        let file = file.display();
        log.warning(&format!("{file} cannot be read by {name}, so its renewal needs a restart: {error}"));
    }
}

/// Of what root may do, nothing but this is left, now and in threads to come.
fn keep_only(kept: CapabilitySet) -> io::Result<()> {
    let had = rustix::thread::capabilities(None)?.permitted;
    let kept = kept & had;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}

fn name(process: &ProcessSettings) -> String {
    match (&process.user, &process.group) {
        (Some(user), Some(group)) => format!("user {user}, group {group}"),
        (Some(user), None) => format!("user {user}"),
        (None, group) => format!("group {}", group.as_deref().unwrap_or_default()),
    }
}
