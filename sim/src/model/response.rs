//! What a response must say, and whether it does.

use std::time::Duration;

use turnpike_turn::{Client, Now, Reason, SessionId};

use super::algorithms::{PASSWORD_ALGORITHMS, protection_of_answer};
use super::credentials::{Identity, IssuedNonce, Refusal};
use super::message::{Parsed, Protection};
use super::mobility::MOBILITY_TICKET;
use super::{Model, Source};
use crate::observed::{Action, Report};

/// A response that is expected.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    /// Where it goes.
    pub(crate) to: Client,
    /// The request's method.
    pub(crate) method: u16,
    /// The request's transaction id.
    pub(crate) id: [u8; 12],
    /// Whether it is an error, and which.
    pub(crate) error: Option<u16>,
    /// Attributes besides ERROR-CODE, REALM, NONCE, PASSWORD-ALGORITHMS, SOFTWARE and those that protect it.
    pub(crate) attributes: Vec<(u16, Vec<u8>)>,
    /// Whether REALM, NONCE and PASSWORD-ALGORITHMS are there.
    pub(crate) challenge: bool,
    /// Whether a RESERVATION-TOKEN of the server's choice is there.
    pub(crate) new_token: bool,
    /// Whether a MOBILITY-TICKET that was never given out before is there.
    pub(crate) new_ticket: bool,
    /// The session whose ticket it is, if that exists already.
    pub(crate) moved: Option<SessionId>,
    /// Whether SOFTWARE is there, if it is configured.
    pub(crate) software: bool,
    /// The key and kind of its integrity.
    pub(crate) signature: Option<(Vec<u8>, Protection)>,
    /// Whether it carries FINGERPRINT.
    pub(crate) fingerprint: bool,
}

/// What of a request shapes its response.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Who asked.
    pub(crate) client: Client,
    /// The method.
    pub(crate) method: u16,
    /// The transaction id.
    pub(crate) id: [u8; 12],
    /// How the response is protected.
    pub(crate) protection: Protection,
    /// Whether it carried FINGERPRINT.
    pub(crate) fingerprint: bool,
}

impl Asked {
    /// What of `message` shapes its response.
    pub(crate) fn of(source: &Source, message: &Parsed) -> Self {
        Asked {
            client: source.client,
            method: message.method,
            id: message.id,
            protection: protection_of_answer(message),
            fingerprint: message.has_fingerprint(),
        }
    }
}

/// What a response has that only the core can choose.
#[derive(Debug)]
pub(crate) struct Learned {
    pub(super) token: Option<[u8; 8]>,
    pub(super) ticket: Option<Vec<u8>>,
}

/// A bucket of answers to strangers, in billionths of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub(super) tokens: u128,
    pub(super) most: u128,
    pub(super) refilled: u64,
    pub(super) told: bool,
}

impl Bucket {
    /// A nonce came back.
    pub(crate) fn refund(&mut self) {
        self.tokens = self.most.min(self.tokens + ONE);
    }
}

impl Model {
    /// The response that grants a request.
    pub(super) fn success(
        &mut self,
        worker: u16,
        asked: &Asked,
        attributes: Vec<(u16, Vec<u8>)>,
        identity: Option<&Identity>,
    ) -> Response {
        self.counters[usize::from(worker)].successes += 1;
        self.response(asked, None, attributes, identity)
    }

    /// The response that refuses a request; `None` if the source has had too many.
    pub(super) fn refuse(
        &mut self,
        now: Now,
        source: &Source,
        asked: &Asked,
        refusal: &Refusal,
        attributes: Vec<(u16, Vec<u8>)>,
    ) -> Option<Response> {
        let unproved = refusal.identity.is_none() && !source.client.tuple.transport.is_stream();
        if unproved && !self.spend(now, source) {
            self.count(source.worker, Reason::RateLimited);
            return None;
        }
        let counters = &mut self.counters[usize::from(source.worker)];
        if refusal.reason == Reason::NoCredentials {
            counters.challenges += 1;
        }
        Some(self.error(source.worker, asked, refusal, attributes))
    }

    /// An error response without regard to the source's budget.
    pub(super) fn error(
        &mut self,
        worker: u16,
        asked: &Asked,
        refusal: &Refusal,
        attributes: Vec<(u16, Vec<u8>)>,
    ) -> Response {
        self.counters[usize::from(worker)].errors += 1;
        self.count(worker, refusal.reason);
        let identity = refusal.identity.as_ref();
        let mut response = self.response(asked, Some(refusal.number), attributes, identity);
        response.challenge = refusal.challenge;
        response.software = identity.is_some();
        response
    }

    fn response(
        &self,
        asked: &Asked,
        error: Option<u16>,
        attributes: Vec<(u16, Vec<u8>)>,
        identity: Option<&Identity>,
    ) -> Response {
        let key = identity.and_then(|identity| identity.key.clone());
        let signed = asked.protection != Protection::None;
        Response {
            to: asked.client,
            method: asked.method,
            id: asked.id,
            error,
            attributes,
            challenge: false,
            new_token: false,
            new_ticket: false,
            moved: None,
            software: true,
            signature: key.filter(|_| signed).map(|key| (key, asked.protection)),
            fingerprint: asked.fingerprint || self.settings.always_fingerprint,
        }
    }

    /// The bucket of a source: an IPv4 address, or the first half of an IPv6 address.
    pub(super) fn bucket(&mut self, now: Now, source: &Source) -> &mut Bucket {
        let mut address = source.client.tuple.client.ip();
        if let std::net::IpAddr::V6(six) = address {
            address = std::net::Ipv6Addr::from_bits(six.to_bits() >> 64 << 64).into();
        }
        let key = (source.worker, address);
        let most = u128::from(self.settings.challenge_burst) * ONE;
        let known = self.buckets.iter().position(|(other, _)| *other == key);
        let at = known.unwrap_or_else(|| {
            self.buckets.push((key, Bucket { tokens: most, most, refilled: 0, told: false }));
            self.buckets.len() - 1
        });
        let bucket = &mut self.buckets[at].1;
        let elapsed = u128::from(now.monotonic.0 - bucket.refilled);
        bucket.tokens = most.min(bucket.tokens + elapsed * u128::from(self.settings.challenge_rate));
        bucket.refilled = now.monotonic.0;
        bucket
    }

    fn spend(&mut self, now: Now, source: &Source) -> bool {
        let bucket = self.bucket(now, source);
        if bucket.tokens >= ONE {
            bucket.tokens -= ONE;
            bucket.told = false;
            return true;
        }
        let first = !bucket.told;
        bucket.told = true;
        if first {
            self.reports.push(Report::SourceLimited { source: source.client.tuple.client.ip() });
        }
        false
    }

    /// Compares a reply with what is expected; learns its nonce and its token.
    pub(super) fn check_response(
        &mut self,
        now: Now,
        expected: &Response,
        action: &Action,
    ) -> Result<Learned, String> {
        let Action::Reply { to, bytes } = action else { return Err("a reply is expected".into()) };
        let reply = Parsed::read(bytes).map_err(|_| "the reply cannot be read")?;
        let class = if expected.error.is_some() { 3 } else { 2 };
        same("destination", to, &expected.to)?;
        same(
            "class, method and id",
            &(reply.class, reply.method, reply.id),
            &(class, expected.method, expected.id),
        )?;
        same("FINGERPRINT", &reply.has_fingerprint(), &expected.fingerprint)?;
        ensure(reply.fingerprint_fits(), "a wrong FINGERPRINT")?;
        match &expected.signature {
            None => same("integrity", &reply.protection(), &Protection::None)?,
            Some((key, kind)) => {
                same("integrity", &reply.protection(), kind)?;
                ensure(reply.is_signed_with(key), "a wrong integrity")?;
            }
        }
        let mut wanted = expected.attributes.clone();
        let (mut token, mut ticket) = (None, None);
        if expected.software
            && let Some(software) = &self.settings.software
        {
            wanted.push((SOFTWARE, software.as_bytes().to_vec()));
        }
        if expected.challenge {
            wanted.push((REALM, self.settings.realm.as_bytes().to_vec()));
            wanted.push((PASSWORD_ALGORITHMS, self.offered_list()));
        }
        let mut found = Vec::new();
        for attribute in reply.attributes {
            let value = attribute.value;
            match attribute.kind {
                NONCE if expected.challenge => self.learn_nonce(now, &expected.to, value)?,
                RESERVATION_TOKEN if expected.new_token => token = value.try_into().ok(),
                MOBILITY_TICKET if expected.new_ticket => ticket = Some(value),
                ERROR_CODE => self.check_error(expected.error, &value)?,
                kind => found.push((kind, value)),
            }
        }
        wanted.sort();
        found.sort();
        same("attributes", &found, &wanted)?;
        same("presence of a token", &token.is_some(), &expected.new_token)?;
        same("presence of a ticket", &ticket.is_some(), &expected.new_ticket)?;
        Ok(Learned { token, ticket })
    }

    fn check_error(&self, expected: Option<u16>, value: &[u8]) -> Result<(), String> {
        let number = value.get(..4).map(|head| u16::from(head[2]) * 100 + u16::from(head[3]));
        same("error", &number, &expected)?;
        ensure(value[..2] == [0, 0], "reserved bits of ERROR-CODE are set")?;
        same("presence of a phrase", &(value.len() > 4), &self.settings.reason_phrases)
    }

    /// RFC 8489 §9.2.4: never the same nonce for two source addresses; §9.2: the nonce cookie and feature bits.
    fn learn_nonce(&mut self, now: Now, to: &Client, value: Vec<u8>) -> Result<(), String> {
        let client = to.tuple.client;
        let offer = (self.offered_list(), self.offers_anonymity());
        // Bit 0 of 24, and bit 1 where names may be hashed: base64 of 0x800000 or 0xC00000.
        let bits = if offer.1 { b"obMatJos2wAAA" } else { b"obMatJos2gAAA" };
        ensure(value.starts_with(bits), "the nonce lacks the cookie or announces something else")?;
        let shared = self.nonces.iter().any(|it| it.value == value && it.client != client);
        ensure(!shared, "two addresses got the same nonce")?;
        let issued = now.unix.0;
        if !self.nonces.iter().any(|it| it.value == value) {
            self.nonces.push(IssuedNonce { value, client, issued, offer });
        }
        Ok(())
    }
}

/// An error that names what differs.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: &T,
    expected: &T,
) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, expected {expected:?}")) }
}

/// An error unless `holds`.
pub(crate) fn ensure(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

/// A duration in whole seconds, begun ones included; what is shorter than a millisecond does not count.
pub(crate) fn begun_seconds(duration: Duration) -> u32 {
    duration.as_millis().div_ceil(1000) as u32
}

const ERROR_CODE: u16 = 0x0009;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const RESERVATION_TOKEN: u16 = 0x0022;
const SOFTWARE: u16 = 0x8022;
const ONE: u128 = 1_000_000_000;
