//! A plain connection: messages framed by their own length (RFC 8489 §6.2.2, RFC 8656 §12.5).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};
use turnpike_client::FrameBuffer;

use super::framed::Framed;
use super::{READ, Trouble, bind, write_some};
use crate::tools::uclient::settings::Settings;

/// A connection, whatever carries its bytes.
pub(in crate::tools::uclient) struct Tcp<S = TcpStream> {
    socket: S,
    frames: FrameBuffer,
    /// What the socket had no room for.
    unsent: Vec<u8>,
    trouble: Option<Trouble>,
}

/// Begins a connection. Whether it comes about is learnt from reading and writing.
pub(super) fn connect(settings: &Settings, server: SocketAddr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))?;
    bind(&socket, settings)?;
    socket.set_nonblocking(true)?;
    // A message must not wait for the acknowledgement of the one before.
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&server.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            bail!("{}", Trouble::Refused.about(server));
        }
        Err(error) => return Err(error).with_context(|| format!("cannot reach {server}")),
    }
    Ok(socket.into())
}

impl<S: Read + Write> Tcp<S> {
    pub(super) fn new(socket: S) -> Self {
        Tcp { socket, frames: FrameBuffer::new(), unsent: Vec::new(), trouble: None }
    }

    pub(super) fn socket(&self) -> &S {
        &self.socket
    }

    pub(super) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    pub(super) fn wants_room(&self) -> bool {
        !self.unsent.is_empty()
    }

    pub(super) fn holds_message(&self) -> bool {
        self.frames.holds_message()
    }

    pub(super) fn send(&mut self, message: &[u8]) -> bool {
        if self.trouble.is_some() {
            return false;
        }
        // Bytes of one message must not come between those of another.
        let written = match self.unsent.is_empty() {
            true => write_some(&mut self.socket, message),
            false => Ok(0),
        };
        match written {
            Ok(written) => {
                self.unsent.extend_from_slice(&message[written..]);
                true
            }
            Err(trouble) => {
                self.trouble = Some(trouble);
                false
            }
        }
    }

    pub(super) fn flush(&mut self) {
        match write_some(&mut self.socket, &self.unsent) {
            Ok(written) => drop(self.unsent.drain(..written)),
            Err(trouble) => self.trouble = Some(trouble),
        }
    }
}

impl<S: Read + Write> Framed for Tcp<S> {
    fn frames(&mut self) -> &mut FrameBuffer {
        &mut self.frames
    }

    fn trouble_mut(&mut self) -> &mut Option<Trouble> {
        &mut self.trouble
    }

    fn fill(&mut self) -> bool {
        let mut bytes = [0; READ];
        match self.socket.read(&mut bytes) {
            Ok(0) => self.trouble = Some(Trouble::Closed),
            Ok(length) => {
                self.frames.push(&bytes[..length]);
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // The poller tells of it again.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => self.trouble = Some(error.into()),
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::uclient::transport::dribble::Dribble;

    fn channel_data(channel: u8, payload: &[u8]) -> Vec<u8> {
        let mut message = vec![0x40, channel, 0, payload.len() as u8];
        message.extend_from_slice(payload);
        message
    }

    fn padded(mut message: Vec<u8>) -> Vec<u8> {
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    #[test]
    fn messages_come_out_whole_when_bytes_arrive_one_at_a_time() {
        let messages = [channel_data(1, b"hello"), channel_data(2, b""), channel_data(3, b"four")];
        let stream: Vec<u8> = messages.iter().flat_map(|message| padded(message.clone())).collect();
        let mut tcp = Tcp::new(Dribble::reading(stream));
        let (mut buffer, mut received) = ([0; 64], Vec::new());
        while tcp.trouble().is_none() {
            while let Some(length) = tcp.receive(&mut buffer) {
                received.push(buffer[..length].to_vec());
            }
        }
        assert_eq!(received, messages);
        assert_eq!(tcp.trouble(), Some(&Trouble::Closed));
    }

    #[test]
    fn what_does_not_fit_is_kept_in_order_and_sent_when_there_is_room() {
        let mut tcp = Tcp::new(Dribble::writing(7));
        assert!(tcp.send(b"0123456789"));
        assert!(tcp.wants_room());
        assert!(tcp.send(b"abc"));
        assert_eq!(tcp.socket().written, b"0123456");
        tcp.socket.room = 4;
        tcp.flush();
        assert!(tcp.wants_room());
        tcp.socket.room = 100;
        tcp.flush();
        assert_eq!(tcp.socket().written, b"0123456789abc");
        assert!(!tcp.wants_room());
    }

    #[test]
    fn a_stream_of_something_else_is_trouble() {
        let mut tcp = Tcp::new(Dribble::reading(b"\xC0TTP/1.1 400 Bad Request".to_vec()));
        let mut buffer = [0; 64];
        while tcp.trouble().is_none() {
            assert_eq!(tcp.receive(&mut buffer), None);
        }
        assert!(matches!(tcp.trouble(), Some(Trouble::Failed(why)) if why.contains("neither STUN")));
        assert!(!tcp.send(b"anything"));
    }

    #[test]
    fn messages_read_together_are_held_and_handed_out_one_by_one() {
        let stream = [padded(channel_data(1, b"one")), padded(channel_data(2, b"two"))].concat();
        let mut tcp = Tcp::new(Dribble::reading(stream).at_once(64));
        let mut buffer = [0; 64];
        assert_eq!(tcp.receive(&mut buffer), Some(7));
        assert!(tcp.holds_message());
        assert_eq!(tcp.receive(&mut buffer), Some(7));
        assert!(!tcp.holds_message());
    }
}
