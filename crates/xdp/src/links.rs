//! The network interfaces of this namespace, as the kernel tells them by rtnetlink (`RTM_GETLINK`).

use std::collections::HashMap;
use std::io;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

use crate::layout::Tag;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// Its hardware address, if it has one like Ethernet's.
    pub(crate) address: Option<[u8; 6]>,
    pub(crate) ethernet: bool,
    pub(crate) up: bool,
    /// What a VLAN interface is made on, and its tag.
    vlan: Option<(u32, Tag)>,
    /// What it belongs to: a bridge, a bond.
    pub(crate) master: Option<u32>,
}

/// All interfaces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    links: Vec<Link>,
}

impl Links {
    /// Asks the kernel.
    pub(crate) fn read() -> io::Result<Self> {
        // Netlink's protocol for routes and interfaces is number zero, which is "none" here.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        send(&socket, &request(), SendFlags::empty())?;
        let mut links = Vec::new();
        let mut buffer = vec![0; BUFFER];
        // An answer of several messages; a machine with a thousand interfaces sends about fifty buffers.
        for _ in 0..MOST_BUFFERS {
            let (_, length) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
            if !read_messages(&buffer[..length.min(BUFFER)], &mut links)? {
                return Ok(Links { links });
            }
        }
        Err(io::Error::other("the list of interfaces does not end"))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.links.iter()
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The device that carries an interface's frames, and the tags they bear there, the outer one first. `None` for
    /// more than two.
    pub(crate) fn device_of(&self, index: u32) -> Option<(u32, Vec<Tag>)> {
        let by_index: HashMap<u32, &Link> = self.links.iter().map(|link| (link.index, link)).collect();
        let (mut device, mut tags) = (index, Vec::new());
        while let Some((below, tag)) = by_index.get(&device)?.vlan {
            tags.insert(0, tag);
            if tags.len() > 2 {
                return None;
            }
            device = below;
        }
        Some((device, tags))
    }
}

/// A request for all links: a netlink header and an empty `ifinfomsg`.
fn request() -> [u8; 32] {
    let mut request = [0; 32];
    request[..4].copy_from_slice(&32_u32.to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_GETLINK.to_ne_bytes());
    request[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    request[8..12].copy_from_slice(&1_u32.to_ne_bytes());
    request
}

/// Reads the messages of one buffer; returns whether there are more.
fn read_messages(mut rest: &[u8], links: &mut Vec<Link>) -> io::Result<bool> {
    while rest.len() >= NETLINK_HEADER {
        let length = (u32_at(rest, 0) as usize).clamp(NETLINK_HEADER, rest.len());
        let body = &rest[NETLINK_HEADER..length];
        match u16_at(rest, 4) {
            NLMSG_DONE => return Ok(false),
            NLMSG_ERROR => {
                let code = i32::from_ne_bytes(u32_at(body, 0).to_ne_bytes());
                return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
            }
            RTM_NEWLINK => links.extend(read_link(body)),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

fn read_link(body: &[u8]) -> Option<Link> {
    let attributes = body.get(LINK_HEADER..)?;
    let mut link = Link {
        index: u32_at(body, 4),
        name: String::new(),
        address: None,
        ethernet: u16_at(body, 2) == ARPHRD_ETHER,
        up: u32_at(body, 8) & IFF_UP != 0,
        vlan: None,
        master: None,
    };
    let (mut below, mut tag) = (None, None);
    for (kind, value) in Attributes(attributes) {
        match kind {
            IFLA_ADDRESS => link.address = value.try_into().ok(),
            IFLA_IFNAME => {
                link.name = String::from_utf8_lossy(value.split(|byte| *byte == 0).next()?).into_owned()
            }
            IFLA_LINK => below = Some(u32_at(value, 0)),
            IFLA_MASTER => link.master = Some(u32_at(value, 0)),
            IFLA_LINKINFO => tag = read_tag(value),
            _ => {}
        }
    }
    link.vlan = below.zip(tag);
    Some(link)
}

/// The tag of a VLAN interface; `None` for any other kind.
fn read_tag(info: &[u8]) -> Option<Tag> {
    let mut is_vlan = false;
    let mut tag = Tag { kind: ETH_P_8021Q, number: 0 };
    for (kind, value) in Attributes(info) {
        match kind {
            IFLA_INFO_KIND => is_vlan = value.strip_suffix(&[0]).unwrap_or(value) == b"vlan",
            IFLA_INFO_DATA if is_vlan => {
                for (kind, value) in Attributes(value) {
                    match kind {
                        IFLA_VLAN_ID => tag.number = u16_at(value, 0),
                        IFLA_VLAN_PROTOCOL => tag.kind = u16::from_be(u16_at(value, 0)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    is_vlan.then_some(tag)
}

/// Netlink attributes: length, kind, value, padded to four bytes.
struct Attributes<'b>(&'b [u8]);

impl<'b> Iterator for Attributes<'b> {
    type Item = (u16, &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let Attributes(rest) = self;
        let length = usize::from(u16_at(rest, 0));
        let value = rest.get(4..length)?;
        let kind = u16_at(rest, 2) & ATTRIBUTE_KIND;
        self.0 = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |word| u16::from_ne_bytes([word[0], word[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]))
}

const BUFFER: usize = 32_768;
const MOST_BUFFERS: usize = 10_000;
const NETLINK_HEADER: usize = 16;
const LINK_HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const ARPHRD_ETHER: u16 = 1;
const IFF_UP: u32 = 1;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_VLAN_PROTOCOL: u16 = 5;
/// Without the bits that mark nested attributes and those in network byte order.
const ATTRIBUTE_KIND: u16 = 0x3FFF;
const ETH_P_8021Q: u16 = 0x8100;

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn link(index: u32, name: &str, vlan: Option<(u32, u16, u16)>) -> Vec<u8> {
        let mut body = vec![0; LINK_HEADER];
        body[2..4].copy_from_slice(&ARPHRD_ETHER.to_ne_bytes());
        body[4..8].copy_from_slice(&index.to_ne_bytes());
        body[8..12].copy_from_slice(&IFF_UP.to_ne_bytes());
        body.extend(attribute(IFLA_IFNAME, format!("{name}\0").as_bytes()));
        body.extend(attribute(IFLA_ADDRESS, &[2, 0, 0, 0, 0, index as u8]));
        if let Some((below, kind, number)) = vlan {
            body.extend(attribute(IFLA_LINK, &below.to_ne_bytes()));
            let data = [
                attribute(IFLA_VLAN_ID, &number.to_ne_bytes()),
                attribute(IFLA_VLAN_PROTOCOL, &kind.to_be_bytes()),
            ];
            let info = [attribute(IFLA_INFO_KIND, b"vlan\0"), attribute(IFLA_INFO_DATA, &data.concat())];
            body.extend(attribute(IFLA_LINKINFO, &info.concat()));
        }
        let mut message = ((NETLINK_HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend_from_slice(&RTM_NEWLINK.to_ne_bytes());
        message.resize(NETLINK_HEADER, 0);
        message.extend(body);
        message
    }

    #[test]
    fn stacked_vlans_lead_to_their_device_with_the_outer_tag_first() {
        let messages = [
            link(2, "eth0", None),
            link(3, "eth0.7", Some((2, 0x88A8, 7))),
            link(4, "eth0.7.9", Some((3, 0x8100, 9))),
            link(5, "deep", Some((4, 0x8100, 1))),
        ];
        let mut links = Vec::new();
        assert!(read_messages(&messages.concat(), &mut links).expect("no error"), "no end yet");
        let links = Links { links };
        assert_eq!(links.device_of(2), Some((2, vec![])));
        assert_eq!(links.device_of(3), Some((2, vec![Tag { kind: 0x88A8, number: 7 }])));
        let both = vec![Tag { kind: 0x88A8, number: 7 }, Tag { kind: 0x8100, number: 9 }];
        assert_eq!(links.device_of(4), Some((2, both)));
        assert_eq!(links.device_of(5), None, "three tags are one too many");
        assert_eq!(links.named("eth0.7").and_then(|link| link.address), Some([2, 0, 0, 0, 0, 3]));
    }

    #[test]
    fn answers_cut_off_anywhere_are_read_without_harm() {
        let message = link(3, "eth0.7", Some((2, 0x8100, 7)));
        for length in 0..message.len() {
            let _ = read_messages(&message[..length], &mut Vec::new());
        }
    }

    #[test]
    fn this_machine_has_a_loopback_interface() {
        let links = Links::read().expect("the kernel answers");
        let lo = links.named("lo").expect("there is lo");
        assert!(lo.index > 0 && !lo.ethernet);
    }
}
