//! `turnutils_oauth`: an authorisation server's side of RFC 7635 by hand. It seals access tokens (`-e`), and opens them
//! to see whether a server with the same key would (`-d`).

mod flags;
mod report;

use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use turnpike_turn::{Token, TokenKey};
use turnpike_wire::attributes::AccessToken;
use turnpike_wire::{Attribute, TransactionId};

pub(crate) use self::flags::USAGE;
use crate::randomness::random;
use crate::terminal::say;
use flags::{Parsed, Refusal, Settings};

/// Runs the tool with its arguments (the program's name left out).
pub fn main(arguments: Vec<String>) -> ExitCode {
    let settings = match flags::parse(arguments) {
        Ok(Parsed::Run(settings)) => settings,
        Ok(Parsed::Help) => {
            eprint!("{}", USAGE);
            return ExitCode::from(1);
        }
        Err(Refusal::Flag(why)) => {
            eprintln!("{why}\n\n{}", USAGE);
            return ExitCode::from(1);
        }
        Err(Refusal::Unusable(why)) => {
            eprintln!("{why}");
            return ExitCode::from(255);
        }
    };
    match run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(255)
        }
    }
}

fn run(settings: &Settings) -> anyhow::Result<()> {
    let key = &settings.key;
    let server_name = settings.server_name.as_bytes();
    let mut value = settings.token.clone().unwrap_or_default();
    if let Some(token) = &settings.to_seal {
        report::warn_of_times(settings, token);
        value = seal(key, token, settings.nonce, server_name)?;
        say!("{}", report::grant(settings, token, &STANDARD.encode(&value)));
    }
    if settings.opens {
        let access = AccessToken::decode(&value, &TransactionId([0; 12]))
            .map_err(|_| anyhow::anyhow!("the token is cut off"))?;
        let token =
            key.open(&access, server_name).map_err(|why| anyhow::anyhow!("cannot open the token: {why}"))?;
        if settings.to_seal.is_none() {
            report::warn_of_times(settings, &token);
        }
        say!("-=Valid token!=-");
        if settings.verbose {
            say!("{}", report::contents(access.nonce, &token));
        }
    }
    Ok(())
}

fn seal(
    key: &TokenKey,
    token: &Token,
    nonce: Option<[u8; 12]>,
    server_name: &[u8],
) -> anyhow::Result<Vec<u8>> {
    let nonce = match nonce {
        Some(nonce) => nonce,
        None => random()?,
    };
    Ok(key.seal(token, &nonce, server_name))
}
