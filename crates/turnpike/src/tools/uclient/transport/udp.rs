//! Datagrams: each is a message.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Trouble, bind};
use crate::tools::uclient::settings::Settings;

/// A connected socket.
pub(in crate::tools::uclient) struct Udp {
    socket: UdpSocket,
    trouble: Option<Trouble>,
}

pub(super) fn open(settings: &Settings, server: SocketAddr) -> Result<Udp> {
    let socket = Socket::new(Domain::for_address(server), Type::DGRAM, Some(Protocol::UDP))?;
    // Bursts of replies wait here while other sessions are served; a refusal leaves the system's size.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    bind(&socket, settings)?;
    socket.connect(&server.into()).with_context(|| format!("cannot reach {server}"))?;
    socket.set_nonblocking(true)?;
    Ok(Udp { socket: socket.into(), trouble: None })
}

impl Udp {
    pub(super) fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    pub(super) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// What the system does not take now is lost: requests have their timers.
    pub(super) fn send(&mut self, message: &[u8]) -> bool {
        self.send_datagram(message).is_ok()
    }

    pub(super) fn send_datagram(&self, datagram: &[u8]) -> io::Result<usize> {
        self.socket.send(datagram)
    }

    /// The next datagram, if one is there. ICMP errors are noted and skipped.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Option<usize> {
        for _ in 0..SKIPPED_ERRORS {
            match self.socket.recv(buffer) {
                Ok(length) => return Some(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    self.trouble = Some(Trouble::Refused);
                }
                Err(_) => {}
            }
        }
        None
    }
}

const SOCKET_BUFFER: usize = 1 << 20;
/// Pending ICMP errors read past before giving up until the socket is ready again.
const SKIPPED_ERRORS: usize = 16;
