//! A line between two processes of one machine, by which bytes go over and open descriptors beside them (SCM_RIGHTS).
//!
//! A parcel of any size is cut into messages, since one carries 253 descriptors at most and no more bytes than the
//! socket's buffer. Both ends wait, but never for longer than they were told to; what the other end claims to send is
//! bounded before anything is taken in.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_type};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// One end of the line.
#[derive(Debug)]
pub struct Line {
    socket: OwnedFd,
}

/// What goes over at once.
#[derive(Debug, Default)]
pub struct Parcel {
    /// What kind of parcel it is, for those at both ends.
    pub kind: u8,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The descriptors, open in this process.
    pub descriptors: Vec<OwnedFd>,
}

impl Line {
    /// Both ends. No program that is started gets them but as its standard input.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn pair() -> io::Result<(Line, Line)> {
        let (one, other) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Line { socket: one }, Line { socket: other }))
    }

    /// The end that this process was given as its standard input.
    ///
    /// # Errors
    /// That is none.
    pub fn from_standard_input() -> io::Result<Self> {
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        match socket_type(&socket) {
            Ok(SocketType::SEQPACKET) => Ok(Line { socket }),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "standard input is no line to another process",
            )),
        }
    }

    /// How long each call may wait; `None` for as long as it takes.
    ///
    /// # Errors
    /// As the system says.
    pub fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        set_socket_timeout(&self.socket, Timeout::Recv, patience)?;
        Ok(set_socket_timeout(&self.socket, Timeout::Send, patience)?)
    }

    /// Sends a parcel.
    ///
    /// # Errors
    /// The other end is gone, or does not take it in time.
    pub fn send(&self, kind: u8, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut head = [kind, 0, 0, 0, 0, 0, 0, 0, 0];
        let count = |count: usize| u32::try_from(count).map_err(|_| io::ErrorKind::InvalidInput);
        head[1..5].copy_from_slice(&count(bytes.len())?.to_be_bytes());
        head[5..].copy_from_slice(&count(descriptors.len())?.to_be_bytes());
        self.send_message(&head, &[])?;
        let (mut bytes, mut descriptors) = (bytes, descriptors);
        while !bytes.is_empty() || !descriptors.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK));
            let (go, wait) = descriptors.split_at(descriptors.len().min(AT_ONCE));
            // A message of no bytes would look like the end of the line.
            self.send_message(if now.is_empty() { &FILLER } else { now }, go)?;
            (bytes, descriptors) = (later, wait);
        }
        Ok(())
    }

    /// The next parcel; `None` if the other end is gone.
    ///
    /// # Errors
    /// None comes in time, what comes is none, or no descriptors are left for what comes with it.
    pub fn receive(&self) -> io::Result<Option<Parcel>> {
        let mut head = [0; 9];
        let mut parcel = Parcel::default();
        match self.receive_message(&mut head, &mut parcel.descriptors)? {
            0 => return Ok(None),
            9 => {}
            _ => return Err(damaged()),
        }
        let [kind, b0, b1, b2, b3, d0, d1, d2, d3] = head;
        let length = u32::from_be_bytes([b0, b1, b2, b3]) as usize;
        let count = u32::from_be_bytes([d0, d1, d2, d3]) as usize;
        if length > MOST_BYTES || count > MOST_DESCRIPTORS || !parcel.descriptors.is_empty() {
            return Err(damaged());
        }
        parcel.kind = kind;
        let mut chunk = vec![0; CHUNK];
        while parcel.bytes.len() < length || parcel.descriptors.len() < count {
            let taken = self.receive_message(&mut chunk, &mut parcel.descriptors)?;
            if taken == 0 {
                return Ok(None);
            }
            let wanted = length - parcel.bytes.len();
            if wanted > 0 {
                parcel.bytes.extend_from_slice(&chunk[..taken.min(wanted)]);
            }
        }
        if parcel.descriptors.len() != count {
            return Err(damaged());
        }
        Ok(Some(parcel))
    }

    fn send_message(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let began = Instant::now();
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        loop {
            let mut control = SendAncillaryBuffer::new(&mut room);
            if !descriptors.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(descriptors));
            }
            let sent = sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
            match sent {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                // As many are on their way as this user may have: until some were taken in.
                Err(rustix::io::Errno::TOOMANYREFS) if began.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn receive_message(&self, into: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<usize> {
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let received = loop {
            let mut control = RecvAncillaryBuffer::new(&mut room);
            let received =
                recvmsg(&self.socket, &mut [IoSliceMut::new(into)], &mut control, RecvFlags::CMSG_CLOEXEC);
            // That the other end is gone and has not read everything is told once, and before what it has said.
            if matches!(received, Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET)) {
                continue;
            }
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    descriptors.extend(rights);
                }
            }
            break received?;
        };
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::Error::other("no descriptors are left for what the other process hands over"));
        }
        Ok(received.bytes)
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<Line> for OwnedFd {
    fn from(line: Line) -> OwnedFd {
        line.socket
    }
}

impl From<OwnedFd> for Line {
    /// An end that came over another line.
    fn from(socket: OwnedFd) -> Line {
        Line { socket }
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what came over the line is no parcel")
}

/// Bytes of one message.
const CHUNK: usize = 32 * 1024;
/// Descriptors of one message: the kernel takes 253.
const AT_ONCE: usize = 250;
/// What goes along with descriptors when all bytes are over.
const FILLER: [u8; 1] = [0];
/// Of one parcel: what a million allocations take.
const MOST_BYTES: usize = 1 << 30;
const MOST_DESCRIPTORS: usize = 1 << 20;
/// How long descriptors may wait for others to be taken in.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};

    use super::*;

    #[test]
    fn bytes_and_descriptors_of_any_number_go_over_in_order() {
        let (here, there) = Line::pair().unwrap();
        let files: Vec<std::fs::File> = (0..600_u32)
            .map(|number| {
                let mut file = file_of_its_own().unwrap();
                file.write_all(&number.to_be_bytes()).unwrap();
                file
            })
            .collect();
        let bytes: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
        let sender = std::thread::spawn(move || {
            let descriptors: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
            here.send(7, &bytes, &descriptors).unwrap();
            here.send(8, &[], &[]).unwrap();
        });
        let Parcel { kind, bytes, descriptors } = there.receive().unwrap().expect("a parcel");
        assert_eq!((kind, bytes.len(), descriptors.len()), (7, 100_000, 600));
        assert!(bytes.iter().enumerate().all(|(at, byte)| at as u8 == *byte));
        for (number, descriptor) in descriptors.into_iter().enumerate() {
            let (mut file, mut read) = (std::fs::File::from(descriptor), [0; 4]);
            file.rewind().unwrap();
            file.read_exact(&mut read).unwrap();
            assert_eq!(u32::from_be_bytes(read), number as u32);
        }
        assert_eq!(there.receive().unwrap().expect("another").kind, 8);
        sender.join().unwrap();
        assert!(there.receive().unwrap().is_none(), "the other end is gone");
    }

    #[test]
    fn whoever_waits_in_vain_or_gets_no_parcel_is_told() {
        let (here, there) = Line::pair().unwrap();
        there.set_patience(Some(Duration::from_millis(5))).unwrap();
        assert_eq!(there.receive().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        here.send_message(&[1, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0], &[]).unwrap();
        assert_eq!(there.receive().unwrap_err().kind(), io::ErrorKind::InvalidData, "far too long");
        here.send_message(b"hello", &[]).unwrap();
        assert_eq!(there.receive().unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(here);
        assert!(there.receive().unwrap().is_none());
    }

    #[test]
    fn what_was_said_last_is_heard_though_the_other_end_has_not_read_everything() {
        for midway in [false, true] {
            let (here, there) = Line::pair().unwrap();
            here.send(1, b"never read", &[]).unwrap();
            there.send(3, b"no", &[]).unwrap();
            if midway {
                // It goes while the parcel is being taken in.
                let mut head = [0; 9];
                assert_eq!(here.receive_message(&mut head, &mut Vec::new()).unwrap(), 9);
                drop(there);
                let mut body = [0; 9];
                assert_eq!(here.receive_message(&mut body, &mut Vec::new()).unwrap(), 2);
            } else {
                drop(there);
                let parcel = here.receive().unwrap().expect("a parcel");
                assert_eq!((parcel.kind, &parcel.bytes[..]), (3, &b"no"[..]));
            }
            assert!(here.receive().unwrap().is_none(), "the other end is gone");
        }
    }

    /// A file that nobody else can open.
    fn file_of_its_own() -> io::Result<std::fs::File> {
        let directory = std::env::temp_dir();
        let path = directory.join(format!("turnpike-line-{}-{:?}", std::process::id(), Instant::now()));
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(path)?;
        Ok(file)
    }
}
