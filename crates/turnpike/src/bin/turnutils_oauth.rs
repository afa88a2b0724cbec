//! Seals and opens the access tokens of third-party authorisation (RFC 7635).

use std::process::ExitCode;

fn main() -> ExitCode {
    turnpike::tools::oauth::main(std::env::args().skip(1).collect())
}
