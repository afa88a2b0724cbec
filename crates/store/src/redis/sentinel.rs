//! Finding a Redis server by asking Sentinels, which know who is the master now and make another one when it dies.

use std::time::Duration;

use redis::{Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisError, Value, cmd};
use tokio::time::timeout;

use crate::key_values::KeyValues;

/// Whom to ask for which master.
pub(super) struct Sentinels {
    addresses: Vec<(String, u16)>,
    master: String,
    password: Option<String>,
}

impl Sentinels {
    /// What a connection string says of Sentinels, if it does.
    pub(super) fn read(pairs: &KeyValues) -> Result<Option<Self>, String> {
        let Some(list) = pairs.get("sentinel") else { return Ok(None) };
        let addresses = list.split(',').map(address).collect::<Result<_, _>>()?;
        let master = pairs.get("sentinel-master").unwrap_or(DEFAULT_MASTER).to_owned();
        Ok(Some(Sentinels { addresses, master, password: pairs.get("sentinel-password").map(str::to_owned) }))
    }

    /// The hosts that they are on.
    pub(super) fn hosts(&self) -> Vec<String> {
        self.addresses.iter().map(|(host, _)| host.clone()).collect()
    }

    /// As people are told.
    pub(super) fn name(&self) -> String {
        let each: Vec<String> = self.addresses.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        format!("master {} of Sentinel {}", self.master, each.join(","))
    }

    /// Where the master is, as the first Sentinel that answers says.
    ///
    /// # Errors
    /// Why the last of them does not say.
    pub(super) async fn master(&self, limit: Duration) -> Result<(String, u16), String> {
        let mut trouble = String::new();
        for (host, port) in &self.addresses {
            let asked = timeout(limit / self.addresses.len() as u32, self.ask(host, *port)).await;
            match asked {
                Ok(Ok(Some(master))) => return Ok(master),
                Ok(Ok(None)) => trouble = format!("Sentinel {host}:{port} knows no master {:?}", self.master),
                Ok(Err(error)) => trouble = format!("Sentinel {host}:{port}: {error}"),
                Err(_) => trouble = format!("Sentinel {host}:{port} does not answer"),
            }
        }
        Err(trouble)
    }

    async fn ask(&self, host: &str, port: u16) -> Result<Option<(String, u16)>, RedisError> {
        let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        let info = ConnectionAddr::Tcp(host.to_owned(), port).into_connection_info()?;
        let client = Client::open(info.set_redis_settings(settings))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut question = cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master);
        let answer: Option<Vec<String>> = question.query_async(&mut connection).await?;
        Ok(answer.and_then(|answer| match answer.as_slice() {
            [host, port] => Some((host.clone(), port.parse().ok()?)),
            _ => None,
        }))
    }
}

/// Whether a server says that it is the master: what a Sentinel has heard may be a moment old.
pub(super) async fn is_master(connection: &mut impl redis::aio::ConnectionLike) -> Result<bool, RedisError> {
    let role: Value = cmd("ROLE").query_async(connection).await?;
    let Value::Array(parts) = role else { return Ok(false) };
    Ok(matches!(parts.first(), Some(Value::BulkString(word)) if word == b"master"))
}

/// `HOST` or `HOST:PORT`, the host of an IPv6 address in brackets.
fn address(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("sentinel={text} is not HOST:PORT,...");
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
        _ => (text, DEFAULT_PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() { Err(wrong()) } else { Ok((host.to_owned(), port)) }
}

/// As Redis's own examples call it.
const DEFAULT_MASTER: &str = "mymaster";
const DEFAULT_PORT: u16 = 26_379;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentinels_are_named_with_and_without_ports() {
        for (text, host, port) in [
            ("one", "one", DEFAULT_PORT),
            ("one:5000", "one", 5000),
            ("[::1]:5000", "::1", 5000),
            ("[::1]", "::1", DEFAULT_PORT),
        ] {
            assert_eq!(address(text), Ok((host.to_owned(), port)), "{text}");
        }
        for text in ["", ":5000", "one:x", "one:70000"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
