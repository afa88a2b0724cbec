//! What the same configuration does otherwise than in coturn. The whole list, with reasons, is in
//! `docs/migrating-from-coturn.md`; here is what somebody may notice, where it concerns his settings.

use turnpike_config::Config;

/// One difference.
pub(super) struct Change {
    /// Whether it concerns this configuration.
    pub(super) concerns: fn(&Config) -> bool,
    pub(super) text: &'static str,
}

pub(super) const CHANGES: &[Change] = &[
    Change {
        concerns: |config| !config.stun_only,
        text: "private, shared and multicast peers are refused unless allowed-peer-ip opens them",
    },
    Change {
        concerns: |config| config.use_auth_secret && (config.long_term || !config.users.is_empty()),
        text: "users work beside use-auth-secret: coturn shuts them out",
    },
    Change {
        concerns: |config| !config.no_auth && !config.stun_only,
        text: "names, realms and passwords beyond ASCII are prepared (RFC 8265) before keys are made",
    },
    Change {
        concerns: |config| !config.no_auth && !config.stun_only,
        text: "clients may use SHA-256 (RFC 8489) where a user's key for it is known; MD5 goes on working",
    },
    Change {
        concerns: |config| config.mobility,
        text: "a client that moves gets its data at the new address once it has sent something from there",
    },
    Change { concerns: |_| true, text: "the log goes to standard output; log-file adds a file" },
    Change {
        concerns: |_| true,
        text: "the first 401 of a session is logged as INFO, reason: no_credentials: every client begins so",
    },
];
