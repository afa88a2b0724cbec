//! How answers and refusals look on the wire.
//!
//! Invariant: a response to an unauthenticated request is no larger than it must be, carries neither integrity
//! nor username, and counts against its source's budget.

use turnpike_wire::attributes::{
    AddressErrorCode, ConnectionId, ErrorCode, Lifetime, MappedAddress, MobilityTicket, Nonce, Realm,
    ReservationToken, Software, ThirdPartyAuthorization, UnknownAttributes, XorMappedAddress,
    XorRelayedAddress,
};
use turnpike_wire::{AttributeType, Class, Integrity, Message, MessageWriter, Method, TransactionId};

use crate::alternate::AlternateServer;
use crate::challenge_budget::Allowance;
use crate::credentials::Credentials;
use crate::effect::Event;
use crate::mobility::PendingClaim;
use crate::reason::Reason;
use crate::requests::{Answer, Refusal, Request};
use crate::server::Server;
use crate::stats::{Answered, Stats};
use crate::time::Now;
use crate::tuple::{Client, RelayId};
use crate::user::User;
use crate::verdict::Verdict;
use crate::waiting::PendingAllocation;

/// What a response takes over from its request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    pub(crate) client: Client,
    method: Method,
    transaction: TransactionId,
    pub(crate) fingerprint: bool,
    /// With which attribute it is signed.
    pub(crate) integrity: Integrity,
}

impl Request<'_> {
    pub(crate) fn reply(&self) -> Reply {
        Reply {
            client: self.client,
            method: self.message.method(),
            transaction: self.message.transaction_id(),
            fingerprint: self.message.fingerprint_is_valid().is_some(),
            integrity: answer_integrity(&self.message),
        }
    }
}

impl PendingAllocation {
    pub(crate) fn reply(&self) -> Reply {
        Reply {
            client: self.client,
            method: Method::ALLOCATE,
            transaction: self.transaction,
            fingerprint: self.fingerprint,
            integrity: self.integrity,
        }
    }
}

impl PendingClaim {
    pub(crate) fn reply(&self) -> Reply {
        Reply {
            client: self.client,
            method: Method::REFRESH,
            transaction: self.transaction,
            fingerprint: self.fingerprint,
            integrity: self.integrity,
        }
    }
}

impl Server {
    pub(crate) fn succeed(
        &mut self,
        request: &Request<'_>,
        answer: Answer,
        user: Option<&User>,
    ) -> Verdict<'_> {
        self.write_success(request.now, &request.reply(), answer, user)
    }

    pub(crate) fn succeed_pending(&mut self, now: Now, reply: &Reply, relay: RelayId) -> Verdict<'_> {
        let user = self.allocations.get(relay).map(|allocation| allocation.user.clone());
        self.write_success(now, reply, Answer::Allocated(relay), user.as_deref())
    }

    pub(crate) fn refuse(&mut self, request: &Request<'_>, refusal: &Refusal) -> Verdict<'_> {
        // A source that is proved pays for its answers with a connection or a handshake.
        if refusal.user.is_none()
            && !request.client.tuple.transport.proves_address()
            && let Err(reason) = self.spend_budget(request)
        {
            return self.drop_packet(reason);
        }
        if refusal.refused.reason == Reason::NoCredentials {
            self.stats.challenges += 1;
        }
        let nonce = self.nonce_for(request);
        // RFC 8489 §6.3.1: every one of them, however many there are. Each takes twice as much of the request.
        let unknown: Vec<u8> = match refusal.refused.reason {
            Reason::UnknownAttributes => {
                self.unknown_in(request).flat_map(|kind| kind.0.to_be_bytes()).collect()
            }
            _ => Vec::new(),
        };
        let alternate = match refusal.refused.reason {
            Reason::TryAlternate => self.next_alternate(&request.client.tuple),
            _ => None,
        };
        let credentials = self.credentials_for(request).clone();
        let challenge = refusal.challenge.then_some((&*credentials, &nonce[..]));
        self.write_error(&request.reply(), refusal, challenge, &unknown, alternate.as_ref())
    }

    pub(crate) fn refuse_pending(
        &mut self,
        _now: Now,
        pending: &PendingAllocation,
        refusal: &Refusal,
    ) -> Verdict<'_> {
        self.write_error(&pending.reply(), refusal, None, &[], None)
    }

    /// Answers a Refresh that has waited for its allocation.
    pub(crate) fn succeed_claim(
        &mut self,
        now: Now,
        reply: &Reply,
        answer: Answer,
        user: &User,
    ) -> Verdict<'_> {
        self.write_success(now, reply, answer, Some(user))
    }

    pub(crate) fn refuse_claim(&mut self, reply: &Reply, refusal: &Refusal) -> Verdict<'_> {
        self.write_error(reply, refusal, None, &[], None)
    }

    /// Takes a token from the source's budget for an answer to somebody unknown.
    pub(crate) fn spend_budget(&mut self, request: &Request<'_>) -> Result<(), Reason> {
        let source = request.client.tuple.client.ip();
        match self.budget.take(request.now.monotonic, source) {
            Allowance::Granted => return Ok(()),
            Allowance::RefusedFirst => self.report(Event::SourceLimited { source }),
            Allowance::Refused => {}
        }
        Err(Reason::RateLimited)
    }

    pub(crate) fn write_success(
        &mut self,
        now: Now,
        reply: &Reply,
        answer: Answer,
        user: Option<&User>,
    ) -> Verdict<'_> {
        let Server { scratch, allocations, config, stats, mobile, worker, .. } = self;
        let mut writer =
            MessageWriter::new(&mut scratch[..], Class::Success, reply.method, reply.transaction);
        match answer {
            Answer::Mapped => {
                writer.add(&XorMappedAddress(reply.client.tuple.client));
                if config.mapped_address {
                    writer.add(&MappedAddress(reply.client.tuple.client));
                }
            }
            Answer::Discovered(discovered) => discovered.write(&mut writer),
            Answer::Lifetime(seconds) => {
                writer.add(&Lifetime(seconds));
            }
            Answer::Moved(seconds, session) => {
                let ticket = mobile.ticket(*worker, session);
                writer.add(&Lifetime(seconds));
                writer.add_some(ticket.as_ref().map(|ticket| MobilityTicket(ticket)).as_ref());
            }
            Answer::Allocated(relay) => {
                if let Some(allocation) = allocations.get(relay) {
                    let left = allocation.expires.since(now.monotonic).as_millis().div_ceil(1000);
                    for half in allocations.family_of(relay).filter_map(|relay| allocations.get(relay)) {
                        writer.add(&XorRelayedAddress(half.port.advertised()));
                    }
                    writer
                        .add(&Lifetime(left as u32))
                        .add(&XorMappedAddress(reply.client.tuple.client))
                        .add_some(allocation.reservation.map(ReservationToken).as_ref());
                    if let Some((family, number)) = allocation.lacks {
                        // RFC 8656 §7.2: one family was had, the other was not.
                        let reason = if config.reason_phrases { number.reason() } else { "" };
                        writer.add(&AddressErrorCode { family, number, reason });
                    }
                    let ticket = mobile.ticket(*worker, allocation.session);
                    writer.add_some(ticket.as_ref().map(|ticket| MobilityTicket(ticket)).as_ref());
                }
            }
            Answer::Connected(connection) => {
                writer.add(&ConnectionId(connection.number()));
            }
            Answer::Done | Answer::InProgress | Answer::Withheld => {}
            Answer::Asking(_) | Answer::Unavailable(_) => {}
            Answer::Wait(_) | Answer::Connecting(_) | Answer::HandOver { .. } => {}
        }
        stats.count_answer(reply.method, Answered::Success);
        let client = match answer {
            Answer::Discovered(discovered) => discovered.to,
            _ => reply.client,
        };
        let reply = &Reply { client, ..*reply };
        let verdict = seal(writer, reply, user, config.software.as_deref(), config.always_fingerprint);
        count_drop(stats, verdict)
    }

    pub(crate) fn write_error(
        &mut self,
        reply: &Reply,
        refusal: &Refusal,
        challenge: Option<(&Credentials, &[u8])>,
        unknown: &[u8],
        alternate: Option<&AlternateServer>,
    ) -> Verdict<'_> {
        let Server { scratch, config, stats, .. } = self;
        stats.count(refusal.refused.reason);
        stats.count_answer(reply.method, Answered::Error(refusal.refused.number));
        let mut writer = MessageWriter::new(&mut scratch[..], Class::Error, reply.method, reply.transaction);
        let number = refusal.refused.number;
        let reason = if config.reason_phrases { number.reason() } else { "" };
        writer.add(&ErrorCode { number, reason });
        if let Some((credentials, nonce)) = challenge {
            writer.add(&Realm(credentials.realm().as_bytes())).add(&Nonce(nonce));
            // RFC 8489 §9.2.4: the nonce's feature bits say that it is there.
            writer.add(&credentials.offer().algorithms());
            if let Some(oauth) = credentials.oauth() {
                writer.add(&ThirdPartyAuthorization(oauth.server_name().as_bytes()));
            }
        }
        if !unknown.is_empty() {
            writer.add(&UnknownAttributes::from_be_bytes(unknown));
        }
        if let Some(alternate) = alternate {
            alternate.write(&mut writer);
        }
        // A challenge to a stranger stays as small as it can be.
        let software = config.software.as_deref().filter(|_| refusal.user.is_some());
        let verdict = seal(writer, reply, refusal.user.as_deref(), software, config.always_fingerprint);
        count_drop(stats, verdict)
    }
}

/// The attribute that signs the answer (RFC 8489 §9.2.4): -SHA256 alone for a client that chose a password algorithm,
/// MESSAGE-INTEGRITY alone for one that did not, unless -SHA256 is all it signed with.
fn answer_integrity(message: &Message<'_>) -> Integrity {
    match message.integrity() {
        Integrity::None => Integrity::None,
        _ if message.has(AttributeType::PASSWORD_ALGORITHM) => Integrity::Sha256,
        _ if message.has_sha1() => Integrity::Sha1,
        _ => Integrity::Sha256,
    }
}

/// Adds SOFTWARE, integrity and FINGERPRINT, as far as they belong, and makes the verdict.
fn seal<'s>(
    mut writer: MessageWriter<'s>,
    reply: &Reply,
    user: Option<&User>,
    software: Option<&str>,
    always_fingerprint: bool,
) -> Verdict<'s> {
    if let Some(software) = software {
        writer.add(&Software(software.as_bytes()));
    }
    if let Some(key) = user.and_then(User::key) {
        match reply.integrity {
            Integrity::Sha256 => writer.integrity_sha256_with(key.bytes()),
            Integrity::Sha1 => writer.integrity_sha1_with(key.bytes()),
            Integrity::None => &mut writer,
        };
    }
    if reply.fingerprint || always_fingerprint {
        writer.fingerprint();
    }
    match writer.finish() {
        Ok(bytes) => Verdict::Reply { to: reply.client, bytes },
        Err(_) => Verdict::Drop(Reason::TooLarge),
    }
}

/// Counts a response that did not fit: every drop has its counter, even one that only a realm or SOFTWARE beyond all
/// limits can bring about.
fn count_drop<'s>(stats: &mut Stats, verdict: Verdict<'s>) -> Verdict<'s> {
    if let Verdict::Drop(reason) = verdict {
        stats.count(reason);
    }
    verdict
}
