//! Alibaba Cloud: an elastic address, else the one the instance was given; with a token where the service is hardened.

use super::{Pair, Trouble, address};
use crate::external_address::http::Service;

pub(super) async fn ask(service: &Service) -> Result<Vec<Pair>, Trouble> {
    let token = service.put(TOKEN, &[("x-aliyun-ecs-metadata-token-ttl-seconds", "60")]).await?;
    let token = (token.status == 200).then(|| token.body.trim().to_owned());
    let header = token.as_deref().map(|token| ("x-aliyun-ecs-metadata-token", token));
    let headers = header.as_slice();
    let private = Some(address(&service.get(PRIVATE, headers).await?.success()?)?);
    for path in [ELASTIC, PUBLIC] {
        match service.get(path, headers).await?.success() {
            Ok(text) if !text.trim().is_empty() => {
                return Ok(vec![Pair { public: address(&text)?, private }]);
            }
            Ok(_) | Err(Trouble::Absent) => {}
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(Vec::new())
}

const TOKEN: &str = "/latest/api/token";
const PRIVATE: &str = "/latest/meta-data/private-ipv4";
const ELASTIC: &str = "/latest/meta-data/eipv4";
const PUBLIC: &str = "/latest/meta-data/public-ipv4";
