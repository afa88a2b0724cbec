//! The store that other crates test with keeps what the suite says of all, and fails on demand.

use turnpike_store::{ErrorKind, MemoryStore, Store};

use crate::suite;

#[tokio::test]
async fn the_suite_holds_in_memory() {
    suite::all(&MemoryStore::new()).await;
}

#[tokio::test]
async fn it_fails_waits_and_recovers_as_it_is_told() {
    let store = MemoryStore::new();
    store.fail(ErrorKind::Full);
    assert_eq!(store.ping().await.unwrap_err().kind(), ErrorKind::Full);
    store.hold();
    let error = store.user("r", "alice").await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    let (answer, ()) = tokio::join!(store.user("r", "alice"), async { store.recover() });
    assert_eq!(answer.unwrap(), None);
}
