//! The network interfaces of this namespace, as the kernel tells them by rtnetlink (`RTM_GETLINK`).

use std::collections::HashMap;
use std::io;

use crate::layout::Tag;
use crate::netlink::{self, Attributes, NLM_F_DUMP, u16_at, u32_at};

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
    pub(crate) vlan: Option<(u32, Tag)>,
    /// What it belongs to: a bridge, a bond.
    pub(crate) master: Option<u32>,
}

impl Link {
    /// Whether it is taken where none is named: with Ethernet frames, up, and not part of another one that carries its
    /// packets.
    pub(crate) fn may_be_chosen(&self) -> bool {
        self.ethernet && self.up && self.address.is_some() && self.master.is_none()
    }
}

#[cfg(test)]
impl Link {
    /// An Ethernet interface that is up.
    pub(crate) fn named_for_a_test(name: &str) -> Self {
        let name = name.to_owned();
        Link { index: 1, name, address: Some([2; 6]), ethernet: true, up: true, vlan: None, master: None }
    }

    /// As a VLAN interface made on another.
    pub(crate) fn on(self, device: u32, tag: Tag) -> Self {
        Link { vlan: Some((device, tag)), ..self }
    }
}

#[cfg(test)]
impl Links {
    pub(crate) fn of_a_test(links: Vec<Link>) -> Self {
        Links { links }
    }
}

/// All interfaces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    links: Vec<Link>,
}

impl Links {
    /// Asks the kernel.
    pub(crate) fn read() -> io::Result<Self> {
        let mut links = Vec::new();
        // Netlink's protocol for routes and interfaces is number zero, which is "none" here.
        netlink::ask(None, RTM_GETLINK, NLM_F_DUMP, &[0; LINK_HEADER], |kind, body| {
            if kind == RTM_NEWLINK {
                links.extend(read_link(body));
            }
        })?;
        Ok(Links { links })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.links.iter()
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The devices that carry the frames of these interfaces, each once.
    pub(crate) fn carriers(&self, chosen: &[&Link]) -> Vec<&Link> {
        let mut carriers: Vec<&Link> = Vec::new();
        for link in chosen {
            let device = self.device_of(link.index).map(|(device, _)| device);
            let carrier = self.links.iter().find(|link| Some(link.index) == device);
            carriers
                .extend(carrier.filter(|carrier| !carriers.iter().any(|known| known.index == carrier.index)));
        }
        carriers
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

const LINK_HEADER: usize = 16;
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
const ETH_P_8021Q: u16 = 0x8100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::attribute;

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
        body
    }

    #[test]
    fn stacked_vlans_lead_to_their_device_with_the_outer_tag_first() {
        let bodies = [
            link(2, "eth0", None),
            link(3, "eth0.7", Some((2, 0x88A8, 7))),
            link(4, "eth0.7.9", Some((3, 0x8100, 9))),
            link(5, "deep", Some((4, 0x8100, 1))),
        ];
        let links = Links { links: bodies.iter().filter_map(|body| read_link(body)).collect() };
        assert_eq!(links.device_of(2), Some((2, vec![])));
        assert_eq!(links.device_of(3), Some((2, vec![Tag { kind: 0x88A8, number: 7 }])));
        let both = vec![Tag { kind: 0x88A8, number: 7 }, Tag { kind: 0x8100, number: 9 }];
        assert_eq!(links.device_of(4), Some((2, both)));
        assert_eq!(links.device_of(5), None, "three tags are one too many");
        let chosen = ["eth0.7.9", "eth0", "deep"].map(|name| links.named(name).expect("it is there"));
        let carriers: Vec<&str> =
            links.carriers(&chosen).into_iter().map(|link| link.name.as_str()).collect();
        assert_eq!(carriers, ["eth0"]);
        assert_eq!(links.named("eth0.7").and_then(|link| link.address), Some([2, 0, 0, 0, 0, 3]));
    }

    #[test]
    fn answers_cut_off_anywhere_are_read_without_harm() {
        let body = link(3, "eth0.7", Some((2, 0x8100, 7)));
        for length in 0..body.len() {
            let _ = read_link(&body[..length]);
        }
    }

    #[test]
    fn this_machine_has_a_loopback_interface() {
        let links = Links::read().expect("the kernel answers");
        let lo = links.named("lo").expect("there is lo");
        assert!(lo.index > 0 && !lo.ethernet);
    }
}
