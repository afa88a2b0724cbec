//! Google Compute Engine: every interface with its external address, in one document.

use serde_json::Value;

use super::{Pair, Trouble, address_at, json};
use crate::external_address::http::Service;

pub(super) async fn ask(service: &Service) -> Result<Vec<Pair>, Trouble> {
    let answer = service.get(INTERFACES, &[("metadata-flavor", "Google")]).await?;
    // By this header it is known; another service's answer would not have it.
    if answer.headers.get("metadata-flavor").is_none_or(|flavour| flavour != "Google") {
        return Err(Trouble::Absent);
    }
    let document = json(&answer.success()?)?;
    Ok(document.as_array().into_iter().flatten().flat_map(pairs).collect())
}

fn pairs(interface: &Value) -> Vec<Pair> {
    let private = address_at(interface, "/ip");
    let configs = interface["accessConfigs"].as_array().into_iter().flatten();
    configs
        .filter_map(|config| address_at(config, "/externalIp"))
        .map(|public| Pair { public, private })
        .collect()
}

const INTERFACES: &str = "/computeMetadata/v1/instance/network-interfaces/?recursive=true";
