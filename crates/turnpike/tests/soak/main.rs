//! Ten million hostile packets against the real server, while an innocent client goes on being served; and twelve
//! thousand clients that say nothing; and a hundred thousand users who move from database to database; and databases
//! that die, fall silent and answer after a minute; and a day of rotating credentials.
//!
//! `TURNPIKE_SEED` repeats a run's packets, `TURNPIKE_SOAK_PACKETS` makes it shorter or longer. A packet counts once
//! the server has read it: what the kernel dropped on the way is told apart, and made up for.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod attackers;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "../end_to_end/client.rs"]
mod client;
mod database_outages;
#[path = "../databases/mod.rs"]
mod databases;
mod flood;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "../end_to_end/harness.rs"]
mod harness;
mod hostile;
mod idle;
mod innocent;
mod migrate;
#[allow(dead_code, reason = "the tests of operations use the rest")]
#[path = "../outages/mod.rs"]
mod outages;
mod rotating;
mod server;
mod wire;

use std::time::{Duration, Instant};

use flood::Flood;
use hostile::LARGE_ONE_IN;
use innocent::Innocent;
use server::Server;

#[test]
#[ignore = "takes minutes: scripts/test soak"]
fn ten_million_hostile_packets_leave_the_server_answering_and_no_larger() {
    let seed = number("TURNPIKE_SEED").unwrap_or(1);
    let packets = number("TURNPIKE_SOAK_PACKETS").unwrap_or(10_000_000);
    println!("soak: {packets} packets, TURNPIKE_SEED={seed}");
    let server = Server::start();
    let before = server.vitals();
    let started = Instant::now();
    let innocent = Innocent::start(server.address());
    let mut flood = Flood::start(&server, seed, innocent.relayed());

    // The server takes the memory for its packets at start, but a page of it counts once a packet has touched it: at
    // first many packets are large, so that what is left to touch does not look like a leak later on.
    flood.large_one_in(30);
    let mut vitals = Vec::new();
    for tenth in 1..=10 {
        flood.run_until(packets / 10 * tenth);
        vitals.push(server.vitals());
        flood.large_one_in(LARGE_ONE_IN);
    }
    let (early, late) = (vitals[0], vitals[9]);
    let elapsed = started.elapsed();

    let served = innocent.stop();
    let flood = flood.stop();
    innocent::newcomer_is_served(server.address());
    let after = server.settled(&before);
    let log_bytes = server.log_bytes();
    let status = server.terminate();

    println!("soak: {flood}");
    println!("soak: {served}");
    println!(
        "soak: KiB of memory after each tenth: {:?}",
        vitals.iter().map(|it| it.memory).collect::<Vec<_>>()
    );
    println!(
        "soak: {} packets in {:.1} s; memory {} -> {} -> {} KiB, descriptors {} -> {} -> {}, threads {}, log {} KiB",
        flood.processed,
        elapsed.as_secs_f64(),
        before.memory,
        early.memory,
        late.memory,
        before.descriptors,
        late.descriptors,
        after.descriptors,
        after.threads,
        log_bytes >> 10,
    );
    assert!(flood.processed >= packets, "the server has read them all");
    assert!(served.round_trips > 0, "the innocent client was served");
    assert!(served.longest < MOST_PATIENCE, "nobody waits {:?} for an answer", served.longest);
    assert!(late.memory <= early.memory + MOST_GROWTH, "memory is stable");
    assert_eq!(after.descriptors, before.descriptors, "every relay socket was closed");
    assert_eq!(after.threads, before.threads, "no thread died");
    assert!(log_bytes < MOST_LOG, "strangers cannot fill the disk");
    assert!(status.success(), "SIGTERM ends the server in good order: {status}");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// An innocent client's longest wait for one answer, retransmissions included.
const MOST_PATIENCE: Duration = Duration::from_secs(5);
/// KiB between the first tenth and the end.
const MOST_GROWTH: u64 = 2048;
/// Bytes of log.
const MOST_LOG: u64 = 16 << 20;
