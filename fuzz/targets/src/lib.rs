//! What is fuzzed: each target is a function that takes any bytes and panics when something is wrong.
//!
//! libFuzzer calls these functions (see `fuzz/README.md`), and `cargo test` replays seeds and seeded damage through
//! the same functions, without libFuzzer. Start reading at [`TARGETS`].

mod attribute;
mod config_file;
mod dtls;
mod framing;
mod input;
mod message;
mod mutate;
mod proxy_header;
mod random;
mod seeds;
mod session;
mod write;

pub use config_file::config_file;
pub use dtls::dtls;
pub use framing::framing;
pub use message::message;
pub use mutate::mutate;
pub use proxy_header::proxy_header;
pub use random::Random;
pub use session::session;
pub use write::write;

/// Something to fuzz.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is also its program's and its corpus folder's.
    pub name: &'static str,
    /// What is done with an input.
    pub run: fn(&[u8]),
    /// Inputs to begin with, each with a name.
    pub seeds: fn() -> Vec<(String, Vec<u8>)>,
    /// How many inputs `cargo test` makes up.
    pub replays: u32,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "message", run: message, seeds: seeds::messages, replays: 40_000 },
    Target { name: "write", run: write, seeds: seeds::scripts, replays: 40_000 },
    Target { name: "framing", run: framing, seeds: seeds::streams, replays: 40_000 },
    Target { name: "session", run: session, seeds: seeds::scripts, replays: 15_000 },
    Target { name: "proxy_header", run: proxy_header, seeds: seeds::proxy_headers, replays: 4_000 },
    Target { name: "dtls", run: dtls, seeds: seeds::hellos, replays: 40_000 },
    Target { name: "config_file", run: config_file, seeds: seeds::configurations, replays: 4_000 },
];

/// Says why an input that contradicts an expectation is not allowed to.
#[track_caller]
pub(crate) fn must<T, E: std::fmt::Debug>(result: Result<T, E>, what: &str) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error:?}"))
}
