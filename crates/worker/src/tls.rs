//! TLS on a connection, by rustls: the handshake and the records, without I/O of its own.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::{ServerConfig, ServerConnection};
use turnpike_net::TcpConnection;

use crate::security::of_tls;

/// Begins TLS sessions with the certificate that is current. Connections that exist keep theirs.
#[derive(Debug, Default)]
pub struct TlsAcceptor {
    current: ArcSwapOption<ServerConfig>,
}

impl TlsAcceptor {
    /// Sets the certificate, and everything else there is to agree on, for connections from here on.
    pub fn set(&self, config: Arc<ServerConfig>) {
        self.current.store(Some(config));
    }

    /// A session that nothing has been read of yet; `None` while there is no certificate.
    pub(crate) fn begin(&self) -> Option<TlsSession> {
        let config = self.current.load_full()?;
        let connection = ServerConnection::new(config).ok()?;
        Some(TlsSession { connection })
    }
}

/// One connection's session.
pub(crate) struct TlsSession {
    connection: ServerConnection,
}

impl TlsSession {
    /// The server that the client has asked for (RFC 6066 §3).
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.connection.server_name()
    }

    /// Plain text, from what was read before or, if `reading`, from the socket.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] when there is none yet, [`ErrorKind::InvalidData`] when what came is no TLS that
    /// can be agreed on.
    pub(crate) fn read(
        &mut self,
        socket: &TcpConnection,
        room: &mut [u8],
        reading: bool,
    ) -> io::Result<usize> {
        match self.connection.reader().read(room) {
            Err(error) if error.kind() == ErrorKind::WouldBlock && reading => {}
            read => return read,
        }
        if self.connection.read_tls(&mut &*socket)? == 0 {
            return Ok(0);
        }
        let processed = self.connection.process_new_packets();
        self.flush(socket)?;
        processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        self.connection.reader().read(room)
    }

    /// Takes plain text, as much as there is room for, and sends it as far as the socket takes it: all together, and each
    /// slice in a record of its own, because there are clients, coturn's among them, that take a record for a message.
    ///
    /// # Errors
    /// The connection has ended.
    pub(crate) fn write(&mut self, socket: &TcpConnection, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut taken = 0;
        for slice in slices {
            let length = self.connection.writer().write(slice)?;
            taken += length;
            if length < slice.len() {
                break;
            }
        }
        self.flush(socket)?;
        Ok(taken)
    }

    /// Sends records as far as the socket takes them.
    ///
    /// # Errors
    /// The connection has ended.
    pub(crate) fn flush(&mut self, socket: &TcpConnection) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut &*socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether records wait for the socket.
    pub(crate) fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// What was agreed on.
    pub(crate) fn security(&self) -> Option<turnpike_turn::Security> {
        of_tls(&self.connection)
    }

    /// Says that nothing more will come.
    pub(crate) fn end(&mut self, socket: &TcpConnection) {
        // Said once, however often it is asked for.
        self.connection.send_close_notify();
        let _ = self.flush(socket);
    }
}
