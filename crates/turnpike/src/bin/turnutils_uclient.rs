//! A TURN client that sends messages through a server and counts what comes back.

use std::process::ExitCode;

fn main() -> ExitCode {
    turnpike::tools::uclient::main(std::env::args().skip(1).collect())
}
