//! Finds out how the NATs on the way to a STUN server behave.

use std::process::ExitCode;

fn main() -> ExitCode {
    turnpike::tools::natdiscovery::main(std::env::args().skip(1).collect())
}
