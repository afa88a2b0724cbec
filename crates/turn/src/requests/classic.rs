//! Binding for clients of RFC 3489, whose messages have no magic cookie but a transaction id of 128 bits (RFC 8489 §11),
//! with `rfc3489-compatibility`.
//!
//! Invariants: nothing but a Binding request over UDP is answered, with the least a classic client needs: MAPPED-ADDRESS,
//! and SOURCE-ADDRESS and CHANGED-ADDRESS where NAT behaviour discovery is offered. There alone CHANGE-REQUEST is heeded;
//! RESPONSE-ADDRESS, by which anybody could have answers sent to anybody, never is. What needs credentials is not
//! served: there is no way to know a classic client.

use turnpike_wire::attributes::{ErrorCode, MappedAddress, UnknownAttributes};
use turnpike_wire::{Class, ErrorNumber, HEADER_LENGTH, MAGIC_COOKIE, Message, MessageWriter, Method};

use super::{Answer, Refused, Request};
use crate::reason::Reason;
use crate::server::Server;
use crate::stats::Answered;
use crate::time::Now;
use crate::tuple::{Client, Transport};
use crate::verdict::Verdict;

/// What a classic client is told.
enum Classic {
    Answer(Answer),
    Error(Refused, Vec<u8>),
}

impl Server {
    /// A message without the magic cookie.
    #[cold]
    pub(crate) fn handle_classic(&mut self, now: Now, client: Client, packet: &[u8]) -> Verdict<'_> {
        let mut room = [0; LONGEST];
        let served = self.config.binding && !self.config.authenticated_binding;
        let copy = room.get_mut(..packet.len()).filter(|copy| copy.len() >= HEADER_LENGTH);
        let (Some(copy), true, Transport::Udp) = (copy, served, client.tuple.transport) else {
            return self.drop_packet(Reason::NoMagicCookie);
        };
        copy.copy_from_slice(packet);
        let mut id = [0; 4];
        id.copy_from_slice(&copy[COOKIE]);
        // With the cookie in place of the first quarter of its id it is a message like all others.
        copy[COOKIE].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
        let Ok(message) = Message::parse(copy) else {
            return self.drop_packet(Reason::NoMagicCookie);
        };
        if (message.class(), message.method()) != (Class::Request, Method::BINDING) {
            return self.drop_packet(Reason::NoMagicCookie);
        }
        self.stats.count_request(Method::BINDING);
        let request = Request { now, client, message, asked: false };
        match self.judge_classic(&request) {
            Ok(answer) => self.answer_classic(&request, id, &answer),
            Err(reason) => self.drop_packet(reason),
        }
    }

    /// An answer, or why there is none.
    fn judge_classic(&mut self, request: &Request<'_>) -> Result<Classic, Reason> {
        let unknown: Vec<u8> = self.unknown_in(request).flat_map(|kind| kind.0.to_be_bytes()).collect();
        let refused = match unknown.is_empty() {
            false => Refused { number: ErrorNumber::UNKNOWN_ATTRIBUTE, reason: Reason::UnknownAttributes },
            true => match self.binding(request, None) {
                Ok(Answer::Withheld) => return Err(Reason::RateLimited),
                Ok(answer) => return Ok(Classic::Answer(answer)),
                Err(refused) => refused,
            },
        };
        self.spend_budget(request)?;
        Ok(Classic::Error(refused, unknown))
    }

    fn answer_classic(&mut self, request: &Request<'_>, id: [u8; 4], answer: &Classic) -> Verdict<'_> {
        let Server { scratch, stats, .. } = self;
        let class = if matches!(answer, Classic::Error(..)) { Class::Error } else { Class::Success };
        let transaction = request.message.transaction_id();
        let mut writer = MessageWriter::new(&mut scratch[..], class, Method::BINDING, transaction);
        let mut to = request.client;
        match answer {
            Classic::Answer(Answer::Discovered(discovered)) => {
                to = discovered.to;
                discovered.write_classic(&mut writer);
            }
            Classic::Answer(_) => _ = writer.add(&MappedAddress(to.tuple.client)),
            Classic::Error(refused, unknown) => {
                stats.count(refused.reason);
                writer.add(&ErrorCode { number: refused.number, reason: "" });
                if !unknown.is_empty() {
                    writer.add(&UnknownAttributes::from_be_bytes(unknown));
                }
            }
        }
        let length = writer.finish().map_or(0, <[u8]>::len);
        if length < HEADER_LENGTH {
            stats.count(Reason::TooLarge);
            return Verdict::Drop(Reason::TooLarge);
        }
        stats.count_answer(
            Method::BINDING,
            match answer {
                Classic::Error(refused, _) => Answered::Error(refused.number),
                Classic::Answer(_) => Answered::Success,
            },
        );
        // RFC 8489 §11: the whole id comes back, the part included where the cookie would be.
        scratch[COOKIE].copy_from_slice(&id);
        Verdict::Reply { to, bytes: &scratch[..length] }
    }
}

const COOKIE: std::ops::Range<usize> = 4..8;
/// Larger ones than a classic client has use for are not looked at (RFC 3489 §9.3 fits into far less).
const LONGEST: usize = 548;
