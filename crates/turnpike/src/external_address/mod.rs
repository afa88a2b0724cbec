//! Finding out which address the Internet reaches this machine at (`external-ip=auto`).
//!
//! Behind a one-to-one NAT, as every large cloud has it, the machine itself sees its private address alone. Three are
//! asked, all at once and each with little time: the metadata services of clouds ([`metadata`]), which are part of the
//! machine's own network; the STUN servers that the operator named ([`stun`]), for whoever runs one learns of this
//! machine; and the machine's own routes. What they say is compared by [`judgement`]. Nobody is asked for an address
//! that is public already, or given. [`watch`] looks again while the server runs.

mod http;
mod judgement;
mod metadata;
mod stun;
mod watch;

use std::fmt;
use std::net::IpAddr;

use turnpike_config::{Cloud, Config, ExternalAddress};
use turnpike_net::default_route_source;
use turnpike_turn::PeerRules;

use crate::addresses::Addresses;

pub(crate) use self::judgement::Judgement;
pub(crate) use self::watch::{survey_at_start, watch, whom_to_ask};

/// What was found out in one go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    /// The addresses that were asked about; none where there was no need to ask.
    pub(crate) subjects: Vec<IpAddr>,
    /// What was said.
    pub(crate) sightings: Vec<Sighting>,
    /// Who was asked and told nothing, and why.
    pub(crate) silent: Vec<(Source, Trouble)>,
    /// What to make of it, for each subject.
    pub(crate) judgements: Vec<Judgement>,
}

/// One address as somebody sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) source: Source,
    pub(crate) public: IpAddr,
    /// Which address of this machine it stands for, where the source tells.
    pub(crate) private: Option<IpAddr>,
    /// Whether a port was seen as it is; `None` where no port is involved.
    pub(crate) keeps_ports: Option<bool>,
}

/// Who says so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// The metadata service of a cloud.
    Metadata(Cloud),
    /// A STUN server, as it was named.
    Stun(String),
}

/// Why somebody told nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// There is no such service here.
    Absent,
    /// It did not answer in time.
    Silent,
    /// It refuses to tell; what it said.
    Denied(String),
    /// Its answer makes no sense.
    Nonsense(String),
}

impl Survey {
    /// Asks whoever is to be asked about those addresses that need it. Takes two seconds at most, whoever hangs.
    pub(crate) fn make(config: &Config, addresses: &Addresses) -> Self {
        let subjects = subjects(config, addresses);
        if subjects.is_empty() {
            return Survey::default();
        }
        // Without a poller or a thread nothing can be asked; the server starts all the same.
        let answers = ask(config, &subjects).unwrap_or_default();
        let mut survey = Survey { subjects, ..Survey::default() };
        for (source, answer) in answers {
            match answer {
                Ok(said) => survey.sightings.extend(said),
                Err(trouble) => survey.silent.push((source, trouble)),
            }
        }
        survey.judgements =
            survey.subjects.iter().map(|subject| Judgement::of(*subject, &survey, addresses)).collect();
        // Of a bridge nobody knows anything, and nothing has to be known where another address is reached.
        let families = [true, false]
            .map(|v4| survey.judgements.iter().any(|it| it.told.is_some() && it.private.is_ipv4() == v4));
        survey.judgements.retain(|judgement| {
            let others_are = if judgement.private.is_ipv4() { families[0] } else { families[1] };
            judgement.told.is_some() || is_named(config, judgement.private) || !others_are
        });
        survey
    }

    /// What clients are to be told, for each address that was found out.
    pub(crate) fn found(&self) -> Vec<ExternalAddress> {
        let told = |judgement: &Judgement| {
            Some(ExternalAddress { public: judgement.told?, private: Some(judgement.private) })
        };
        self.judgements.iter().filter_map(told).collect()
    }

    /// The judgement on an address of this machine.
    pub(crate) fn on(&self, private: IpAddr) -> Option<&Judgement> {
        self.judgements.iter().find(|judgement| judgement.private == private)
    }
}

/// The relay addresses to be asked about: those that are not public and have no external address given. Those that nobody
/// named count only where the way to the Internet is not public either: a machine with a public address needs no NAT for
/// its bridges.
fn subjects(config: &Config, addresses: &Addresses) -> Vec<IpAddr> {
    let named = |ip: &IpAddr| is_named(config, *ip);
    let behind = |ip: &IpAddr| !default_route_source(ip.is_ipv4()).is_some_and(is_public);
    let relays = addresses.relays.iter().filter(|relay| relay.external.is_none()).map(|relay| relay.address);
    relays.filter(|ip| !ip.is_loopback() && !is_public(*ip) && (named(ip) || behind(ip))).collect()
}

/// Whether the operator named an address, rather than it was found.
pub(crate) fn is_named(config: &Config, ip: IpAddr) -> bool {
    config.relay_ips.contains(&ip) || config.listening_ips.contains(&ip)
}

/// Whether an address is of the Internet, as far as that can be seen from itself.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    PeerRules::default().judge(ip.to_canonical()).is_ok()
}

/// Who was asked, and what came of it.
type Answer = (Source, Result<Vec<Sighting>, Trouble>);

/// Asks everybody at once.
fn ask(config: &Config, subjects: &[IpAddr]) -> std::io::Result<Vec<Answer>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let answers = runtime.block_on(async {
        let mut asked = tokio::task::JoinSet::new();
        metadata::ask_all(&config.discovery.metadata, &mut asked);
        stun::ask_all(&config.discovery.stun_servers, subjects, &mut asked);
        let mut answers: Vec<Answer> = Vec::new();
        while let Some(Ok(answer)) = asked.join_next().await {
            answers.push(answer);
        }
        answers.sort_by(|(one, _), (other, _)| one.cmp(other));
        answers
    });
    // A look-up of a name may hang for longer than anybody waits for it.
    runtime.shutdown_background();
    Ok(answers)
}

impl Source {
    /// As people call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Source::Metadata(cloud) => format!("the metadata service of {}", cloud_name(*cloud)),
            Source::Stun(server) => format!("the STUN server {server}"),
        }
    }

    /// As programs call it.
    pub(crate) fn word(&self) -> String {
        match self {
            Source::Metadata(cloud) => format!("metadata:{}", cloud.word()),
            Source::Stun(server) => format!("stun:{server}"),
        }
    }
}

/// A cloud as its people write it.
pub(crate) fn cloud_name(cloud: Cloud) -> &'static str {
    match cloud {
        Cloud::Aws => "AWS EC2",
        Cloud::Google => "Google Cloud",
        Cloud::Azure => "Azure",
        Cloud::DigitalOcean => "DigitalOcean",
        Cloud::Hetzner => "Hetzner",
        Cloud::Oracle => "Oracle Cloud",
        Cloud::Alibaba => "Alibaba Cloud",
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Absent => formatter.write_str("there is none here"),
            Trouble::Silent => formatter.write_str("it did not answer in time"),
            Trouble::Denied(why) => write!(formatter, "it does not tell: {why}"),
            Trouble::Nonsense(what) => write!(formatter, "its answer makes no sense: {what}"),
        }
    }
}
