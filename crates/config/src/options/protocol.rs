//! What is said on the wire.

use std::time::Duration;

use super::Effect::Settled;
use super::OptionSpec;
use crate::balancing::AlternateSelection;
use crate::endpoints::{AlternateServer, servers};
use crate::values::number;

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::switch(
        &["fingerprint"],
        |config, on| config.fingerprint = on,
        "Add FINGERPRINT to every message; without it, to clients that send it.",
    )
    .reloadable()
    .short('f'),
    OptionSpec::switch(
        &["software-attribute"],
        |config, on| config.software = on,
        "Tell clients what software this is.",
    )
    .reloadable(),
    OptionSpec::switch(
        &["include-reason-string"],
        |config, on| config.reason_phrases = on,
        "Put a phrase into error responses.",
    )
    .reloadable(),
    OptionSpec::switch(&["stun-only"], |config, on| config.stun_only = on, "Serve Binding alone.")
    .reloadable().short('S'),
    OptionSpec::switch(&["no-stun"], |config, on| config.no_stun = on, "Do not serve Binding.")
    .reloadable(),
    OptionSpec::switch(
        &["rfc5766-channel-numbers"],
        |config, on| config.rfc5766_channels = on,
        "Grant channels 0x5000 to 0x7FFF too, for clients older than RFC 8656.",
    )
    .reloadable(),
    OptionSpec::switch(
        &["stun-backward-compatibility"],
        |config, on| config.mapped_address = on,
        "Add MAPPED-ADDRESS to Binding responses.",
    )
    .reloadable(),
    OptionSpec::switch(
        &["rfc3489-compatibility"],
        |config, on| config.rfc3489 = on,
        "Answer Binding requests of RFC 3489, obsolete since 2008, by UDP.",
    )
    .reloadable(),
    OptionSpec::switch(
        &["rfc5780"],
        |config, on| config.rfc5780 = on,
        "NAT behaviour discovery (RFC 5780) on pairs of listening addresses; needs two of one family.",
    ),
    OptionSpec::with(&["no-rfc5780"], Settled("it is off unless asked for"), "No NAT behaviour discovery."),
    OptionSpec::with(
        &["response-origin-only-with-rfc5780"],
        Settled("RESPONSE-ORIGIN is never sent without rfc5780"),
        "No RESPONSE-ORIGIN without RFC 5780.",
    ),
    OptionSpec::switch(
        &["mobility"],
        |config, on| config.mobility = on,
        "Clients that ask for a ticket keep their allocation when their address changes (RFC 8016). Needs credentials.",
    )
    .reloadable(),
];

pub(super) const ALTERNATES: &[OptionSpec] = &[
    OptionSpec::set(
        &["alternate-server"],
        SERVER,
        |config, value| add(&mut config.balancing.alternate_servers.any, value, 3478),
        "Server to send clients to that ask for an allocation (300); several take turns. A list with this server itself in it has no effect here.",
    )
    .reloadable()
    .repeats(),
    OptionSpec::set(
        &["udp-alternate-server"],
        SERVER,
        |config, value| add(&mut config.balancing.alternate_servers.udp, value, 3478),
        "The same, for UDP and DTLS clients; comes before all others.",
    )
    .reloadable()
    .repeats(),
    OptionSpec::set(
        &["tcp-alternate-server"],
        SERVER,
        |config, value| add(&mut config.balancing.alternate_servers.tcp, value, 3478),
        "The same, for TCP clients.",
    )
    .reloadable()
    .repeats(),
    OptionSpec::set(
        &["tls-alternate-server"],
        SERVER,
        |config, value| add(&mut config.balancing.alternate_servers.tls, value, 5349),
        "The same, for TLS and DTLS clients; port 5349 if none is given. A name goes to the client with the address.",
    )
    .reloadable()
    .repeats(),
    OptionSpec::switch(
        &["udp-self-balance"],
        |config, on| config.balancing.udp_self_balance = on,
        "Spread UDP and DTLS clients over the auxiliary listeners (aux-server) by sending them there.",
    )
    .reloadable(),
    OptionSpec::set(
        &["alternate-check"],
        "SECONDS",
        |config, value| {
            let seconds = number(value, 0, 3600, "a number of seconds")?;
            config.balancing.check_interval = Some(Duration::from_secs(seconds)).filter(|_| seconds > 0);
            Ok(())
        },
        "How often these servers are asked by a Binding request whether they are there; one that is not is handed to nobody. 0 for never, as coturn does.",
    )
    .default("5")
    .reloadable()
    .ours(),
    OptionSpec::set(
        &["alternate-selection"],
        "WHICH",
        |config, value| {
            config.balancing.selection = match value {
                "round-robin" => AlternateSelection::RoundRobin,
                "least-loaded" => AlternateSelection::LeastLoaded,
                _ => return Err(format!("{value:?} is none of round-robin, least-loaded")),
            };
            Ok(())
        },
        "Which of several comes next: round-robin, or least-loaded by what each says at alternate-capacity-url.",
    )
    .default("round-robin")
    .reloadable()
    .ours(),
    OptionSpec::set(
        &["alternate-capacity-url"],
        "URL",
        |config, value| {
            config.balancing.capacity = value.parse()?;
            Ok(())
        },
        "Where each says how much it has to do, for least-loaded; {ip} stands for its address.",
    )
    .default("http://{ip}:9641/capacity")
    .reloadable()
    .ours(),
];

/// Adds the addresses of a server to a list.
fn add(list: &mut Vec<AlternateServer>, value: &str, default_port: u16) -> Result<(), String> {
    let found = servers(value, default_port)?;
    list.extend(found.into_iter().filter(|server| !list.contains(server)).collect::<Vec<_>>());
    Ok(())
}

const SERVER: &str = "HOST[:PORT]";
