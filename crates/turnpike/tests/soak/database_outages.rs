//! Every database dies, falls silent, and answers after a minute, while calls go on and people come and go.

use std::cell::RefCell;
use std::thread;
use std::time::Duration;

use crate::databases::{self, Database};
use crate::harness::Server;
use crate::outages::{Book, Call, Crowd, Proxy, fill, outages_are_told, outlives};

#[test]
#[ignore = "takes minutes: scripts/test soak"]
fn every_database_may_die_fall_silent_and_answer_after_a_minute() {
    let starts = [databases::postgres, databases::mariadb, databases::redis, databases::mongo];
    let threads = starts.map(|start| thread::spawn(move || start("outages of every kind").map(is_outlived)));
    for thread in threads {
        thread.join().expect("it is outlived");
    }
}

fn is_outlived(mut database: Database) {
    let name = database.name;
    let book = Book::of(&database);
    fill(&book);
    let proxy = Proxy::start(database.port());
    let mut connection = database.connection.replace(&database.port().to_string(), &proxy.port.to_string());
    let is_mongo = database.scheme == "mongodb";
    if is_mongo {
        // Else the driver asks the server where it is, and goes there.
        connection += "?directConnection=true";
    }
    let more = ["--use-auth-secret", "--static-auth-secret=static"];
    let mut server = Server::start(&[&[database.flag, &*connection], &more[..]].concat());
    let call = Call::start(server.address, "alice", "wonderland");
    let crowd = Crowd::start(server.address);
    let database = RefCell::new(&mut database);
    let mut rounds = 0;
    let mut outlive = |what: &str, away: &dyn Fn(), back: &dyn Fn()| {
        let healed = outlives(&mut server, &book, what, away, back);
        println!("soak: {name} {what}: somebody new is in and somebody removed is out after {healed:.1?}");
        assert!(healed < MOST_TO_HEAL, "{name} {what}: {healed:?}");
        rounds += 1;
    };
    for number in 0..3 {
        outlive(&format!("killed{number}"), &|| database.borrow_mut().kill(), &|| {
            database.borrow_mut().start()
        });
    }
    // The driver of MongoDB takes longer than this test waits to give up connections that have fallen silent.
    if !is_mongo {
        outlive("silent", &|| proxy.fall_silent(), &|| proxy.recover());
        outlive("late", &|| proxy.be_late(A_MINUTE), &|| proxy.recover());
        // Answers to questions that nobody waits for any more arrive at last, and are nobody's.
        thread::sleep(A_MINUTE + Duration::from_secs(5));
        outlive("killed-late", &|| database.borrow_mut().kill(), &|| database.borrow_mut().start());
    }
    let (packets, attempts) = (call.stop(), crowd.stop());
    println!("soak: {name}: {packets} packets of a call, none lost; {attempts:?}");
    let finished = server.program.stop("TERM");
    outages_are_told(&finished.stdout, rounds);
}

const A_MINUTE: Duration = Duration::from_secs(60);
/// From the database's return until everything is as it says.
const MOST_TO_HEAL: Duration = Duration::from_secs(10);
