//! TLS on a connection, by rustls: the messages of a stream within records.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result};
use rustls::ClientConnection;
use turnpike_client::FrameBuffer;

use super::framed::Framed;
use super::{READ, TlsSettings, Trouble};
use crate::tools::output::info;

/// A connection, whatever carries its records.
pub(in crate::tools::uclient) struct Tls<S: Read + Write = TcpStream> {
    socket: S,
    session: ClientConnection,
    frames: FrameBuffer,
    trouble: Option<Trouble>,
    /// Whether to say what was agreed on.
    announce: bool,
}

impl<S: Read + Write> Tls<S> {
    /// Begins the handshake as soon as the socket has room.
    pub(super) fn new(socket: S, settings: &TlsSettings, announce: bool) -> Result<Self> {
        let TlsSettings { config, name } = settings;
        let mut session =
            ClientConnection::new(config.clone(), name.clone()).context("cannot begin with TLS")?;
        // What is kept is bounded by whoever sends: requests are few, and data waits while something is kept.
        session.set_buffer_limit(None);
        let mut tls = Tls { socket, session, frames: FrameBuffer::new(), trouble: None, announce };
        tls.flush();
        Ok(tls)
    }

    pub(super) fn socket(&self) -> &S {
        &self.socket
    }

    pub(super) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    pub(super) fn wants_room(&self) -> bool {
        self.session.wants_write()
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    pub(super) fn holds_message(&self) -> bool {
        self.frames.holds_message()
    }

    /// Before the handshake is over, messages wait for it.
    pub(super) fn send(&mut self, message: &[u8]) -> bool {
        if self.trouble.is_some() {
            return false;
        }
        if let Err(error) = self.session.writer().write_all(message) {
            self.trouble = Some(error.into());
            return false;
        }
        self.flush();
        self.trouble.is_none()
    }

    pub(super) fn flush(&mut self) {
        while self.session.wants_write() && self.trouble.is_none() {
            match self.session.write_tls(&mut self.socket) {
                Ok(0) => self.end(Trouble::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.end(error.into()),
            }
        }
    }

    fn handle_records(&mut self) {
        let processed = self.session.process_new_packets();
        // Nothing may stay in rustls's own buffer: no poller would tell of it.
        let mut bytes = [0; READ];
        while let Ok(length @ 1..) = self.session.reader().read(&mut bytes) {
            self.frames.push(&bytes[..length]);
        }
        // The next step of the handshake, or an alert that says what is wrong.
        self.flush();
        match processed {
            Ok(_) => self.announce_once(),
            Err(error) => self.trouble = Some(Trouble::Failed(format!("TLS: {error}"))),
        }
    }

    /// A server that closes instead of shaking hands, orderly or not, is most likely none for TLS.
    fn end(&mut self, trouble: Trouble) {
        self.trouble = Some(match trouble {
            Trouble::Closed if self.session.is_handshaking() => {
                Trouble::Failed("the connection was closed during the TLS handshake".to_owned())
            }
            trouble => trouble,
        });
    }

    fn announce_once(&mut self) {
        if !self.announce || self.session.is_handshaking() {
            return;
        }
        self.announce = false;
        let cipher = self.session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        let version = self.session.protocol_version().and_then(|version| version.as_str());
        let (cipher, version) = (cipher.unwrap_or("unknown"), version.unwrap_or("unknown"));
        info!("client session connected with cipher {cipher}, method={version}");
    }
}

impl<S: Read + Write> Framed for Tls<S> {
    fn frames(&mut self) -> &mut FrameBuffer {
        &mut self.frames
    }

    fn trouble_mut(&mut self) -> &mut Option<Trouble> {
        &mut self.trouble
    }

    fn fill(&mut self) -> bool {
        match self.session.read_tls(&mut self.socket) {
            Ok(0) => self.end(Trouble::Closed),
            Ok(_) => {
                self.handle_records();
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // The poller tells of it again.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => self.end(error.into()),
        }
        false
    }
}

impl<S: Read + Write> Drop for Tls<S> {
    /// Says goodbye, so that the server can tell an end from an attack.
    fn drop(&mut self) {
        if self.trouble.is_none() && !self.session.is_handshaking() {
            self.session.send_close_notify();
            self.flush();
        }
    }
}

#[cfg(test)]
mod tests;
