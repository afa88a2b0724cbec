//! Looks after users, secrets, realms and keys in a database.

use std::process::ExitCode;

fn main() -> ExitCode {
    turnpike::tools::turnadmin::main(std::env::args_os().skip(1).collect())
}
