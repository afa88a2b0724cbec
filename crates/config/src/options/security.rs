//! Limits, and which peers may be reached.

use std::time::Duration;

use super::OptionSpec;
use crate::config::Config;
use crate::values::number;

pub(super) const LIMITS: &[OptionSpec] = &[
    OptionSpec::set(
        &["user-quota"],
        "COUNT",
        |config, value| {
            config.user_quota = number(value, 0, u32::MAX, "a number of allocations")?;
            Ok(())
        },
        "Most allocations of one user at once; 0 for no limit.",
    )
    .short('q')
    .default("0")
    .reloadable(),
    OptionSpec::set(
        &["total-quota"],
        "COUNT",
        |config, value| {
            config.total_quota = number(value, 0, u32::MAX, "a number of allocations")?;
            Ok(())
        },
        "Most allocations in all; 0 for no limit.",
    )
    .short('Q')
    .default("0")
    .reloadable(),
    OptionSpec::set(
        &["max-bps"],
        "BYTES",
        |config, value| {
            config.max_bps = number(value, 0, u64::MAX, "a number of bytes a second")?;
            Ok(())
        },
        "Bytes of data a second for each relayed address and direction; 0 for no limit.",
    )
    .reloadable()
    .default("0")
    .short('s'),
    OptionSpec::set(
        &["bps-capacity"],
        "BYTES",
        |config, value| {
            config.bps_capacity = number(value, 0, u64::MAX, "a number of bytes a second")?;
            Ok(())
        },
        "Bytes a second granted in all: max-bps to each session, the rest to the last; 0 for no limit.",
    )
    .reloadable()
    .default("0")
    .short('B'),
    OptionSpec::set(
        &["max-allocate-lifetime"],
        "SECONDS",
        |config, value| {
            config.max_lifetime =
                Duration::from_secs(number(value, 1, u32::MAX.into(), "a number of seconds")?);
            Ok(())
        },
        "Longest lifetime a client is granted, 600 or more.",
    )
    .reloadable()
    .bare("3600")
    .default("3600"),
    OptionSpec::set(
        &["channel-lifetime"],
        "SECONDS",
        |config, value| {
            config.channel_lifetime =
                Duration::from_secs(number(value, 1, u32::MAX.into(), "a number of seconds")?);
            Ok(())
        },
        "Lifetime of a channel. RFC 8656 says 600.",
    )
    .reloadable()
    .bare("600")
    .default("600"),
    OptionSpec::set(
        &["permission-lifetime"],
        "SECONDS",
        |config, value| {
            config.permission_lifetime =
                Duration::from_secs(number(value, 1, u32::MAX.into(), "a number of seconds")?);
            Ok(())
        },
        "Lifetime of a permission. RFC 8656 says 300.",
    )
    .reloadable()
    .bare("300")
    .default("300"),
    OptionSpec::set(
        &["max-allocate-timeout"],
        "SECONDS",
        |config, value| {
            config.idle_connection = Duration::from_secs(number(value, 1, 86_400, "a number of seconds")?);
            Ok(())
        },
        "How long a connection without an allocation may be silent, 1 to 86400.",
    )
    .reloadable()
    .bare("60")
    .default("60"),
    OptionSpec::switch(
        &["unauthorized-ratelimit"],
        |config, on| config.limit_unauthorized = on,
        "Set the limit on answers to unauthenticated requests; without it 100 a second and source, bursts of 200.",
    )
    .reloadable(),
    OptionSpec::set(
        &["unauthorized-ratelimit-rps"],
        "COUNT",
        |config, value| {
            config.unauthorized_rate = number(value, 1, 1_000_000, "a number of answers a second")?;
            Ok(())
        },
        "That limit, for each source address; a nonce that comes back is refunded.",
    )
    .reloadable()
    .bare("10")
    .default("10"),
];

pub(super) const PEERS: &[OptionSpec] = &[
    OptionSpec::set(
        &["allowed-peer-ip"],
        "RANGE",
        |config, value| {
            config.allowed_peers.push(value.parse()?);
            Ok(())
        },
        "Open peer addresses: IP, IP-IP or CIDR; may be repeated; wins over denied-peer-ip.",
    )
    .repeats()
    .reloadable(),
    OptionSpec::set(
        &["denied-peer-ip"],
        "RANGE",
        |config, value| {
            config.denied_peers.push(value.parse()?);
            Ok(())
        },
        "Refuse peer addresses: IP, IP-IP or CIDR; may be repeated.",
    )
    .repeats()
    .reloadable(),
    OptionSpec::switch(
        &["allow-loopback-peers"],
        |config: &mut Config, on| config.allow_loopback_peers = on,
        "Let clients reach loopback addresses of this machine. For tests alone.",
    )
    .reloadable(),
    OptionSpec::switch(
        &["no-multicast-peers"],
        |config, on| config.no_multicast_peers = on,
        "Refuse multicast peers; they are refused by default.",
    )
    .reloadable(),
    OptionSpec::switch(
        &["icmp-errors"],
        |config, on| config.icmp_errors = on,
        "Tell clients of ICMP errors from peers (RFC 8656 §11.5), which those of Go's pion/turn break on.",
    )
    .reloadable()
    .ours(),
];
