//! `turnutils_rfc5769check`: checks the message layer against the published sample messages of RFC 5769 and
//! RFC 8489, on the machine it has to work on.

use std::process::ExitCode;

use crate::terminal::{print_usage, say};
use turnpike_wire::vectors::{ALL, Vector, VectorError, check};

/// Runs the tool with its arguments (the program's name left out).
pub fn main(arguments: &[String]) -> ExitCode {
    match arguments.first().map(String::as_str) {
        None => verdict(ALL, check),
        Some("-h" | "--help") => {
            print_usage(USAGE);
            ExitCode::SUCCESS
        }
        Some(other) => {
            eprintln!("{other}: this tool takes no arguments\n\n{USAGE}");
            ExitCode::from(1)
        }
    }
}

/// Checks one after the other and stops at the first that fails.
fn verdict(vectors: &[Vector], check: fn(&Vector) -> Result<(), VectorError>) -> ExitCode {
    for vector in vectors {
        match check(vector) {
            Ok(()) => say!("{} result: success", vector.name),
            Err(problem) => {
                say!("{} result: failure", vector.name);
                eprintln!(
                    "{}: {problem}: this program was built wrongly or its memory is damaged",
                    vector.name
                );
                return ExitCode::from(255);
            }
        }
    }
    ExitCode::SUCCESS
}

const USAGE: &str = "\
turnutils_rfc5769check - check the message layer against the published sample messages

USAGE
    turnutils_rfc5769check

Each sample of RFC 5769 and of RFC 8489 Appendix B is read, verified, changed to see that this is noticed, and
written again; a line ending in \"result: success\" is printed for each.

EXIT STATUS
    0 when all are good, 255 at the first that is not.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_ends_the_run_with_255() {
        let text = |code: ExitCode| format!("{code:?}");
        assert_eq!(text(verdict(ALL, check)), text(ExitCode::SUCCESS));
        assert_eq!(text(verdict(ALL, |_| Err(VectorError::Contents))), text(ExitCode::from(255)));
    }
}
