//! What sending costs: processor time per datagram of [`Egress`] beside plain `sendto`, on loopback.
//!
//! Run with `cargo run --release -p turnpike-net --example egress_cost`. The sinks are never read, so what the
//! kernel does for a receiver is the same dropped datagram in every row. "queue only" is the part in this process:
//! the sockets are closed, so that no syscall is made.

use std::net::{SocketAddr, UdpSocket as StandardSocket};

use turnpike_net::{
    Body, Datagram, Egress, PacketPool, Received, Receiver, SocketId, Sockets, UdpOptions, UdpSocket,
};

fn main() -> std::io::Result<()> {
    let audio = Shape { name: "audio, a socket each", sockets: 1000, destinations: 1, burst: 1, size: 160 };
    let shared = Shape { name: "audio, one socket", sockets: 1, destinations: 1000, burst: 1, size: 160 };
    let video = Shape { name: "video, a socket each", sockets: 100, destinations: 1, burst: 8, size: 1200 };
    let talk = Shape { name: "video, one socket", sockets: 1, destinations: 100, burst: 8, size: 1200 };
    println!("{:<24}{:>12}{:>12}{:>12}   (ns per datagram)", "", "sendto", "egress", "queue only");
    for shape in [audio, shared, video, talk] {
        let row = measure(&shape)?;
        println!("{:<24}{:>12.0}{:>12.0}{:>12.1}", shape.name, row[0], row[1], row[2]);
    }
    Ok(())
}

/// What is sent in one turn of the loop.
struct Shape {
    name: &'static str,
    sockets: usize,
    destinations: usize,
    burst: usize,
    size: usize,
}

/// Medians of several rounds, the ways alternating: `sendto`, egress, egress without sockets.
fn measure(shape: &Shape) -> std::io::Result<[f64; 3]> {
    let sink = StandardSocket::bind("127.0.0.1:0")?;
    let ports = shape.destinations.min(64);
    let sinks = (0..ports).map(|_| StandardSocket::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    let local = "127.0.0.1:0".parse().map_err(std::io::Error::other)?;
    let mut sockets = Sockets::default();
    let mut ids = Vec::new();
    let mut plain = Vec::new();
    for _ in 0..shape.sockets {
        ids.push(sockets.insert(UdpSocket::bind(local, &UdpOptions::default())?));
        plain.push(StandardSocket::bind("127.0.0.1:0")?);
    }
    let targets: Vec<SocketAddr> =
        (0..shape.destinations).map(|index| sinks[index % ports].local_addr()).collect::<Result<_, _>>()?;
    let (pool, received) = one_received(&sink, shape.size)?;
    let turn = Turn { shape, targets: &targets, received };
    let none = Sockets::default();
    let mut egress = Egress::new(4096);
    let mut rounds: [Vec<f64>; 3] = Default::default();
    let per_turn = (shape.sockets * shape.destinations * shape.burst) as f64;
    for _ in 0..ROUNDS {
        let start = processor_time();
        for _ in 0..TURNS {
            turn.send_plainly(&plain, pool.bytes(received.span))?;
        }
        rounds[0].push((processor_time() - start) as f64 / per_turn / TURNS as f64);
        for (row, sockets) in [(1, &sockets), (2, &none)] {
            let start = processor_time();
            for _ in 0..TURNS {
                turn.queue(&ids, &mut egress);
                egress.flush(sockets, &pool);
            }
            rounds[row].push((processor_time() - start) as f64 / per_turn / TURNS as f64);
        }
    }
    Ok(rounds.map(|mut round| {
        round.sort_by(f64::total_cmp);
        round[round.len() / 2]
    }))
}

struct Turn<'t> {
    shape: &'t Shape,
    targets: &'t [SocketAddr],
    received: Received,
}

impl Turn<'_> {
    /// Copies head and body together, as a simple relay does, and sends at once.
    fn send_plainly(&self, sockets: &[StandardSocket], body: &[u8]) -> std::io::Result<()> {
        let mut bytes = [0; 1500];
        for socket in sockets {
            for target in self.targets {
                for _ in 0..self.shape.burst {
                    bytes[..4].copy_from_slice(&HEAD);
                    bytes[4..4 + body.len()].copy_from_slice(body);
                    socket.send_to(&bytes[..4 + body.len()], target)?;
                }
            }
        }
        Ok(())
    }

    fn queue(&self, ids: &[SocketId], egress: &mut Egress) {
        for socket in ids {
            for to in self.targets {
                for _ in 0..self.shape.burst {
                    egress.push(&Datagram {
                        socket: *socket,
                        to: *to,
                        source: None,
                        head: &HEAD,
                        body: Body::Received(self.received.span),
                        tail: &[],
                        dont_fragment: false,
                    });
                }
            }
        }
    }
}

/// A pool with one received datagram.
fn one_received(from: &StandardSocket, size: usize) -> std::io::Result<(PacketPool, Received)> {
    let local = "127.0.0.1:0".parse().map_err(std::io::Error::other)?;
    let socket = UdpSocket::bind(local, &UdpOptions::default())?;
    from.send_to(&vec![7; size], socket.local_address())?;
    let (mut pool, mut out) = (PacketPool::new(1), Vec::new());
    Receiver::new(1).receive(&socket, 1, &mut pool, &mut out)?;
    Ok((pool, out[0]))
}

/// Nanoseconds of processor time of this thread, kernel included.
fn processor_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

const HEAD: [u8; 4] = [0x40, 0x00, 0x00, 0xA0];
const ROUNDS: usize = 15;
const TURNS: usize = 30;
