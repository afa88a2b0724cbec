//! Asks a STUN server for one's own address.

use std::process::ExitCode;

fn main() -> ExitCode {
    turnpike::tools::stunclient::main(std::env::args().skip(1).collect())
}
