//! What receiving costs: processor time per datagram of [`Receiver`] on many sockets, on loopback.
//!
//! Run with `cargo run --release -p turnpike-net --example receive_cost`. "one" asks for a single message each time,
//! "paced" for up to 16 as a relay does. "plain" sockets tell no more than the sender.

use std::net::UdpSocket as StandardSocket;

use turnpike_net::{PacketPool, Receiver, UdpOptions, UdpSocket};

fn main() -> std::io::Result<()> {
    println!("{:<34}{:>8}{:>8}   (ns per datagram)", "", "one", "paced");
    for (name, packet_info) in [("plain", false), ("with packet information", true)] {
        for waiting in [1, 4, 16] {
            let [one, paced] = measure(packet_info, waiting)?;
            println!("{:<34}{one:>8}{paced:>8}", format!("{name}, {waiting} waiting"));
        }
    }
    Ok(())
}

/// Medians of several rounds.
fn measure(packet_info: bool, waiting: usize) -> std::io::Result<[u64; 2]> {
    let options = UdpOptions { packet_info, ..UdpOptions::default() };
    let local = "127.0.0.1:0".parse().map_err(std::io::Error::other)?;
    let sender = StandardSocket::bind("127.0.0.1:0")?;
    let sockets =
        (0..SOCKETS).map(|_| UdpSocket::bind(local, &options)).collect::<Result<Vec<UdpSocket>, _>>()?;
    let (mut receiver, mut pool) = (Receiver::new(64), PacketPool::new(256));
    let mut out = Vec::with_capacity(64);
    let mut rounds: [Vec<u64>; 2] = Default::default();
    for _ in 0..ROUNDS {
        for (way, limit) in [1, 16].into_iter().enumerate() {
            for socket in &sockets {
                for _ in 0..waiting {
                    sender.send_to(&[7; 164], socket.local_address())?;
                }
            }
            let start = processor_time();
            for socket in &sockets {
                let mut received = 0;
                while received < waiting {
                    if pool.free() < limit {
                        pool.clear();
                    }
                    out.clear();
                    received += receiver.receive(socket, limit, &mut pool, &mut out)?;
                }
            }
            rounds[way].push((processor_time() - start) / (SOCKETS * waiting) as u64);
        }
    }
    Ok(rounds.map(|mut round| {
        round.sort_unstable();
        round[round.len() / 2]
    }))
}

/// Nanoseconds of processor time of this thread, kernel included.
fn processor_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

const SOCKETS: usize = 1000;
const ROUNDS: usize = 21;
