//! `turnadmin`: looks after users, secrets, realms and keys, in any of the databases. Commands, flags and what they
//! print are those of coturn's tool; exit status, JSON, import and export, and the rotation of secrets are ours.

mod aes;
mod flags;
mod keys;
mod lists;
mod origin;
mod request;
mod rotation;
mod transfer;
mod usage;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use turnpike_store::hex;
use turnpike_store::{AdminUser, ConnectOptions, Key, Kind, Row, Store, StoreKind, connect_with};

pub(crate) use self::usage::USAGE;
use crate::passwords::{self, StandardInput};
use crate::terminal::{print_usage, say};
use flags::{Field, Line, Parsed};
use request::{Refusal, Request, Stored};
pub(crate) use transfer::{kind_name, row_values};

/// Runs the tool with its arguments (the program's name left out).
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let line = match flags::parse(arguments) {
        Ok(Parsed::Line(line)) => line,
        Ok(Parsed::Help) => {
            print_usage(USAGE);
            return ExitCode::SUCCESS;
        }
        Ok(Parsed::Version) => {
            say!("{}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Err(why) => return misused(&format!("turnadmin: {why}\n\n{}", USAGE)),
    };
    let request = match request::complete(&line, &mut StandardInput) {
        Ok(request) => request,
        Err(Refusal::NoCommand) => return misused(USAGE),
        Err(Refusal::Unusable(why)) => return misused(&format!("{why}\n")),
    };
    let done = match (request, &line.store) {
        (Request::Stored(_), None) => return misused(NO_DATABASE),
        (Request::Stored(command), Some((kind, connection))) => in_store(command, (*kind, connection), &line),
        (request, _) => without_store(request),
    };
    done.map_or_else(failed, |()| ExitCode::SUCCESS)
}

fn misused(text: &str) -> ExitCode {
    eprint!("{text}");
    ExitCode::from(255)
}

fn failed(error: anyhow::Error) -> ExitCode {
    // A reader that has gone away, as with `| head`, has seen what it wanted.
    let closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    if error.downcast_ref().is_some_and(closed) {
        return ExitCode::SUCCESS;
    }
    eprintln!("turnadmin: {error:#}");
    ExitCode::from(1)
}

fn without_store(request: Request) -> anyhow::Result<()> {
    match request {
        Request::EncryptPassword { password } => say!("{}", passwords::hash_for_coturn(&password)?),
        Request::EncryptAes { key_file, password } => say!("{}", aes::encrypt(&key_file, &password)?),
        Request::DecryptAes { key_file, sealed } => say!("{}", aes::decrypt(&key_file, &sealed)?),
        Request::MakeKeyFile { path } => aes::make_key_file(&path)?,
        Request::PrintKey { user, realm, password } => {
            if let Row::User { user, .. } = keys::user(&user, &realm, &password)? {
                say!("0x{}", hex::encode(&user.hmackey));
            }
        }
        Request::Stored(_) => bail!("this command needs a database"),
    }
    Ok(())
}

fn in_store(command: Stored, (kind, connection): (StoreKind, &str), line: &Line) -> anyhow::Result<()> {
    let key_file = line.value(Field::KeyFile).map(Path::new);
    let options = ConnectOptions { password_key: key_file.map(aes::read_key).transpose()? };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the part that talks to the database")?;
    runtime.block_on(async {
        let store = connect_with(kind, connection, &options)?;
        run(&*store, command, line.json).await
    })
}

async fn run(store: &dyn Store, command: Stored, as_json: bool) -> anyhow::Result<()> {
    let put = async |row: Row| store.put(&[row]).await.map_err(anyhow::Error::from);
    let remove = async |key: Key| store.remove(&key).await.map(drop).map_err(anyhow::Error::from);
    match command {
        Stored::AddUser { user, realm, password } => put(keys::user(&user, &realm, &password)?).await,
        Stored::AddAdmin { user, realm, password, coturn_form } => {
            let hash = if coturn_form { passwords::hash_for_coturn } else { passwords::hash };
            let password = hash(&password)?;
            put(Row::AdminUser(AdminUser { name: user, realm, password })).await
        }
        Stored::DeleteUser { user, realm } => remove(Key::User { realm, name: user }).await,
        Stored::DeleteAdmin { user } => remove(Key::AdminUser { name: user }).await,
        Stored::SetSecret { realm, secret } => put(Row::Secret { realm, value: secret }).await,
        Stored::DeleteSecret { realm, secret } => remove(Key::Secret { realm, value: secret }).await,
        Stored::DeleteAllSecrets { realm } => remove(Key::SecretsOf { realm }).await,
        Stored::RotateSecret { realm, secret, overlap } => {
            rotation::rotate(store, &realm, &secret, overlap).await
        }
        Stored::KeepSecret { realm, secret } => rotation::keep(store, &realm, &secret).await,
        Stored::AddOrigin { origin, realm } => put(Row::Origin { origin, realm }).await,
        Stored::DeleteOrigin { origin } => remove(Key::Origin { origin }).await,
        Stored::SetRealmOptions { realm, limits } => {
            let limit = |(option, value)| Row::RealmLimit { realm: realm.clone(), option, value };
            let rows: Vec<Row> = limits.into_iter().map(limit).collect();
            Ok(store.put(&rows).await?)
        }
        Stored::AddOAuthKey { key, is_new } => {
            let shown = STANDARD.encode(&key.key);
            put(Row::OAuthKey(key)).await?;
            if is_new {
                say!("{shown}");
            }
            Ok(())
        }
        Stored::DeleteOAuthKey { kid } => remove(Key::OAuthKey { kid }).await,
        Stored::List { kind, realm } => list(store, kind, realm.as_deref(), as_json).await,
        Stored::Import { path, format, kind } => transfer::import(store, &path, format, kind).await,
        Stored::Export { path, format, kind, realm } => {
            transfer::export(store, &path, format, kind, realm.as_deref()).await
        }
    }
}

async fn list(store: &dyn Store, kind: Kind, realm: Option<&str>, as_json: bool) -> anyhow::Result<()> {
    let corrupt = lists::print(store, kind, realm, as_json).await?;
    for error in &corrupt {
        eprintln!("turnadmin: {error}");
    }
    if !corrupt.is_empty() {
        bail!("some rows make no sense and are not listed");
    }
    Ok(())
}

const NO_DATABASE: &str = "\
turnadmin: no database is named, so nothing was done: -b FILE for SQLite, -e for PostgreSQL, -M for MySQL, -J for
MongoDB, -N for Redis. Debian's coturn 4.6 used -b /var/lib/turn/turndb where none was named.
";
