//! The values an estate is made of.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use turnpike_wire::{ErrorNumber, Family, LongTermKey, PasswordDigest, TransactionId};

use super::DeletionValue;
use super::codec::{Reader, Value, value};
use crate::allocation::{Allocation, Binding, Channels, Permission, Permissions};
use crate::bandwidth::{BandwidthLimit, Spending};
use crate::effect::Usage;
use crate::mobility::{DepartedValue, MobilityValue};
use crate::oauth::{MacKey, SessionKey};
use crate::origin::PinnedOrigin;
use crate::peers::PeerAccess;
use crate::ports::RelayedPort;
use crate::realm_stats::RealmPlace;
use crate::time::Timestamp;
use crate::tuple::{Client, SessionId};
use crate::user::{Key, User};

/// Everything but the users, who are named by number.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) sessions_made: u64,
    pub(crate) sessions: Vec<Session>,
    pub(crate) staying: Vec<Staying>,
    pub(crate) deleted: Vec<(DeletionValue, u32)>,
    pub(crate) reservations: Vec<Reserved>,
    pub(crate) departed: Vec<DepartedValue>,
}
value!(Written { sessions_made, sessions, staying, deleted, reservations, departed });

/// An allocation.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) user: u32,
    pub(crate) session: SessionId,
    /// The bandwidth that goes with its place in the quotas.
    pub(crate) place: Option<u64>,
    pub(crate) mobility: Option<MobilityValue>,
    /// Its relayed addresses: one, or one of each family.
    pub(crate) halves: Vec<Half>,
}
value!(Session { client, user, session, place, mobility, halves });

impl Session {
    pub(crate) fn fits_together(&self) -> bool {
        let families = match self.halves.as_slice() {
            [_] => true,
            [one, other] => one.relayed.is_ipv4() != other.relayed.is_ipv4(),
            _ => false,
        };
        families && self.place.is_some() && self.halves.iter().all(Half::fits_together)
    }
}

/// A relayed address.
#[derive(Debug)]
pub(crate) struct Half {
    /// In local form.
    pub(crate) relayed: SocketAddr,
    expires: Timestamp,
    created: Timestamp,
    permissions: Vec<Permission>,
    bindings: Vec<Binding>,
    usage: Usage,
    limit: Option<BandwidthLimit>,
    fingerprint: bool,
    transaction: TransactionId,
    reservation: Option<[u8; 8]>,
    lacks: Option<(Family, ErrorNumber)>,
    origin: PinnedOrigin,
}
value!(Half {
    relayed,
    expires,
    created,
    permissions,
    bindings,
    usage,
    limit,
    fingerprint,
    transaction,
    reservation,
    lacks,
    origin,
});

impl Half {
    pub(crate) fn of(allocation: &Allocation) -> Self {
        Half {
            relayed: allocation.port.local(),
            expires: allocation.expires,
            created: allocation.created,
            permissions: allocation.permissions.iter().copied().collect(),
            bindings: allocation.channels.iter().copied().collect(),
            usage: allocation.usage,
            limit: allocation.limit.clone(),
            fingerprint: allocation.fingerprint,
            transaction: allocation.transaction,
            reservation: allocation.reservation,
            lacks: allocation.lacks,
            origin: allocation.origin.clone(),
        }
    }

    fn fits_together(&self) -> bool {
        let mut channels = Channels::default();
        self.bindings.iter().all(|binding| !channels.has(binding.number) && channels.bind(*binding).is_ok())
    }

    pub(crate) fn into_allocation(
        self,
        client: Client,
        (user, session): (Arc<User>, SessionId),
        (port, realm): (RelayedPort, RealmPlace),
    ) -> Box<Allocation> {
        let mut permissions = Permissions::default();
        self.permissions.into_iter().for_each(|permission| permissions.grant(permission));
        let mut channels = Channels::default();
        for binding in self.bindings {
            // Two of one number or peer were refused before.
            let _ = channels.bind(binding);
        }
        Box::new(Allocation {
            client,
            expires: self.expires,
            permissions,
            channels,
            usage: self.usage,
            realm,
            limit: self.limit,
            fingerprint: self.fingerprint,
            wakes: self.expires,
            created: self.created,
            user,
            session,
            port,
            transaction: self.transaction,
            reservation: self.reservation,
            lacks: self.lacks,
            tcp: None,
            sibling: None,
            place: None,
            origin: self.origin,
            claims: Vec::new(),
        })
    }
}

/// An allocation that the giver keeps.
#[derive(Debug)]
pub(crate) struct Staying {
    pub(crate) session: SessionId,
    pub(crate) client: Client,
    pub(crate) user: u32,
    pub(crate) place: Option<u64>,
    /// Its ports in local form, and whether each speaks TCP.
    pub(crate) ports: Vec<(SocketAddr, bool)>,
}
value!(Staying { session, client, user, place, ports });

/// A port that is reserved.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub(crate) token: [u8; 8],
    pub(crate) address: SocketAddr,
    pub(crate) expires: Timestamp,
    /// Whose place in the quotas it keeps, and the bandwidth with it.
    pub(crate) place: Option<(u32, u64)>,
}
value!(Reserved { token, address, expires, place });

/// The users that values name by number, each once.
#[derive(Debug, Default)]
pub(crate) struct People {
    users: Vec<Arc<User>>,
    numbers: HashMap<*const User, u32>,
}

impl People {
    /// The number of this user.
    pub(crate) fn number(&mut self, user: &Arc<User>) -> u32 {
        let next = self.users.len() as u32;
        let number = *self.numbers.entry(Arc::as_ptr(user)).or_insert(next);
        if number == next {
            self.users.push(user.clone());
        }
        number
    }

    pub(crate) fn into_users(self) -> Vec<UserValue> {
        self.users.into_iter().map(UserValue).collect()
    }
}

/// A user to be written.
#[derive(Debug)]
pub(crate) struct UserValue(Arc<User>);

impl Value for UserValue {
    fn write(&self, to: &mut Vec<u8>) {
        self.0.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        User::read(from).map(|user| UserValue(Arc::new(user)))
    }
}

impl Value for User {
    fn write(&self, to: &mut Vec<u8>) {
        self.name.write(to);
        (self.account.start as u32).write(to);
        (self.account.end as u32).write(to);
        Box::<str>::from(&*self.realm).write(to);
        self.key.write(to);
        self.expires.write(to);
        self.self_test.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let name = Box::<str>::read(from)?;
        let account = u32::read(from)? as usize..u32::read(from)? as usize;
        // Whatever it is, it is a part of the name.
        name.get(account.clone())?;
        let realm: Arc<str> = Box::<str>::read(from)?.into();
        let (key, expires, self_test) = (Value::read(from)?, Value::read(from)?, Value::read(from)?);
        Some(User { name, account, realm, key, expires, self_test })
    }
}

impl Value for Key {
    fn write(&self, to: &mut Vec<u8>) {
        match self {
            Key::LongTerm(key) => {
                to.push(match key.digest() {
                    PasswordDigest::Md5 => 1,
                    PasswordDigest::Sha256 => 2,
                });
                Box::<[u8]>::from(key.bytes()).write(to);
            }
            Key::Session(key) => {
                to.push(3);
                Box::<[u8]>::from(key.mac.bytes()).write(to);
                key.expires.write(to);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let kind = u8::read(from)?;
        let bytes = Box::<[u8]>::read(from)?;
        match kind {
            1 => Some(Key::LongTerm(LongTermKey::from_md5((&*bytes).try_into().ok()?))),
            2 => Some(Key::LongTerm(LongTermKey::from_sha256((&*bytes).try_into().ok()?))),
            3 => {
                let key = SessionKey { mac: MacKey::new(&bytes)?, expires: Value::read(from)? };
                Some(Key::Session(Box::new(key)))
            }
            _ => None,
        }
    }
}

impl Value for PeerAccess {
    fn write(&self, to: &mut Vec<u8>) {
        to.push(match self {
            PeerAccess::Anywhere => 1,
            PeerAccess::LiveRelays => 2,
            PeerAccess::NotListeners => 3,
        });
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        match u8::read(from)? {
            1 => Some(PeerAccess::Anywhere),
            2 => Some(PeerAccess::LiveRelays),
            3 => Some(PeerAccess::NotListeners),
            _ => None,
        }
    }
}

impl Value for Binding {
    fn write(&self, to: &mut Vec<u8>) {
        self.number.write(to);
        self.peer.write(to);
        self.expires.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (number, peer, expires) = (Value::read(from)?, Value::read(from)?, Value::read(from)?);
        // Who relays elsewhere is told anew.
        Some(Binding { number, peer, expires, flow: None })
    }
}

impl Value for BandwidthLimit {
    fn write(&self, to: &mut Vec<u8>) {
        let Spending { second, spent } = self.spending();
        self.rate().write(to);
        second.write(to);
        spent.iter().for_each(|spent| spent.write(to));
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (rate, second) = (Value::read(from)?, Value::read(from)?);
        // Who relays elsewhere shares an account anew.
        BandwidthLimit::with(rate, Spending { second, spent: [Value::read(from)?, Value::read(from)?] })
    }
}

value!(Permission { ip, access, expires, told });
value!(Usage { client_packets, client_bytes, peer_packets, peer_bytes, flow_packets, flow_bytes });
