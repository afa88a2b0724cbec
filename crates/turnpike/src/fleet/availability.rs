//! What is known of the servers that clients are sent to, and what it makes of the lists.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;

use turnpike_turn::{AlternateServer, AlternateServers};

use super::capacity::Load;
use super::dealing::deal;

/// How a server is asked whether it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    Udp,
    Tcp,
    Tls,
}

/// What is known. At first nothing, and then the lists are as the operator wrote them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Availability {
    /// Who does not answer.
    pub(crate) dead: HashSet<(Way, SocketAddr)>,
    /// How much the others have to do, as far as they say; `None` where it does not matter.
    pub(crate) loads: Option<HashMap<SocketAddr, Load>>,
}

impl Way {
    /// How the servers of the list for everybody are asked.
    pub(crate) fn of_any(udp: bool) -> Self {
        if udp { Way::Udp } else { Way::Tcp }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Way::Udp => "UDP",
            Way::Tcp => "TCP",
            Way::Tls => "TLS",
        })
    }
}

impl Availability {
    /// Leaves out who does not answer or drains, and puts the others into the order in which clients are sent to them.
    /// `udp` says whether this server serves UDP, by which those of the list for everybody are asked then.
    pub(crate) fn apply(&self, servers: &mut AlternateServers, udp: bool) {
        let AlternateServers { udp: by_udp, tcp, tls, any, .. } = servers;
        for (way, list) in [(Way::Udp, by_udp), (Way::Tcp, tcp), (Way::Tls, tls), (Way::of_any(udp), any)] {
            list.retain(|server| !self.dead.contains(&(way, server.address)));
            if let Some(loads) = &self.loads {
                *list = by_load(list, loads);
            }
        }
    }
}

/// Address families are dealt apart: a client of one is never sent to a server of the other.
fn by_load(list: &[AlternateServer], loads: &HashMap<SocketAddr, Load>) -> Vec<AlternateServer> {
    let drains = |server: &&AlternateServer| loads.get(&server.address).is_some_and(|load| load.draining);
    let (v4, v6): (Vec<_>, Vec<_>) =
        list.iter().filter(|server| !drains(server)).partition(|server| server.address.is_ipv4());
    let dealt = |servers: Vec<&AlternateServer>| -> Vec<AlternateServer> {
        let of: Vec<Option<Load>> =
            servers.iter().map(|server| loads.get(&server.address).copied()).collect();
        deal(&of).into_iter().filter_map(|index| servers.get(index).map(|server| (*server).clone())).collect()
    };
    [dealt(v4), dealt(v6)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> AlternateServer {
        AlternateServer { address: text.parse().unwrap(), domain: None }
    }

    fn addresses(list: &[AlternateServer]) -> Vec<String> {
        list.iter().map(|server| server.address.to_string()).collect()
    }

    #[test]
    fn the_dead_of_a_transport_are_left_out_of_its_list_alone() {
        let both = || vec![server("192.0.2.1:3478"), server("192.0.2.2:3478")];
        let mut servers =
            AlternateServers { udp: both(), tcp: both(), any: both(), ..AlternateServers::default() };
        let dead = HashSet::from([(Way::Tcp, "192.0.2.1:3478".parse().unwrap())]);
        Availability { dead, loads: None }.apply(&mut servers, true);
        assert_eq!(addresses(&servers.tcp), ["192.0.2.2:3478"]);
        assert_eq!((servers.udp.len(), servers.any.len()), (2, 2));
    }

    #[test]
    fn who_drains_is_left_out_and_the_least_loaded_comes_first_in_each_family() {
        let list = ["192.0.2.1:1", "[2001:db8::1]:1", "192.0.2.2:1", "192.0.2.3:1"].map(server).to_vec();
        let mut servers = AlternateServers { any: list, ..AlternateServers::default() };
        let load = |load, draining| Load { load, allocations: 0, most: 1000, draining };
        let loads = HashMap::from([
            ("192.0.2.1:1".parse().unwrap(), load(0.9, false)),
            ("192.0.2.2:1".parse().unwrap(), load(0.1, false)),
            ("192.0.2.3:1".parse().unwrap(), load(0.0, true)),
        ]);
        Availability { loads: Some(loads), ..Availability::default() }.apply(&mut servers, true);
        let dealt = addresses(&servers.any);
        assert_eq!(dealt[0], "192.0.2.2:1");
        assert!(!dealt.contains(&"192.0.2.3:1".to_owned()) && dealt.contains(&"[2001:db8::1]:1".to_owned()));
    }
}
