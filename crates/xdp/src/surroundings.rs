//! Which interfaces the program may take packets from and send them by, as far as it runs where their frames go.

use std::collections::HashMap;

use aya::maps::{HashMap as KernelMap, MapData, MapError};

use crate::error::Unavailable;
use crate::layout::{Carrier, InterfaceValue, VlanKey, interface_value, vlan_key};
use crate::links::{Link, Links};
use crate::mode::Point;
use crate::system;

/// The tables of interfaces and of VLANs.
pub(crate) type InterfaceTables = (KernelMap<MapData, u32, InterfaceValue>, KernelMap<MapData, VlanKey, u32>);

/// What was chosen at start. Nothing can be attached to later, because what that needs was given up; but interfaces may
/// change, and VLANs come and go on those where the program runs.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    /// The interfaces that were named, if any were.
    pub(crate) names: Vec<String>,
    /// Those that were chosen.
    pub(crate) chosen: Vec<u32>,
    /// Those where the program runs.
    pub(crate) places: Vec<u32>,
    pub(crate) point: Point,
}

impl Surroundings {
    /// How the frames come and go of those that were chosen, and of VLAN interfaces made on them.
    pub(crate) fn carried(&self, links: &Links) -> Carried {
        let mut carried = Carried::default();
        for link in links.iter().filter(|link| link.up) {
            let (Some(address), Some((device, tags))) = (link.address, links.device_of(link.index)) else {
                continue;
            };
            let place = links.iter().find(|place| place.index == device && self.places.contains(&device));
            let Some(place) = place else { continue };
            // One that was named may have been made anew.
            let is_chosen = |index| self.chosen.contains(&index);
            if is_chosen(device) || is_chosen(link.index) || self.names.contains(&link.name) {
                let turns_back = system::is_hardware(&place.name);
                carried.add(link.index, &Carrier { device, address, tags: &tags, turns_back });
            }
        }
        carried
    }

    /// Whether an interface's packets would be the program's if it had been there at start.
    pub(crate) fn misses(&self, link: &Link, links: &Links) -> bool {
        let wanted = if self.names.is_empty() {
            link.may_be_chosen() && (self.point == Point::Tc || system::is_hardware(&link.name))
        } else {
            self.names.contains(&link.name)
        };
        let place = match self.point {
            Point::Tc => Some(link.index),
            Point::Xdp => links.device_of(link.index).map(|(device, _)| device),
        };
        wanted && link.up && place.is_some_and(|place| !self.places.contains(&place))
    }
}

/// What stands in the tables of interfaces and VLANs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    interfaces: HashMap<u32, InterfaceValue>,
    vlans: HashMap<VlanKey, u32>,
}

impl Carried {
    pub(crate) fn add(&mut self, interface: u32, carrier: &Carrier<'_>) {
        self.interfaces.insert(interface, interface_value(carrier));
        if !carrier.tags.is_empty() {
            self.vlans.insert(vlan_key(carrier.device, carrier.tags), interface);
        }
    }

    /// Writes what is new, and erases what is gone since `before`, which then is this.
    pub(crate) fn write(
        self,
        before: &mut Carried,
        interfaces: &mut KernelMap<MapData, u32, InterfaceValue>,
        vlans: &mut KernelMap<MapData, VlanKey, u32>,
    ) -> Result<(), Unavailable> {
        let refused = |error: MapError| Unavailable::refused("writing the tables of interfaces", &error);
        for interface in before.interfaces.keys().filter(|index| !self.interfaces.contains_key(index)) {
            let _ = interfaces.remove(interface);
        }
        for vlan in before.vlans.keys().filter(|vlan| !self.vlans.contains_key(*vlan)) {
            let _ = vlans.remove(vlan);
        }
        for (interface, value) in &self.interfaces {
            if before.interfaces.get(interface) != Some(value) {
                interfaces.insert(interface, value, 0).map_err(refused)?;
            }
        }
        for (vlan, interface) in &self.vlans {
            if before.vlans.get(vlan) != Some(interface) {
                vlans.insert(vlan, interface, 0).map_err(refused)?;
            }
        }
        *before = self;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Tag;

    fn surroundings(names: &[&str], point: Point) -> Surroundings {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Surroundings { names, chosen: vec![2], places: vec![2], point }
    }

    fn link(index: u32, name: &str) -> Link {
        Link { index, ..Link::named_for_a_test(name) }
    }

    #[test]
    fn vlans_made_later_on_an_interface_of_the_driver_are_carried_by_it_until_they_go() {
        let tag = Tag { kind: 0x8100, number: 7 };
        let tagged = |up| Link { up, ..link(9, "eth0.7").on(2, tag) };
        let surroundings = surroundings(&[], Point::Xdp);
        let carried = |links: Vec<Link>| surroundings.carried(&Links::of_a_test(links));
        let alone = carried(vec![link(2, "eth0"), link(3, "eth1")]);
        assert!(alone.interfaces.keys().eq([&2]) && alone.vlans.is_empty());
        let with_a_vlan = carried(vec![link(2, "eth0"), tagged(true)]);
        assert_eq!(with_a_vlan.interfaces.len(), 2);
        assert_eq!(with_a_vlan.vlans.get(&vlan_key(2, &[tag])), Some(&9));
        assert_eq!(carried(vec![link(2, "eth0"), tagged(false)]), alone, "it is down");
        assert_eq!(carried(vec![tagged(true)]), Carried::default(), "what carried it is gone");
    }

    #[test]
    fn of_vlans_on_an_interface_that_was_not_named_only_the_named_ones_are_carried() {
        let tagged =
            |index, number| link(index, &format!("eth0.{number}")).on(2, Tag { kind: 0x8100, number });
        let links = Links::of_a_test(vec![link(2, "eth0"), tagged(20, 7), tagged(21, 8)]);
        // It was made anew since: its number at start was 5.
        let surroundings = Surroundings { chosen: vec![5], ..surroundings(&["eth0.7"], Point::Xdp) };
        assert!(surroundings.carried(&links).interfaces.keys().eq([&20]));
    }

    #[test]
    fn what_comes_later_is_missed_where_it_would_have_been_chosen() {
        let vlan = link(9, "eth0.7").on(2, Tag { kind: 0x8100, number: 7 });
        let in_a_bridge = Link { master: Some(4), ..link(11, "veth1") };
        let down = Link { up: false, ..link(12, "eth3") };
        let links = Links::of_a_test(vec![link(2, "eth0"), vlan, link(10, "eth1"), in_a_bridge, down]);
        let missed = |names: &[&str], point| {
            let surroundings = surroundings(names, point);
            let missed = links.iter().filter(|link| surroundings.misses(link, &links));
            missed.map(|link| link.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(missed(&[], Point::Tc), ["eth0.7", "eth1"], "tc meets packets at the VLAN interface");
        assert_eq!(missed(&["eth0", "eth1"], Point::Tc), ["eth1"]);
        assert_eq!(missed(&["eth0.7"], Point::Xdp), Vec::<String>::new(), "the driver has them already");
        assert_eq!(missed(&["eth1"], Point::Xdp), ["eth1"]);
    }
}
