//! One file under many names, as packages install it: what it is called says what it does, and the server and the tools
//! take the room of one.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use crate::tools::{natdiscovery, oauth, peer, rfc5769check, stunclient, turnadmin, uclient};
use crate::turnserver;

/// Runs the program whose name this one was called by; `None` for its own name and any other.
pub fn run() -> Option<ExitCode> {
    let mut words = std::env::args_os();
    run_as(&words.next()?, words.collect())
}

/// Runs the program of this name; `None` where there is no such one.
pub(crate) fn run_as(name: &OsStr, words: Vec<OsString>) -> Option<ExitCode> {
    let texts = || words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<String>>();
    Some(match Path::new(name).file_name()?.to_str()? {
        "turnserver" => turnserver::main(words),
        "turnadmin" => turnadmin::main(words),
        "turnutils_uclient" => uclient::main(texts()),
        "turnutils_peer" => peer::main(texts()),
        "turnutils_stunclient" => stunclient::main(texts()),
        "turnutils_natdiscovery" => natdiscovery::main(texts()),
        "turnutils_oauth" => oauth::main(texts()),
        "turnutils_rfc5769check" => rfc5769check::main(&texts()),
        _ => return None,
    })
}
