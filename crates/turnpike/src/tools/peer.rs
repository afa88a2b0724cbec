//! `turnutils_peer`: sends every datagram back to where it came from. It stands behind a TURN server in tests, so
//! it must not be what limits them: it works in batches and joins bursts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use turnpike_net::{
    Body, Datagram, Egress, Events, GroPolicy, PacketPool, Poller, Received, Receiver, SocketId, Sockets,
    UdpOptions, UdpSocket,
};

use super::arguments::{Shape, split};
use super::output::{info, warning};
use crate::terminal::print_usage;

/// Runs the tool with its arguments (the program's name left out); returns only when it cannot work.
pub fn main(arguments: Vec<String>) -> ExitCode {
    let settings = match parse(arguments) {
        Ok(Some(settings)) => settings,
        Ok(None) => {
            print_usage(USAGE);
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("{problem:#}\n\n{USAGE}");
            return ExitCode::from(1);
        }
    };
    match Echo::open(&settings).and_then(Echo::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem:#}");
            ExitCode::from(255)
        }
    }
}

struct Settings {
    port: u16,
    addresses: Vec<IpAddr>,
    device: Option<String>,
    verbose: bool,
}

fn parse(arguments: Vec<String>) -> Result<Option<Settings>> {
    let (flags, words) = split(&SHAPE, arguments).map_err(|problem| anyhow!(problem))?;
    if let Some(word) = words.first() {
        bail!("{word} is no flag");
    }
    let mut settings = Settings { port: 3480, addresses: Vec::new(), device: None, verbose: false };
    for flag in flags {
        let value = flag.value.unwrap_or_default();
        match flag.name.as_str() {
            "h" | "help" => return Ok(None),
            "v" => settings.verbose = true,
            "d" => settings.device = Some(value),
            "p" => settings.port = value.parse().with_context(|| format!("-p cannot be {value}"))?,
            _ => settings.addresses.push(value.parse().with_context(|| format!("-L cannot be {value}"))?),
        }
    }
    Ok(Some(settings))
}

/// The open sockets and the buffers they share.
struct Echo {
    sockets: Sockets,
    ids: Vec<(SocketId, GroPolicy)>,
    poller: Poller,
    receiver: Receiver,
    pool: PacketPool,
    egress: Egress,
    batch: Vec<Received>,
    verbose: bool,
}

impl Echo {
    /// Listens on the port and the next one, which RTCP uses, at every address; without an address, everywhere.
    fn open(settings: &Settings) -> Result<Self> {
        let anywhere = settings.addresses.is_empty();
        let addresses = match anywhere {
            true => vec![IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
            false => settings.addresses.clone(),
        };
        let mut echo = Echo {
            sockets: Sockets::default(),
            ids: Vec::new(),
            poller: Poller::new().context("cannot wait for sockets")?,
            receiver: Receiver::new(BATCH),
            pool: PacketPool::new(BATCH),
            egress: Egress::new(EGRESS),
            batch: Vec::with_capacity(BATCH),
            verbose: settings.verbose,
        };
        for address in addresses {
            for port in [Some(settings.port), settings.port.checked_add(1)].into_iter().flatten() {
                let address = SocketAddr::new(address, port);
                match echo.listen(address, settings.device.clone()) {
                    Ok(()) => info!("listening on {address}"),
                    // A host without IPv6 still has IPv4.
                    Err(problem) if anywhere => warning!("not listening on {address}: {problem}"),
                    Err(problem) => return Err(problem).context(format!("cannot listen on {address}")),
                }
            }
        }
        if echo.ids.is_empty() {
            bail!("there is no address to listen on");
        }
        Ok(echo)
    }

    fn listen(&mut self, address: SocketAddr, device: Option<String>) -> Result<()> {
        let options = UdpOptions {
            receive_buffer: SOCKET_BUFFER,
            send_buffer: SOCKET_BUFFER,
            packet_info: address.ip().is_unspecified(),
            device,
            ..UdpOptions::default()
        };
        let socket = UdpSocket::bind(address, &options)?;
        self.poller.add(&socket, self.ids.len() as u64)?;
        self.ids.push((self.sockets.insert(socket), GroPolicy::default()));
        Ok(())
    }

    fn run(mut self) -> Result<()> {
        let mut events = Events::with_capacity(self.ids.len());
        loop {
            self.poller.wait(None, &mut events).context("cannot wait for datagrams")?;
            for index in 0..events.len() {
                let number = events.token(index).and_then(|token| usize::try_from(token).ok());
                if let Some(number) = number.filter(|number| *number < self.ids.len()) {
                    self.echo(number).context("cannot receive")?;
                }
            }
        }
    }

    /// One batch of one socket.
    fn echo(&mut self, number: usize) -> Result<()> {
        let (id, policy) = &mut self.ids[number];
        let Some(socket) = self.sockets.get(*id) else { return Ok(()) };
        self.receiver.receive(socket, BATCH, &mut self.pool, &mut self.batch)?;
        if let Some(on) = policy.observe(&self.batch) {
            // A kernel that cannot join datagrams delivers them one by one, as before.
            let _ = socket.set_gro(on);
        }
        for received in &self.batch {
            for span in received.datagrams() {
                if self.verbose {
                    info!("{} bytes from {}", span.len(), received.from);
                }
                let datagram = Datagram {
                    socket: *id,
                    to: received.from,
                    source: received.local,
                    head: &[],
                    body: Body::Received(span),
                    tail: &[],
                    dont_fragment: false,
                };
                if !self.egress.push(&datagram) {
                    self.egress.flush(&self.sockets, &self.pool);
                    self.egress.push(&datagram);
                }
            }
        }
        // What cannot be sent is lost, as datagrams are: the sender counts.
        self.egress.flush(&self.sockets, &self.pool);
        self.batch.clear();
        self.pool.clear();
        Ok(())
    }
}

const SHAPE: Shape = Shape { switches: "vh", values: "pdL", long: &[("help", false)] };
/// Messages received at once, each a datagram or a joined train of them.
const BATCH: usize = 64;
const EGRESS: usize = 1024;
const SOCKET_BUFFER: usize = 4 << 20;
pub(crate) const USAGE: &str = "\
turnutils_peer - send every UDP datagram back to where it came from

USAGE
    turnutils_peer [flags]

FLAGS
    -p PORT     the port (3480); the next one is used too, for RTCP
    -L ADDRESS  local address; may be repeated; every address without it
    -d DEVICE   network interface
    -v          say what comes
    -h          this text

It runs until it is stopped.
";
