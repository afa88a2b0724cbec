//! Asking the server: one question at a time, each with a limit.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use turnpike_client::{BindingAnswer, BindingOptions, Client, ClientConfig, Event, Failure, Retransmission};

use super::flags::Settings;
use super::report;
use crate::randomness;

/// Asks, and counts the answers it has shown.
pub(super) struct Prober<'s> {
    pub(super) settings: &'s Settings,
    shown: u32,
}

/// A question.
#[derive(Clone, Copy)]
pub(super) struct Question<'q> {
    /// Where it leaves.
    pub(super) socket: &'q UdpSocket,
    /// Where the answer is awaited.
    pub(super) ear: &'q UdpSocket,
    pub(super) to: SocketAddr,
    pub(super) options: BindingOptions,
}

/// What came of a question.
pub(super) enum Heard {
    /// An answer, and from where it came.
    Answer(BindingAnswer, SocketAddr),
    /// The server refused, with a reason.
    Error(String),
    Silence,
}

impl Heard {
    pub(super) fn answer(self) -> Option<BindingAnswer> {
        match self {
            Heard::Answer(answer, _) => Some(answer),
            Heard::Error(_) | Heard::Silence => None,
        }
    }
}

impl<'s> Prober<'s> {
    pub(super) fn new(settings: &'s Settings) -> Self {
        Prober { settings, shown: 0 }
    }

    /// A socket at the local address and port that were asked for.
    pub(super) fn open(&self) -> Result<UdpSocket> {
        self.open_at(self.local(), self.settings.local_port)
    }

    /// Another one, at any port.
    pub(super) fn open_another(&self) -> Result<UdpSocket> {
        self.open_at(self.local(), 0)
    }

    pub(super) fn open_at(&self, ip: IpAddr, port: u16) -> Result<UdpSocket> {
        UdpSocket::bind((ip, port)).with_context(|| format!("cannot use {}", SocketAddr::new(ip, port)))
    }

    /// The address that the server is reached from.
    pub(super) fn local(&self) -> IpAddr {
        let server = self.settings.server;
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        // Connecting a datagram socket sends nothing and tells the route.
        let routed = || {
            let socket = UdpSocket::bind((any, 0)).ok()?;
            socket.connect(server).ok()?;
            socket.local_addr().ok().map(|address| address.ip())
        };
        self.settings.local.or_else(routed).unwrap_or(any)
    }

    /// A plain question to the server itself.
    pub(super) fn first(&mut self, socket: &UdpSocket) -> Result<Option<BindingAnswer>> {
        let (to, options) = (self.settings.server, self.options());
        Ok(self.ask(Question { socket, ear: socket, to, options })?.answer())
    }

    /// What all questions have in common.
    pub(super) fn options(&self) -> BindingOptions {
        BindingOptions { padding: self.settings.padding.then_some(PADDING), ..BindingOptions::default() }
    }

    /// Asks and shows what came.
    pub(super) fn ask(&mut self, question: Question<'_>) -> Result<Heard> {
        let heard = hear(question)?;
        match &heard {
            Heard::Answer(answer, _) => {
                self.shown += 1;
                report::answer(self.shown, answer, question.socket.local_addr()?);
            }
            Heard::Error(reason) => report::error(reason),
            Heard::Silence => report::silence(),
        }
        Ok(heard)
    }
}

/// Sends a question, again now and then, until it is answered or the limit is over.
fn hear(question: Question<'_>) -> Result<Heard> {
    let mut client = client(question.options)?;
    let began = Instant::now();
    let (mut output, mut input) = ([0; 4096], [0; 4096]);
    loop {
        while let Some(length) = client.poll_transmit(&mut output) {
            if let Err(error) = question.socket.send_to(&output[..length], question.to) {
                return Ok(Heard::Error(format!("{}: {error}", question.to)));
            }
        }
        let Some(left) = LIMIT.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) else {
            return Ok(Heard::Silence);
        };
        let due = client.poll_timeout().map_or(left, |due| due.saturating_sub(began.elapsed()).min(left));
        match receive(question.ear, due, &mut input)? {
            Some((length, from)) => match client.handle_input(began.elapsed(), &input[..length]) {
                Some(Event::Binding(answer)) => return Ok(Heard::Answer(*answer, from)),
                Some(Event::Failed { failure, .. }) => return Ok(Heard::Error(failure.to_string())),
                _ => {}
            },
            None => client.handle_timeout(began.elapsed()),
        }
        while let Some(event) = client.poll_event() {
            if let Event::Failed { failure, .. } = event
                && failure != Failure::TimedOut
            {
                return Ok(Heard::Error(failure.to_string()));
            }
        }
    }
}

/// Sends a request to `to`, and says whether it came in at `ear`.
pub(super) fn reaches(
    socket: &UdpSocket,
    ear: &UdpSocket,
    to: SocketAddr,
    options: BindingOptions,
) -> Result<bool> {
    let mut client = client(options)?;
    let began = Instant::now();
    let (mut output, mut input) = ([0; 4096], [0; 4096]);
    let mut sent = 0;
    while let Some(left) = LIMIT.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
        while let Some(length) = client.poll_transmit(&mut output) {
            // What cannot be sent does not arrive.
            if socket.send_to(&output[..length], to).is_ok() {
                sent = length;
            }
        }
        let due = client.poll_timeout().map_or(left, |due| due.saturating_sub(began.elapsed()).min(left));
        match receive(ear, due, &mut input)? {
            Some((length, _)) if sent > 0 && input[..length] == output[..sent] => return Ok(true),
            Some(_) => {}
            None => client.handle_timeout(began.elapsed()),
        }
    }
    Ok(false)
}

/// A client that has one Binding request to send.
fn client(options: BindingOptions) -> Result<Client> {
    // Three transmissions within the limit; then it is over whatever the client thinks.
    let retransmission = Retransmission { transmissions: 3, ..Retransmission::default() };
    let config = ClientConfig { retransmission, ..ClientConfig::default() };
    let mut client = Client::new(Arc::new(config), randomness::random()?);
    client.binding(Duration::ZERO, options)?;
    Ok(client)
}

/// The next datagram, if one comes in time.
fn receive(socket: &UdpSocket, wait: Duration, input: &mut [u8]) -> Result<Option<(usize, SocketAddr)>> {
    socket.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
    match socket.recv_from(input) {
        Ok(received) => Ok(Some(received)),
        Err(error) if PASSING.contains(&error.kind()) => Ok(None),
        Err(error) => Err(error).context("cannot receive"),
    }
}

/// How long a question waits for its answer.
const LIMIT: Duration = Duration::from_secs(3);
/// As coturn's tool has it: more than one Ethernet frame takes.
const PADDING: u16 = 1500;
/// Nothing came, and something may come yet.
const PASSING: [ErrorKind; 4] =
    [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted, ErrorKind::ConnectionRefused];
