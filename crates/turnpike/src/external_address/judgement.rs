//! What to make of what was said about one address.
//!
//! A metadata service that names the address itself is believed first, then STUN servers, then a metadata service that
//! names none, as far as the address is the one that packets to the Internet leave from. All others are compared with it.

use std::net::IpAddr;

use turnpike_net::default_route_source;

use super::{Sighting, Source, Survey, is_public};
use crate::addresses::Addresses;

/// The judgement on one address of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) private: IpAddr,
    /// What clients are to be told; `None` where nobody knew.
    pub(crate) told: Option<IpAddr>,
    /// Who said so.
    pub(crate) by: Option<Source>,
    /// Who said the same.
    pub(crate) agreeing: Vec<Source>,
    /// Who said something else, and what.
    pub(crate) disagreeing: Vec<(Source, IpAddr)>,
    /// Somebody saw another port than the one that was used: relayed ports will not be reached as they are told.
    pub(crate) ports_change: bool,
    /// A cloud's service speaks of an address that this machine does not have: a container behind a bridge.
    pub(crate) host_address: Option<IpAddr>,
}

impl Judgement {
    pub(super) fn of(private: IpAddr, survey: &Survey, addresses: &Addresses) -> Self {
        let of_family = |sighting: &&Sighting| sighting.public.is_ipv4() == private.is_ipv4();
        let said: Vec<&Sighting> = survey.sightings.iter().filter(of_family).collect();
        let is_main = default_route_source(private.is_ipv4()).map_or(said.len() == 1, |main| main == private)
            || survey.subjects.iter().filter(|subject| subject.is_ipv4() == private.is_ipv4()).count() == 1;
        let named = said.iter().filter(|it| it.private == Some(private));
        let by_clouds = said.iter().filter(|it| matches!(it.source, Source::Metadata(_)));
        let known: Vec<IpAddr> = by_clouds.filter_map(|it| it.private).collect();
        let knows_ours = known.iter().any(|ip| addresses.own.contains(ip));
        let host_address = known.into_iter().find(|other| !knows_ours && !is_public(*other));
        // What is said of no address at all, or of one that only the host of this container has.
        let of_nobody =
            |it: &&&Sighting| it.private.is_none() || host_address.is_some() && it.private == host_address;
        let unnamed = said.iter().filter(of_nobody).filter(|_| is_main);
        let mut relevant: Vec<&Sighting> = named.chain(unnamed).copied().collect();
        relevant.sort_by_key(|it| (rank(it, private), it.source.clone()));
        let mut judgement = Judgement {
            private,
            told: None,
            by: None,
            agreeing: Vec::new(),
            disagreeing: Vec::new(),
            ports_change: false,
            host_address: host_address.filter(|_| is_main),
        };
        relevant.iter().for_each(|sighting| judgement.hear(sighting));
        judgement
    }

    fn hear(&mut self, sighting: &Sighting) {
        let Sighting { source, public, keeps_ports, .. } = sighting;
        self.ports_change |= *keeps_ports == Some(false);
        match self.told {
            // A NAT within a NAT: it would not do to tell that to anybody.
            _ if !is_public(*public) => self.disagreeing.push((source.clone(), *public)),
            None => (self.told, self.by) = (Some(*public), Some(source.clone())),
            Some(told) if told == *public => self.agreeing.push(source.clone()),
            Some(_) => self.disagreeing.push((source.clone(), *public)),
        }
    }

    /// The same in a sentence for people.
    pub(crate) fn sentence(&self) -> String {
        let Some((told, by)) = self.told.zip(self.by.as_ref()) else {
            return format!("{}: nobody knows what the Internet calls it", self.private);
        };
        let mut text = format!("{} is {told} to the Internet, says {}", self.private, by.name());
        if !self.agreeing.is_empty() {
            let names: Vec<String> = self.agreeing.iter().map(Source::name).collect();
            text.push_str(&format!("; so does {}", names.join(", ")));
        }
        text
    }

    /// What is odd about it, each in a sentence with what to do.
    pub(crate) fn oddities(&self) -> Vec<String> {
        let mut odd = Vec::new();
        for (source, public) in &self.disagreeing {
            let text = match (self.told, is_public(*public)) {
                (Some(told), true) => format!(
                    "{} says {} is {public}; clients are told {told} all the same. If that is wrong, give external-ip={public}",
                    source.name(),
                    self.private
                ),
                _ => format!(
                    "{} sees {} as {public}, which is not of the Internet: there is another NAT in front; give the outermost \
                     address by external-ip and have the ports forwarded there",
                    source.name(),
                    self.private
                ),
            };
            odd.push(text);
        }
        if self.ports_change {
            odd.push(format!(
                "the NAT in front of {} changes ports: peers cannot reach relayed addresses there unless the relay ports \
                 are forwarded to this machine with the same numbers",
                self.private
            ));
        }
        if let Some(host) = self.host_address {
            odd.push(format!(
                "the cloud knows this machine as {host}, which it does not have: in a container behind a bridge every relay \
                 port has to be published; the host's network (docker run --network host) spares that"
            ));
        }
        odd
    }
}

/// Whom to believe first.
fn rank(sighting: &Sighting, private: IpAddr) -> u8 {
    match (&sighting.source, sighting.private) {
        (Source::Metadata(_), Some(named)) if named == private => 0,
        (Source::Stun(_), _) if sighting.keeps_ports == Some(true) => 1,
        (Source::Metadata(_), _) => 2,
        (Source::Stun(_), _) => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnpike_config::{Cloud, Config};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn addresses(own: &[&str]) -> Addresses {
        let mut addresses = Addresses::find(&Config::default()).unwrap();
        addresses.own = own.iter().map(|text| ip(text)).collect();
        addresses
    }

    fn metadata(public: &str, private: Option<&str>) -> Sighting {
        let private = private.map(ip);
        Sighting { source: Source::Metadata(Cloud::Aws), public: ip(public), private, keeps_ports: None }
    }

    fn stun(public: &str, private: &str, keeps_ports: bool) -> Sighting {
        let source = Source::Stun("stun.example.org:3478".to_owned());
        Sighting { source, public: ip(public), private: Some(ip(private)), keeps_ports: Some(keeps_ports) }
    }

    fn judge(private: &str, sightings: Vec<Sighting>) -> Judgement {
        let survey = Survey { subjects: vec![ip(private)], sightings, ..Survey::default() };
        Judgement::of(ip(private), &survey, &addresses(&["10.9.0.5", "10.9.0.6"]))
    }

    #[test]
    fn two_that_agree_are_both_named_and_nothing_is_odd() {
        let judgement = judge(
            "10.9.0.5",
            vec![stun("52.1.2.3", "10.9.0.5", true), metadata("52.1.2.3", Some("10.9.0.5"))],
        );
        assert_eq!(judgement.told, Some(ip("52.1.2.3")));
        assert_eq!(judgement.by, Some(Source::Metadata(Cloud::Aws)));
        assert!(judgement.sentence().contains("so does the STUN server stun.example.org:3478"));
        assert!(judgement.oddities().is_empty(), "{:?}", judgement.oddities());
    }

    #[test]
    fn of_two_that_disagree_the_cloud_is_believed_and_the_other_told_of() {
        let judgement = judge(
            "10.9.0.5",
            vec![stun("52.9.9.9", "10.9.0.5", true), metadata("52.1.2.3", Some("10.9.0.5"))],
        );
        assert_eq!(judgement.told, Some(ip("52.1.2.3")));
        let odd = judgement.oddities();
        assert!(odd.len() == 1 && odd[0].contains("52.9.9.9"), "{odd:?}");
    }

    #[test]
    fn each_of_two_addresses_has_the_public_one_that_is_its_own() {
        let sightings = vec![metadata("52.1.2.3", Some("10.9.0.5")), metadata("52.1.2.4", Some("10.9.0.6"))];
        assert_eq!(judge("10.9.0.5", sightings.clone()).told, Some(ip("52.1.2.3")));
        assert_eq!(judge("10.9.0.6", sightings).told, Some(ip("52.1.2.4")));
    }

    #[test]
    fn a_nat_within_a_nat_and_one_that_changes_ports_are_told_of() {
        let judgement = judge("10.9.0.5", vec![stun("100.64.3.3", "10.9.0.5", false)]);
        assert_eq!(judgement.told, None);
        let odd = judgement.oddities().join("\n");
        assert!(odd.contains("another NAT in front") && odd.contains("changes ports"), "{odd}");
    }

    #[test]
    fn a_container_behind_a_bridge_is_told_its_hosts_address_and_warned() {
        let judgement = judge("10.9.0.5", vec![metadata("52.1.2.3", Some("172.31.7.7"))]);
        assert_eq!(judgement.told, Some(ip("52.1.2.3")));
        assert!(judgement.oddities().join("\n").contains("172.31.7.7"));
    }

    #[test]
    fn ipv6_is_judged_by_what_is_said_of_ipv6() {
        let sightings = vec![metadata("52.1.2.3", Some("10.9.0.5")), stun("2a00::7", "fd00::5", true)];
        assert_eq!(judge("fd00::5", sightings).told, Some(ip("2a00::7")));
    }
}
