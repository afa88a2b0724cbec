//! The hosts that the server itself writes to: databases of records, Redis, a webhook. Like the users' database they are
//! refused as peers unless `allowed-peer-ip` opens them.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::rulebook::Rulebook;

/// Refuses these hosts as peers from now on; names are looked up at once, and again each minute, by a thread that nobody
/// waits for.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn refuse(hosts: Vec<String>, rulebook: Arc<Rulebook>) -> io::Result<()> {
    let (addresses, names): (Vec<_>, Vec<_>) =
        hosts.into_iter().partition(|host| bare(host).parse::<IpAddr>().is_ok());
    let fixed: BTreeSet<IpAddr> = addresses.iter().filter_map(|host| bare(host).parse().ok()).collect();
    if !fixed.is_empty() {
        rulebook.change(|parts| parts.helper_hosts.clone_from(&fixed));
    }
    if names.is_empty() {
        return Ok(());
    }
    thread::Builder::new().name("helper-hosts".into()).spawn(move || {
        let mut known = fixed.clone();
        loop {
            let found = look_up(&names, &fixed, &known);
            if found != known {
                known = found;
                rulebook.change(|parts| parts.helper_hosts.clone_from(&known));
            }
            thread::sleep(AGAIN);
        }
    })?;
    Ok(())
}

/// Where these names lead. While one of them leads nowhere, what was known before goes on counting.
fn look_up(names: &[String], fixed: &BTreeSet<IpAddr>, known: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
    let mut found = fixed.clone();
    for name in names {
        match (name.as_str(), 0).to_socket_addrs() {
            Ok(addresses) => found.extend(addresses.map(|address| address.ip())),
            Err(_) => found.extend(known),
        }
    }
    found
}

fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// How often names are looked up: they may move.
const AGAIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_found_stays_as_it_was() {
        let [fixed, known] =
            ["192.0.2.1", "192.0.2.7"].map(|ip| BTreeSet::from([ip.parse().expect("an address")]));
        let found = look_up(&["localhost".to_owned()], &fixed, &known);
        assert!(found.is_superset(&fixed) && found.iter().any(IpAddr::is_loopback), "{found:?}");
        assert!(found.is_disjoint(&known), "it is that no more");
        assert!(look_up(&["no such host.invalid".to_owned()], &fixed, &known).is_superset(&known));
    }
}
