//! SQLite, and files as other programs leave them.

use std::sync::Arc;

use turnpike_store::{Store, StoreKind, connect};

use crate::suite;

#[tokio::test]
async fn the_suite_holds_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    suite::all(&*open(directory.path().join("turndb").to_str().unwrap())).await;
}

fn open(path: &str) -> Arc<dyn Store> {
    connect(StoreKind::Sqlite, path).unwrap()
}
