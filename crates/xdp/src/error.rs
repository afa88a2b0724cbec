//! Why there is no fast path.

use std::error::Error;
use std::fmt::Write as _;
use std::io;

use rustix::io::Errno;

use crate::mode::Point;

/// Why the fast path cannot be had: what is missing, and what to do about it. Relaying works without it.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// It was not asked for.
    #[error("not asked for")]
    Off,
    /// The process may not load programs into the kernel.
    #[error("loading programs into the kernel needs CAP_BPF and CAP_NET_ADMIN: grant both, or run as root")]
    Capabilities,
    /// The kernel is too old to take the program off by itself when the process dies, or to take it at all.
    #[error("{point} needs Linux {}.{} or later", needed.0, needed.1)]
    OldKernel {
        /// Where it was to run.
        point: Point,
        /// Since when there is such a thing.
        needed: (u32, u32),
    },
    /// An interface that was named is none.
    #[error("there is no interface {0}")]
    NoInterface(String),
    /// An interface that was named has no Ethernet frames.
    #[error("{0} is no Ethernet interface")]
    NotEthernet(String),
    /// No interface was named and none fits.
    #[error("no Ethernet interface is up")]
    NoInterfaces,
    /// The program may not look up routes.
    #[error(
        "the kernel answers route look-ups only where forwarding is on: \
         sysctl -w net.ipv4.conf.lo.forwarding=1 (and net.ipv6.conf.lo.forwarding=1) lets the server ask, \
         and makes the host no router"
    )]
    NoRoutes,
    /// Frames that the program sends would be lost without a trace.
    #[error(
        "{0} cannot send what XDP programs hand to it; of a veth, the other end needs GRO (ethtool -K DEVICE gro on)"
    )]
    SendsNothing(String),
    /// The kernel refused.
    #[error("{what}: {why}")]
    Refused {
        /// What was tried.
        what: String,
        /// What it said.
        why: String,
    },
}

impl Unavailable {
    pub(crate) fn refused(what: impl Into<String>, error: &(dyn Error + 'static)) -> Self {
        if is_permission(error) {
            return Unavailable::Capabilities;
        }
        Unavailable::Refused { what: what.into(), why: chain(error) }
    }
}

/// Whether the kernel says that the process may not. What it does not like of a program is another error (EACCES).
fn is_permission(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.raw_os_error() == Some(Errno::PERM.raw_os_error()))
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// An error and its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.contains(&cause) {
            let _ = write!(text, ": {cause}");
        }
        next = error.source();
    }
    // The verifier's log has thousands of lines; the first says what is wrong as well as any.
    text.lines().next().unwrap_or_default().to_owned()
}
