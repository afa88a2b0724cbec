//! The modes of `-Y` that relay nothing: allocating over and over, and invalid traffic.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::malformed;
use super::sessions::{Sessions, TIMER_TICK};
use super::settings::Settings;
use super::summary::{percentage, whole_seconds};
use crate::randomness::Dice;
use crate::tools::output::info;

/// Rounds of allocating with fresh sockets and giving all back, until each session had its `-n` allocations.
pub(super) fn allocate_over_and_over(settings: Settings) -> Result<()> {
    let began = Instant::now();
    let mut total = 0u64;
    let mut reported = began;
    let mut round = 0u64;
    while settings.messages.is_none_or(|rounds| round < rounds) {
        let mut sessions = Sessions::open(settings.clone())?;
        sessions.allocate_all()?;
        total += sessions.all.len() as u64;
        sessions.delete_all()?;
        round += 1;
        if reported.elapsed() >= Duration::from_secs(1) {
            reported = Instant::now();
            let rate = total as f64 / began.elapsed().as_secs_f64();
            info!("start_allocation_flood: allocations={total}, allocations per second={rate:.6}");
        }
    }
    info!("start_allocation_flood: total_allocations={total}");
    info!("Total allocation flood time is {}", whole_seconds(began.elapsed()));
    Ok(())
}

/// Malformed messages from all sessions in turn, `-z` apart, until each sent its `-n`.
pub(super) fn send_invalid(settings: Settings) -> Result<()> {
    let (rounds, interval) = (settings.messages, settings.interval);
    let mut sessions = Sessions::open(settings)?;
    let mut dice = Dice::new()?;
    let mut message = vec![0; malformed::LARGEST];
    let (mut sent, mut dropped, mut reported) = (0u64, 0u64, Totals::default());
    let mut last_report = sessions.now();
    let mut round = 0;
    while rounds.is_none_or(|rounds| round < rounds) {
        let deadline = sessions.now() + PATIENCE;
        while sessions.is_sending() && sessions.now() < deadline {
            sessions.turn(TIMER_TICK)?;
        }
        for number in 0..sessions.all.len() {
            // A server closes a connection that it cannot follow any further.
            if sessions.all[number].transport.has_ended() {
                sessions.reopen(number, sessions.settings.server, None)?;
            }
            let length = malformed::write(&mut dice, &mut message);
            match sessions.all[number].transport.send(&message[..length]) {
                true => sent += 1,
                false => dropped += 1,
            }
        }
        round += 1;
        sessions.turn(interval)?;
        let elapsed = sessions.now().saturating_sub(last_report);
        if elapsed >= Duration::from_secs(1) {
            let received = sessions.discarded;
            let pps = |now: u64, then: u64| (now - then) as f64 / elapsed.as_secs_f64();
            info!(
                "send_invalid: send_pps={:.6}, recv_pps={:.6}, total_sent={sent}, total_recv={received}",
                pps(sent, reported.sent),
                pps(received, reported.received),
            );
            reported = Totals { sent, received };
            last_report = sessions.now();
        }
    }
    info!("send_invalid: total_sent={sent}, total_recv={}", sessions.discarded);
    info!("Total send dropped {dropped} ({:.6}%)", percentage(dropped, sent + dropped));
    Ok(())
}

/// How long a round waits for connections that do not take what the last one sent.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the last line said.
#[derive(Default)]
struct Totals {
    sent: u64,
    received: u64,
}
