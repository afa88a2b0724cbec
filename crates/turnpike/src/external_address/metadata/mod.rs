//! The metadata services of clouds: who is asked, where, and for how long.
//!
//! All but one live at the same link-local address, and each knows itself by paths and headers of its own, so all are
//! asked at once and the one that is there answers. A service that hangs costs [`PATIENCE`].

mod alibaba;
mod aws;
mod azure;
mod digitalocean;
mod google;
mod hetzner;
mod oracle;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::task::JoinSet;
use turnpike_config::{Cloud, MetadataChoice};

use super::http::Service;
use super::{Answer, Sighting, Source, Trouble, is_public};

/// An address of this machine and the public one that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    public: IpAddr,
    private: Option<IpAddr>,
}

/// Asks those that are to be asked.
pub(super) fn ask_all(choice: &MetadataChoice, asked: &mut JoinSet<Answer>) {
    let (clouds, elsewhere): (Vec<Cloud>, Option<SocketAddr>) = match choice {
        MetadataChoice::Off => return,
        MetadataChoice::Usual => (Cloud::ALL.into_iter().filter(|cloud| may_be_here(*cloud)).collect(), None),
        MetadataChoice::Of(clouds) => (clouds.clone(), None),
        MetadataChoice::At(address) => (Cloud::ALL.to_vec(), Some(*address)),
    };
    for cloud in clouds {
        asked.spawn(async move {
            let answer = tokio::time::timeout(PATIENCE, ask(cloud, elsewhere)).await;
            let pairs = answer.unwrap_or(Err(Trouble::Silent));
            (Source::Metadata(cloud), pairs.and_then(|pairs| sightings(cloud, &pairs)))
        });
    }
}

async fn ask(cloud: Cloud, elsewhere: Option<SocketAddr>) -> Result<Vec<Pair>, Trouble> {
    let (usual, host) = match cloud {
        Cloud::Google => (LINK_LOCAL, "metadata.google.internal"),
        Cloud::Alibaba => (ALIBABA, "100.100.100.200"),
        _ => (LINK_LOCAL, "169.254.169.254"),
    };
    let service = Service { address: elsewhere.unwrap_or(SocketAddr::new(usual.into(), 80)), host };
    match cloud {
        Cloud::Aws => aws::ask(&service).await,
        Cloud::Google => google::ask(&service).await,
        Cloud::Azure => azure::ask(&service).await,
        Cloud::DigitalOcean => digitalocean::ask(&service).await,
        Cloud::Hetzner => hetzner::ask(&service).await,
        Cloud::Oracle => oracle::ask(&service).await,
        Cloud::Alibaba => alibaba::ask(&service).await,
    }
}

/// Whether a service that lives at an address of somebody else's elsewhere is worth asking. Alibaba's is in the range of
/// carrier-grade NAT (RFC 6598), where on other machines a stranger may listen.
fn may_be_here(cloud: Cloud) -> bool {
    if cloud != Cloud::Alibaba {
        return true;
    }
    let vendor = std::fs::read_to_string("/sys/class/dmi/id/sys_vendor");
    vendor.is_ok_and(|vendor| vendor.to_ascii_lowercase().contains("alibaba"))
}

/// What a service says may not be told to clients unseen: it must be an address of the Internet.
fn sightings(cloud: Cloud, pairs: &[Pair]) -> Result<Vec<Sighting>, Trouble> {
    if pairs.is_empty() {
        return Err(Trouble::Denied("it knows of no public address".to_owned()));
    }
    if let Some(Pair { public, .. }) = pairs.iter().find(|pair| !is_public(pair.public)) {
        return Err(Trouble::Nonsense(format!("{public} is no address of the Internet")));
    }
    let sighting = |pair: &Pair| Sighting {
        source: Source::Metadata(cloud),
        public: pair.public,
        private: pair.private,
        keeps_ports: None,
    };
    Ok(pairs.iter().map(sighting).collect())
}

/// Reads an address that a service has written, which may stand on a line of its own.
fn address(text: &str) -> Result<IpAddr, Trouble> {
    let line = text.trim();
    line.parse().map_err(|_| {
        let shown: String = line.chars().take(40).filter(|character| !character.is_control()).collect();
        Trouble::Nonsense(format!("{shown:?} is no address"))
    })
}

/// Reads a document.
fn json(text: &str) -> Result<serde_json::Value, Trouble> {
    serde_json::from_str(text).map_err(|error| Trouble::Nonsense(error.to_string()))
}

/// An address in a document, where there is one.
fn address_at(value: &serde_json::Value, pointer: &str) -> Option<IpAddr> {
    value.pointer(pointer)?.as_str()?.trim().parse().ok()
}

const LINK_LOCAL: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const ALIBABA: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);

/// For all that is asked of one service. One that is there answers within milliseconds.
const PATIENCE: Duration = Duration::from_millis(1000);
