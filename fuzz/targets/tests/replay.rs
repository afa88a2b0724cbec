//! Seeds, and seeded damage to them, through every fuzz target, without libFuzzer.
//!
//! `TURNPIKE_SEED` chooses the damage; a failure prints what is needed to repeat it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use turnpike_fuzz_targets::{Random, TARGETS, Target, mutate};

fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let seed = std::env::var("TURNPIKE_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let mut random = Random::new(seed);
    let seeds: Vec<Vec<u8>> = (target.seeds)().into_iter().map(|(_, bytes)| bytes).collect();
    for bytes in &seeds {
        run(target, seed, bytes);
    }
    for _ in 0..target.replays {
        let mut bytes = if random.one_in(4) {
            let length = random.below(600);
            random.blob(length)
        } else {
            seeds[random.below(seeds.len())].clone()
        };
        mutate(&mut bytes, &mut random, 4096);
        run(target, seed, &bytes);
    }
}

fn run(target: &Target, seed: u64, bytes: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        eprintln!("target {}, TURNPIKE_SEED={seed}, input {hex}", target.name);
        resume_unwind(panic);
    }
}

#[test]
fn any_bytes_are_read_and_written_as_messages() {
    replay("message");
}

#[test]
fn any_attributes_are_written_and_read() {
    replay("write");
}

#[test]
fn streams_give_the_same_frames_however_they_are_cut() {
    replay("framing");
}

#[test]
fn any_script_leaves_the_server_in_order() {
    replay("session");
}

#[test]
fn what_a_proxy_says_is_told_by_as_many_bytes_as_it_takes_and_no_more() {
    replay("proxy_header");
}

#[test]
fn any_first_datagram_of_dtls_is_judged() {
    replay("dtls");
}

#[test]
fn any_file_is_read_as_a_configuration() {
    replay("config_file");
}
