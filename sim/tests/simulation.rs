//! Many seeds, each a small world; see docs/testing.md.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use turnpike_sim::simulation::{Summary, run};

#[test]
fn the_core_and_the_model_agree_in_every_world() {
    if let Some(seed) = number("TURNPIKE_SIM_SEED") {
        let summary = attempt(seed, true).unwrap_or_else(|failure| panic!("{failure}"));
        println!("{summary:#?}");
        return;
    }
    let seeds = number("TURNPIKE_SIM_SEEDS").unwrap_or(SEEDS);
    let actions = run_all(seeds);
    for expected in COMMON.iter().filter(|_| seeds >= SEEDS) {
        assert!(actions.contains_key(*expected), "no world has seen `{expected}`: {actions:#?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_twice() {
    for seed in 0..8 {
        let [first, second] = [run(seed, 1000, false), run(seed, 1000, false)];
        assert_eq!(first, second);
    }
    assert_ne!(run(1, 1000, false).map(|it| it.trace_hash), run(2, 1000, false).map(|it| it.trace_hash));
}

/// Runs seeds 0 to `seeds` on all processors, and adds up what was seen.
fn run_all(seeds: u64) -> BTreeMap<String, u64> {
    let (next, failure) = (AtomicU64::new(0), Mutex::new(None));
    let (inputs, total) = (AtomicU64::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        while failure.lock().unwrap().is_none() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            match attempt(seed, false) {
                Err(found) => *failure.lock().unwrap() = Some(found),
                Ok(summary) => {
                    inputs.fetch_add(summary.inputs, Ordering::Relaxed);
                    let mut total = total.lock().unwrap();
                    for (action, count) in summary.actions {
                        *total.entry(action).or_insert(0) += count;
                    }
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    if let Some(failure) = failure.into_inner().unwrap() {
        panic!("{failure}");
    }
    println!("{seeds} worlds, {} inputs", inputs.into_inner());
    total.into_inner().unwrap()
}

fn attempt(seed: u64, printed: bool) -> Result<Summary, String> {
    let inputs = number("TURNPIKE_SIM_INPUTS").unwrap_or(INPUTS);
    let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, inputs, printed)));
    let outcome = outcome.unwrap_or_else(|_| Err("panicked, see above".into()));
    outcome.map_err(|failure| {
        format!("seed {seed}: {failure}\n\nreplay: TURNPIKE_SIM_SEED={seed} cargo test -p turnpike-sim -- --nocapture")
    })
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {value:?}")))
}

/// Worlds in an ordinary run.
const SEEDS: u64 = 256;
/// Inputs each world sees before it ends.
const INPUTS: u64 = 3000;

/// What an ordinary run must have seen, or it proves nothing.
const COMMON: &[&str] = &[
    "success",
    "waiting",
    "granted: sha256",
    "granted: md5 by choice",
    "granted: userhash",
    "to a peer",
    "client packet in the kernel",
    "peer packet in the kernel",
    "to a client by a channel",
    "to a client by an indication",
    "to a client by an ICMP error",
    "a message over a stream",
    "ChannelData over a stream",
    "a connection broke",
    "two relayed addresses",
    "one of two relayed addresses ended",
    "moved",
    "moved between workers",
    "passed on",
    "error 400",
    "error 401",
    "error 403",
    "error 405",
    "error 420",
    "error 437",
    "error 438",
    "error 440",
    "error 441",
    "error 442",
    "error 443",
    "error 446",
    "error 447",
    "error 486",
    "error 508",
    "connecting to a peer",
    "a peer's connection announced",
    "spliced",
    "handed over",
    "dropped: other_relay_transport",
    "dropped: connection_exists",
    "dropped: too_many_connections",
    "dropped: empty",
    "dropped: not_stun",
    "dropped: malformed",
    "dropped: no_magic_cookie",
    "dropped: wrong_fingerprint",
    "dropped: unexpected_response",
    "dropped: unknown_method",
    "dropped: unknown_attribute",
    "dropped: keep_alive",
    "dropped: switched_off",
    "dropped: bad_channel_data",
    "dropped: no_allocation",
    "dropped: no_channel",
    "dropped: no_permission",
    "dropped: bad_send",
    "dropped: wrong_family",
    "dropped: own_address",
    "dropped: stale_relay",
    "dropped: disconnected",
    "dropped: untold_icmp",
    "dropped: in_progress",
    "dropped: rate_limited",
    "dropped: too_large",
];
