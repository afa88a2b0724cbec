//! How much a server has to do: what its `/capacity` says, over HTTP.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use turnpike_config::CapacityUrl;
use ureq::Agent;
use ureq::http::StatusCode;

/// How much a server has to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    /// How much of what it can do, from 0 to 1, by whichever of its means is the scarcest.
    pub(crate) load: f64,
    /// Allocations it has.
    pub(crate) allocations: u64,
    /// How many it could have.
    pub(crate) most: u64,
    /// Whether it takes no new ones.
    pub(crate) draining: bool,
}

impl Load {
    /// How full it is: by what it says itself, or finer by its allocations.
    pub(super) fn fullness(&self) -> f64 {
        self.load.max(self.allocations as f64 * self.step())
    }

    /// How much fuller it is with one client more.
    pub(super) fn step(&self) -> f64 {
        1.0 / self.most.max(1) as f64
    }

    /// Reads the answer.
    fn read(body: &[u8]) -> Option<Self> {
        let answer: Value = serde_json::from_slice(body).ok()?;
        let number = |name: &str| answer.get(name).and_then(Value::as_u64).filter(|number| *number > 0);
        let allocations = answer.get("allocations")?.as_u64()?;
        let most = number("ports").into_iter().chain(number("allocationQuota")).min()?;
        let draining = answer.get("draining").and_then(Value::as_bool).unwrap_or_default();
        let load = answer.get("load").and_then(Value::as_f64).unwrap_or_default().clamp(0.0, 1.0);
        Some(Load { load, allocations, most, draining })
    }
}

/// Asks all of them at once. Who gives no answer that makes sense is left out.
pub(super) fn ask_all(servers: &[SocketAddr], url: &CapacityUrl) -> HashMap<SocketAddr, Load> {
    let (mut loads, agent) = (HashMap::new(), agent());
    for some in servers.chunks(AT_ONCE) {
        thread::scope(|scope| {
            let asked: Vec<_> =
                some.iter().map(|server| (*server, scope.spawn(|| ask(&agent, server.ip(), url)))).collect();
            for (server, asked) in asked {
                let answer = asked.join().ok().flatten();
                loads.extend(answer.as_deref().and_then(Load::read).map(|load| (server, load)));
            }
        });
    }
    loads
}

/// The body of the answer to a GET request, if it is one of 200.
fn ask(agent: &Agent, ip: IpAddr, url: &CapacityUrl) -> Option<Vec<u8>> {
    let url = format!("http://{}{}", SocketAddr::new(ip, url.port), url.path);
    let mut response = agent.get(url).header("Accept", "application/json").call().ok()?;
    let body = response.body_mut().with_config().limit(LONGEST).read_to_vec().ok()?;
    (response.status() == StatusCode::OK).then_some(body)
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(concat!("turnpike/", env!("CARGO_PKG_VERSION")));
    config.build().into()
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Bytes of an answer.
const LONGEST: u64 = 64 * 1024;
/// Servers that are asked at once.
const AT_ONCE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_and_others_are_none() {
        let text = r#"{"state":"ready","draining":false,"load":0.25,"allocations":7,"allocationQuota":null,"ports":100,"portsFree":93}"#;
        let load = Load::read(text.as_bytes()).unwrap();
        assert_eq!(load, Load { load: 0.25, allocations: 7, most: 100, draining: false });
        let quota = text.replace("null", "20");
        assert_eq!(Load::read(quota.as_bytes()).map(|load| load.most), Some(20));
        for wrong in ["", "{}", "[1]", r#"{"allocations":1}"#, r#"{"allocations":-1,"ports":5}"#] {
            assert_eq!(Load::read(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
