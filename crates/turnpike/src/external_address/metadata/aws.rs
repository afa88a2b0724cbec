//! Amazon EC2, by the second version of its service: a token first, which a request that some proxy was talked into
//! cannot have. Clouds that imitate the first version (OpenStack, Exoscale, CloudStack) have no tokens, and are asked
//! without one.

use super::{Pair, Trouble, address};
use crate::external_address::http::Service;

pub(super) async fn ask(service: &Service) -> Result<Vec<Pair>, Trouble> {
    let token = service.put(TOKEN, &[("x-aws-ec2-metadata-token-ttl-seconds", "60")]).await?;
    let token = match token.status {
        200 => Some(token.body.trim().to_owned()),
        400..=499 => None,
        status => return Err(Trouble::Denied(format!("HTTP status {status} instead of a token"))),
    };
    let header = token.as_deref().map(|token| ("x-aws-ec2-metadata-token", token));
    let headers = header.as_slice();
    let private = match service.get(PRIVATE, headers).await?.success() {
        Ok(text) => Some(address(&text)?),
        // Not even this: it is somebody else's service.
        Err(Trouble::Absent) => return Err(Trouble::Absent),
        Err(trouble) => return Err(trouble),
    };
    let public = match service.get(PUBLIC, headers).await?.success() {
        Ok(text) if text.trim().is_empty() => None,
        Ok(text) => Some(address(&text)?),
        Err(Trouble::Absent) => None,
        Err(trouble) => return Err(trouble),
    };
    let mut pairs: Vec<Pair> = public.map(|public| Pair { public, private }).into_iter().collect();
    if token.is_some() {
        further(service, headers, &mut pairs).await;
    }
    Ok(pairs)
}

/// Further public addresses, of this network interface and others, each with the private one it stands for. Whatever
/// fails here leaves the chief one as it is.
async fn further(service: &Service, headers: &[(&str, &str)], pairs: &mut Vec<Pair>) {
    let lines = async |path: &str| -> Vec<String> {
        let text = match service.get(path, headers).await {
            Ok(answer) => answer.success().unwrap_or_default(),
            Err(_) => String::new(),
        };
        text.lines().take(MOST).map(|line| line.trim().trim_end_matches('/').to_owned()).collect()
    };
    for interface in lines(INTERFACES).await {
        let associations = format!("{INTERFACES}{interface}/ipv4-associations/");
        for public in lines(&associations).await {
            let private = lines(&format!("{associations}{public}")).await;
            let pair = (public.parse(), private.first().map(|private| private.parse()));
            if let (Ok(public), Some(Ok(private))) = pair
                && pairs.iter().all(|known| known.public != public)
            {
                pairs.push(Pair { public, private: Some(private) });
            }
        }
    }
}

const TOKEN: &str = "/latest/api/token";
const PRIVATE: &str = "/latest/meta-data/local-ipv4";
const PUBLIC: &str = "/latest/meta-data/public-ipv4";
const INTERFACES: &str = "/latest/meta-data/network/interfaces/macs/";

/// Interfaces, and addresses of each, that are looked at.
const MOST: usize = 16;
