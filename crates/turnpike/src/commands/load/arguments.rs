//! What was asked for: the options, checked and with what was left out.

use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ArgMatches;
use turnpike_client::Credentials;
use turnpike_net::raise_descriptor_limit;

use super::conductor::Script;
use super::generator::CALLS_A_PEER;
use super::profile::{Profile, Stream};
use super::stamp::{LONGEST_PAYLOAD, SHORTEST_PAYLOAD};
use super::target::{Locality, Target, Transport};
use super::words::count;
use crate::commands::credentials::{parse_duration, unix_now};
use crate::rest::RestCredential;
use crate::state::StateDirectory;

/// A run as it was asked for.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) target: Target,
    pub(super) profile: Profile,
    pub(super) streams: Vec<Stream>,
    pub(super) credentials: Option<Credentials>,
    pub(super) script: Script,
    pub(super) interval: Duration,
    pub(super) threads: usize,
    /// Sockets of a binding flood, or cycles under way at most.
    pub(super) clients: usize,
    pub(super) peer_address: Option<IpAddr>,
    /// 0 to 1.
    pub(super) max_loss: f64,
    pub(super) server_process: Option<u32>,
    pub(super) json: Option<PathBuf>,
    pub(super) html: Option<PathBuf>,
}

impl Settings {
    /// Reads the command line and looks up the target.
    ///
    /// # Errors
    /// Something does not fit together; the message says what would.
    pub(super) fn read(arguments: &ArgMatches) -> anyhow::Result<Self> {
        let profile = text(arguments, "profile").and_then(Profile::named).unwrap_or(Profile::Audio);
        let transport = text(arguments, "transport")
            .and_then(|word| Transport::ALL.into_iter().find(|transport| transport.word() == word));
        let uri = text(arguments, "uri").context("whom to load? as in: turnpike load turn:127.0.0.1:3478")?;
        let mut target = Target::find(uri, transport)?;
        target.authorities = authorities(arguments, target.transport)?;
        let credentials = credentials(arguments, &target)?;
        if target.locality == Locality::Remote && credentials.is_none() {
            bail!(
                "{} is not on this machine and not in a private network: loading it takes credentials of a user of \
                 that server (--user with --password, --secret or --secret-file)",
                target.address.ip()
            );
        }
        let threads = threads(arguments)?;
        let clients = usize::try_from(*arguments.get_one::<u32>("clients").unwrap_or(&64))?.max(threads);
        let streams = streams(arguments, profile)?;
        let (script, interval) = script(arguments, profile, target.transport, threads)?;
        if !profile.has_media() {
            check_descriptors(clients as u64, &format!("{} clients", count(clients as u64)))?;
        }
        let peer_address = arguments.get_one::<IpAddr>("peer-address").copied();
        if let Some(address) = peer_address.filter(|address| UdpSocket::bind((*address, 0)).is_err()) {
            bail!("--peer-address: {address} is no address of this machine");
        }
        let server_process = arguments.get_one::<u32>("server-pid").copied();
        if let Some(process) =
            server_process.filter(|process| !Path::new(&format!("/proc/{process}")).exists())
        {
            bail!("--server-pid: there is no process {process}");
        }
        Ok(Settings {
            target,
            profile,
            streams,
            credentials,
            script,
            interval,
            threads,
            clients,
            peer_address,
            max_loss: arguments.get_one::<f64>("max-loss").copied().unwrap_or(1.0) / 100.0,
            server_process,
            json: text(arguments, "json").map(PathBuf::from),
            html: text(arguments, "html").map(PathBuf::from),
        })
    }
}

/// A share of 0 to 100 percent.
pub(super) fn percentage(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end().parse::<f64>();
    number
        .ok()
        .filter(|number| (0.0..=100.0).contains(number))
        .ok_or_else(|| "a percentage, 0 to 100".to_owned())
}

/// A positive number of packets or requests a second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let number = text.trim().parse::<f64>();
    number
        .ok()
        .filter(|number| (0.1..=1e7).contains(number))
        .ok_or_else(|| "a number of 0.1 to 10,000,000".to_owned())
}

/// The file of those who must vouch for the server; `None` if nobody has to.
fn authorities(arguments: &ArgMatches, transport: Transport) -> anyhow::Result<Option<String>> {
    let (given, insecure) = (text(arguments, "ca-file"), arguments.get_flag("insecure"));
    if transport != Transport::Tls {
        if given.is_some() || insecure {
            bail!("--ca-file and --insecure are for TLS: use turns:HOST or --transport tls");
        }
        return Ok(None);
    }
    if insecure {
        return Ok(None);
    }
    let named = std::env::var("SSL_CERT_FILE").ok();
    let usual =
        || SYSTEM_AUTHORITIES.iter().find(|path| Path::new(path).exists()).map(|path| (*path).to_owned());
    let found = given.map(str::to_owned).or(named).or_else(usual);
    found.map(Some).context(
        "no list of certificate authorities was found on this system: name one with --ca-file, or check nothing with \
         --insecure",
    )
}

fn credentials(arguments: &ArgMatches, target: &Target) -> anyhow::Result<Option<Credentials>> {
    let user = text(arguments, "user");
    let read = |path: &str| StateDirectory::read_secret(Path::new(path));
    let password = match text(arguments, "password-file") {
        Some(path) => Some(read(path)?),
        None => text(arguments, "password").map(str::to_owned),
    };
    let secret = match text(arguments, "secret-file") {
        Some(path) => Some(read(path)?),
        None => text(arguments, "secret").map(str::to_owned),
    };
    match (user, password, secret) {
        (Some(user), Some(password), None) => Ok(Some(Credentials { username: user.to_owned(), password })),
        (user, None, Some(secret)) => Ok(Some(minted(&secret, user.unwrap_or("load")))),
        (None, Some(_), None) => bail!("a password without its user: add --user"),
        (Some(_), None, None) => {
            bail!("--user without a password: add --password or --password-file, or --secret")
        }
        (None, None, None) => Ok(kept_secret(target).map(|secret| minted(&secret, "load"))),
        (_, Some(_), Some(_)) => bail!("give a password or a secret, not both"),
    }
}

/// The secret of `turnpike up`, which is most likely the server on this machine.
fn kept_secret(target: &Target) -> Option<String> {
    let path = StateDirectory::default_path().join("secret");
    (target.locality == Locality::ThisMachine).then(|| StateDirectory::read_secret(&path).ok())?
}

fn minted(secret: &str, user: &str) -> Credentials {
    let RestCredential { username, password, .. } =
        RestCredential::mint(secret, user, ':', unix_now(), Duration::from_secs(86_400));
    Credentials { username, password }
}

fn threads(arguments: &ArgMatches) -> anyhow::Result<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match arguments.get_one::<u16>("threads").copied().map(usize::from) {
        Some(threads) if threads > cores => bail!("--threads {threads}: this machine has {cores} cores"),
        Some(threads) => Ok(threads),
        // The other half is for a server on the same machine.
        None => Ok((cores / 2).clamp(1, 8)),
    }
}

fn streams(arguments: &ArgMatches, profile: Profile) -> anyhow::Result<Vec<Stream>> {
    let payload = arguments.get_one::<u16>("payload").copied().map(usize::from);
    let rate = arguments.get_one::<f64>("rate").copied();
    if payload.is_some() && !profile.has_media() {
        bail!("--payload is for profiles that carry media; {} does not", profile.name());
    }
    if profile == Profile::Mixed && (payload.is_some() || rate.is_some()) {
        bail!("--payload and --rate are for one stream, and mixed has two: use --profile audio or video");
    }
    if let Some(payload) = payload.filter(|payload| !(SHORTEST_PAYLOAD..=LONGEST_PAYLOAD).contains(payload)) {
        bail!("--payload {payload}: it takes {SHORTEST_PAYLOAD} to {LONGEST_PAYLOAD} bytes");
    }
    Ok(profile.streams().into_iter().map(|stream| stream.with(payload, rate)).collect())
}

fn script(
    arguments: &ArgMatches,
    profile: Profile,
    transport: Transport,
    threads: usize,
) -> anyhow::Result<(Script, Duration)> {
    let calls = arguments.get_one::<u32>("calls").copied();
    let given = match profile.has_media() {
        true => calls,
        false if calls.is_some() => {
            bail!(
                "--calls is for profiles with calls; {} takes --rate, in {}",
                profile.name(),
                profile.unit()
            )
        }
        false => arguments.get_one::<f64>("rate").map(|rate| (rate.round() as u32).clamp(1, MOST_LEVEL)),
    };
    let time = |name: &str| {
        text(arguments, name).map(parse_duration).transpose().with_context(|| format!("--{name}"))
    };
    let descriptors = |level: u64| match profile.has_media() {
        true => check_calls(level, transport, threads),
        false => Ok(()),
    };
    if arguments.get_flag("ramp") {
        let step = time("step")?.unwrap_or(Duration::from_secs(4));
        let most = match given {
            Some(level) => level,
            None if profile.has_media() => (1..=MOST_CALLS)
                .rev()
                .step_by(500)
                .find(|level| descriptors(u64::from(*level)).is_ok())
                .unwrap_or(1),
            None => MOST_LEVEL,
        };
        descriptors(u64::from(most))?;
        if step > LONGEST_STEP {
            bail!("--step: a step is measured for at most 10 minutes");
        }
        let interval = (step / 10).max(SHORTEST_INTERVAL);
        return Ok((Script::Ramp { first: profile.first_level().min(most), most, step }, interval));
    }
    if arguments.contains_id("step") {
        bail!("--step is for --ramp");
    }
    let hold = time("duration")?.unwrap_or(Duration::from_secs(30));
    let warm_up = time("warm-up")?.unwrap_or_else(|| (hold / 3).min(Duration::from_secs(10)));
    let level = given.unwrap_or_else(|| profile.usual_level());
    descriptors(u64::from(level))?;
    if let Some(long) = [hold, warm_up].into_iter().find(|time| *time > LONGEST_RUN) {
        bail!("{} s is too long: a run may warm up for a day, and measure for a day", long.as_secs());
    }
    // Fine enough to see what happens, and few enough to remember.
    let interval =
        (hold / 100).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL).max((hold + warm_up) / MOST_POINTS);
    Ok((Script::Hold { level, warm_up, hold }, interval))
}

/// Whether this process may open what so many calls need.
fn check_calls(calls: u64, transport: Transport, threads: usize) -> anyhow::Result<()> {
    let peers = calls / CALLS_A_PEER as u64 + threads as u64;
    check_descriptors(calls + peers, &format!("{} calls", count(calls)))?;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = range.split_whitespace().filter_map(|end| end.parse::<u64>().ok());
    let (low, high) = (ends.next().unwrap_or(32_768), ends.next().unwrap_or(60_999));
    let ports = high.saturating_sub(low);
    let needed = if transport.is_stream() { calls } else { calls + peers };
    if needed > ports {
        bail!(
            "{} calls need {} ports of one address, and the system hands out {} \
             (net.ipv4.ip_local_port_range = {low} {high})",
            count(calls),
            count(needed),
            count(ports)
        );
    }
    Ok(())
}

fn check_descriptors(sockets: u64, what: &str) -> anyhow::Result<()> {
    let limit = raise_descriptor_limit().context("the limit of open files cannot be read")?.now;
    let needed = sockets + SPARE_DESCRIPTORS;
    if needed > limit {
        bail!(
            "{what} need {} open files, and this process may have {}: raise the limit with ulimit -n",
            count(needed),
            count(limit)
        );
    }
    Ok(())
}

fn text<'a>(arguments: &'a ArgMatches, name: &str) -> Option<&'a str> {
    arguments.get_one::<String>(name).map(String::as_str)
}

/// The most calls of a run.
pub(super) const MOST_CALLS: u32 = 50_000;
/// The most cycles or requests a second.
pub(super) const MOST_LEVEL: u32 = 1_000_000;
/// Where systems keep the authorities that everybody believes.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
const SPARE_DESCRIPTORS: u64 = 64;
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
const LONGEST_RUN: Duration = Duration::from_secs(86_400);
const LONGEST_STEP: Duration = Duration::from_secs(600);
/// Intervals of a run that holds.
const MOST_POINTS: u32 = 600;
const LONGEST_INTERVAL: Duration = Duration::from_secs(5);
