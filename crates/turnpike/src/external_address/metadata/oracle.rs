//! Oracle Cloud: its service knows private addresses alone. It is asked so that its silence can be explained.

use super::{Pair, Trouble, json};
use crate::external_address::http::Service;

pub(super) async fn ask(service: &Service) -> Result<Vec<Pair>, Trouble> {
    let answer = service.get(INTERFACES, &[("authorization", "Bearer Oracle")]).await?;
    let document = json(&answer.success()?)?;
    let known = document.as_array().is_some_and(|all| all.iter().any(|one| one.get("vnicId").is_some()));
    if !known {
        return Err(Trouble::Absent);
    }
    Err(Trouble::Denied(
        "this cloud's service knows no public addresses; give external-ip, or name a STUN server by external-ip-stun"
            .to_owned(),
    ))
}

const INTERFACES: &str = "/opc/v2/vnics/";
