//! Databases that die and come back, or fall silent, while calls go on and people come and go.

use crate::databases::{self, Database};
use crate::harness::Server;
use crate::outages::{Book, Call, Crowd, Proxy, REALM, fill, outages_are_told, outlives};

/// Ends and restarts a database, and lets the way to it die without a word if that is asked for too.
fn is_outlived(database: fn(&str) -> Option<Database>, falls_silent: bool) {
    let Some(mut database) = database("the outages of a database") else { return };
    let book = Book::of(&database);
    fill(&book);
    let proxy = Proxy::start(database.port());
    let connection = database.connection.replace(&database.port().to_string(), &proxy.port.to_string());
    let more = ["--use-auth-secret", "--static-auth-secret=static"];
    let mut server = Server::start(&[&[database.flag, &*connection], &more[..]].concat());
    let call = Call::start(server.address, "alice", "wonderland");
    let crowd = Crowd::start(server.address);
    let name = database.name;
    // One handle for both closures, which never run at once.
    let handle = std::cell::RefCell::new(&mut database);
    let healed =
        outlives(&mut server, &book, "killed", || handle.borrow_mut().kill(), || handle.borrow_mut().start());
    println!("{name}: somebody new is in and somebody removed is out {healed:.1?} after it is back");
    if falls_silent {
        let healed = outlives(&mut server, &book, "silent", || proxy.fall_silent(), || proxy.recover());
        println!("{name}: likewise {healed:.1?} after it has found its voice again");
    }
    let packets = call.stop();
    let attempts = crowd.stop();
    println!("{name}: {packets} packets of a call, none lost; {attempts:?}");
    assert!(packets > 100 && attempts.granted > 0, "{packets} {attempts:?}");
    let outages = 1 + usize::from(falls_silent);
    let finished = server.program.stop("TERM");
    outages_are_told(&finished.stdout, outages);
    assert!(!finished.stdout.contains("northwind"), "no password is told");
}

#[test]
fn calls_and_known_users_outlive_postgresql_and_new_ones_get_in_when_it_is_back() {
    is_outlived(databases::postgres, true);
}

#[test]
fn calls_and_known_users_outlive_mariadb_and_new_ones_get_in_when_it_is_back() {
    is_outlived(databases::mariadb, false);
}

#[test]
fn calls_and_known_users_outlive_redis_and_new_ones_get_in_when_it_is_back() {
    is_outlived(databases::redis, true);
}

#[test]
fn calls_and_known_users_outlive_what_speaks_mongodb_and_new_ones_get_in_when_it_is_back() {
    is_outlived(databases::mongo, false);
}

/// Nobody is refused because a database could not be read even once.
#[test]
fn a_server_starts_without_its_database_and_takes_everybody_in_once_it_is_there() {
    let Some(mut database) = databases::redis("a server that starts before its database") else { return };
    let book = Book::of(&database);
    fill(&book);
    database.kill();
    let more = ["--use-auth-secret", "--static-auth-secret=static", "--realm", REALM];
    let mut server = Server::start(&[&[database.flag, &*database.connection], &more[..]].concat());
    assert!(server.program.so_far().contains("Database: no answer"), "{}", server.program.so_far());
    let north = crate::outages::minted("north");
    for (name, password) in [("alice", "wonderland"), (&*north.0, &*north.1)] {
        assert_eq!(crate::outages::knock(server.address, name, password, 2), None, "{name}");
    }
    assert_eq!(crate::outages::knock(server.address, "hello", "world", 3), Some(None));
    database.start();
    server.expect("answers again");
    server.expect("Database: read again; 0 realms with settings, 1 REST secrets");
    for (name, password) in [("alice", "wonderland"), (&*north.0, &*north.1)] {
        assert_eq!(crate::outages::knock(server.address, name, password, 3), Some(None), "{name}");
    }
}
