//! Changing the secret of a realm while its credentials are in use.
//!
//! A REST credential is good until the time that is written in it, if its secret is still known. So the new secret is
//! added first, what mints credentials is told of it, and the old ones go when the last credential made with them has
//! run out. Whatever interrupts this leaves a secret too many, never one too few.

use std::time::Duration;

use anyhow::bail;
use turnpike_store::{Key, Row, Store};

use crate::terminal::say;

/// Adds a secret and prints it; with an overlap waits so long and then deletes those that were there before.
pub(super) async fn rotate(
    store: &dyn Store,
    realm: &str,
    secret: &str,
    overlap: Option<u64>,
) -> anyhow::Result<()> {
    let before = store.secrets(realm).await?;
    store.put(&[Row::Secret { realm: realm.to_owned(), value: secret.to_owned() }]).await?;
    say!("{secret}");
    let old: Vec<String> = before.into_iter().filter(|known| known != secret).collect();
    let Some(seconds) = overlap else {
        eprintln!(
            "{} older secrets of {realm} are still good; when nothing minted with them is in use any more: turnadmin \
             --keep-secret SECRET -r {realm}",
            old.len()
        );
        return Ok(());
    };
    eprintln!("in {seconds} s {} older secrets of {realm} are deleted; Ctrl-C keeps them", old.len());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    // Somebody may have taken the new one back in the meantime: then the old ones are all there is.
    if !store.secrets(realm).await?.iter().any(|known| known == secret) {
        bail!("the new secret is gone from the database: the older ones stay");
    }
    delete(store, realm, old).await
}

/// Deletes all secrets of a realm but one, which must be there.
pub(super) async fn keep(store: &dyn Store, realm: &str, secret: &str) -> anyhow::Result<()> {
    let known = store.secrets(realm).await?;
    if !known.iter().any(|known| known == secret) {
        bail!("{realm} does not have this secret, so nothing was deleted; add it first: turnadmin -s -");
    }
    delete(store, realm, known.into_iter().filter(|known| known != secret).collect()).await
}

async fn delete(store: &dyn Store, realm: &str, secrets: Vec<String>) -> anyhow::Result<()> {
    for value in secrets {
        store.remove(&Key::Secret { realm: realm.to_owned(), value }).await?;
    }
    Ok(())
}
