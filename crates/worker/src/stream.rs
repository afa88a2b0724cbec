//! One connection: bytes in and out, as they are or through TLS.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::IpAddr;

use turnpike_net::{
    Carrier, Interest, PacketPool, Poller, ProxiedPath, ProxyHeader, ProxyHeaderError, Span, TcpConnection,
};
use turnpike_turn::{Client, PeerConnectionId, Reason, Timestamp, Transport};

use crate::streams::Closing;
use crate::tls::{TlsAcceptor, TlsSession};

/// A client's connection.
pub(crate) struct Stream {
    connection: TcpConnection,
    pub(crate) client: Client,
    /// When a whole message last came.
    pub(crate) heard: Timestamp,
    /// Whether one ever has.
    pub(crate) has_begun: bool,
    /// Whether it begins with a PROXY header that has not come yet.
    pub(crate) awaits_header: bool,
    /// The source that it counts as one of.
    pub(crate) counted: IpAddr,
    /// Bytes queued for it in this turn's output.
    pub(crate) queued: usize,
    /// The connection with a peer that it is spliced with.
    pub(crate) spliced: Option<PeerConnectionId>,
    /// Whether it is to be read.
    pub(crate) reads: bool,
    security: Security,
    /// What the poller is asked for.
    watched: Interest,
    /// The beginning of a message.
    unread: Vec<u8>,
    /// What the kernel has not taken yet: plain text.
    unsent: Vec<u8>,
}

/// What lies between the socket and the messages.
enum Security {
    /// Nothing has come yet that would tell.
    Unknown,
    None,
    Tls(Box<TlsSession>),
}

/// What came of asking for more.
#[derive(Debug)]
pub(crate) enum Fill {
    /// These bytes, in one piece.
    Bytes(Span),
    /// Nothing more for now.
    Dry,
    /// Nothing more for ever.
    End,
    /// The connection is to be closed.
    Close(Closing),
}

impl Stream {
    pub(crate) fn new(
        connection: TcpConnection,
        client: Client,
        awaits_header: bool,
        now: Timestamp,
    ) -> Self {
        Stream {
            connection,
            client,
            heard: now,
            has_begun: false,
            awaits_header,
            counted: client.tuple.client.ip(),
            queued: 0,
            spliced: None,
            reads: true,
            security: Security::Unknown,
            watched: Interest::default(),
            unread: Vec::new(),
            unsent: Vec::new(),
        }
    }

    /// What TLS agreed on, if it is spoken.
    pub(crate) fn security(&self) -> Option<turnpike_turn::Security> {
        match &self.security {
            Security::Unknown | Security::None => None,
            Security::Tls(session) => session.security(),
        }
    }

    /// Bytes that wait for the client: from earlier turns and this one.
    pub(crate) fn waiting(&self) -> usize {
        self.unsent.len() + self.queued
    }

    /// The server that the client's TLS session has asked for.
    pub(crate) fn server_name(&self) -> Option<&str> {
        match &self.security {
            Security::Tls(session) => session.server_name(),
            Security::Unknown | Security::None => None,
        }
    }

    #[cfg(test)]
    pub(crate) fn unread(&self) -> usize {
        self.unread.len()
    }

    /// See [`Streams::fill`](crate::streams::Streams::fill).
    pub(crate) fn fill(
        &mut self,
        pool: &mut PacketPool,
        acceptor: Option<&TlsAcceptor>,
        reading: bool,
    ) -> Fill {
        if matches!(self.security, Security::Unknown)
            && reading
            && let Some(fill) = self.look(acceptor)
        {
            return fill;
        }
        let Stream { connection, security, unread, .. } = self;
        let before = unread.len();
        let filled = pool.fill_one(|buffer| {
            buffer[..before].copy_from_slice(unread);
            let room = &mut buffer[before..];
            let read = match security {
                Security::Tls(session) => session.read(connection, room, reading),
                _ if reading => (&*connection).read(room),
                _ => Err(ErrorKind::WouldBlock.into()),
            }?;
            // A closed connection and a full buffer alike read nothing; the first never is asked with no room.
            if read == 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(before + read) }
        });
        match filled {
            Ok(span) => {
                unread.clear();
                if unread.capacity() > SMALL {
                    *unread = Vec::new();
                }
                Fill::Bytes(span)
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => Fill::Dry,
                ErrorKind::InvalidData => {
                    // The alert that says what is wrong is worth an attempt.
                    let _ = self.resume();
                    Fill::Close(Closing::Invalid)
                }
                ErrorKind::UnexpectedEof => Fill::End,
                _ => Fill::Close(Closing::Ended),
            },
        }
    }

    /// Reads what belongs to the PROXY header and not a byte more. `Dry` when there is no more for now: the header is
    /// complete once it is no longer awaited.
    #[cold]
    pub(crate) fn read_header(&mut self, reading: bool) -> Fill {
        if !reading {
            return Fill::Dry;
        }
        let before = self.unread.len();
        let mut window = [0; ProxyHeader::LONGEST];
        let waiting = match self.connection.peek(&mut window[before..]) {
            Ok(0) => return Fill::Close(Closing::Ended),
            Ok(waiting) => waiting,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Fill::Dry;
            }
            Err(_) => return Fill::Close(Closing::Ended),
        };
        window[..before].copy_from_slice(&self.unread);
        let read = match ProxyHeader::read(&window[..before + waiting], Carrier::Stream) {
            Ok(read) => read,
            Err(ProxyHeaderError::Missing) => return Fill::Close(Closing::Header(Reason::NoProxyHeader)),
            Err(ProxyHeaderError::Malformed) => return Fill::Close(Closing::Header(Reason::BadProxyHeader)),
        };
        // What was looked at is there to be taken.
        let end = read.map_or(before + waiting, |header| header.length);
        match (&self.connection).read(&mut window[before..end]) {
            Ok(taken) if before + taken == end => {}
            _ => return Fill::Close(Closing::Ended),
        }
        let Some(header) = read else {
            self.unread.extend_from_slice(&window[before..end]);
            return Fill::Dry;
        };
        self.unread = Vec::new();
        self.awaits_header = false;
        if let Some(ProxiedPath { client, server }) = header.path {
            self.client.tuple.client = client;
            self.client.tuple.server = server;
        }
        Fill::Dry
    }

    /// Tells TLS from messages by the first byte (RFC 7983). `None` when it is known now.
    fn look(&mut self, acceptor: Option<&TlsAcceptor>) -> Option<Fill> {
        let mut first = [0];
        match self.connection.peek(&mut first) {
            Ok(0) => return Some(Fill::Close(Closing::Ended)),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Some(Fill::Dry);
            }
            Err(_) => return Some(Fill::Close(Closing::Ended)),
        }
        if first[0] != TLS_HANDSHAKE {
            self.security = Security::None;
            return None;
        }
        let Some(session) = acceptor.and_then(TlsAcceptor::begin) else {
            return Some(Fill::Close(Closing::Invalid));
        };
        self.security = Security::Tls(Box::new(session));
        self.client.tuple.transport = Transport::Tls;
        None
    }

    /// Gives back what was kept, in one piece; `None` if there is nothing.
    pub(crate) fn take_unread(&mut self, pool: &mut PacketPool) -> Option<Span> {
        let unread = std::mem::take(&mut self.unread);
        let copied = pool.fill_one(|buffer| match unread.len() {
            0 => Err(ErrorKind::WouldBlock.into()),
            length => {
                buffer[..length].copy_from_slice(&unread);
                Ok(length)
            }
        });
        copied.ok()
    }

    /// Keeps the beginning of a message.
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// Sends messages, or keeps what the kernel does not take.
    pub(crate) fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<()> {
        if !self.unsent.is_empty() || self.is_blocked() {
            slices.iter().for_each(|slice| self.unsent.extend_from_slice(slice));
            return self.resume();
        }
        let mut taken = match &mut self.security {
            Security::Tls(session) => session.write(&self.connection, slices)?,
            _ => ignore_full((&self.connection).write_vectored(slices))?,
        };
        for slice in slices {
            let rest = &slice[taken.min(slice.len())..];
            taken = taken.saturating_sub(slice.len());
            self.unsent.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Sends what waits, as far as the kernel takes it.
    pub(crate) fn resume(&mut self) -> io::Result<()> {
        if let Security::Tls(session) = &mut self.security {
            session.flush(&self.connection)?;
        }
        let mut sent = 0;
        while sent < self.unsent.len() && !self.is_blocked() {
            let rest = &self.unsent[sent..];
            let taken = match &mut self.security {
                Security::Tls(session) => session.write(&self.connection, &[IoSlice::new(rest)])?,
                _ => ignore_full((&self.connection).write(rest))?,
            };
            if taken == 0 {
                break;
            }
            sent += taken;
        }
        self.unsent.drain(..sent);
        if self.unsent.is_empty() && self.unsent.capacity() > SMALL {
            self.unsent = Vec::new();
        }
        Ok(())
    }

    /// Whether something waits for the client.
    pub(crate) fn is_behind(&self) -> bool {
        !self.unsent.is_empty() || self.is_blocked()
    }

    /// Whether TLS holds what the kernel has not taken.
    fn is_blocked(&self) -> bool {
        matches!(&self.security, Security::Tls(session) if session.wants_write())
    }

    /// Asks the poller for just what is needed.
    pub(crate) fn watch(&mut self, poller: &Poller) -> io::Result<()> {
        self.watch_for(Interest { reading: self.reads, writing: self.is_behind() }, poller)
    }

    /// Leaves the poller.
    pub(crate) fn unwatch(&mut self, poller: &Poller) -> io::Result<()> {
        self.watch_for(Interest::default(), poller)
    }

    fn watch_for(&mut self, wanted: Interest, poller: &Poller) -> io::Result<()> {
        if wanted != self.watched {
            poller.change(&self.connection, self.client.link.0, self.watched, wanted)?;
            self.watched = wanted;
        }
        Ok(())
    }

    /// Sends the end of what is sent, behind everything else. Returns whether all of it is out.
    pub(crate) fn finish(&mut self) -> io::Result<bool> {
        if self.unsent.is_empty()
            && let Security::Tls(session) = &mut self.security
        {
            session.end(&self.connection);
        }
        let finished = !self.is_behind();
        if finished {
            self.connection.shut_down();
        }
        Ok(finished)
    }

    /// Ends without a goodbye, so that the client does not take what it has got for everything.
    pub(crate) fn abort(self) {
        self.connection.abort();
    }

    /// Says goodbye.
    pub(crate) fn end(mut self) {
        let _ = self.resume();
        if let Security::Tls(session) = &mut self.security {
            session.end(&self.connection);
        }
        self.connection.shut_down();
    }
}

/// A full socket takes nothing, which is no error.
fn ignore_full(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
        written => written,
    }
}

/// The first byte of a TLS connection.
const TLS_HANDSHAKE: u8 = 22;
/// Bytes of buffer that a connection may keep when it needs none.
const SMALL: usize = 1024;
