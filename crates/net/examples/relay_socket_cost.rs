//! What a relay socket's options cost: processor time per datagram received and sent on, on loopback.
//!
//! Run with `cargo run --release -p turnpike-net --example relay_socket_cost`. Each datagram goes the way of a relay's:
//! received on one socket of many, and sent on from it with four bytes before it. "errors" queues ICMP errors,
//! "fields" also learns TOS and TTL of what is received, and "copied" sends it on with both set.

use std::net::UdpSocket as StandardSocket;

use turnpike_net::{
    Body, Datagram, Egress, IpFields, PacketPool, Received, Receiver, SocketId, Sockets, UdpOptions,
    UdpSocket,
};

fn main() -> std::io::Result<()> {
    println!(
        "{:<12}{:>10}{:>10}{:>10}{:>10}   (ns per datagram)",
        "waiting", "plain", "errors", "fields", "copied"
    );
    for waiting in [1, 4, 16] {
        let row = measure(waiting)?;
        println!("{waiting:<12}{:>10}{:>10}{:>10}{:>10}", row[0], row[1], row[2], row[3]);
    }
    Ok(())
}

/// Sockets that share their options.
struct Way {
    sockets: Sockets,
    ids: Vec<SocketId>,
    copies: bool,
}

impl Way {
    fn open(options: &UdpOptions, copies: bool) -> std::io::Result<Self> {
        let local = "127.0.0.1:0".parse().map_err(std::io::Error::other)?;
        let mut sockets = Sockets::default();
        let mut ids = Vec::with_capacity(SOCKETS);
        for _ in 0..SOCKETS {
            ids.push(sockets.insert(UdpSocket::bind(local, options)?));
        }
        Ok(Way { sockets, ids, copies })
    }
}

/// Medians of several rounds, the ways alternating.
fn measure(waiting: usize) -> std::io::Result<[u64; 4]> {
    let plain = UdpOptions::default();
    let errors = UdpOptions { receive_errors: true, ..UdpOptions::default() };
    let fields = UdpOptions { tos_and_ttl: true, ..errors.clone() };
    let ways = [
        Way::open(&plain, false)?,
        Way::open(&errors, false)?,
        Way::open(&fields, false)?,
        Way::open(&fields, true)?,
    ];
    let (sender, sink) = (StandardSocket::bind("127.0.0.1:0")?, StandardSocket::bind("127.0.0.1:0")?);
    let mut worker = Loop {
        receiver: Receiver::new(16),
        pool: PacketPool::new(256),
        egress: Egress::new(4096),
        out: Vec::with_capacity(64),
        to: sink.local_addr()?,
    };
    let mut rounds: [Vec<u64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        for (way, round) in ways.iter().zip(&mut rounds) {
            for socket in way.ids.iter().filter_map(|id| way.sockets.get(*id)) {
                for _ in 0..waiting {
                    sender.send_to(&[7; 164], socket.local_address())?;
                }
            }
            let start = processor_time();
            for id in &way.ids {
                worker.pass_on(way, *id, waiting)?;
            }
            worker.flush(way);
            round.push((processor_time() - start) / (SOCKETS * waiting) as u64);
        }
    }
    Ok(rounds.map(|mut round| {
        round.sort_unstable();
        round[round.len() / 2]
    }))
}

/// What a worker has.
struct Loop {
    receiver: Receiver,
    pool: PacketPool,
    egress: Egress,
    out: Vec<Received>,
    to: std::net::SocketAddr,
}

impl Loop {
    fn pass_on(&mut self, way: &Way, id: SocketId, waiting: usize) -> std::io::Result<()> {
        let Some(socket) = way.sockets.get(id) else { return Ok(()) };
        let mut received = 0;
        while received < waiting {
            if self.pool.free() < 16 {
                self.flush(way);
            }
            self.out.clear();
            received += self.receiver.receive(socket, 16, &mut self.pool, &mut self.out)?;
            for Received { span, tos, ttl, .. } in &self.out {
                let datagram = Datagram {
                    socket: id,
                    to: self.to,
                    source: None,
                    head: &HEAD,
                    body: Body::Received(*span),
                    tail: &[],
                    dont_fragment: false,
                };
                let ip = match way.copies {
                    true => IpFields { tos: Some(*tos), ttl: Some(ttl.saturating_sub(1).max(1)) },
                    false => IpFields::default(),
                };
                self.egress.push_with(&datagram, ip);
            }
        }
        Ok(())
    }

    fn flush(&mut self, way: &Way) {
        self.egress.flush(&way.sockets, &self.pool);
        self.pool.clear();
    }
}

/// Nanoseconds of processor time of this thread, kernel included.
fn processor_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

const HEAD: [u8; 4] = [0x40, 0x00, 0x00, 0xA4];
const SOCKETS: usize = 200;
const ROUNDS: usize = 101;
