//! `turnpike migrate`: says what becomes of a coturn server's configuration and database, and copies a database into
//! another one.

mod changes;
mod configuration;
mod copy;
mod digests;
mod endpoint;
mod patience;
mod survey;
mod verification;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{ArgMatches, Command};
use turnpike_store::Store;

use self::endpoint::Endpoint;
use crate::cli::{flag, text};

/// The command, for parsing, help and completions.
pub fn command() -> Command {
    Command::new("migrate")
        .about("Say what becomes of a coturn configuration and its database, and copy a database into another")
        .args([
            text("config", "FILE", "turnserver.conf to report on [default: where the server looks, without --from]")
                .short('c'),
            text("from", "DATABASE", "Database to report on, or to copy from [default: the one in the file]"),
            text("to", "DATABASE", "Database to copy to"),
            text("secret-key-file", "FILE", "Key that decrypts the password in a mysql: DATABASE [default: the file's]"),
            flag("dry-run", "Say what would be copied, and write nothing"),
        ])
        .after_help(
            "A DATABASE is sqlite:FILE, postgresql:CONNECTION, mysql:CONNECTION, redis:CONNECTION or mongodb://…, with the \
             connection strings of turnserver and turnadmin; @FILE reads it from a file, which keeps passwords off the \
             command line.\n\
             A copy that was interrupted goes on where it was when it is started again. Rows that only the destination \
             has are left alone.\n\
             Exit status: 0 if all is well, 1 if something is lost, refused or cannot be reached.",
        )
}

/// Runs the command.
///
/// # Errors
/// A file cannot be read, or a database cannot be reached.
pub fn run(arguments: &ArgMatches) -> Result<ExitCode> {
    let named = |name: &str| arguments.get_one::<String>(name).map(String::as_str);
    let endpoint = |name: &str| named(name).map(Endpoint::read).transpose();
    let (mut from, mut to) = (endpoint("from")?, endpoint("to")?);
    if let Some(file) = named("secret-key-file") {
        let key = crate::database::password_key_in(file)?;
        for named in [&mut from, &mut to].into_iter().flatten() {
            named.password_key = Some(key);
        }
    }
    let mut sound = true;
    if named("config").is_some() || from.is_none() {
        let report = configuration::report(named("config"))?;
        crate::terminal::print(&report.text)?;
        sound &= report.sound;
        from = from.or(report.database);
    }
    let Some(from) = from else {
        if to.is_some() {
            bail!("there is nothing to copy from: the file names no database, and neither does --from");
        }
        return Ok(status(sound));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the part that talks to databases")?;
    let done = runtime.block_on(async {
        let source = from.open_existing()?;
        match to {
            None => survey::report(&*source).await,
            Some(to) => {
                let destination = to.open()?;
                if is_same(&*source, &*destination) {
                    bail!("{} would be copied into itself", source.address());
                }
                copy::copy(&*source, &*destination, arguments.get_flag("dry-run")).await
            }
        }
    })?;
    Ok(status(sound && done))
}

fn is_same(one: &dyn Store, other: &dyn Store) -> bool {
    let file = |store: &dyn Store| std::fs::canonicalize(store.address()).ok();
    one.kind() == other.kind()
        && (one.address() == other.address() || file(one).is_some_and(|path| file(other) == Some(path)))
}

fn status(sound: bool) -> ExitCode {
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
