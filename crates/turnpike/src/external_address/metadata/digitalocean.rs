//! DigitalOcean: the public address is on the interface; a reserved one arrives at the anchor address.

use super::{Pair, Trouble, address_at, json};
use crate::external_address::http::Service;

pub(super) async fn ask(service: &Service) -> Result<Vec<Pair>, Trouble> {
    let document = json(&service.get(DOCUMENT, &[]).await?.success()?)?;
    if document.get("droplet_id").is_none() {
        return Err(Trouble::Absent);
    }
    let interface = &document["interfaces"]["public"][0];
    let mut pairs = Vec::new();
    let anchor = address_at(interface, "/anchor_ipv4/ip_address");
    // The older name for the same stands in older documents.
    for name in ["reserved_ip", "floating_ip"] {
        let reserved = &document[name]["ipv4"];
        let active = reserved["active"].as_bool() == Some(true);
        if let (true, Some(public), true) = (active, address_at(reserved, "/ip_address"), pairs.is_empty()) {
            pairs.push(Pair { public, private: anchor });
        }
    }
    if let Some(public) = address_at(interface, "/ipv4/ip_address") {
        pairs.push(Pair { public, private: Some(public) });
    }
    Ok(pairs)
}

const DOCUMENT: &str = "/metadata/v1.json";
