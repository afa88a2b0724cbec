//! An echo server for UDP, to stand behind a TURN server in tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    turnpike::tools::peer::main(std::env::args().skip(1).collect())
}
