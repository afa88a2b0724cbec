//! The database: whether it answers, has coturn's tables, and knows somebody.

use std::time::Duration;

use turnpike_config::DatabaseKind;
use turnpike_store::Store;

use super::Patient;
use crate::database::connect;
use crate::findings::Finding;

pub(super) fn database(patient: &Patient) -> Vec<Finding> {
    const ID: &str = "database";
    let Some(database) = &patient.config.databases.database else {
        return vec![Finding::ok(ID, "none is named")];
    };
    if database.kind != DatabaseKind::Sqlite && !patient.try_server {
        return Vec::new();
    }
    if database.kind == DatabaseKind::Sqlite && !database.connection.expose().starts_with('~') {
        let path = database.connection.expose();
        // Opening would make one.
        if !std::path::Path::new(path).exists() {
            let fix = format!(
                "the server makes it at start; turnadmin -a -u NAME -r REALM -b {path} puts a user into it"
            );
            return vec![Finding::note(ID, format!("there is no {path} yet"), fix)];
        }
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return vec![Finding::error(ID, format!("cannot be asked: {error}"), "")],
    };
    let inside = runtime.enter();
    let store = match connect(&patient.config) {
        Ok(store) => store,
        Err(error) => return vec![Finding::error(ID, format!("{error:#}"), "correct the connection string")],
    };
    drop(inside);
    let Some(store) = store else { return vec![Finding::ok(ID, "not used (no-auth)")] };
    let asked = runtime.block_on(async { tokio::time::timeout(PATIENCE, ask(&*store)).await });
    let name = format!("{} {}", store.kind().name(), store.address());
    vec![match asked {
        Ok(Ok((users, secrets))) if users + secrets == 0 => {
            let known = patient.config.users.len() + patient.config.secrets.len();
            let evidence = format!("{name} answers, and knows neither users nor secrets");
            match known {
                0 => Finding::warning(ID, evidence, "turnadmin -a -u NAME -r REALM adds a user, -s a secret"),
                _ => Finding::note(ID, evidence, "those of the configuration come in all the same"),
            }
        }
        Ok(Ok((users, secrets))) => {
            Finding::ok(ID, format!("{name} answers: {users} users, {secrets} REST secrets"))
        }
        Ok(Err(error)) => Finding::error(
            ID,
            format!("{name}: {error}"),
            "is it up, are the tables made (docs/databases.md), and may this user read them?",
        ),
        Err(_) => {
            Finding::error(ID, format!("{name} does not answer"), "is it up, and is the way to it open?")
        }
    }]
}

async fn ask(store: &dyn Store) -> turnpike_store::Result<(u64, u64)> {
    store.ping().await?;
    // Reads a table of each kind: a missing one shows here.
    store.settings().await?;
    let counts = store.counts().await?;
    Ok((counts.users, counts.secrets))
}

const PATIENCE: Duration = Duration::from_secs(5);
