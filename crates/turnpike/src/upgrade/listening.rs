//! The sockets that clients come by, as the process has them: beside those that its workers read, a descriptor of each to
//! hand over.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use turnpike_xdp::Heirloom;

use super::protocol::{Kernel, Kind};

/// All of them, in the order in which the workers number them.
#[derive(Debug, Default)]
pub(crate) struct Listening {
    pub(super) groups: Vec<Group>,
}

/// Those of one address: one for each worker.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) kind: Kind,
    pub(super) address: SocketAddr,
    pub(super) sockets: Vec<OwnedFd>,
}

/// Those that the process before this one had, until they are taken.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    groups: Vec<Option<Group>>,
    /// What each group was.
    told: Vec<(Kind, SocketAddr)>,
    /// The program in the kernel, until it is taken.
    pub(crate) kernel: Option<Heirloom>,
}

impl Listening {
    /// Notes a group, behind those of its kind that were noted before.
    ///
    /// # Errors
    /// No descriptors are left.
    pub(crate) fn note<S: AsFd>(
        &mut self,
        is_stream: bool,
        address: SocketAddr,
        sockets: &[S],
    ) -> io::Result<()> {
        let sockets = sockets.iter().map(|socket| socket.as_fd().try_clone_to_owned());
        let kind = if is_stream { Kind::Connections } else { Kind::Datagrams };
        self.groups.push(Group { kind, address, sockets: sockets.collect::<io::Result<_>>()? });
        Ok(())
    }

    /// The places, among the listeners of its kind, of each group.
    fn places(&self, kind: Kind) -> impl Iterator<Item = SocketAddr> + '_ {
        self.groups.iter().filter(move |group| group.kind == kind).map(|group| group.address)
    }

    /// The number that a listener for datagrams with this address has.
    pub(super) fn number_of(&self, address: SocketAddr) -> Option<usize> {
        self.places(Kind::Datagrams).position(|listener| listener == address)
    }
}

impl Inherited {
    /// `None` if there are not as many descriptors as the groups and the program in the kernel must have.
    pub(super) fn new(
        (told, kernel): (Vec<(Kind, SocketAddr)>, Option<Kernel>),
        threads: u16,
        mut sockets: Vec<OwnedFd>,
    ) -> Option<Self> {
        let of_kernel = kernel.as_ref().map_or(0, |kernel| usize::from(kernel.descriptors));
        let of_groups = told.len() * usize::from(threads);
        if sockets.len() != of_groups + of_kernel {
            return None;
        }
        let of_kernel = sockets.split_off(of_groups);
        let kernel = kernel.map(|kernel| kernel.with(of_kernel));
        let mut sockets = sockets.into_iter();
        let mut group = |(kind, address): (Kind, SocketAddr)| {
            let sockets = sockets.by_ref().take(threads.into()).collect();
            Some(Group { kind, address, sockets })
        };
        Some(Inherited { groups: told.iter().copied().map(&mut group).collect(), told, kernel })
    }

    /// The sockets of this address, if they were handed over.
    pub(crate) fn take(&mut self, is_stream: bool, address: SocketAddr) -> Option<Vec<OwnedFd>> {
        let kind = if is_stream { Kind::Connections } else { Kind::Datagrams };
        let fits = |group: &Group| group.kind == kind && group.address == address;
        let place = self.groups.iter_mut().find(|group| group.as_ref().is_some_and(fits))?;
        place.take().map(|group| group.sockets)
    }

    /// Of each group whether it was taken.
    pub(crate) fn taken(&self) -> Vec<bool> {
        self.groups.iter().map(Option::is_none).collect()
    }

    /// The addresses of the other's listeners for datagrams that were taken, by its numbers.
    pub(crate) fn datagrams(&self) -> Vec<Option<SocketAddr>> {
        let of_datagrams =
            self.told.iter().zip(&self.groups).filter(|((kind, _), _)| *kind == Kind::Datagrams);
        of_datagrams.map(|((_, address), left)| left.is_none().then_some(*address)).collect()
    }
}
