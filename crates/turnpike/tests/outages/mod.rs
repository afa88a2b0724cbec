//! What a server is put through while its database is away: a call that goes on, a crowd that comes and goes, and who
//! is let in.

mod proxy;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use turnpike_store::{Key, Row, Store, StoreKind, StoredUser, connect};
use turnpike_wire::attributes::{ErrorCode, Nonce, Realm, RequestedTransport, Username};
use turnpike_wire::{Class, LongTermKey, Message, MessageWriter, Method, PasswordDigest, TransactionId};

pub(crate) use proxy::Proxy;

use crate::client::{TurnClient, unix_now};
use crate::databases::Database;
use crate::harness::Server;

/// A database, as somebody else changes it.
pub(crate) struct Book {
    runtime: tokio::runtime::Runtime,
    store: Arc<dyn Store>,
}

impl Book {
    pub(crate) fn of(database: &Database) -> Self {
        let kind = match database.scheme {
            "postgresql" => StoreKind::Postgres,
            "mysql" => StoreKind::Mysql,
            "redis" => StoreKind::Redis,
            _ => StoreKind::Mongo,
        };
        Book::open(kind, &database.connection)
    }

    pub(crate) fn open(kind: StoreKind, connection: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = {
            let _inside = runtime.enter();
            connect(kind, connection).unwrap()
        };
        Book { runtime, store }
    }

    /// Writes rows; a database that has just come back is given a moment.
    pub(crate) fn put(&self, rows: &[Row]) {
        self.patiently(|| self.runtime.block_on(self.store.put(rows)));
    }

    pub(crate) fn remove(&self, key: &Key) {
        self.patiently(|| self.runtime.block_on(self.store.remove(key)).map(drop));
    }

    pub(crate) fn add_user(&self, realm: &str, name: &str, password: &str) {
        self.put(&[user(realm, name, password)]);
    }

    fn patiently(&self, attempt: impl Fn() -> turnpike_store::Result<()>) {
        let began = Instant::now();
        while let Err(error) = attempt() {
            assert!(error.is_transient() && began.elapsed() < Duration::from_secs(20), "{error}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A user with both keys.
pub(crate) fn user(realm: &str, name: &str, password: &str) -> Row {
    let key = |digest| LongTermKey::derive(digest, name.as_bytes(), realm.as_bytes(), password.as_bytes());
    let (md5, sha256) = (key(PasswordDigest::Md5), key(PasswordDigest::Sha256));
    let user = StoredUser {
        hmackey: md5.bytes().try_into().unwrap(),
        sha256: Some(sha256.bytes().try_into().unwrap()),
    };
    Row::User { realm: realm.into(), name: name.into(), user }
}

/// A call that goes on all the time: whatever is sent has to come back before the next packet goes.
pub(crate) struct Call {
    over: Arc<AtomicBool>,
    talk: JoinHandle<u64>,
    echo: JoinHandle<()>,
}

impl Call {
    pub(crate) fn start(server: SocketAddr, name: &'static str, password: &'static str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        // Not where the databases are: nobody is relayed to them.
        let peer = UdpSocket::bind("127.0.0.2:0").unwrap();
        let peer_address = peer.local_addr().unwrap();
        let (began, begins) = mpsc::channel();
        let heard = over.clone();
        let echo = thread::spawn(move || echo(&peer, &heard));
        let heard = over.clone();
        let talk = thread::spawn(move || {
            let mut client = TurnClient::new(server, name, password);
            client.allocate();
            client.bind(CHANNEL, peer_address).unwrap();
            began.send(()).unwrap();
            let mut packets = 0_u64;
            while !heard.load(Ordering::Relaxed) {
                client.send_on(CHANNEL, &packets.to_be_bytes());
                let received = client.receive_within(Duration::from_secs(10));
                let received = received.unwrap_or_else(|| panic!("packet {packets} of the call is lost"));
                assert_eq!(received.data, packets.to_be_bytes());
                packets += 1;
                thread::sleep(Duration::from_millis(5));
            }
            packets
        });
        begins.recv().expect("the call begins");
        Call { over, talk, echo }
    }

    /// Ends it; every packet has come back, and so many there were.
    pub(crate) fn stop(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.echo.join().unwrap();
        self.talk.join().expect("a call without a lost packet")
    }
}

fn echo(peer: &UdpSocket, over: &AtomicBool) {
    peer.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut room = [0; 2048];
    while !over.load(Ordering::Relaxed) {
        if let Ok((length, from)) = peer.recv_from(&mut room) {
            let _ = peer.send_to(&room[..length], from);
        }
    }
}

/// Users of the database who allocate again and again. None of them may ever be refused: either they get in, or they
/// hear nothing and try again.
pub(crate) struct Crowd {
    over: Arc<AtomicBool>,
    members: Vec<JoinHandle<Attempts>>,
}

/// How it went.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attempts {
    pub(crate) granted: u64,
    pub(crate) unanswered: u64,
}

impl Crowd {
    /// Its members' rows, for whoever fills the database.
    pub(crate) fn rows() -> Vec<Row> {
        (0..CROWD).map(|number| user(REALM, &format!("crowd{number}"), "many")).collect()
    }

    pub(crate) fn start(server: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let member = |first: u32| {
            let over = over.clone();
            thread::spawn(move || {
                let (mut attempts, mut number) = (Attempts::default(), first);
                while !over.load(Ordering::Relaxed) {
                    match knock(server, &format!("crowd{number}"), "many", 1) {
                        Some(None) => attempts.granted += 1,
                        Some(Some(code)) => panic!("crowd{number} is refused with {code}"),
                        None => attempts.unanswered += 1,
                    }
                    number = (number + MEMBERS) % CROWD;
                    thread::sleep(Duration::from_millis(20));
                }
                attempts
            })
        };
        Crowd { members: (0..MEMBERS).map(member).collect(), over }
    }

    pub(crate) fn stop(self) -> Attempts {
        self.over.store(true, Ordering::Relaxed);
        let mut all = Attempts::default();
        for member in self.members {
            let attempts = member.join().expect("nobody is refused");
            all.granted += attempts.granted;
            all.unanswered += attempts.unanswered;
        }
        all
    }
}

/// An Allocate with these credentials, sent `tries` times at most: the error code, `Some(None)` for success, `None` if
/// there is no answer. What was granted is given back. A nonce may have grown stale on the way (438), as when what is
/// offered with it changes just then; and the system may hand out a port that somebody has just had (437).
pub(crate) fn knock(server: SocketAddr, name: &str, password: &str, tries: u32) -> Option<Option<u16>> {
    let passing = [Some(Some(437)), Some(Some(438))];
    let mut outcomes = (0..5).map(|_| knock_once(server, name, password, tries));
    outcomes.find(|outcome| !passing.contains(outcome)).unwrap_or(Some(Some(438)))
}

fn knock_once(server: SocketAddr, name: &str, password: &str, tries: u32) -> Option<Option<u16>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    let request = |method, sign: &dyn Fn(&mut MessageWriter<'_>)| {
        let mut buffer = [0; 1500];
        let mut writer = MessageWriter::new(&mut buffer, Class::Request, method, transaction());
        sign(&mut writer);
        writer.finish().unwrap().to_vec()
    };
    let challenge = exchange(
        &socket,
        &request(Method::ALLOCATE, &|writer| {
            writer.add(&RequestedTransport::UDP);
        }),
        5,
    );
    let challenge = challenge.expect("a challenge, for which no database is asked");
    let challenge = Message::parse(&challenge).unwrap();
    let nonce = challenge.get::<Nonce<'_>>().unwrap().expect("a nonce").0;
    let realm = challenge.get::<Realm<'_>>().unwrap().expect("a realm").0;
    let key = LongTermKey::derive(PasswordDigest::Md5, name.as_bytes(), realm, password.as_bytes());
    let sign = |writer: &mut MessageWriter<'_>| {
        writer.add(&Username(name.as_bytes())).add(&Realm(realm)).add(&Nonce(nonce)).integrity_sha1(&key);
    };
    let answer = exchange(
        &socket,
        &request(Method::ALLOCATE, &|writer| {
            writer.add(&RequestedTransport::UDP);
            sign(writer);
        }),
        tries,
    )?;
    let answer = Message::parse(&answer).unwrap();
    let code = answer.get::<ErrorCode<'_>>().unwrap().map(|code| code.number.number());
    if code.is_none() {
        let delete = request(Method::REFRESH, &|writer| {
            writer.add(&turnpike_wire::attributes::Lifetime(0));
            sign(writer);
        });
        let _ = socket.send(&delete);
    }
    Some(code)
}

/// Sends, and waits for the answer to this very request.
fn exchange(socket: &UdpSocket, request: &[u8], tries: u32) -> Option<Vec<u8>> {
    let mut room = [0; 2048];
    socket.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    for _ in 0..tries {
        socket.send(request).unwrap();
        while let Ok(length) = socket.recv(&mut room) {
            if room[4..20] == request[4..20] {
                return Some(room[..length].to_vec());
            }
        }
    }
    None
}

fn transaction() -> TransactionId {
    use std::sync::atomic::AtomicU64;
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut id = [0; 12];
    id[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    TransactionId(id)
}

/// A name and password of a REST secret.
pub(crate) fn minted(secret: &str) -> (String, String) {
    let name = format!("{}:frank", unix_now() + 600);
    let password = turnpike_turn::rest_password(secret.as_bytes(), &name);
    (name, password)
}

/// Fills a database with whoever is needed for [`outlives`].
pub(crate) fn fill(book: &Book) {
    let mut rows = Crowd::rows();
    for name in ["alice", "bob", "carol"] {
        rows.push(user(REALM, name, "wonderland"));
    }
    rows.push(Row::Secret { realm: REALM.into(), value: "north".into() });
    book.put(&rows);
}

/// Lets the database go away and come back, and sees who is served meanwhile and afterwards. `round` names users of
/// this time. Says how long it took until somebody new got in and somebody removed did not.
pub(crate) fn outlives(
    server: &mut Server,
    book: &Book,
    round: &str,
    away: impl FnOnce(),
    back: impl FnOnce(),
) -> Duration {
    let address = server.address;
    let (known, leaving) = (format!("known-{round}"), format!("leaving-{round}"));
    for name in [&known, &leaving] {
        book.add_user(REALM, name, "sesame");
        assert_eq!(knock(address, name, "sesame", 3), Some(None), "{round}: {name} is new and gets in");
    }
    away();
    server.expect("Database: no answer");
    let (north, fixed) = (minted("north"), minted("static"));
    for (name, password) in [
        ("hello", "world"),
        (&*fixed.0, &*fixed.1),
        (&*north.0, &*north.1),
        ("alice", "wonderland"),
        (&*known, "sesame"),
    ] {
        let outcome = knock(address, name, password, 3);
        assert_eq!(outcome, Some(None), "{round}: {name} is known and gets in");
    }
    // He is in the database and was not asked for yet; the other is nobody. Nobody can tell.
    thread::scope(|scope| {
        for name in ["carol", "mallory"] {
            scope.spawn(move || {
                assert_eq!(knock(address, name, "wonderland", 2), None, "{name} is left to try again");
            });
        }
    });
    back();
    let began = Instant::now();
    server.expect("answers again");
    let new = format!("new-{round}");
    book.add_user(REALM, &new, "sesame");
    book.remove(&Key::User { realm: REALM.into(), name: leaving.clone() });
    soon(address, &new, Some(None));
    soon(address, &leaving, Some(Some(401)));
    began.elapsed()
}

/// Tries until the outcome is as wanted.
fn soon(server: SocketAddr, name: &str, wanted: Option<Option<u16>>) {
    let began = Instant::now();
    loop {
        let outcome = knock(server, name, "sesame", 1);
        if outcome == wanted {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{name}: {outcome:?}, not {wanted:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Whether the log has told of every outage, and of its end. A database on a busy machine may take its time besides.
pub(crate) fn outages_are_told(log: &str, outages: usize) {
    let [away, back] = ["Database: no answer", "answers again"].map(|words| lines_with(log, words));
    assert!(away == back && (outages..=2 * outages).contains(&away), "{away}, {back} of {outages}: {log}");
}

/// How often lines of a server's log hold these words.
pub(crate) fn lines_with(log: &str, words: &str) -> usize {
    log.lines().filter(|line| line.contains(words)).count()
}

pub(crate) const REALM: &str = "example.org";
const CHANNEL: u16 = 0x4000;
/// Users of the crowd.
const CROWD: u32 = 30;
/// Threads that bring them.
const MEMBERS: u32 = 3;
