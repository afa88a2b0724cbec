//! coturn's telnet console (`cli`): the same commands, and sessions printed in the same form, for scripts that read it.
//! What is done is done through [`Operations`], as on the control socket.
//!
//! Invariants: without a password there is no console (coturn once had one on every machine: CVE-2018-4058 and -4059);
//! guests are few, lines short, and whoever does not read is cut off; no worker waits for any of it.

mod commands;
mod line;
mod parameters;
mod sessions;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use turnpike_config::Console;

use self::commands::{Outcome, Session};
use self::line::Line;
use crate::operations::Operations;
use crate::passwords;

/// The console, where there is one: it is closed with this.
#[derive(Debug, Default)]
pub(crate) struct ConsoleHandle {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    listener: Option<TcpListener>,
    is_over: bool,
}

impl ConsoleHandle {
    /// Opens the console, if there is to be one. A server whose console cannot be had serves all the same.
    pub(crate) fn open(operations: &Arc<Operations>) -> Self {
        let handle = ConsoleHandle::default();
        let console = operations.rulebook.read(|parts| parts.settings.administration.console.clone());
        if !console.on {
            return handle;
        }
        let address = SocketAddr::new(console.ip, console.port);
        let listener = match TcpListener::bind(address) {
            Ok(listener) => Some(listener),
            // Such as the process that has handed over to this one.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => None,
            Err(error) => {
                operations.log.warning(&format!(
                    "no telnet console on {address}: {error}; choose another address with cli-ip and cli-port"
                ));
                return handle;
            }
        };
        match &listener {
            Some(_) => operations.log.info(&format!("Telnet console: {address}")),
            None => operations.log.warning(&format!(
                "no telnet console until {address} is free: another process listens there; see cli-ip and cli-port"
            )),
        }
        let (serving, state) = (operations.clone(), handle.state.clone());
        let begun = thread::Builder::new().name("console".into()).spawn(move || {
            let mut free = listener;
            loop {
                match free.take().map_or_else(|| TcpListener::bind(address), Ok) {
                    Ok(listener) => return serve(&listener, &state, &serving, &console),
                    Err(_) if lock(&state).is_over => return,
                    Err(_) => thread::sleep(RETRY),
                }
            }
        });
        if let Err(error) = begun {
            operations
                .log
                .warning(&format!("no telnet console, because the system gives no thread: {error}"));
        }
        handle
    }
}

impl Drop for ConsoleHandle {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.is_over = true;
        if let Some(listener) = state.listener.take() {
            // Whoever waits for guests wakes up by it.
            let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(listener: &TcpListener, state: &Mutex<State>, operations: &Arc<Operations>, console: &Console) {
    lock(state).listener = listener.try_clone().ok();
    let guests = Arc::new(AtomicUsize::new(0));
    while !lock(state).is_over {
        let Ok((stream, from)) = listener.accept() else {
            // Out of descriptors, most likely, which passes.
            thread::sleep(PAUSE);
            continue;
        };
        if guests.fetch_add(1, Ordering::Relaxed) >= MOST_GUESTS {
            guests.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (operations, console, talking) = (operations.clone(), console.clone(), guests.clone());
        let begun = thread::Builder::new().name("console guest".into()).spawn(move || {
            // Whatever is wrong with the connection, there is nobody to tell.
            let _ = converse(stream, from, &operations, &console);
            talking.fetch_sub(1, Ordering::Relaxed);
        });
        if begun.is_err() {
            guests.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn converse(
    stream: TcpStream,
    from: SocketAddr,
    operations: &Arc<Operations>,
    console: &Console,
) -> io::Result<()> {
    let mut line = Line::new(stream)?;
    line.say(concat!(
        "TURN Server\nTurnpike ",
        env!("CARGO_PKG_VERSION"),
        "\n\nType '?' for help\nEnter password: \n"
    ))?;
    let mut attempts = 0;
    loop {
        let Some(password) = line.hear()? else { return Ok(()) };
        if passwords::verify(console.password.expose(), &password) {
            break;
        }
        attempts += 1;
        operations.log.warning(&format!("Telnet console: wrong password from {from}"));
        // Nobody tries many in a short time.
        thread::sleep(PAUSE);
        if attempts == MOST_ATTEMPTS {
            return Ok(());
        }
        line.say("Enter password: \n")?;
    }
    operations.log.info(&format!("Telnet console: {from} has logged in"));
    let mut session = Session::new(operations.clone(), from, console.most_sessions);
    line.say("> ")?;
    while let Some(command) = line.hear()? {
        match session.obey(&command, &mut line)? {
            Outcome::Next => line.say("> ")?,
            Outcome::End => return line.say("Bye !\n"),
        }
    }
    Ok(())
}

/// Connections at once.
const MOST_GUESTS: usize = 8;
/// Passwords that may be tried by one.
const MOST_ATTEMPTS: u32 = 5;
/// After a wrong password.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two looks whether the address is free.
const RETRY: Duration = Duration::from_secs(1);
