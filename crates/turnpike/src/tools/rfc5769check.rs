//! `turnutils_rfc5769check`: checks the message layer against the published sample messages of RFC 5769 and
//! RFC 8489, and access tokens (RFC 7635) against ones that coturn has sealed, on the machine it has to work on.

use std::process::ExitCode;

use crate::terminal::{print_usage, say};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use turnpike_turn::{MacKey, Token, TokenCipher, TokenKey};
use turnpike_wire::attributes::AccessToken;
use turnpike_wire::vectors::{ALL, Vector, VectorError, check};
use turnpike_wire::{Attribute, TransactionId};

/// Runs the tool with its arguments (the program's name left out).
pub fn main(arguments: &[String]) -> ExitCode {
    match arguments.first().map(String::as_str) {
        None => match verdict(ALL, check) {
            code if code == ExitCode::SUCCESS => tokens(&TOKENS),
            code => code,
        },
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

/// Seals and opens a token with each cipher, and stops at the first with which something is wrong.
fn tokens(samples: &[(TokenCipher, &str)]) -> ExitCode {
    for (cipher, sample) in samples {
        let name = cipher.name();
        match check_token(*cipher, sample) {
            Some(()) => say!("oauth token {name}:OK result: success"),
            None => {
                say!("oauth token {name} result: failure");
                eprintln!("{name}: this program was built wrongly or its memory is damaged");
                return ExitCode::from(255);
            }
        }
    }
    ExitCode::SUCCESS
}

/// Opens the sample, seals it again to the same bytes, and sees that none of them can be changed.
fn check_token(cipher: TokenCipher, sample: &str) -> Option<()> {
    let value = STANDARD.decode(sample).ok()?;
    let key = TokenKey::new(cipher, b"0123456789abcdef0123456789abcdef")?;
    let open =
        |value: &[u8]| key.open(&AccessToken::decode(value, &TransactionId([0; 12])).ok()?, SERVER).ok();
    let token = Token { mac_key: MacKey::new(&[b'x'; 20])?, timestamp: 1_800_000_000 << 16, lifetime: 600 };
    let good = open(&value)? == token && key.seal(&token, &[b'n'; 12], SERVER) == value;
    let guarded = (0..value.len()).all(|at| {
        let mut changed = value.clone();
        changed[at] ^= 1;
        open(&changed).is_none()
    });
    (good && guarded).then_some(())
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

/// Tokens that coturn's turnutils_oauth has sealed, of the key and the contents in [`check_token`].
const TOKENS: [(TokenCipher, &str); 2] = [
    (
        TokenCipher::A256Gcm,
        "AAxubm5ubm5ubm5ubm4MRSLfS+krQWfi5SegNJqHwhy0q6OFIB0/byVzLO5VHCnLcYttUCZY1ZI1AxOTnW3Ixw==",
    ),
    (
        TokenCipher::A128Gcm,
        "AAxubm5ubm5ubm5ubm48ScJBBK56aXqqYDyT7QNY4zYxDmqlJwgKq70UEXm5YJFHTQECoEaIDKIq2FhY73FjyA==",
    ),
];
const SERVER: &[u8] = b"example.com";
pub(crate) const USAGE: &str = "\
turnutils_rfc5769check - check the message layer against the published sample messages

USAGE
    turnutils_rfc5769check

Each sample of RFC 5769 and of RFC 8489 Appendix B is read, verified, changed to see that this is noticed, and
written again; a line ending in \"result: success\" is printed for each. So it is with access tokens of RFC 7635.

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
        let [first, second] = TOKENS;
        assert_eq!(text(tokens(&[first, second])), text(ExitCode::SUCCESS));
        assert_eq!(text(tokens(&[(first.0, second.1)])), text(ExitCode::from(255)));
    }
}
