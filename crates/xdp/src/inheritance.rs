//! What one process gives the next, so that the program in the kernel goes on running: descriptors of its tables and of its
//! attachments, and what is known of them.

use std::os::fd::OwnedFd;
use std::{fs, io};

use aya::programs::links::FdLink;
use rustix::process::{ForeignRawFd, PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::error::Unavailable;
use crate::mode::Point;

/// A running program, for [`FastPath::inherit`](crate::FastPath::inherit).
#[derive(Debug)]
pub struct Heirloom {
    /// Which program it is.
    pub program: u64,
    /// Where it runs.
    pub point: Point,
    /// How many flows there may be.
    pub flows: u32,
    /// The interfaces that were named.
    pub names: Vec<String>,
    /// Those that were chosen.
    pub chosen: Vec<u32>,
    /// Those where it runs.
    pub places: Vec<u32>,
    /// Its tables, in an order of their own, then its attachments.
    pub descriptors: Vec<OwnedFd>,
}

/// What holds the program at an interface; closing every descriptor of it detaches.
#[derive(Debug)]
pub(crate) enum Attachment {
    Made(FdLink),
    Inherited(OwnedFd),
}

impl Attachment {
    /// A second descriptor of it.
    pub(crate) fn descriptor(&self) -> Result<OwnedFd, Unavailable> {
        let copy = match self {
            Attachment::Made(link) => {
                let info = link.info();
                let info = info.map_err(|error| Unavailable::refused("asking for an attachment", &error))?;
                descriptor_of_link(info.id())
            }
            Attachment::Inherited(descriptor) => descriptor.try_clone(),
        };
        copy.map_err(|error| Unavailable::refused("copying the descriptor of an attachment", &error))
    }
}

/// The library shows nobody its descriptor: it is found by the number that the kernel gave the attachment.
fn descriptor_of_link(id: u32) -> io::Result<OwnedFd> {
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        let path = entry?.path();
        // The one that lists them is gone.
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut links = text.lines().filter_map(|line| line.strip_prefix("link_id:"));
        if !links.any(|link| link.trim().parse() == Ok(id)) {
            continue;
        }
        let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let number: ForeignRawFd = number.ok_or(io::ErrorKind::InvalidData)?;
        let own = pidfd_open(getpid(), PidfdFlags::empty())?;
        return Ok(pidfd_getfd(own, number, PidfdGetfdFlags::empty())?);
    }
    Err(io::ErrorKind::NotFound.into())
}
