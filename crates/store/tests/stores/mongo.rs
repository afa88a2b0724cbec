//! Two servers that speak MongoDB's protocol: SecantusDB and NX-27017. Neither is MongoDB itself, which Debian has not.

use std::path::PathBuf;
use std::sync::Arc;

use turnpike_store::{Store, StoreKind, connect};

use crate::server::{Server, installed};
use crate::{failures, suite};

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_holds_on_secantusdb() {
    let Some(mut server) = prepare("SecantusDB", "secantusd-py", "istening") else { return };
    let (port, data) = (server.port.to_string(), server.directory.path().join("data"));
    server.arguments(&["--host", "127.0.0.1", "--port", &port, "--storage-path", data.to_str().unwrap()]);
    holds_on(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_holds_on_nx_27017() {
    let Some(mut server) = prepare("NX-27017", "nx-27017", "istening") else { return };
    let (port, home) = (server.port.to_string(), server.directory.path().to_str().unwrap().to_owned());
    server.arguments(&["--host", "127.0.0.1", "--port", &port, "--data-dir", &home]);
    server.arguments(&["--log-file", &format!("{home}/log"), "--pid-file", &format!("{home}/pid")]);
    holds_on(server).await;
}

async fn holds_on(mut server: Server) {
    server.start();
    // Written in Python and on a busy machine, they may take longer for a page than five seconds.
    suite::all(&*open(&format!("mongodb://127.0.0.1:{}/turndb?connectTimeoutMS=60000", server.port))).await;
}

#[tokio::test]
async fn mongodb_that_never_answers_or_is_not_there_is_unavailable() {
    failures::never_answers(|port| open(&format!("mongodb://turn:northwind@127.0.0.1:{port}/turn"))).await;
}

#[tokio::test]
async fn connection_strings_that_make_no_sense_are_told_and_never_quoted() {
    for text in
        ["turn", "mongodb://", "mongodb://turn:northwind@host:port/turn", "mongodb://a:northwind@h/?x"]
    {
        failures::connection_string(StoreKind::Mongo, text);
    }
}

/// A server out of the environment that `scripts/install-test-needs` makes.
fn prepare(name: &str, program: &str, ready: &'static str) -> Option<Server> {
    // This program is target/debug/deps/NAME.
    let target: PathBuf = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
    let program = target.join("mongo-servers/bin").join(program);
    installed(name, &[program.to_str().unwrap()]).map(|program| Server::prepare(program, "root", ready))
}

fn open(uri: &str) -> Arc<dyn Store> {
    connect(StoreKind::Mongo, uri).unwrap()
}
