//! What came back about datagrams that did not arrive: the error queue of a socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::ptr;

use crate::address::RawAddress;
use crate::control_message::{self, ControlBuffer};
use crate::receive::Receiver;
use crate::udp::UdpSocket;

/// An ICMP error about something that a socket has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// To whom the datagram was sent. Its family says whether the error is one of ICMP or of ICMPv6.
    pub peer: SocketAddr,
    /// The host or router that reported it.
    pub reporter: Option<IpAddr>,
    /// The ICMP message's type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// The next hop's MTU where the message is about datagrams being too large; as the kernel gives it elsewhere.
    pub data: u32,
}

impl Receiver {
    /// Takes up to 64 ICMP errors out of the queue of `socket` and appends them to `out`. Returns how many entries were
    /// taken, those included that this host made itself and that are not reported here.
    ///
    /// # Errors
    /// As the system says; an empty queue is no error.
    pub fn receive_errors(&mut self, socket: &UdpSocket, out: &mut Vec<IcmpError>) -> io::Result<usize> {
        let mut taken = 0;
        while taken < MOST_ERRORS {
            match receive_one(socket) {
                Ok(error) => {
                    taken += 1;
                    out.extend(error);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }
}

fn receive_one(socket: &UdpSocket) -> io::Result<Option<IcmpError>> {
    let mut peer = RawAddress::empty();
    let mut control = ControlBuffer::empty();
    // SAFETY: an all-zero msghdr is valid: null pointers with zero lengths.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = (&raw mut peer).cast();
    header.msg_namelen = RawAddress::SIZE;
    header.msg_iov = ptr::null_mut();
    header.msg_control = control.as_mut_ptr();
    header.msg_controllen = ControlBuffer::SIZE as _;
    // SAFETY: the header points at an address and control space of the sizes it announces, and at no buffers: the
    // datagram that the error is about is cut off.
    let result =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just filled in the header, and the control buffer is still here.
    let Some((error, reporter)) = unsafe { control_message::read(&header) }.error else { return Ok(None) };
    if ![libc::SO_EE_ORIGIN_ICMP, libc::SO_EE_ORIGIN_ICMP6].contains(&error.ee_origin) {
        return Ok(None);
    }
    Ok(peer.get().map(|peer| IcmpError {
        peer,
        reporter: reporter.get().map(|address| address.ip()),
        kind: error.ee_type,
        code: error.ee_code,
        data: error.ee_info,
    }))
}

/// Entries taken at a time, so that a flood of errors does not keep a worker from its packets.
const MOST_ERRORS: usize = 64;
