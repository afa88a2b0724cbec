//! Very many clients that say nothing: connections held at once by one process, and what they cost it.

use std::io::{Read, Write};

use anyhow::{Context, Result, ensure};
use turnpike_wire::{Class, Message, MessageWriter, Method, TransactionId};

use crate::certificate::Certificate;
use crate::rows::tls::{connect, connect_tcp, settled};
use crate::rows::{Bench, Metric, Row, Sample};
use crate::server::{RunningServer, ServerCommand};
use crate::statistics::Better;

/// Ten thousand by TCP and two thousand by TLS; at the end each of them is answered.
pub(super) const IDLE: Row = Row {
    name: "idle",
    about: "10,000 clients by TCP and 2,000 by TLS, idle at once on one process; at the end each asks for its address",
    metrics: &[
        Metric {
            key: "connections",
            title: "idle connections held at once, and then answered",
            unit: "",
            better: Better::Higher,
            decimals: 0,
        },
        Metric {
            key: "resident_mib",
            title: "resident memory for 10,000 TCP and 2,000 TLS clients",
            unit: "MiB",
            better: Better::Lower,
            decimals: 0,
        },
    ],
    compared: true,
    most_rounds: 2,
    full_checksums: false,
    measure,
};

fn measure(bench: &Bench, command: &ServerCommand) -> Result<Sample> {
    let (by_tcp, by_tls) = if bench.quick { (1000, 200) } else { (10_000, 2000) };
    let certificate = Certificate::make(&bench.lab.directory)?;
    let server = RunningServer::start(&bench.lab, &command.over_tls(&certificate), 1, &bench.stop)?;
    let config = certificate.client()?;
    let empty = settled(&server)?;
    let mut plain = connect_tcp(bench, server.address(), by_tcp)?;
    let mut secure = connect(bench, server.address(), &config, by_tls)?;
    let full = settled(&server)?;
    let mut answered = 0;
    for (number, client) in plain.iter_mut().enumerate() {
        bench.stop.check()?;
        answered += u32::from(is_answered(client, number).is_ok());
    }
    for (number, client) in secure.iter_mut().enumerate() {
        bench.stop.check()?;
        answered += u32::from(is_answered(client, number).is_ok());
    }
    Ok(Sample::from([
        ("connections", f64::from(answered)),
        ("resident_mib", (full as f64 - empty as f64) / 1024.0 / 1024.0),
    ]))
}

fn is_answered(client: &mut (impl Read + Write), number: usize) -> Result<()> {
    let (mut request, mut answer) = ([0; 20], [0; 1024]);
    let mut id = [0; 12];
    id[..8].copy_from_slice(&(number as u64).to_be_bytes());
    MessageWriter::new(&mut request, Class::Request, Method::BINDING, TransactionId(id)).finish()?;
    client.write_all(&request)?;
    let length = client.read(&mut answer)?;
    let message = Message::parse(&answer[..length]).context("no answer to a Binding request")?;
    ensure!(message.class() == Class::Success && message.transaction_id().0 == id);
    Ok(())
}
