//! One session: datagrams to plain text and back. Nothing here waits.
//!
//! What OpenSSL keeps to read and write one record with is as large as two records may be. It is made for each step
//! and given back after it, so that a quiet session costs half of what it would. A busy one keeps it, until
//! [`Session::rest`].

use std::fmt;
use std::time::Duration;

use openssl::error::ErrorStack;
use openssl::ssl::{Error, ErrorCode, NameType, Ssl, SslStream};

use crate::exchange::{Exchange, Lent};
use crate::ffi;
use crate::records::sound_records;

/// A session with one peer, from its first flight on.
pub struct Session {
    stream: SslStream<Lent>,
    phase: Phase,
    /// Whether everything that came was read.
    drained: bool,
    /// Records read and written since it rested.
    records: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Handshake,
    Established,
    Over,
}

/// What came out of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsealed {
    /// A record's plain text of so many bytes.
    Message(usize),
    /// Hands were shaken just now: messages can be written, and more may be read.
    Established,
    /// Nothing more for now; what was damaged is skipped (RFC 6347 §4.1.2.7).
    Nothing,
    /// The peer has said goodbye.
    Closed,
    /// It cannot go on: the handshake has failed, or the peer says so.
    Failed,
}

impl Session {
    pub(crate) fn accept(mut ssl: Ssl, exchange: &mut Exchange, hello: &[u8]) -> Option<Self> {
        ssl.set_accept_state();
        let mut session = Session::new(ssl).ok()?;
        session.handle_datagram(exchange, hello);
        if !session.within(exchange, ffi::listen) {
            return None;
        }
        (session.shake_hands(exchange) != Unsealed::Failed).then_some(session)
    }

    pub(crate) fn connect(mut ssl: Ssl, exchange: &mut Exchange) -> Result<Self, ErrorStack> {
        ssl.set_connect_state();
        let mut session = Session::new(ssl)?;
        session.shake_hands(exchange);
        Ok(session)
    }

    fn new(mut ssl: Ssl) -> Result<Self, ErrorStack> {
        ffi::set_datagram_size(&mut ssl, DATAGRAM);
        let stream = SslStream::new(ssl, Lent::default())?;
        Ok(Session { stream, phase: Phase::Handshake, drained: true, records: 0 })
    }

    /// Takes in a datagram; [`Session::read`] tells what became of it, and is to be called until there is nothing.
    pub fn handle_datagram(&mut self, exchange: &mut Exchange, datagram: &[u8]) {
        let sound = sound_records(datagram, self.least_sealed());
        // Nothing would be taken for the end of a file.
        if sound > 0 {
            exchange.put(&datagram[..sound]);
            self.drained = false;
        }
    }

    /// The next message of the datagram that came. Answers of the handshake are in the exchange then.
    pub fn read(&mut self, exchange: &mut Exchange, room: &mut [u8]) -> Unsealed {
        if self.phase == Phase::Handshake {
            return self.shake_hands(exchange);
        }
        if self.drained || self.phase == Phase::Over {
            return Unsealed::Nothing;
        }
        let read = self.within(exchange, |stream| {
            let read = stream.ssl_read(room);
            (read, ffi::has_pending(stream.ssl()))
        });
        match read {
            (Ok(length), pending) => {
                self.drained = !pending && !exchange.has_input();
                self.records = self.records.saturating_add(1);
                Unsealed::Message(length)
            }
            (Err(error), _) => self.judge(&error),
        }
    }

    /// Puts a message, in parts, into one record. `false` if it is too large for one, or there is no session to send
    /// it by.
    pub fn write(&mut self, exchange: &mut Exchange, parts: [&[u8]; 3]) -> bool {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if self.phase != Phase::Established || length > LARGEST_RECORD {
            return false;
        }
        let mut gathered = exchange.take_gathered();
        gathered.clear();
        parts.iter().for_each(|part| gathered.extend_from_slice(part));
        let written = self.within(exchange, |stream| stream.ssl_write(&gathered).is_ok());
        exchange.give_gathered(gathered);
        self.records = self.records.saturating_add(1);
        written
    }

    /// How many records were read and written since it rested; `None` while it is not busy.
    pub fn records_while_busy(&self) -> Option<u32> {
        self.is_busy().then_some(self.records)
    }

    /// Gives back what it keeps to be quick: to be called once a busy session has been quiet.
    pub fn rest(&mut self) {
        self.records = 0;
        self.free_buffers();
    }

    /// Says goodbye.
    pub fn close(&mut self, exchange: &mut Exchange) {
        if self.phase == Phase::Established {
            // The first call sends, and does not wait for the peer's.
            let _ = self.within(exchange, SslStream::shutdown);
        }
        self.phase = Phase::Over;
    }

    /// Whether the handshake is over and messages can be written.
    pub fn is_established(&self) -> bool {
        self.phase == Phase::Established
    }

    /// How long until [`Session::handle_timeout`] is to be called; `None` while nothing waits for an answer.
    pub fn timeout(&self) -> Option<Duration> {
        match self.phase {
            Phase::Handshake => ffi::timeout(self.stream.ssl()),
            _ => None,
        }
    }

    /// Sends the last flight again, if it is due (RFC 6347 §4.2.4). `false` once it was sent often enough.
    pub fn handle_timeout(&mut self, exchange: &mut Exchange) -> bool {
        self.phase != Phase::Handshake || self.within(exchange, ffi::handle_timeout)
    }

    /// The peer's certificate and those it was sent with, in DER; empty if it has none.
    pub fn peer_chain(&self) -> Vec<Vec<u8>> {
        let chain = self.stream.ssl().peer_cert_chain().into_iter().flatten();
        chain.filter_map(|certificate| certificate.to_der().ok()).collect()
    }

    /// The server that the client has asked for (RFC 6066 §3), at the server's end.
    pub fn server_name(&self) -> Option<&str> {
        self.stream.ssl().servername(NameType::HOST_NAME)
    }

    /// What was agreed on to be spoken inside (RFC 7443).
    pub fn protocol(&self) -> Option<&[u8]> {
        self.stream.ssl().selected_alpn_protocol()
    }

    /// The version and the cipher suite, as OpenSSL names them.
    pub fn security(&self) -> (&'static str, &'static str) {
        let ssl = self.stream.ssl();
        (ssl.version_str(), ssl.current_cipher().map_or("none", |cipher| cipher.name()))
    }

    /// Bytes that every encrypted record has. OpenSSL gives a session up for a shorter one, which anybody can send.
    fn least_sealed(&self) -> usize {
        let cipher = self.stream.ssl().current_cipher().map_or("", |cipher| cipher.name());
        // RFC 5288 §3 sends half the nonce along, RFC 7905 §2 does not. A handshake's are longer than either.
        if cipher.contains("CHACHA20") { TAG } else { EXPLICIT_NONCE + TAG }
    }

    /// Takes the handshake as far as what came allows.
    fn shake_hands(&mut self, exchange: &mut Exchange) -> Unsealed {
        match self.within(exchange, SslStream::do_handshake) {
            Ok(()) => {
                self.phase = Phase::Established;
                self.drained = false;
                Unsealed::Established
            }
            Err(error) => self.judge(&error),
        }
    }

    fn judge(&mut self, error: &Error) -> Unsealed {
        self.drained = true;
        match error.code() {
            ErrorCode::WANT_READ | ErrorCode::WANT_WRITE => Unsealed::Nothing,
            ErrorCode::ZERO_RETURN => Unsealed::Closed,
            _ => {
                self.phase = Phase::Over;
                Unsealed::Failed
            }
        }
    }

    /// Does a step of OpenSSL's with the exchange and buffers at hand.
    fn within<R>(&mut self, exchange: &mut Exchange, step: impl FnOnce(&mut SslStream<Lent>) -> R) -> R {
        // What an earlier step has left would be taken for this one's.
        drop(ErrorStack::get());
        let busy = self.is_busy();
        if !busy || self.records == BUSY {
            ffi::make_buffers(&mut self.stream);
        }
        exchange.swap(self.stream.get_mut());
        let result = step(&mut self.stream);
        exchange.swap(self.stream.get_mut());
        if !busy {
            self.free_buffers();
        }
        result
    }

    fn is_busy(&self) -> bool {
        self.records >= BUSY
    }

    fn free_buffers(&mut self) {
        if !ffi::has_pending(self.stream.ssl()) {
            ffi::free_buffers(&mut self.stream);
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Session({:?})", self.phase)
    }
}

/// Bytes of UDP payload that a flight's datagrams keep to: with the headers below it, what IPv6 carries on every link.
const DATAGRAM: u16 = 1200;
/// Records after which a session is taken for a busy one: more than it takes to set up an allocation and its channels.
const BUSY: u32 = 64;
const TAG: usize = 16;
const EXPLICIT_NONCE: usize = 8;
/// Bytes of plain text in a record (RFC 6347 §4.1).
const LARGEST_RECORD: usize = 1 << 14;
