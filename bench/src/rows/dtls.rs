//! What clients by DTLS cost: the handshake, and memory while they are there.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use turnpike_dtls::{ClientFiles, DtlsConnector, Exchange, Session, Unsealed};
use turnpike_wire::attributes::RequestedTransport;
use turnpike_wire::{Class, Message, MessageWriter, Method, TransactionId};

use crate::certificate::Certificate;
use crate::memory::Memory;
use crate::rows::{Bench, Metric, Row, Sample, microseconds_each, other_work_percent};
use crate::server::{RunningServer, ServerCommand};
use crate::statistics::Better;

/// Full handshakes with an RSA-2048 certificate, and the clients that stay.
pub(super) const DTLS: Row = Row {
    name: "dtls",
    about: "1000 clients by DTLS 1.2 on one core, RSA-2048 certificate, cookie exchange, no resumption: the handshake; \
            memory while idle; and memory with an allocation each, quiet for two seconds",
    metrics: &[
        Metric {
            key: "handshake_us",
            title: "CPU per full DTLS handshake, RSA-2048",
            unit: "µs",
            better: Better::Lower,
            decimals: 0,
        },
        memory("idle_kib", "resident memory per idle DTLS client"),
        memory("allocated_kib", "resident memory per DTLS client with an allocation"),
    ],
    compared: true,
    most_rounds: 3,
    full_checksums: false,
    measure,
};

const fn memory(key: &'static str, title: &'static str) -> Metric {
    Metric { key, title, unit: "KiB", better: Better::Lower, decimals: 1 }
}

fn measure(bench: &Bench, command: &ServerCommand) -> Result<Sample> {
    let count = if bench.quick { 100 } else { 1000 };
    let certificate = Certificate::make(&bench.lab.directory)?;
    let server = RunningServer::start(&bench.lab, &command.over_dtls(&certificate), 1, &bench.stop)?;
    let connect = |count| connect(bench, server.address(), count);
    // What a server makes once, it makes for these.
    let mut warm = connect(WARM)?;
    allocate(bench, &mut warm)?;
    let empty = settled(&server)?;
    let meter = server.meter(&bench.lab)?;
    let before = meter.read()?;
    let started = Instant::now();
    let mut clients = connect(count)?;
    let (spent, elapsed) = (meter.since(before)?, started.elapsed());
    let idle = settled(&server)?;
    allocate(bench, &mut clients)?;
    let allocated = settled(&server)?;
    drop((warm, clients));
    let each = |before: u64, after: u64| (after as f64 - before as f64) / 1024.0 / count as f64;
    Ok(Sample::from([
        ("handshake_us", microseconds_each(spent.total(), count as u64)),
        ("idle_kib", each(empty, idle)),
        ("allocated_kib", each(empty, allocated)),
        ("other_work_percent", other_work_percent(spent, elapsed)),
    ]))
}

/// Resident bytes once a server has had time to give back what it does not need.
fn settled(server: &RunningServer) -> Result<u64> {
    thread::sleep(SETTLE);
    Ok(Memory::of(server.process())?.resident)
}

struct DtlsClient {
    socket: UdpSocket,
    session: Session,
}

impl DtlsClient {
    /// Waits for a datagram and reads it; the message in it, if there is one.
    fn step(&mut self, exchange: &mut Exchange, room: &mut [u8]) -> Result<Option<usize>> {
        self.transmit(exchange)?;
        let length = self.socket.recv(room).context("no answer by DTLS")?;
        let datagram = room[..length].to_vec();
        self.session.handle_datagram(exchange, &datagram);
        let mut message = None;
        loop {
            match self.session.read(exchange, room) {
                Unsealed::Message(length) => message = Some(length),
                Unsealed::Established => {}
                Unsealed::Nothing => break,
                Unsealed::Closed | Unsealed::Failed => bail!("the DTLS association was ended"),
            }
        }
        self.transmit(exchange)?;
        Ok(message)
    }

    fn transmit(&self, exchange: &mut Exchange) -> Result<()> {
        for datagram in exchange.datagrams() {
            self.socket.send(datagram)?;
        }
        exchange.clear();
        Ok(())
    }
}

fn connect(bench: &Bench, address: SocketAddr, count: usize) -> Result<Vec<DtlsClient>> {
    let connector = DtlsConnector::new(&ClientFiles::default())?;
    let mut exchange = Exchange::default();
    let mut room = vec![0; ROOM];
    let sockets = bench.lab.client.inside(|| {
        let open = || -> std::io::Result<UdpSocket> {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(address)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        Ok((0..count).map(|_| open()).collect::<std::io::Result<Vec<_>>>()?)
    })?;
    let mut clients = Vec::with_capacity(count);
    for socket in sockets {
        bench.stop.check()?;
        let session = connector.begin(&mut exchange)?;
        let mut client = DtlsClient { socket, session };
        while !client.session.is_established() {
            client.step(&mut exchange, &mut room).context("the DTLS handshake failed")?;
        }
        clients.push(client);
    }
    Ok(clients)
}

fn allocate(bench: &Bench, clients: &mut [DtlsClient]) -> Result<()> {
    let mut exchange = Exchange::default();
    let mut room = vec![0; ROOM];
    for (number, client) in clients.iter_mut().enumerate() {
        bench.stop.check()?;
        let mut request = [0; 64];
        let mut id = [0; 12];
        id[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let mut writer =
            MessageWriter::new(&mut request, Class::Request, Method::ALLOCATE, TransactionId(id));
        writer.add(&RequestedTransport::UDP);
        let request = writer.finish()?.to_vec();
        ensure!(client.session.write(&mut exchange, [&request, &[], &[]]), "a request cannot be sealed");
        let length = loop {
            if let Some(length) = client.step(&mut exchange, &mut room)? {
                break length;
            }
        };
        let message = Message::parse(&room[..length]).context("no answer to Allocate over DTLS")?;
        ensure!(message.class() == Class::Success, "Allocate over DTLS was refused");
    }
    Ok(())
}

const WARM: usize = 50;
const SETTLE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(10);
/// More than any datagram or record.
const ROOM: usize = 1 << 16;
