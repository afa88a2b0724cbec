//! One call before all others: whatever is wrong is found out within seconds, and said in a way that helps.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use turnpike_client::{BindingOptions, Client, ClientConfig, Event, Failure, Retransmission};
use turnpike_net::local_addresses;
use turnpike_wire::Method;

use super::carrier::{Carrier, Source};
use super::generator::Task;
use super::profile::Profile;
use super::stamp::{Direction, Filler, Stamp};
use super::target::Locality;
use crate::randomness;

/// Makes one call, sends a packet each way, and gives everything back.
///
/// # Errors
/// The load would not work, and why.
pub(super) fn run(task: &Task) -> Result<()> {
    if !task.target.transport.is_stream() {
        ask_whether_anybody_listens(task)?;
    }
    let mut trial = Trial::open(task)?;
    if task.profile == Profile::Binding {
        trial.client.binding(trial.now(), BindingOptions::default())?;
        trial.await_event()?;
        // Anybody may ask a stranger's server for an address; only its users may do so thousands of times a second.
        if task.target.locality != Locality::Remote {
            return Ok(());
        }
    }
    trial.client.allocate(trial.now(), task.allocate_options())?;
    let Event::Allocated(allocated) = trial.await_event()? else {
        bail!("the server's answer makes no sense")
    };
    if task.profile != Profile::Binding {
        trial.client.bind_channel(trial.now(), CHANNEL, trial.peer)?;
        trial.await_event()?;
        if task.profile.has_media() {
            trial.exchange(allocated.relayed)?;
        }
    }
    trial.client.delete(trial.now())?;
    trial.await_event().map(drop)
}

struct Trial<'t> {
    task: &'t Task,
    begun: Instant,
    carrier: Carrier,
    client: Client,
    peer: SocketAddr,
    events: Vec<Event>,
    /// Whether a packet has come through, to the peer and to the client.
    arrived: [bool; 2],
}

impl<'t> Trial<'t> {
    fn open(task: &'t Task) -> Result<Self> {
        let mut carrier = Carrier::new(&task.target, task.local)?;
        let (_, peer) = carrier.open_peer(task.peer_address)?;
        carrier.open(0)?;
        let retransmission =
            Retransmission { initial_timeout: Duration::from_millis(250), transmissions: 4, last_wait: 4 };
        let config = ClientConfig { retransmission, ..(*task.client).clone() };
        let client = Client::new(Arc::new(config), randomness::random()?);
        Ok(Trial {
            task,
            begun: Instant::now(),
            carrier,
            client,
            peer,
            events: Vec::new(),
            arrived: [false; 2],
        })
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Waits for the end of the request under way.
    fn await_event(&mut self) -> Result<Event> {
        let deadline = self.now() + PATIENCE;
        loop {
            self.turn()?;
            let found = self
                .events
                .drain(..)
                .find(|event| !matches!(event, Event::Data { .. } | Event::Discarded(_)));
            match found {
                Some(Event::Failed { method, failure, .. }) => return Err(self.explain(method, &failure)),
                Some(event) => return Ok(event),
                None => {}
            }
            if let Some(trouble) = self.carrier.trouble(0) {
                if trouble.contains("certificate") {
                    bail!(
                        "{trouble}; name those who vouch for it with --ca-file, or check nothing with --insecure"
                    );
                }
                bail!("{trouble}");
            }
            if self.now() > deadline {
                return Err(self.explain(Method::ALLOCATE, &Failure::TimedOut));
            }
        }
    }

    /// Sends a packet each way until one has come through each way.
    fn exchange(&mut self, relayed: SocketAddr) -> Result<()> {
        let payload_of = |direction| {
            let mut payload = vec![0; 64];
            let stamp = Stamp { direction, run: self.task.run, call: 0, number: 1, due: 0 };
            stamp.write(&Filler::new(), &mut payload);
            payload
        };
        let (to_peer, to_client) = (payload_of(Direction::ToPeer), payload_of(Direction::ToClient));
        let deadline = self.now() + PATIENCE;
        let mut next = self.now();
        while self.arrived != [true; 2] && self.now() < deadline {
            if self.now() >= next {
                next = self.now() + Duration::from_millis(200);
                let mut message = [0; 128];
                let length = self.client.write_channel_data(CHANNEL, &to_peer, &mut message)?;
                self.carrier.send(0, &message[..length]);
                self.carrier.send_from_peer(0, relayed, &to_client);
            }
            self.turn()?;
        }
        let peer = self.peer.ip();
        match self.arrived {
            [true, true] => Ok(()),
            [false, _] => bail!(
                "the server granted a call, but nothing of it arrives at {peer}, the peer's address on this machine: \
                 a firewall is in the way, or the server cannot reach it; choose another with --peer-address"
            ),
            [true, false] => bail!(
                "the server granted a call, but what the peer {peer} sends to {relayed} does not come back: a \
                 firewall is in the way, or the server announces a relay address that cannot be reached from here \
                 (external-ip)"
            ),
        }
    }

    fn turn(&mut self) -> Result<()> {
        let mut output = [0; 4096];
        while let Some(length) = self.client.poll_transmit(&mut output) {
            self.carrier.send(0, &output[..length]);
        }
        self.carrier.flush();
        self.carrier.wait(Duration::from_millis(20))?;
        let now = self.now();
        let Trial { carrier, client, events, arrived, .. } = self;
        let filler = Filler::new();
        let stamped = |payload: &[u8], direction| {
            Stamp::read(&filler, payload).is_some_and(|stamp| stamp.direction == direction)
        };
        carrier.receive(|source, bytes| match source {
            Source::Relay(..) => arrived[0] |= stamped(bytes, Direction::ToPeer),
            Source::Server(_) => {
                let event = client.handle_input(now, bytes);
                if let Some(Event::Data { span, .. }) = &event {
                    arrived[1] |=
                        bytes.get(span.clone()).is_some_and(|data| stamped(data, Direction::ToClient));
                }
                events.extend(event);
            }
        })?;
        if client.poll_timeout().is_some_and(|due| due <= now) {
            client.handle_timeout(now);
            events.extend(client.poll_event());
        }
        Ok(())
    }

    fn explain(&self, method: Method, failure: &Failure) -> anyhow::Error {
        let (server, peer) = (self.task.target.address, self.task.peer_address);
        let name = method.name().unwrap_or("request");
        match failure {
            Failure::NoCredentials { realm } => anyhow!(
                "the server asks for credentials (realm {realm}): give --user and --password, or the REST secret with \
                 --secret-file"
            ),
            Failure::CredentialsRejected { realm } => anyhow!(
                "the server does not accept the credentials (realm {realm}): check --user and --password, or that \
                 --secret is the server's static-auth-secret"
            ),
            Failure::Refused { number, .. } if number.number() == 403 && method == Method::CHANNEL_BIND => {
                refused_peer(peer)
            }
            Failure::Refused { number, .. } if number.number() == 486 => anyhow!(
                "the server grants no allocation (486): this user's quota is used up; raise user-quota or total-quota \
                 for the test, or wait until earlier allocations expire"
            ),
            Failure::Refused { number, .. } if number.number() == 508 => anyhow!(
                "the server has no relay port left (508): widen min-port to max-port, or wait until earlier \
                 allocations expire"
            ),
            Failure::TimedOut => anyhow!(
                "no answer to {name} from {server} by {}: is a TURN server running there, and does a firewall let it \
                 through?",
                self.task.target.transport
            ),
            failure => anyhow!("{name} fails: {failure}"),
        }
    }
}

fn refused_peer(peer: IpAddr) -> anyhow::Error {
    if peer.is_loopback() {
        let other = local_addresses().unwrap_or_default().into_iter().find(|found| {
            found.address.is_ipv4() == peer.is_ipv4() && !found.is_loopback() && !found.is_link_local()
        });
        let other = other.map_or_else(String::new, |found| format!(", such as {}", found.address));
        anyhow!(
            "the server refuses the peer {peer} (403), as servers should: for this test start it with \
             --allow-loopback-peers, or choose another address of this machine with --peer-address{other}"
        )
    } else {
        anyhow!(
            "the server refuses the peer {peer} (403): for this test start it with --allowed-peer-ip={peer}, or choose \
             another address of this machine with --peer-address"
        )
    }
}

/// A connected socket hears at once that nobody listens; a silent server is no reason to stop yet.
fn ask_whether_anybody_listens(task: &Task) -> Result<()> {
    let server = task.target.address;
    let socket =
        UdpSocket::bind((task.local, 0)).with_context(|| format!("cannot use the address {}", task.local))?;
    socket.connect(server).with_context(|| format!("there is no route to {server}"))?;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    let mut client = Client::new(Arc::new(ClientConfig::default()), randomness::random()?);
    client.binding(Duration::ZERO, BindingOptions::default())?;
    let mut bytes = [0; 2048];
    let length = client.poll_transmit(&mut bytes).unwrap_or_default();
    let answer = socket.send(&bytes[..length]).and_then(|_| socket.recv(&mut bytes));
    match answer {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            bail!("nobody listens at {server} by UDP: is the server running?")
        }
        _ => Ok(()),
    }
}

const CHANNEL: u16 = 0x4000;
/// The longest wait for anything; requests give up earlier.
const PATIENCE: Duration = Duration::from_secs(4);
