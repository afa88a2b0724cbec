//! The server under its familiar name.

use std::process::ExitCode;

fn main() -> ExitCode {
    turnpike::turnserver::main(std::env::args_os().skip(1))
}
