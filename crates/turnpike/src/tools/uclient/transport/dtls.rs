//! DTLS on a socket of its own: each message a record, each record a datagram (RFC 7350 §4.1).

use std::net::UdpSocket;

use turnpike_dtls::{Exchange, Session, Unsealed};

use super::dtls_settings::DtlsSettings;
use super::{Trouble, udp::Udp};
use crate::tools::output::info;

/// A session with the server.
pub(in crate::tools::uclient) struct Dtls {
    udp: Udp,
    /// `None` before there is anything to send: thousands of clients are not to begin all at once.
    session: Option<Session>,
    exchange: Exchange,
    settings: DtlsSettings,
    /// What came before hands were shaken, and is to be sent then.
    waiting: Vec<Vec<u8>>,
    input: Box<[u8]>,
    /// What has ended the session; nobody listening there is only noted by the socket.
    trouble: Option<Trouble>,
    /// Whether to say what was agreed on.
    announce: bool,
}

impl Dtls {
    pub(super) fn new(udp: Udp, settings: &DtlsSettings, announce: bool) -> Self {
        Dtls {
            udp,
            session: None,
            exchange: Exchange::default(),
            settings: settings.clone(),
            waiting: Vec::new(),
            input: vec![0; LARGEST_DATAGRAM].into(),
            trouble: None,
            announce,
        }
    }

    pub(super) fn socket(&self) -> &UdpSocket {
        self.udp.socket()
    }

    pub(super) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref().or(self.udp.trouble())
    }

    pub(super) fn has_ended(&self) -> bool {
        self.trouble.is_some()
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.trouble.is_none() && self.session.as_ref().is_some_and(|session| !session.is_established())
    }

    /// Before the handshake is over, messages wait for it; when there are too many, requests have their timers.
    pub(super) fn send(&mut self, message: &[u8]) -> bool {
        if self.trouble.is_some() {
            return false;
        }
        self.begin();
        let Some(session) = &mut self.session else { return false };
        if session.is_established() {
            let sealed = session.write(&mut self.exchange, [message, &[], &[]]);
            return sealed & self.transmit();
        }
        let has_room = self.waiting.len() < MOST_WAITING;
        if has_room {
            self.waiting.push(message.to_vec());
        }
        has_room
    }

    /// The next message, if one is there.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Option<usize> {
        while self.trouble.is_none() {
            let session = self.session.as_mut()?;
            let unsealed = session.read(&mut self.exchange, buffer);
            self.transmit();
            match unsealed {
                Unsealed::Message(length) => return Some(length),
                Unsealed::Established => self.greet(),
                Unsealed::Nothing => {
                    let length = self.udp.receive(&mut self.input)?;
                    self.session.as_mut()?.handle_datagram(&mut self.exchange, &self.input[..length]);
                }
                Unsealed::Closed => self.trouble = Some(Trouble::Closed),
                Unsealed::Failed => {
                    self.trouble = Some(Trouble::Failed("DTLS cannot be agreed on, or was ended".to_owned()));
                }
            }
        }
        None
    }

    /// Sends the last flight again, if it is due.
    pub(super) fn handle_timeout(&mut self) {
        let Some(session) = self.session.as_mut().filter(|_| self.trouble.is_none()) else { return };
        if session.timeout().is_some_and(|left| left.is_zero()) {
            if !session.handle_timeout(&mut self.exchange) {
                self.trouble = Some(Trouble::Failed("no answer to the DTLS handshake".to_owned()));
            }
            self.transmit();
        }
    }

    /// Sends the first flight, when it is needed first.
    fn begin(&mut self) {
        if self.session.is_some() {
            return;
        }
        match self.settings.connector.begin(&mut self.exchange) {
            Ok(session) => self.session = Some(session),
            Err(error) => self.trouble = Some(Trouble::Failed(format!("cannot begin with DTLS: {error}"))),
        }
        self.transmit();
    }

    /// Hands were shaken: looks whom with, and sends what has waited.
    fn greet(&mut self) {
        let Some(session) = &self.session else { return };
        if let Err(error) = self.settings.verify(&session.peer_chain()) {
            self.trouble = Some(Trouble::Failed(format!("DTLS: {error}")));
            return;
        }
        if std::mem::take(&mut self.announce) {
            let (version, cipher) = session.security();
            info!("client session connected with cipher {cipher}, method={version}");
        }
        for message in std::mem::take(&mut self.waiting) {
            self.send(&message);
        }
    }

    /// Hands datagrams to the system; what it does not take now is lost.
    fn transmit(&mut self) -> bool {
        let mut taken = true;
        for datagram in self.exchange.datagrams() {
            taken &= self.udp.send_datagram(datagram).is_ok();
        }
        self.exchange.clear();
        taken
    }
}

impl Drop for Dtls {
    /// Says goodbye, so that the server need not wait for more.
    fn drop(&mut self) {
        if let Some(session) = self.session.as_mut().filter(|_| self.trouble.is_none()) {
            session.close(&mut self.exchange);
            self.transmit();
        }
    }
}

/// Messages kept until hands are shaken.
const MOST_WAITING: usize = 64;
const LARGEST_DATAGRAM: usize = 1 << 16;
