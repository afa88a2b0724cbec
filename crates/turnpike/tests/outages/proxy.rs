//! A way to a database that can fall silent or slow, as networks and overloaded servers do.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Passes connections on to a port of this machine.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Whether bytes are taken and nothing is ever passed on.
    silent: AtomicBool,
    /// By how many milliseconds everything is late.
    late_by: AtomicU64,
    over: AtomicBool,
}

impl Proxy {
    pub(crate) fn start(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.over.load(Ordering::Relaxed) {
                    return;
                }
                // Whoever is not there is not there by way of here either.
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                for (from, to) in [(&client, &server), (&server, &client)] {
                    pass(from.try_clone().unwrap(), to.try_clone().unwrap(), shared.clone());
                }
            }
        });
        Proxy { port, state }
    }

    /// From now on connections are accepted and nothing is ever answered; those there are die without a word, and stay
    /// dead.
    pub(crate) fn fall_silent(&self) {
        self.state.silent.store(true, Ordering::Relaxed);
    }

    /// From now on everything comes so much later, both ways, and in order.
    #[allow(dead_code, reason = "only where a test may take minutes")]
    pub(crate) fn be_late(&self, by: Duration) {
        self.state.late_by.store(by.as_millis() as u64, Ordering::Relaxed);
    }

    /// From now on all is well, for new connections at least.
    pub(crate) fn recover(&self) {
        self.state.silent.store(false, Ordering::Relaxed);
        self.state.late_by.store(0, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

/// Passes bytes on in one direction.
fn pass(mut from: TcpStream, mut to: TcpStream, state: Arc<State>) {
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    let reading = state.clone();
    thread::spawn(move || {
        let mut room = [0; 16_384];
        let mut dead = false;
        while let Ok(length @ 1..) = from.read(&mut room) {
            dead |= reading.silent.load(Ordering::Relaxed);
            let due = Instant::now() + Duration::from_millis(reading.late_by.load(Ordering::Relaxed));
            if !dead && sender.send((due, room[..length].to_vec())).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        while let Ok((due, bytes)) = receiver.recv() {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
