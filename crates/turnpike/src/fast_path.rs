//! The kernel fast path at start: asked for, opened, told.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use turnpike_config::Config;
use turnpike_control::Log;
use turnpike_xdp::{FastPath, Heirloom, Mode, Options, Outcomes, Unavailable, give_up_capabilities};

use crate::addresses::Addresses;

/// Opens the fast path that was asked for, and says in a line what came of it. Without it the server relays everything
/// itself, as it does whatever the kernel leaves to it.
///
/// What the process before this one has in the kernel goes on running there, if it is the same program.
pub(crate) fn open(
    log: &Arc<Log>,
    config: &Config,
    addresses: &Addresses,
    inherited: Option<Heirloom>,
) -> Option<FastPath> {
    let mode = mode(config);
    let taken_over = inherited.filter(|_| mode != Mode::Off).and_then(|heirloom| {
        let taken = FastPath::inherit(&options(config, addresses), heirloom);
        taken.inspect_err(|error| log.info(&format!("Kernel fast path: begun anew: {error}"))).ok()
    });
    match taken_over.map_or_else(|| try_to_open(mode, config, addresses), Ok) {
        Ok(fast_path) => {
            log.info(&format!("Kernel fast path: {}", fast_path.description()));
            if let Err(error) = give_up_capabilities() {
                log.warning(&format!(
                    "capabilities that are not needed any more could not be given up: {error}"
                ));
            }
            if let Err(error) = watch(&fast_path, log.clone()) {
                log.warning(&format!("Kernel fast path: {NO_NEWS}: {error}"));
            }
            Some(fast_path)
        }
        Err(Unavailable::Off) => {
            log.info("Kernel fast path: off");
            None
        }
        Err(error) => {
            log.warning(&format!("Kernel fast path: off, though fast-path={mode} asks for it: {error}"));
            None
        }
    }
}

fn try_to_open(mode: Mode, config: &Config, addresses: &Addresses) -> Result<FastPath, Unavailable> {
    let bound = [("relay-device", &config.relay_device), ("listening-device", &config.listening_device)];
    if let (true, Some((name, _))) = (mode != Mode::Off, bound.iter().find(|(_, device)| device.is_some())) {
        // The program sends where the routing table says, and so around what a socket is bound to.
        return Err(Unavailable::Refused {
            what: (*name).to_owned(),
            why: "it overrides the routing table".to_owned(),
        });
    }
    FastPath::open(&options(config, addresses))
}

fn options(config: &Config, addresses: &Addresses) -> Options {
    Options {
        mode: mode(config),
        interfaces: config.fast_path.interfaces.clone(),
        listeners: addresses.listening.clone(),
        relayed_ports: config.min_port..=config.max_port,
        flows: FLOWS,
    }
}

fn mode(config: &Config) -> Mode {
    match config.fast_path.place {
        turnpike_config::FastPath::Auto => Mode::Auto,
        turnpike_config::FastPath::Xdp => Mode::Xdp,
        turnpike_config::FastPath::Tc => Mode::Tc,
        turnpike_config::FastPath::Off => Mode::Off,
    }
}

/// What the process after this one needs of it, if it can be had.
pub(crate) fn heirloom(log: &Log, fast_path: &FastPath) -> Option<Heirloom> {
    let heirloom = fast_path.heirloom();
    let tell = |error: &Unavailable| {
        log.info(&format!("Kernel fast path: an upgrade will begin it anew: {error}"));
    };
    heirloom.inspect_err(tell).ok()
}

/// Has a program that was taken over look at the ports of this process, which serves now.
pub(crate) fn settle(log: &Log, fast_path: &mut FastPath, config: &Config, addresses: &Addresses) {
    if let Err(error) = fast_path.settle(&options(config, addresses)) {
        log.warning(&format!("Kernel fast path: it looks at the ports of before: {error}"));
    }
}

/// Keeps the program up with routes, neighbours and interfaces, until the process ends.
fn watch(fast_path: &FastPath, log: Arc<Log>) -> anyhow::Result<()> {
    let mut watcher = fast_path.watcher()?;
    thread::Builder::new().name("fast-path".into()).spawn(move || {
        loop {
            match watcher.wait() {
                Ok(late) => late.iter().for_each(|name| {
                    log.info(&format!(
                        "Kernel fast path: {name} is new; the server relays what comes by it, until it is started again"
                    ));
                }),
                Err(error) => return log.warning(&format!("Kernel fast path: {NO_NEWS}: {error}")),
            }
            thread::sleep(PAUSE);
        }
    })?;
    Ok(())
}

/// Says at the end how much of what came to the server's ports the kernel relayed, and why not the rest.
pub(crate) fn tell_outcomes(log: &Log, fast_path: &FastPath) {
    let Outcomes {
        forwarded,
        lost,
        no_flow,
        expired,
        refresh,
        padded,
        no_checksum,
        no_route,
        too_large,
        no_room,
        wrong_interface,
        over_limit,
    } = fast_path.outcomes();
    log.info(&format!(
        "Kernel fast path: relayed {forwarded} packets and lost {lost}; left to the server: no_flow={no_flow}, \
         expired={expired}, refresh={refresh}, padded={padded}, no_checksum={no_checksum}, no_route={no_route}, too_large={too_large}, \
         no_room={no_room}, wrong_interface={wrong_interface}, over_limit={over_limit}"
    ));
}

const NO_NEWS: &str =
    "changes of routes and neighbours are noticed after a second only, and those of interfaces not at all";
/// Between taking in changes, so that many of them are little work.
const PAUSE: Duration = Duration::from_millis(100);
/// Bound channels in the kernel at once; what comes on top is relayed by the server.
const FLOWS: u32 = 65_536;
