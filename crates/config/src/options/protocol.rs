//! What is said on the wire.

use super::Effect::{Later, Settled};
use super::OptionSpec;

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::switch(
        &["fingerprint"],
        |config, on| config.fingerprint = on,
        "Add FINGERPRINT to every message; without it, to clients that send it.",
    )
    .short('f'),
    OptionSpec::switch(
        &["software-attribute"],
        |config, on| config.software = on,
        "Tell clients what software this is.",
    ),
    OptionSpec::switch(
        &["include-reason-string"],
        |config, on| config.reason_phrases = on,
        "Put a phrase into error responses.",
    ),
    OptionSpec::switch(&["stun-only"], |config, on| config.stun_only = on, "Serve Binding alone.").short('S'),
    OptionSpec::switch(&["no-stun"], |config, on| config.no_stun = on, "Do not serve Binding."),
    OptionSpec::switch(
        &["rfc5766-channel-numbers"],
        |config, on| config.rfc5766_channels = on,
        "Grant channels 0x5000 to 0x7FFF too, for clients older than RFC 8656.",
    ),
    OptionSpec::switch(
        &["stun-backward-compatibility"],
        |config, on| config.mapped_address = on,
        "Add MAPPED-ADDRESS to Binding responses.",
    ),
    OptionSpec::with(
        &["rfc3489-compatibility"],
        Later("RFC 3489"),
        "Serve clients of RFC 3489, obsolete since 2008.",
    ),
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
    ),
];

pub(super) const ALTERNATES: &[OptionSpec] = &[
    OptionSpec::with(
        &["alternate-server"],
        Later("ALTERNATE-SERVER"),
        "Server to send clients to; may be repeated.",
    )
    .value("IP[:PORT]")
    .repeats(),
    OptionSpec::with(&["udp-alternate-server"], Later("ALTERNATE-SERVER"), "The same, for UDP clients.")
        .value("IP[:PORT]")
        .repeats(),
    OptionSpec::with(&["tcp-alternate-server"], Later("ALTERNATE-SERVER"), "The same, for TCP clients.")
        .value("IP[:PORT]")
        .repeats(),
    OptionSpec::with(&["tls-alternate-server"], Later("ALTERNATE-SERVER"), "The same, for TLS clients.")
        .value("IP[:PORT]")
        .repeats(),
    OptionSpec::with(
        &["udp-self-balance"],
        Later("ALTERNATE-SERVER"),
        "Spread UDP clients over the auxiliary listeners.",
    ),
];
