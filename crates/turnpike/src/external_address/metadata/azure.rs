//! Azure: the instance's own public address where it has one of the Basic kind, else that of the load balancer it stands
//! behind, which is where Standard addresses are told.

use serde_json::Value;

use super::{Pair, Trouble, address_at, json};
use crate::external_address::http::Service;

pub(super) async fn ask(service: &Service) -> Result<Vec<Pair>, Trouble> {
    let header = [("metadata", "true")];
    let document = json(&service.get(NETWORK, &header).await?.success()?)?;
    let Some(interfaces) = document["interface"].as_array() else { return Err(Trouble::Absent) };
    let mut pairs: Vec<Pair> = interfaces.iter().flat_map(own).collect();
    if pairs.is_empty() {
        // Whoever has no load balancer is told so by a 404.
        let answer = service.get(LOAD_BALANCER, &header).await?;
        if answer.status == 200 {
            let document = json(&answer.body)?;
            let addresses = document.pointer("/loadbalancer/publicIpAddresses").and_then(Value::as_array);
            pairs.extend(addresses.into_iter().flatten().filter_map(behind_load_balancer));
        }
    }
    Ok(pairs)
}

fn own(interface: &Value) -> Vec<Pair> {
    let families = ["ipv4", "ipv6"].map(|family| interface[family]["ipAddress"].as_array());
    let addresses = families.into_iter().flatten().flatten();
    addresses
        .filter_map(|address| {
            let public = address_at(address, "/publicIpAddress")?;
            Some(Pair { public, private: address_at(address, "/privateIpAddress") })
        })
        .collect()
}

fn behind_load_balancer(address: &Value) -> Option<Pair> {
    // An IPv6 address may be written in brackets.
    let read = |name: &str| {
        address[name].as_str().map(|text| text.trim_matches(['[', ']'])).and_then(|text| text.parse().ok())
    };
    Some(Pair { public: read("frontendIpAddress")?, private: read("privateIpAddress") })
}

const NETWORK: &str = "/metadata/instance/network?api-version=2021-02-01";
const LOAD_BALANCER: &str = "/metadata/loadbalancer?api-version=2020-10-01";
