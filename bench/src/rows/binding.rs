//! Binding requests: the STUN server's bread and butter.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use turnpike_wire::attributes::XorMappedAddress;
use turnpike_wire::{Class, HEADER_LENGTH, Message, MessageWriter, Method, TransactionId};

use crate::rows::{Bench, Metric, Row, Sample, generator_limited, microseconds_each, other_work_percent};
use crate::server::{RunningServer, ServerCommand};
use crate::statistics::Better;
use crate::stop::Stop;
use crate::syscalls::{Epoll, Inbox, send_batch};

/// Binding requests a second, and the cost of each.
pub(super) const BINDING: Row = Row {
    name: "binding",
    about: "32 clients, each with 16 Binding requests under way, as fast as the server answers",
    metrics: &[
        Metric {
            key: "answers_per_second",
            title: "Binding requests answered",
            unit: "requests/s",
            better: Better::Higher,
            decimals: 0,
        },
        Metric {
            key: "cpu_us_per_answer",
            title: "CPU per Binding request",
            unit: "µs",
            better: Better::Lower,
            decimals: 2,
        },
    ],
    compared: true,
    most_rounds: usize::MAX,
    full_checksums: false,
    measure,
};

fn measure(bench: &Bench, command: &ServerCommand) -> Result<Sample> {
    let server = RunningServer::start(&bench.lab, command, 1, &bench.stop)?;
    let mut askers = Askers::open(bench, server.address())?;
    askers.ask_for(Duration::from_millis(200), &bench.stop)?;
    let meter = server.meter(&bench.lab)?;
    let before = meter.read()?;
    let begun = Instant::now();
    let asked = askers.ask_for(bench.load_duration(), &bench.stop)?;
    let elapsed = begun.elapsed();
    let spent = meter.since(before)?;
    ensure!(asked.answers > 0, "no Binding request was answered");
    Ok(Sample::from([
        ("answers_per_second", asked.answers as f64 / elapsed.as_secs_f64()),
        ("cpu_us_per_answer", microseconds_each(spent.total(), asked.answers)),
        ("threads_us_per_answer", microseconds_each(spent.threads, asked.answers)),
        ("bad_answers", asked.bad as f64),
        ("lost_percent", 100.0 * (1.0 - asked.answers as f64 / asked.requests.max(1) as f64)),
        ("server_core_percent", 100.0 * spent.total().as_secs_f64() / elapsed.as_secs_f64()),
        ("generator_limited", generator_limited(spent, elapsed)),
        ("other_work_percent", other_work_percent(spent, elapsed)),
    ]))
}

#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    requests: u64,
    answers: u64,
    /// Answers that are no success, do not belong to this socket, or tell a wrong address.
    bad: u64,
}

struct Askers {
    askers: Vec<Asker>,
    epoll: Epoll,
    inbox: Inbox,
}

struct Asker {
    socket: UdpSocket,
    address: SocketAddr,
    /// The next requests, back to back.
    requests: [u8; HEADER_LENGTH * AT_ONCE],
    number: u64,
    under_way: usize,
    last_answer: Instant,
}

impl Askers {
    fn open(bench: &Bench, server: SocketAddr) -> Result<Self> {
        let epoll = Epoll::new()?;
        let askers = bench.lab.client.inside(|| {
            (0..ASKERS)
                .map(|asker| {
                    let socket = UdpSocket::bind("0.0.0.0:0")?;
                    socket.connect(server)?;
                    socket.set_nonblocking(true)?;
                    epoll.add(&socket, asker)?;
                    Ok(Asker {
                        address: socket.local_addr()?,
                        socket,
                        requests: [0; HEADER_LENGTH * AT_ONCE],
                        number: 0,
                        under_way: 0,
                        last_answer: Instant::now(),
                    })
                })
                .collect::<Result<Vec<_>>>()
        })?;
        Ok(Askers { askers, epoll, inbox: Inbox::new() })
    }

    /// Keeps every asker's requests under way for so long, then waits for the last answers.
    fn ask_for(&mut self, duration: Duration, stop: &Stop) -> Result<Asked> {
        let mut asked = Asked::default();
        let begun = Instant::now();
        let mut checked = begun;
        for (index, asker) in self.askers.iter_mut().enumerate() {
            asker.under_way = 0;
            asked.requests += asker.ask(index, AT_ONCE)?;
        }
        while begun.elapsed() < duration {
            for token in self.epoll.wait(PATIENCE)? {
                let asker = &mut self.askers[token as usize];
                asker.listen(token as usize, &mut self.inbox, &mut asked)?;
                // Half a window at a time, or every request would be a system call of its own.
                if asker.under_way <= AT_ONCE / 2 {
                    asked.requests += asker.ask(token as usize, AT_ONCE - asker.under_way)?;
                }
            }
            if checked.elapsed() > PATIENCE {
                stop.check()?;
                checked = Instant::now();
                for (index, asker) in self.askers.iter_mut().enumerate() {
                    asked.requests += asker.give_up_on_lost(index)?;
                }
            }
        }
        let finished = Instant::now();
        while asked.answers + asked.bad < asked.requests && finished.elapsed() < PATIENCE {
            for token in self.epoll.wait(PATIENCE / 4)? {
                self.askers[token as usize].listen(token as usize, &mut self.inbox, &mut asked)?;
            }
        }
        Ok(asked)
    }
}

impl Asker {
    fn ask(&mut self, index: usize, count: usize) -> Result<u64> {
        for request in self.requests.chunks_mut(HEADER_LENGTH).take(count) {
            self.number += 1;
            let mut id = [0; 12];
            id[..4].copy_from_slice(&(index as u32).to_be_bytes());
            id[4..].copy_from_slice(&self.number.to_be_bytes());
            MessageWriter::new(request, Class::Request, Method::BINDING, TransactionId(id)).finish()?;
        }
        let bytes = &self.requests[..HEADER_LENGTH * count];
        let sent = send_batch(&self.socket, bytes, HEADER_LENGTH).context("ask: did the server end?")?;
        self.under_way += sent;
        Ok(sent as u64)
    }

    fn listen(&mut self, index: usize, inbox: &mut Inbox, asked: &mut Asked) -> Result<()> {
        let Asker { address, number, .. } = *self;
        let before = asked.answers + asked.bad;
        inbox.receive(&self.socket, |bytes, _| {
            if answers(bytes, index, number, address) {
                asked.answers += 1;
            } else {
                asked.bad += 1;
            }
        })?;
        let came = (asked.answers + asked.bad - before) as usize;
        self.under_way = self.under_way.saturating_sub(came);
        if came > 0 {
            self.last_answer = Instant::now();
        }
        Ok(())
    }

    /// Starts a new window when nothing was answered for long.
    fn give_up_on_lost(&mut self, index: usize) -> Result<u64> {
        if self.last_answer.elapsed() < PATIENCE {
            return Ok(0);
        }
        self.under_way = 0;
        self.last_answer = Instant::now();
        self.ask(index, AT_ONCE)
    }
}

/// Whether this is a success response to a request of this asker, with its true address.
fn answers(bytes: &[u8], index: usize, newest: u64, address: SocketAddr) -> bool {
    let Ok(message) = Message::parse(bytes) else { return false };
    let TransactionId(id) = message.transaction_id();
    let asker = u32::from_be_bytes([id[0], id[1], id[2], id[3]]);
    let number = id[4..].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    message.class() == Class::Success
        && message.method() == Method::BINDING
        && asker as usize == index
        && number <= newest
        && message.get() == Ok(Some(XorMappedAddress(address)))
}

const ASKERS: u64 = 32;
/// Requests of one asker under way.
const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_success_with_the_right_address_is_an_answer() {
        let address: SocketAddr = "10.0.0.1:4000".parse().unwrap();
        let mut id = [0; 12];
        id[3] = 5;
        id[11] = 9;
        let mut buffer = [0; 64];
        let mut writer = MessageWriter::new(&mut buffer, Class::Success, Method::BINDING, TransactionId(id));
        writer.add(&XorMappedAddress(address));
        let bytes = writer.finish().unwrap();
        assert!(answers(bytes, 5, 9, address));
        assert!(!answers(bytes, 4, 9, address));
        assert!(!answers(bytes, 5, 8, address));
        assert!(!answers(bytes, 5, 9, "10.0.0.1:4001".parse().unwrap()));
        assert!(!answers(&bytes[..20], 5, 9, address));
    }
}
