//! News of routes, neighbours, addresses and interfaces, as the kernel multicasts them (rtnetlink).

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use crate::netlink::{Attributes, read_messages, u16_at, u32_at};

/// What has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Where packets go: routes, rules, addresses, neighbours, interfaces.
    pub(crate) routes: bool,
    /// Interfaces.
    pub(crate) links: bool,
}

/// Hears of changes.
#[derive(Debug)]
pub(crate) struct Changes {
    socket: OwnedFd,
    neighbours: Neighbours,
    buffer: Vec<u8>,
}

impl Changes {
    pub(crate) fn open() -> io::Result<Self> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        Ok(Changes { socket, neighbours: Neighbours::default(), buffer: vec![0; BUFFER] })
    }

    /// Waits for news, and takes in all there are. What was lost because it came too fast has changed everything.
    pub(crate) fn wait(&mut self) -> io::Result<Changed> {
        let mut changed = Changed::default();
        let mut flags = RecvFlags::empty();
        for _ in 0..MOST_BUFFERS {
            let length = match recv(&self.socket, self.buffer.as_mut_slice(), flags) {
                Ok((_, length)) => length.min(BUFFER),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => continue,
                Err(Errno::NOBUFS) => {
                    self.neighbours.known.clear();
                    changed = Changed { routes: true, links: true };
                    0
                }
                Err(error) => return Err(error.into()),
            };
            let Changes { neighbours, buffer, .. } = self;
            // An error among the news is not for us, who have asked for nothing.
            let _ = read_messages(&buffer[..length], &mut |kind, body| {
                changed.take_in(kind, body, neighbours);
            });
            flags = RecvFlags::DONTWAIT;
        }
        Ok(changed)
    }
}

impl Changed {
    fn take_in(&mut self, kind: u16, body: &[u8], neighbours: &mut Neighbours) {
        match kind {
            RTM_NEWNEIGH | RTM_DELNEIGH => self.routes |= neighbours.has_changed(kind, body),
            RTM_NEWLINK | RTM_DELLINK => *self = Changed { routes: true, links: true },
            _ => self.routes = true,
        }
    }
}

/// The hardware addresses of neighbours, so that those that were only seen to be still there are not taken for new ones.
#[derive(Debug, Default)]
struct Neighbours {
    known: HashMap<(u32, Vec<u8>), [u8; 6]>,
}

impl Neighbours {
    /// Whether packets to a neighbour go elsewhere, or nowhere, since it was last heard of; so it may be with one that was
    /// not heard of before.
    fn has_changed(&mut self, kind: u16, body: &[u8]) -> bool {
        let Some(attributes) = body.get(NEIGHBOUR_HEADER..) else { return false };
        // Bridges tell of theirs by the same messages.
        if ![AF_INET, AF_INET6].contains(&body[0]) {
            return false;
        }
        let (mut ip, mut address) = (None, None);
        for (kind, value) in Attributes(attributes) {
            match kind {
                NDA_DST => ip = Some(value.to_vec()),
                NDA_LLADDR => address = value.try_into().ok(),
                _ => {}
            }
        }
        let Some(ip) = ip else { return false };
        let is_valid = kind == RTM_NEWNEIGH && u16_at(body, 8) & NUD_VALID != 0;
        let neighbour = (u32_at(body, 4), ip);
        let Some(address) = address.filter(|_| is_valid) else {
            self.known.remove(&neighbour);
            return true;
        };
        if self.known.len() >= MOST_NEIGHBOURS {
            self.known.clear();
        }
        self.known.insert(neighbour, address) != Some(address)
    }
}

/// Interfaces, neighbours, addresses, routes, rules, next hops.
const GROUPS: u32 = 1 | 1 << 2 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 18 | 1 << 31;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const NEIGHBOUR_HEADER: usize = 12;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
/// Permanent, without ARP, reachable, stale, to be probed, being probed: all that packets are sent to.
const NUD_VALID: u16 = 0xDE;
/// As many as Linux keeps unless told otherwise, several times over.
const MOST_NEIGHBOURS: usize = 8192;
const BUFFER: usize = 32_768;
/// Taken in at once.
const MOST_BUFFERS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::attribute;

    const REACHABLE: u16 = 2;
    const STALE: u16 = 4;
    const FAILED: u16 = 0x20;

    fn neighbour(family: u8, ip: &[u8], state: u16, address: Option<[u8; 6]>) -> Vec<u8> {
        let mut body = vec![0; NEIGHBOUR_HEADER];
        body[0] = family;
        body[4..8].copy_from_slice(&3_u32.to_ne_bytes());
        body[8..10].copy_from_slice(&state.to_ne_bytes());
        body.extend(attribute(NDA_DST, ip));
        body.extend(address.map(|address| attribute(NDA_LLADDR, &address)).unwrap_or_default());
        body
    }

    #[test]
    fn a_neighbour_has_changed_when_its_hardware_address_did_or_it_was_lost() {
        let mut neighbours = Neighbours::default();
        let ip = [10, 0, 0, 1];
        let mut hear =
            |kind, state, address| neighbours.has_changed(kind, &neighbour(AF_INET, &ip, state, address));
        let (one, other) = (Some([2, 0, 0, 0, 0, 1]), Some([2, 0, 0, 0, 0, 2]));
        assert!(hear(RTM_NEWNEIGH, REACHABLE, one), "nothing was known of it");
        assert!(!hear(RTM_NEWNEIGH, STALE, one) && !hear(RTM_NEWNEIGH, REACHABLE, one));
        assert!(hear(RTM_NEWNEIGH, STALE, other));
        assert!(hear(RTM_NEWNEIGH, FAILED, None) && hear(RTM_NEWNEIGH, REACHABLE, other));
        assert!(hear(RTM_DELNEIGH, REACHABLE, other) && hear(RTM_NEWNEIGH, REACHABLE, other));
        let bridged = neighbour(7, &[], REACHABLE, one);
        assert!(!neighbours.has_changed(RTM_NEWNEIGH, &bridged));
    }

    #[test]
    fn as_many_neighbours_as_there_may_be_take_bounded_room_and_none_goes_unheard() {
        let mut neighbours = Neighbours::default();
        for number in 0..3 * MOST_NEIGHBOURS as u32 {
            let body = neighbour(AF_INET, &number.to_be_bytes(), REACHABLE, Some([2; 6]));
            assert!(neighbours.has_changed(RTM_NEWNEIGH, &body));
            assert!(neighbours.known.len() <= MOST_NEIGHBOURS);
        }
        let forgotten = neighbour(AF_INET, &7_u32.to_be_bytes(), FAILED, None);
        assert!(neighbours.has_changed(RTM_NEWNEIGH, &forgotten));
    }

    #[test]
    fn news_cut_off_anywhere_are_read_without_harm() {
        let mut neighbours = Neighbours::default();
        let body = neighbour(AF_INET6, &[0xFD; 16], REACHABLE, Some([2; 6]));
        for length in 0..body.len() {
            let _ = neighbours.has_changed(RTM_NEWNEIGH, &body[..length]);
        }
    }

    #[test]
    fn a_route_is_no_reason_to_read_the_interfaces_again() {
        let mut changed = Changed::default();
        changed.take_in(24, &[], &mut Neighbours::default());
        assert_eq!(changed, Changed { routes: true, links: false });
        changed.take_in(RTM_DELLINK, &[], &mut Neighbours::default());
        assert!(changed.links);
    }
}
