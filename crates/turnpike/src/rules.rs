//! From the operator's configuration to the rules of the core.

use std::net::SocketAddr;
use std::sync::Arc;

use turnpike_config::{self as config, OAuthCipher, Password};
use turnpike_turn::{
    ChannelRange, Config, Credentials, DefaultFamily, IpRange, Multiplex, OAuthKey, OAuthKeys, PeerRules,
    TokenCipher, TokenKey,
};
use turnpike_wire::Family;

use crate::addresses::Addresses;
use crate::redirection::Redirection;

/// The core's rules for this configuration.
pub(crate) fn rules(settings: &config::Config, addresses: &Addresses) -> Config {
    let mut rules = Config::new(Arc::new(credentials(settings)));
    rules.peers = peer_rules(settings, addresses);
    rules.software = settings.software.then(|| concat!("Turnpike ", env!("CARGO_PKG_VERSION")).into());
    rules.reason_phrases = settings.reason_phrases;
    rules.always_fingerprint = settings.fingerprint;
    rules.binding = !settings.no_stun;
    rules.authenticated_binding = settings.secure_stun;
    rules.mapped_address = settings.mapped_address;
    rules.classic = settings.rfc3489;
    rules.server_relay = settings.server_relay;
    rules.check_origin = settings.check_origin;
    rules.multiplex = settings.multiplex.then_some(Multiplex {
        first_port: settings.multiplex_port,
        most_peers: settings.multiplex_most_peers.into(),
    });
    rules.alternates.clone_from(&addresses.alternates);
    rules.alternate_servers = Redirection::find(settings, addresses).servers;
    rules.relaying = !settings.stun_only;
    rules.udp_relay = settings.udp_relay;
    rules.tcp_relay = settings.tcp_relay;
    rules.channels = if settings.rfc5766_channels { ChannelRange::Rfc5766 } else { ChannelRange::Rfc8656 };
    rules.default_family = match settings.default_family {
        config::DefaultFamily::Ipv4 => DefaultFamily::Of(Family::Ipv4),
        config::DefaultFamily::Ipv6 => DefaultFamily::Of(Family::Ipv6),
        config::DefaultFamily::Keep => DefaultFamily::Client,
    };
    rules.max_lifetime = settings.max_lifetime;
    rules.permission_lifetime = settings.permission_lifetime;
    rules.channel_lifetime = settings.channel_lifetime;
    rules.nonce_lifetime = settings.nonce_lifetime;
    if settings.limit_unauthorized {
        rules.challenge_rate = settings.unauthorized_rate;
        rules.challenge_burst = settings.unauthorized_rate;
    }
    rules.icmp_errors = settings.icmp_errors;
    rules.mobility = settings.mobility;
    rules.strict_expiry = settings.databases.strict_expiry;
    rules.verbose = settings.verbose || settings.extra_verbose;
    rules.log_binding = settings.extra_verbose;
    rules
}

pub(crate) fn credentials(settings: &config::Config) -> Credentials {
    if settings.no_auth {
        return Credentials::anonymous(&settings.realm);
    }
    let mut credentials = Credentials::new(&settings.realm);
    for user in &settings.users {
        match &user.password {
            Password::Clear(password) => credentials.add_user(&user.name, password.expose()),
            Password::Key(key) => credentials.add_user_key(&user.name, key.0),
        }
    }
    if settings.use_auth_secret {
        settings.secrets.iter().for_each(|secret| credentials.add_secret(secret.expose().as_bytes()));
    }
    credentials.set_separator(settings.rest_separator);
    if settings.oauth {
        credentials.set_oauth(oauth_keys(settings));
    }
    credentials
}

pub(crate) fn oauth_keys(settings: &config::Config) -> OAuthKeys {
    let mut keys = OAuthKeys::new(settings.server_name.as_deref().unwrap_or(&settings.realm));
    for config::OAuthKey { kid, key, cipher, timestamp, lifetime, realm } in &settings.oauth_keys {
        let cipher = match cipher {
            OAuthCipher::A256Gcm => TokenCipher::A256Gcm,
            OAuthCipher::A128Gcm => TokenCipher::A128Gcm,
        };
        // The configuration has refused keys that are too short.
        if let Some(key) = TokenKey::new(cipher, key) {
            let realm = realm.as_deref().map(Into::into);
            keys.insert(kid, OAuthKey { key, timestamp: *timestamp, lifetime: *lifetime, realm });
        }
    }
    keys
}

fn peer_rules(settings: &config::Config, addresses: &Addresses) -> PeerRules {
    let range = |range: &config::PeerRange| IpRange { first: range.first, last: range.last };
    PeerRules {
        allowed: settings.allowed_peers.iter().map(range).collect(),
        denied: settings.denied_peers.iter().map(range).collect(),
        refuse_multicast: settings.no_multicast_peers,
        allow_loopback: settings.allow_loopback_peers,
        own_addresses: addresses.own.clone(),
        relays: addresses.relays.clone(),
        former: addresses.former.clone(),
        listening_ports: listening_ports(settings, addresses),
    }
}

/// Where nothing may be relayed to: a listener would take it for a client's.
fn listening_ports(settings: &config::Config, addresses: &Addresses) -> Vec<u16> {
    let second = (!addresses.alternates.is_empty()).then(|| settings.second_port());
    let auxiliary = settings.balancing.auxiliary.iter().map(SocketAddr::port);
    let secure = (settings.serves_tls() || settings.serves_dtls()).then_some(settings.tls_port);
    [settings.listening_port].into_iter().chain(second).chain(auxiliary).chain(secure).collect()
}
