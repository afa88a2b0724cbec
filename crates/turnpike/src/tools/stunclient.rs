//! `turnutils_stunclient`: asks a STUN server for one's address, once or over and over, and what the server offers
//! for NAT behaviour discovery (RFC 5780).

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use signal_hook::consts::{SIGINT, SIGTERM};
use turnpike_client::{BindingAnswer, BindingOptions, Client, ClientConfig, Event, Failure, Retransmission};
use turnpike_wire::attributes::ChangeRequest;

use super::arguments::{Shape, split};
use super::output::{family, info};
use crate::randomness;
use crate::terminal::{print, print_usage, say};

/// Runs the tool with its arguments (the program's name left out).
pub fn main(arguments: Vec<String>) -> ExitCode {
    let settings = match parse(arguments) {
        Ok(Some(settings)) => settings,
        Ok(None) => {
            print_usage(USAGE);
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("{problem:#}\n\n{USAGE}");
            return ExitCode::from(255);
        }
    };
    let outcome = if settings.continuous { ask_repeatedly(&settings) } else { ask_once(&settings) };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(problem) => {
            eprintln!("{problem:#}");
            ExitCode::from(255)
        }
    }
}

struct Settings {
    host: String,
    server: SocketAddr,
    local: Option<IpAddr>,
    discovery: bool,
    continuous: bool,
    interval: Duration,
    timeout: Duration,
}

/// What became of one question.
enum Outcome {
    Answered(BindingAnswer, Duration),
    TimedOut,
    /// The server answered with an error, or its host with "nobody there".
    Refused(String),
}

fn parse(arguments: Vec<String>) -> Result<Option<Settings>> {
    let (flags, words) = split(&SHAPE, arguments).map_err(|problem| anyhow!(problem))?;
    let (mut port, mut local, mut discovery, mut continuous) = (3478, None, false, false);
    let (mut interval, mut timeout) = (1000, 3000);
    for flag in &flags {
        let value = flag.value.as_deref().unwrap_or_default();
        let wrong = || format!("-{} cannot be {value}", flag.name);
        match flag.name.as_str() {
            "h" | "help" => return Ok(None),
            "f" => discovery = true,
            "c" => continuous = true,
            "p" => port = value.parse().with_context(wrong)?,
            "L" => local = Some(value.parse().with_context(wrong)?),
            "i" => interval = value.parse().with_context(wrong)?,
            _ => timeout = value.parse().with_context(wrong)?,
        }
    }
    let Some(host) = words.into_iter().next() else { bail!("the server's address is missing") };
    let addresses =
        (host.as_str(), port).to_socket_addrs().with_context(|| format!("cannot look up {host}"))?;
    let server = addresses.into_iter().next().with_context(|| format!("{host} has no address"))?;
    let (interval, timeout) = (Duration::from_millis(interval), Duration::from_millis(timeout));
    Ok(Some(Settings { host, server, local, discovery, continuous, interval, timeout }))
}

/// One question, and the steps of RFC 5780 if the server takes part or the user insists. False on silence.
fn ask_once(settings: &Settings) -> Result<bool> {
    let socket = open(settings, Connected::Yes)?;
    let answer = match ask(settings, &socket, None, BindingOptions::default(), PATIENT)? {
        Outcome::Answered(answer, _) => answer,
        outcome => return complain(settings, &outcome),
    };
    if answer.other_address.is_none() && !settings.discovery {
        print_mapped(&answer);
        return Ok(true);
    }
    print_discovery(1, &answer);
    discover(settings)
}

/// The answer from the other address and port, one sent to another port of ours, and one as large as two fragments.
fn discover(settings: &Settings) -> Result<bool> {
    let change = Some(ChangeRequest { ip: true, port: true });
    let socket = open(settings, Connected::No)?;
    let second = BindingOptions { change, ..BindingOptions::default() };
    match ask(settings, &socket, None, second, PATIENT)? {
        Outcome::Answered(answer, _) => print_discovery(2, &answer),
        Outcome::Refused(reason) if reason.starts_with("error 420") => {
            eprintln!("the server does not take part in NAT behaviour discovery (RFC 5780): {reason}");
            return Ok(false);
        }
        outcome => return complain(settings, &outcome),
    }
    let elsewhere = open(settings, Connected::No)?;
    let response_port = Some(elsewhere.local_addr()?.port());
    let third = BindingOptions { change, response_port, ..BindingOptions::default() };
    match ask(settings, &socket, Some(&elsewhere), third, PATIENT)? {
        Outcome::Answered(answer, _) => print_discovery(3, &answer),
        outcome => return complain(settings, &outcome),
    }
    let fourth = BindingOptions { change, padding: Some(PADDING), ..BindingOptions::default() };
    match ask(settings, &socket, None, fourth, PATIENT)? {
        Outcome::Answered(answer, _) => print_discovery(4, &answer),
        outcome => return complain(settings, &outcome),
    }
    Ok(true)
}

fn complain(settings: &Settings, outcome: &Outcome) -> Result<bool> {
    match outcome {
        Outcome::Refused(reason) => eprintln!("STUN receive failure: {reason}"),
        _ => eprintln!("STUN receive timeout after {} ms", settings.timeout.as_millis()),
    }
    Ok(false)
}

/// Asks until interrupted, then sums up. False if nothing was ever answered.
fn ask_repeatedly(settings: &Settings) -> Result<bool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, interrupted.clone()).context("cannot watch for Ctrl-C")?;
    }
    let socket = open(settings, Connected::Yes)?;
    let mut latency = Latency::default();
    while !interrupted.load(Ordering::Relaxed) {
        let next = Instant::now() + settings.interval;
        latency.sent += 1;
        let number = latency.sent;
        let told = match ask(settings, &socket, None, BindingOptions::default(), ONCE)? {
            Outcome::Answered(_, time) => {
                latency.note(time);
                format!("time={:.3} ms", milliseconds(time))
            }
            _ if interrupted.load(Ordering::Relaxed) => {
                latency.sent -= 1;
                break;
            }
            Outcome::TimedOut => format!("timeout after {} ms", settings.timeout.as_millis()),
            Outcome::Refused(reason) => reason,
        };
        // Nobody reads on: as good as Ctrl-C.
        if print(&format!("{number}: {told}\n")).is_err() {
            break;
        }
        while !interrupted.load(Ordering::Relaxed) && Instant::now() < next {
            std::thread::sleep((next - Instant::now()).min(ATTENTION));
        }
    }
    latency.print(&settings.host);
    Ok(latency.received > 0)
}

/// Sends a Binding request and waits for its answer, on `ear` if that is another socket.
fn ask(
    settings: &Settings,
    socket: &UdpSocket,
    ear: Option<&UdpSocket>,
    options: BindingOptions,
    transmissions: u8,
) -> Result<Outcome> {
    let retransmission = Retransmission { transmissions, ..Retransmission::default() };
    let config = ClientConfig { retransmission, ..ClientConfig::default() };
    let mut client = Client::new(Arc::new(config), randomness::random()?);
    let began = Instant::now();
    client.binding(Duration::ZERO, options)?;
    let (mut output, mut input) = ([0; 2048], [0; 2048]);
    loop {
        while let Some(length) = client.poll_transmit(&mut output) {
            if let Err(error) = socket.send_to(&output[..length], settings.server) {
                return Ok(Outcome::Refused(error.to_string()));
            }
        }
        let left = settings.timeout.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Ok(Outcome::TimedOut);
        }
        let next = client.poll_timeout().map_or(left, |due| due.saturating_sub(began.elapsed()).min(left));
        let ear = ear.unwrap_or(socket);
        ear.set_read_timeout(Some(next.max(Duration::from_millis(1))))?;
        let event = match ear.recv(&mut input) {
            Ok(length) => client.handle_input(began.elapsed(), &input[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                client.handle_timeout(began.elapsed());
                // The time limit is the user's, not the protocol's.
                client.poll_event();
                None
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Outcome::TimedOut),
            Err(error) => return Ok(Outcome::Refused(error.to_string())),
        };
        match event {
            Some(Event::Binding(answer)) => return Ok(Outcome::Answered(*answer, began.elapsed())),
            Some(Event::Failed { failure: Failure::TimedOut, .. }) | None => {}
            Some(Event::Failed { failure, .. }) => return Ok(Outcome::Refused(failure.to_string())),
            Some(_) => {}
        }
    }
}

/// Whether a socket hears the server's one address only; then it also hears that nobody listens there.
#[derive(PartialEq, Eq)]
enum Connected {
    Yes,
    No,
}

fn open(settings: &Settings, connected: Connected) -> Result<UdpSocket> {
    let any = match settings.server {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let local = settings.local.unwrap_or(any);
    let socket = UdpSocket::bind((local, 0)).with_context(|| format!("cannot use the address {local}"))?;
    if connected == Connected::Yes {
        socket.connect(settings.server).with_context(|| format!("cannot reach {}", settings.server))?;
    }
    Ok(socket)
}

fn print_discovery(number: u8, answer: &BindingAnswer) {
    say!("\n{LINE}\nRFC 5780 response {number}");
    if let Some(origin) = answer.response_origin {
        info!("{}. Response origin: : {origin}", family(&origin));
    }
    if let Some(other) = answer.other_address {
        info!("{}. Other addr: : {other}", family(&other));
    }
    print_mapped(answer);
}

fn print_mapped(answer: &BindingAnswer) {
    info!("{}. UDP reflexive addr: {}", family(&answer.mapped), answer.mapped);
}

/// What continuous asking measured.
#[derive(Default)]
struct Latency {
    sent: u64,
    received: u64,
    total: Duration,
    min: Option<Duration>,
    max: Duration,
}

impl Latency {
    fn note(&mut self, time: Duration) {
        self.received += 1;
        self.total += time;
        self.min = Some(self.min.map_or(time, |min| min.min(time)));
        self.max = self.max.max(time);
    }

    fn print(&self, host: &str) {
        let lost = self.sent.saturating_sub(self.received) as f64 * 100.0 / self.sent.max(1) as f64;
        say!("\n--- {host} STUN latency statistics ---");
        say!("{} requests sent, {} responses received, {lost:.1}% packet loss", self.sent, self.received);
        if let Some(min) = self.min {
            let average = milliseconds(self.total) / self.received as f64;
            let (min, max) = (milliseconds(min), milliseconds(self.max));
            say!("round-trip min/avg/max = {min:.3}/{average:.3}/{max:.3} ms");
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

const SHAPE: Shape = Shape { switches: "fch", values: "pLit", long: &[("help", false)] };
/// Transmissions of a question that has to be answered.
const PATIENT: u8 = 7;
/// As coturn's tool has it: more than one Ethernet frame takes.
const PADDING: u16 = 1500;
/// Transmissions of a question whose time is measured.
const ONCE: u8 = 1;
/// How soon Ctrl-C is noticed while waiting for the next question.
const ATTENTION: Duration = Duration::from_millis(50);
const LINE: &str = "========================================";
pub(crate) const USAGE: &str = "\
turnutils_stunclient - ask a STUN server for one's own address

USAGE
    turnutils_stunclient [flags] SERVER

FLAGS
    -p PORT     the server's port (3478)
    -L ADDRESS  local address
    -f          take the steps of RFC 5780 even if the server does not offer them:
                an answer from its other address and port, one to another port of ours, a padded one
    -c          keep asking and measure the time; Ctrl-C prints the sums
    -i MS       milliseconds between questions with -c (1000)
    -t MS       milliseconds to wait for an answer (3000)
    -h          this text

EXIT STATUS
    0 when answered, 1 when not, 255 when the question could not be asked.
";
