//! What clients by TLS cost: the handshake, and memory while they are there.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};
use turnpike_wire::attributes::RequestedTransport;
use turnpike_wire::{Class, Message, MessageWriter, Method, TransactionId};

use crate::certificate::Certificate;
use crate::lab::{CLIENT_ADDRESSES, client_address};
use crate::memory::Memory;
use crate::rows::{Bench, Metric, Row, Sample, microseconds_each, other_work_percent};
use crate::server::{RunningServer, ServerCommand};
use crate::statistics::Better;

/// Full handshakes with an RSA-2048 certificate, and the clients that stay.
pub(super) const TLS: Row = Row {
    name: "tls",
    about: "400 clients by TLS 1.3 on one core, 16 at a time, RSA-2048 certificate, no resumption: the handshake; memory while idle; \
            memory with an allocation each, quiet for two seconds; and 400 idle clients by TCP",
    metrics: &[
        Metric {
            key: "handshake_us",
            title: "CPU per full TLS handshake, RSA-2048",
            unit: "µs",
            better: Better::Lower,
            decimals: 0,
        },
        memory("idle_kib", "resident memory per idle TLS client"),
        memory("allocated_kib", "resident memory per TLS client with an allocation"),
        memory("tcp_kib", "resident memory per idle TCP client"),
    ],
    compared: true,
    most_rounds: 3,
    full_checksums: false,
    measure,
};

const fn memory(key: &'static str, title: &'static str) -> Metric {
    Metric { key, title, unit: "KiB", better: Better::Lower, decimals: 1 }
}

pub(super) type TlsClient = StreamOwned<ClientConnection, TcpStream>;

fn measure(bench: &Bench, command: &ServerCommand) -> Result<Sample> {
    let count = if bench.quick { 100 } else { 400 };
    let certificate = Certificate::make(&bench.lab.directory)?;
    let server = RunningServer::start(&bench.lab, &command.over_tls(&certificate), 1, &bench.stop)?;
    let config = certificate.client()?;
    let connect = |count| connect(bench, server.address(), &config, count);
    // What a server makes once, it makes for these.
    let mut warm = connect(WARM)?;
    allocate(bench, &mut warm)?;
    let empty = settled(&server)?;
    let meter = server.meter(&bench.lab)?;
    let before = meter.read()?;
    let started = std::time::Instant::now();
    let mut clients = connect(count)?;
    let (spent, elapsed) = (meter.since(before)?, started.elapsed());
    let idle = settled(&server)?;
    allocate(bench, &mut clients)?;
    let allocated = settled(&server)?;
    let plain = connect_tcp(bench, server.address(), count)?;
    let tcp = settled(&server)?;
    drop((warm, clients, plain));
    let each = |before: u64, after: u64| (after as f64 - before as f64) / 1024.0 / count as f64;
    Ok(Sample::from([
        ("handshake_us", microseconds_each(spent.total(), count as u64)),
        ("idle_kib", each(empty, idle)),
        ("allocated_kib", each(empty, allocated)),
        ("tcp_kib", each(allocated, tcp)),
        ("other_work_percent", other_work_percent(spent, elapsed)),
    ]))
}

/// Resident bytes once a server has had time to give back what it does not need.
pub(super) fn settled(server: &RunningServer) -> Result<u64> {
    thread::sleep(SETTLE);
    Ok(Memory::of(server.process())?.resident)
}

/// Clients that have shaken hands, several at a time, so that no server has to be woken for each.
pub(super) fn connect(
    bench: &Bench,
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    count: usize,
) -> Result<Vec<TlsClient>> {
    let name = ServerName::try_from(Certificate::NAME)?;
    let mut sockets = connect_tcp(bench, address, count)?.into_iter();
    let mut clients: Vec<TlsClient> = Vec::with_capacity(count);
    while clients.len() < count {
        bench.stop.check()?;
        let begun = clients.len();
        for socket in sockets.by_ref().take(AT_ONCE) {
            let session = ClientConnection::new(config.clone(), name.clone())?;
            let mut client = StreamOwned::new(session, socket);
            client.conn.write_tls(&mut client.sock).context("the first words of TLS")?;
            clients.push(client);
        }
        for client in &mut clients[begun..] {
            while client.conn.is_handshaking() {
                client.conn.complete_io(&mut client.sock).context("the TLS handshake failed")?;
            }
        }
    }
    Ok(clients)
}

/// Connections, from all the clients' addresses in turn.
pub(super) fn connect_tcp(bench: &Bench, address: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    bench.lab.client.inside(|| {
        let sources = (0..CLIENT_ADDRESSES).map(client_address).cycle();
        let connected = sources.take(count).map(|source| {
            bench.stop.check()?;
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SocketAddr::new(source.into(), 0).into())?;
            socket.connect(&address.into()).context("connect by TCP")?;
            socket.set_tcp_nodelay(true)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(TcpStream::from(socket))
        });
        connected.collect()
    })
}

fn allocate(bench: &Bench, clients: &mut [TlsClient]) -> Result<()> {
    for (number, client) in clients.iter_mut().enumerate() {
        bench.stop.check()?;
        let (mut request, mut answer) = ([0; 64], [0; 1024]);
        let mut id = [0; 12];
        id[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let mut writer =
            MessageWriter::new(&mut request, Class::Request, Method::ALLOCATE, TransactionId(id));
        writer.add(&RequestedTransport::UDP);
        client.write_all(writer.finish()?)?;
        // One record holds the whole of so small an answer.
        let length = client.read(&mut answer)?;
        let message = Message::parse(&answer[..length]).context("no answer to Allocate over TLS")?;
        ensure!(message.class() == Class::Success, "Allocate over TLS was refused");
    }
    Ok(())
}

const WARM: usize = 50;
/// Handshakes under way.
const AT_ONCE: usize = 16;
const SETTLE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(10);
