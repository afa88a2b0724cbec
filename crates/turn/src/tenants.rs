//! Several realms on one server: each with its own users and secrets, quotas, bandwidth and peers.
//!
//! The realm of whoever wants to allocate is found by the name's suffix, the name that his TLS or DTLS session asked for
//! (RFC 6066 §3), the address he came to, or ORIGIN (as in coturn), in this order; else it is the server's own. Whoever names another one is told which it is. What comes after
//! is of the realm it names: ORIGIN comes with the first request alone, and a session that moves may come to another
//! address; and nobody does anything there but to what he has allocated in that realm.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use turnpike_wire::Method;
use turnpike_wire::attributes::{Origin, Realm, Username};

use crate::config::Config;
use crate::credentials::Credentials;
use crate::peers::IpRange;
use crate::requests::Request;
use crate::server::Server;
use crate::tuple::Link;
use crate::user::User;

/// The realms there are besides the server's own, what is special about each, and how they are told apart.
#[derive(Clone, Debug, Default)]
pub struct Tenants {
    /// By name; the server's own may be among them, without credentials.
    pub realms: HashMap<Box<str>, Tenant>,
    /// Realm by web origin.
    pub origins: HashMap<Box<str>, Box<str>>,
    /// Realm by the address that clients send to.
    pub addresses: HashMap<IpAddr, Box<str>>,
    /// Realm by the server's name, in lower case, as clients of TLS and DTLS give it.
    pub server_names: HashMap<Box<str>, Box<str>>,
    /// What stands in a username before the name of its realm; `None` where names say nothing of it.
    pub suffix: Option<char>,
}

/// One realm.
#[derive(Clone, Debug, Default)]
pub struct Tenant {
    /// Who may allocate in it; `None` for the server's own realm.
    pub credentials: Option<Arc<Credentials>>,
    /// How much they may have.
    pub limits: Limits,
    /// Peers that they may reach though others may not.
    pub allowed: Vec<IpRange>,
    /// Peers that they may not reach, unless a range opens them.
    pub denied: Vec<IpRange>,
}

/// What a realm has instead of what is set for all; `None` where nothing is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Allocations of one user; zero for no limit.
    pub user_quota: Option<u32>,
    /// Allocations of the realm; zero for no limit.
    pub total_quota: Option<u32>,
    /// Bytes a second and direction of each allocation; zero for no limit.
    pub rate: Option<u64>,
}

impl Tenants {
    fn is_empty(&self) -> bool {
        self.realms.is_empty()
    }

    fn credentials(&self, realm: &str) -> Option<&Arc<Credentials>> {
        self.realms.get(realm)?.credentials.as_ref()
    }
}

impl Server {
    /// Whether it matters which server a client of TLS or DTLS has asked for.
    pub fn heeds_server_names(&self) -> bool {
        !self.config.tenants.server_names.is_empty()
    }

    /// A client of TLS or DTLS has said which server it wants: to be told before its first message.
    pub fn handle_server_name(&mut self, link: Link, name: &str) {
        let realm = self.config.tenants.server_names.get(name.to_ascii_lowercase().as_str());
        // Links are as few as connections, and each is forgotten when it is closed.
        if let Some(realm) = realm.cloned() {
            self.named_links.insert(link, realm);
        }
    }

    /// What came by this link comes by another worker's from now on.
    pub fn forget_server_name(&mut self, link: Link) {
        self.named_links.remove(&link);
    }

    /// Whose credentials a request is judged by.
    pub(crate) fn credentials_for(&self, request: &Request<'_>) -> &Arc<Credentials> {
        let tenants = &self.config.tenants;
        if tenants.is_empty() {
            return &self.config.credentials;
        }
        let message = &request.message;
        let continues = !matches!(message.method(), Method::ALLOCATE | Method::BINDING);
        let by_realm = || {
            let Realm(realm) = message.get().ok()?.filter(|_| continues)?;
            tenants.credentials(core::str::from_utf8(realm).ok()?)
        };
        let by_name = || {
            let Username(name) = message.get().ok()??;
            let (_, realm) = core::str::from_utf8(name).ok()?.rsplit_once(tenants.suffix?)?;
            tenants.credentials(realm)
        };
        let by_server_name = || tenants.credentials(self.named_links.get(&request.client.link)?);
        let by_address = || tenants.credentials(tenants.addresses.get(&request.client.tuple.server.ip())?);
        let by_origin = || {
            let Origin(origin) = message.get().ok()??;
            let origin = core::str::from_utf8(origin).ok()?.to_ascii_lowercase();
            tenants.credentials(tenants.origins.get(origin.as_str())?)
        };
        let found = by_realm().or_else(by_name).or_else(by_server_name).or_else(by_address);
        found.or_else(by_origin).unwrap_or(&self.config.credentials)
    }
}

impl Config {
    /// What this user's realm has of its own.
    pub(crate) fn tenant(&self, user: &User) -> Option<&Tenant> {
        self.tenants.realms.get(user.realm())
    }

    /// How much this user's realm may have, as far as it differs from what is set for all.
    pub(crate) fn limits_of(&self, user: &User) -> Limits {
        match self.tenant(user) {
            _ if user.is_self_test() => Limits { user_quota: Some(0), total_quota: Some(0), rate: Some(0) },
            tenant => tenant.map(|tenant| tenant.limits).unwrap_or_default(),
        }
    }

    /// What this user's realm says of a peer, where it says anything: whether it may be reached.
    pub(crate) fn tenant_opens(&self, user: &User, peer: IpAddr) -> Option<bool> {
        let tenant = self.tenant(user)?;
        let among = |ranges: &[IpRange]| ranges.iter().any(|range| range.contains(peer));
        match (among(&tenant.allowed), among(&tenant.denied)) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }
}
