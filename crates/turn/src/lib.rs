//! The rules of a STUN/TURN server: what happens to each packet and request.
//!
//! RFC 8489 (STUN), RFC 8656 (TURN), RFC 6062 (TCP relaying), RFC 8016 (mobility) and RFC 5780 (NAT behaviour discovery)
//! as a state machine without I/O, clock or randomness of its own. Bytes leave by return value ([`Verdict`]); whatever
//! needs a syscall, a thread or time is an [`Effect`].
//!
//! Start reading at [`Server`].

mod allocation;
mod alternate;
mod auth;
mod bandwidth;
mod challenge_budget;
mod config;
mod credentials;
mod deleted;
mod directory;
mod discovery;
mod drain;
mod effect;
mod flows;
mod handover;
mod histogram;
mod inquiries;
mod mobility;
mod multiplex;
mod nonce;
mod oauth;
mod offer;
mod origin;
mod peer_icmp;
mod peers;
mod ports;
mod quota;
mod random;
mod realm_stats;
mod reason;
mod relay_data;
mod requests;
mod response;
mod rest_credentials;
mod revocation;
mod self_test;
mod server;
mod sessions;
mod stats;
mod tcp_relay;
mod tenants;
mod time;
mod timers;
mod tuple;
mod user;
mod verdict;
mod waiting;

pub use alternate::{AlternateServer, AlternateServers, OwnListener};
pub use bandwidth::{SharedAccount, Way};
pub use config::{ChannelRange, Config, DefaultFamily, Init};
pub use credentials::Credentials;
pub use directory::{Directory, Found, StoredKeys};
pub use discovery::{AlternateAddress, Alternates};
pub use drain::Drain;
pub use effect::{Effect, EndCause, Event, Reserve, Security, Usage};
pub use flows::{Flow, FlowId, FlowOwner};
pub use handover::{Elsewhere, Estate, EstateError, HANDOVER_VERSION, Inherited, Released, codec};
pub use histogram::Histogram;
pub use mobility::{Claim, ClaimOutcome, ClaimRefusal, Claimed, Letter};
pub use multiplex::Multiplex;
pub use nonce::NonceKey;
pub use oauth::{MacKey, OAuthKey, OAuthKeys, Token, TokenCipher, TokenError, TokenKey};
pub use peer_icmp::IcmpError;
pub use peers::{IpRange, PeerAccess, PeerRules, RelayAddress, peer_rule, refused_by_default};
pub use ports::{Ports, RelayedPort};
pub use quota::Quotas;
pub use realm_stats::{RealmCounters, RealmStats};
pub use reason::{Kind, Reason};
pub use requests::RelayError;
pub use rest_credentials::{RestName, rest_password};
pub use self_test::SelfTest;
pub use server::Server;
pub use sessions::{Session, SessionFilter, SessionPage};
pub use stats::{Answered, DatabaseWaits, Requests, SessionDurations, Stats};
pub use tcp_relay::{ConnectError, PeerConnectionId, PeerTransport};
pub use tenants::{Limits, Tenant, Tenants};
pub use time::{Now, Timestamp, UnixTime};
pub use tuple::{Client, FiveTuple, InquiryId, Link, RelayId, SessionId, Transport, WaitId};
pub use user::User;
pub use verdict::{Edge, Egress, Forward, Head, Tail, Verdict};
