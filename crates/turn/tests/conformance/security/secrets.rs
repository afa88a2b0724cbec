//! Passwords, keys and secrets stay inside, and strangers cannot tell who exists (conformance 51).

use turnpike_turn::{Credentials, Init, NonceKey, Ports, Quotas, rest_password};
use turnpike_wire::{LongTermKey, Method, PasswordDigest, TransactionId};

use crate::harness::{Caller, Setup, World, credentials};

const PASSWORD: &str = "wonderland";
const SECRET: &str = "north-pole-secret";
const REST_NAME: &str = "1800003600:carol";
const SEED: u8 = 201;

fn known() -> Credentials {
    let mut known = credentials();
    known.add_secret(SECRET.as_bytes());
    known.add_user_key("dave", [77; 16]);
    known
}

fn key(username: &str, password: &str) -> LongTermKey {
    key_of(PasswordDigest::Md5, username, password)
}

fn key_of(digest: PasswordDigest, username: &str, password: &str) -> LongTermKey {
    LongTermKey::derive(digest, username.as_bytes(), b"example.org", password.as_bytes())
}

/// Everything that must never be written anywhere, in the forms it might be written in.
fn secrets() -> Vec<String> {
    let listed = |bytes: &[u8]| format!("{bytes:?}").trim_matches(['[', ']']).to_owned();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let rest = rest_password(SECRET.as_bytes(), REST_NAME);
    let mut secrets = Vec::new();
    for text in [PASSWORD, "builder", SECRET, &rest] {
        secrets.extend([text.to_owned(), listed(text.as_bytes()), hex(text.as_bytes())]);
    }
    for digest in [PasswordDigest::Md5, PasswordDigest::Sha256] {
        for (username, password) in [("alice", PASSWORD), ("bob", "builder"), (REST_NAME, &rest)] {
            let key = key_of(digest, username, password);
            secrets.extend([listed(key.bytes()), hex(key.bytes())]);
        }
    }
    for byte in [77, SEED, 9] {
        secrets.extend([listed(&[byte; 8]), hex(&[byte; 8])]);
        secrets.push(u64::from_le_bytes([byte; 8]).to_string());
    }
    secrets
}

#[track_caller]
fn expect_clean(what: &str, written: &str) {
    for secret in secrets() {
        assert!(!written.contains(&secret), "{what} tells {secret}");
    }
}

/// Users of every kind, with allocations, and with failures behind them.
fn busy_world() -> World {
    let setup = Setup { seed: SEED, ..Setup::with_credentials(known()) };
    let mut world = setup.config(|config| config.verbose = true).build();
    Caller::new("203.0.113.1:1").allocate(&mut world);
    let rest = rest_password(SECRET.as_bytes(), REST_NAME);
    let mut carol = Caller::new("203.0.113.1:2").named(REST_NAME, &rest);
    carol.allocate(&mut world);
    carol.permit(&mut world, &["8.8.8.8:1", "9.9.9.9:1"]).expect_success();
    carol.permit(&mut world, &["10.0.0.1:1"]).expect_error(403);
    carol.bind(&mut world, 0x4000, "8.8.8.8:1").expect_success();
    Caller::new("203.0.113.1:3").named("bob", "guess").allocate_with(&mut world, |_| {}).expect_error(401);
    Caller::new("203.0.113.1:4").named("bob", PASSWORD).allocate_with(&mut world, |_| {}).expect_error(401);
    carol.refresh(&mut world, 0).expect_success();
    world
}

/// Users who chose SHA-256 and sent no name; dave and the REST secret are left out, for they keep it from the offer.
fn modern_world() -> World {
    let setup = Setup { seed: SEED, ..Setup::with_credentials(credentials()) };
    let mut world = setup.config(|config| config.verbose = true).build();
    let modern = |from| Caller { hashed: true, ..Caller::new(from).choosing(PasswordDigest::Sha256) };
    modern("203.0.113.1:1").allocate(&mut world);
    modern("203.0.113.1:2").named("bob", "guess").allocate_with(&mut world, |_| {}).expect_error(401);
    world
}

#[test]
fn what_is_written_for_programmers_tells_no_secret() {
    // `{:?}` of whatever holds one.
    let config = Setup::with_credentials(known()).config;
    expect_clean("Credentials", &format!("{:?}", config.credentials));
    expect_clean("Config", &format!("{config:?}"));
    expect_clean("NonceKey", &format!("{:?}", NonceKey::new([9; 16])));
    expect_clean("LongTermKey", &format!("{:?}", key("alice", PASSWORD)));
    let init = Init {
        ports: Ports::new(&config.peers.relays, 50_000..=50_001),
        config: std::sync::Arc::new(config),
        worker: 0,
        workers: 1,
        quotas: Quotas::new(1, 1),
        nonce_key: NonceKey::new([9; 16]),
        seed: [SEED; 32],
    };
    expect_clean("Init", &format!("{init:?}"));
    expect_clean("Init", &format!("{init:#?}"));
}

#[test]
fn a_whole_server_written_out_tells_no_secret() {
    // Allocations hold their owner's key, and the generator its seed.
    for world in [busy_world(), modern_world()] {
        let written = format!("{:?}", world.server);
        assert!(written.contains("alice"), "there is something to tell");
        expect_clean("Server", &written);
    }
}

#[test]
fn events_tell_names_and_reasons_and_no_secret() {
    let world = busy_world();
    let written = format!("{:?}", world.events);
    assert!(written.contains("alice") && written.contains(REST_NAME) && written.contains("WrongPassword"));
    expect_clean("Event", &written);
    assert!(!written.contains("guess"));
    expect_clean("Event", &format!("{:?}", modern_world().events));
}

#[test]
fn what_is_written_still_tells_what_helps() {
    // Redacting everything would help nobody either.
    let written = format!("{:?}", known());
    for told in ["example.org", "users: 3", "secrets: 1"] {
        assert!(written.contains(told), "{written}");
    }
}

#[test]
fn an_answer_does_not_tell_whether_a_user_exists() {
    // Conformance 51: known and unknown names of every kind, and passwords of others; the very same bytes.
    let mut world = Setup::with_credentials(known()).build();
    let mut caller = Caller::new("203.0.113.1:1");
    caller.fetch_nonce(&mut world);
    let others = rest_password(SECRET.as_bytes(), "1700000000:carol");
    let guesses = [
        ("alice", "guess"),
        ("alice", "builder"),
        ("alice", ""),
        ("mallory", "guess"),
        ("mallory", ""),
        ("Alice", PASSWORD),
        ("alice ", PASSWORD),
        ("dave", "guess"),
        (REST_NAME, "guess"),
        (REST_NAME, SECRET),
        (REST_NAME, &others),
        ("1700000000:carol", &others),
        ("1700000000:carol", "guess"),
        ("99999999999999999999999:carol", "guess"),
        ("1800003600", "guess"),
    ];
    for fingerprint in [false, true] {
        for method in [Method::ALLOCATE, Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND] {
            let mut answers = guesses.iter().map(|(name, password)| {
                let guess = Caller { fingerprint, ..caller.clone().named(name, password) };
                guess.request_as(&mut world, TransactionId([5; 12]), method, |_| {}).expect_error(401).bytes
            });
            let first = answers.next().expect("an answer");
            assert!(answers.all(|answer| answer == first));
        }
    }
}

#[test]
fn an_answer_on_a_busy_5_tuple_does_not_tell_whose_it_is() {
    // The owner's name with a wrong password, another user's, and nobody's.
    let mut world = Setup::new().build();
    let mut owner = Caller::new("203.0.113.1:1");
    owner.allocate(&mut world);
    let answers: Vec<_> = [("alice", "guess"), ("bob", "guess"), ("mallory", "guess")]
        .into_iter()
        .map(|(name, password)| {
            let guess = owner.clone().named(name, password);
            guess
                .request_as(&mut world, TransactionId([5; 12]), Method::REFRESH, |_| {})
                .expect_error(401)
                .bytes
        })
        .collect();
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn no_message_sent_tells_a_secret() {
    let mut world = Setup::with_credentials(known()).build();
    let mut caller = Caller::new("203.0.113.1:1");
    let mut sent = vec![caller.allocate_with(&mut world, |_| {}).expect_success().bytes];
    sent.push(caller.refresh(&mut world, 600).expect_success().bytes);
    sent.push(caller.clone().named("alice", "guess").refresh(&mut world, 600).expect_error(401).bytes);
    let key = key("alice", PASSWORD);
    for bytes in sent {
        for secret in [PASSWORD.as_bytes(), SECRET.as_bytes(), key.bytes(), &[9; 8], &[7; 8]] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        }
    }
}
