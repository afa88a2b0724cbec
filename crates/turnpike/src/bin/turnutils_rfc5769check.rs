//! Checks the message layer against the published test vectors.

use std::process::ExitCode;

fn main() -> ExitCode {
    turnpike::tools::rfc5769check::main(&std::env::args().skip(1).collect::<Vec<_>>())
}
