//! The server tries itself, as a client does: Binding, two allocations, and data from one of them to the other and back.
//!
//! It comes in where clients do, with a credential that is good for a few seconds and for nobody else, and the data goes
//! by the external address. Invariants: one test at a time, one in [`FRESH`] at most, however many ask; none takes
//! longer than [`LONGEST`]; what it has opened it gives back.

mod caller;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use turnpike_client::Failure;
use turnpike_config::Config;
use turnpike_turn::{RelayAddress, SelfTest, UnixTime};
use turnpike_wire::ErrorNumber;

use crate::operations::{Operations, Serving};
use caller::{Caller, Wire};

/// Tests, of which each is good for a while.
pub(super) struct SelfTests {
    operations: Arc<Operations>,
    credential: Arc<SelfTest>,
    running: AtomicBool,
    last: watch::Sender<Option<Tried>>,
}

/// What came of one.
#[derive(Clone, Debug)]
pub(super) struct Tried {
    /// When it was over.
    ended: Instant,
    pub(super) time: SystemTime,
    pub(super) took: Duration,
    /// What went well, in words.
    pub(super) steps: Vec<String>,
    /// What did not.
    pub(super) failure: Option<String>,
}

impl Tried {
    pub(super) fn succeeded(&self) -> bool {
        self.failure.is_none()
    }
}

impl SelfTests {
    pub(super) fn new(operations: Arc<Operations>, credential: Arc<SelfTest>) -> Self {
        SelfTests { operations, credential, running: AtomicBool::new(false), last: watch::Sender::new(None) }
    }

    /// The last one, however old.
    pub(super) fn last(&self) -> Option<Tried> {
        self.last.borrow().clone()
    }

    /// The last one if it is fresh, else the next one; `None` if that does not end.
    pub(super) async fn outcome(self: &Arc<Self>) -> Option<Tried> {
        let mut next = self.last.subscribe();
        if let Some(last) = next.borrow_and_update().clone()
            && last.ended.elapsed() < FRESH
        {
            return Some(last);
        }
        if !self.running.swap(true, Ordering::AcqRel) {
            let tests = self.clone();
            // On a thread that may wait, and to its end, whether or not anybody still wants to know.
            tokio::task::spawn_blocking(move || tests.run());
        }
        tokio::time::timeout(LONGEST * 2, next.changed()).await.ok()?.ok()?;
        next.borrow().clone()
    }

    fn run(&self) {
        let began = Instant::now();
        let mut steps = Vec::new();
        let failure = self.try_server(&mut steps).err();
        let tried = Tried {
            ended: Instant::now(),
            time: SystemTime::now(),
            took: began.elapsed(),
            steps,
            failure: failure.map(|failure| failure.to_string()),
        };
        // In this order: whoever comes between them may begin another, and never waits for one that is over.
        self.running.store(false, Ordering::Release);
        self.last.send_replace(Some(tried));
    }

    fn try_server(&self, steps: &mut Vec<String>) -> Result<(), Trouble> {
        let parts = self.operations.rulebook.read(|parts| {
            (parts.settings.clone(), parts.addresses.listening.clone(), parts.addresses.relays.clone())
        });
        let (settings, listening, relays) = parts;
        let Some(server) = entrance(&settings, &listening) else {
            steps
                .push("not tried: clients come in by proxies alone, as far as this host can tell".to_owned());
            return Ok(());
        };
        let Some(wire) = wire_of(&settings) else {
            steps.push("not tried: clients come in by TLS or DTLS alone".to_owned());
            return Ok(());
        };
        let deadline = Instant::now() + LONGEST;
        let caller = || Caller::connect(server, wire, self.credential(), deadline);
        let mut first = caller()?;
        if !settings.no_stun && !settings.secure_stun {
            let began = Instant::now();
            first.bind().map_err(|error| error.at("Binding"))?;
            steps.push(format!("Binding in {}", Took(began.elapsed())));
        }
        if settings.stun_only || !settings.udp_relay {
            return Ok(());
        }
        if self.operations.stage.now() != Serving::Fully {
            steps.push("no allocation: the server takes no new ones".to_owned());
            return Ok(());
        }
        let mut second = caller()?;
        relay(&mut first, &mut second, (&settings, &relays), steps)
    }

    fn credential(&self) -> (String, String) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.credential.mint(UnixTime(now.as_secs()), LONGEST * 2)
    }
}

/// Allocates twice and sends from one to the other and back.
fn relay(
    first: &mut Caller,
    second: &mut Caller,
    (settings, relays): (&Config, &[RelayAddress]),
    steps: &mut Vec<String>,
) -> Result<(), Trouble> {
    let began = Instant::now();
    let ipv6 = !relays.iter().any(|relay| relay.address.is_ipv4());
    let here = match first.allocate(ipv6) {
        Ok(relayed) => relayed,
        // Where everybody is sent elsewhere, that is what works here.
        Err(Trouble::Failed(Failure::TryAlternate { server, .. })) => {
            steps.push(format!("clients are sent to {server}"));
            return Ok(());
        }
        Err(error) => return Err(error.at("Allocate")),
    };
    steps.push(format!("Allocate in {}", Took(began.elapsed())));
    // On a port that is everybody's, sessions of one worker cannot reach each other.
    if settings.multiplex {
        return first.delete();
    }
    let there = second.allocate(ipv6).map_err(|error| error.at("a second Allocate"))?;
    first.permit(there.ip()).map_err(|error| error.at("CreatePermission"))?;
    second.permit(here.ip()).map_err(|error| error.at("CreatePermission"))?;
    let began = Instant::now();
    let question: [u8; 16] = crate::randomness::random().unwrap_or_default();
    pass(first, there, second, here, &question).map_err(|error| error.at("data through the relay"))?;
    pass(second, here, first, there, &question).map_err(|error| error.at("data back through the relay"))?;
    steps.push(format!("echo through {here} in {}", Took(began.elapsed())));
    first.delete()?;
    second.delete()
}

/// Sends until it has arrived: a datagram may be lost.
fn pass(
    from: &mut Caller,
    to: SocketAddr,
    receiver: &mut Caller,
    sender: SocketAddr,
    data: &[u8],
) -> Result<(), Trouble> {
    for _ in 0..TRIES {
        from.send(to, data)?;
        if receiver.receive(sender, data, BETWEEN_TRIES)? {
            return Ok(());
        }
    }
    Err(Trouble::Nothing)
}

/// Where a client of this host comes in: not by an address that speaks for others.
fn entrance(settings: &Config, listening: &[SocketAddr]) -> Option<SocketAddr> {
    let is_proxy = |ip: IpAddr| {
        let contains = |range: &turnpike_config::PeerRange| range.first <= ip && ip <= range.last;
        settings
            .balancing
            .proxies
            .iter()
            .any(|range| range.first.is_ipv4() == ip.is_ipv4() && contains(range))
    };
    let reachable = listening.iter().map(|address| match address.ip() {
        ip if ip.is_unspecified() && ip.is_ipv4() => SocketAddr::from(([127, 0, 0, 1], address.port())),
        ip if ip.is_unspecified() => SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), address.port()),
        _ => *address,
    });
    // One that peers may see comes before loopback, and IPv4 before IPv6.
    let usable = reachable.filter(|address| !is_proxy(address.ip()));
    usable.min_by_key(|address| (address.ip().is_loopback(), address.is_ipv6()))
}

fn wire_of(settings: &Config) -> Option<Wire> {
    if settings.udp { Some(Wire::Datagrams) } else { settings.tcp.then_some(Wire::Stream) }
}

/// What went wrong.
#[derive(Debug)]
enum Trouble {
    Socket(std::io::Error),
    Failed(Failure),
    /// Nothing came in time.
    Nothing,
    At(&'static str, Box<Trouble>),
}

impl Trouble {
    fn at(self, step: &'static str) -> Self {
        Trouble::At(step, Box::new(self))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Socket(error) => write!(formatter, "{error}"),
            Trouble::Failed(Failure::Refused { number, .. }) => {
                let hint = match *number {
                    ErrorNumber::INSUFFICIENT_CAPACITY => ": no relayed port is free, or no descriptor",
                    _ => "",
                };
                write!(formatter, "error {}{hint}", number.number())
            }
            Trouble::Failed(failure) => write!(formatter, "{failure}"),
            Trouble::Nothing => formatter.write_str("nothing came"),
            Trouble::At(step, trouble) => write!(formatter, "{step}: {trouble}"),
        }
    }
}

/// A duration in milliseconds.
struct Took(Duration);

impl fmt::Display for Took {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.1} ms", self.0.as_secs_f64() * 1000.0)
    }
}

/// For how long a test is good.
const FRESH: Duration = Duration::from_secs(5);
/// How long one may take.
const LONGEST: Duration = Duration::from_secs(5);
const TRIES: usize = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(300);
