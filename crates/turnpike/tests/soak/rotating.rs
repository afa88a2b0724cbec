//! A day's rotating credentials in a minute: each user comes once, under a name of his own, and is never seen again,
//! while the server is scraped all the time. What coturn keeps of each for ever, this server forgets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use turnpike_turn::rest_password;
use turnpike_wire::attributes::{Lifetime, Nonce, Realm, RequestedTransport, Username};
use turnpike_wire::{Class, LongTermKey, Message, MessageWriter, Method, PasswordDigest};

use crate::harness::local_address;
use crate::number;
use crate::server::Server;
use crate::wire::{REALM, answers, message};

#[test]
#[ignore = "takes a minute: scripts/test soak"]
fn two_hundred_thousand_rotating_users_under_scraping_leave_memory_as_it_was() {
    let users = number("TURNPIKE_SOAK_USERS").unwrap_or(200_000);
    let metrics = local_address();
    let server = Server::start_with(|_| {
        vec![
            "--use-auth-secret".into(),
            format!("--static-auth-secret={SECRET}"),
            "--prometheus".into(),
            "--prometheus-username-labels".into(),
            "--prometheus-address=127.0.0.1".into(),
            format!("--prometheus-port={}", metrics.port()),
        ]
    });
    let (came, scrapes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let scraper = {
        let (scrapes, stop) = (scrapes.clone(), stop.clone());
        thread::spawn(move || scrape_until(metrics, &scrapes, &stop))
    };
    let started = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (came, server) = (came.clone(), server.address());
            thread::spawn(move || come_and_go(server, &came, users))
        })
        .collect();
    let mut memory = Vec::new();
    for tenth in 1..=10 {
        while came.load(Ordering::Relaxed) < users / 10 * tenth {
            assert!(started.elapsed() < MOST_TIME, "{} users took too long", came.load(Ordering::Relaxed));
            thread::sleep(Duration::from_millis(20));
        }
        memory.push(server.vitals().memory);
    }
    clients.into_iter().for_each(|client| client.join().unwrap());
    let elapsed = started.elapsed();
    stop.store(true, Ordering::Relaxed);
    let largest = scraper.join().unwrap();
    // Reached when buffers, tables and the allocator's pools have grown to what this load takes.
    let (plateau, end) = (memory[2], memory[9]);
    println!(
        "soak: {users} users in {:.1} s ({:.0} a second), {} scrapes, the largest of {largest} bytes; resident {memory:?} KiB",
        elapsed.as_secs_f64(),
        users as f64 / elapsed.as_secs_f64(),
        scrapes.load(Ordering::Relaxed),
    );
    let status = server.terminate();
    assert!(status.success());
    assert!(scrapes.load(Ordering::Relaxed) > 100, "it was scraped all the time");
    assert!(largest < 128 * 1024, "a scrape does not grow with users: {largest} bytes");
    assert!(end * 100 <= plateau * 105, "{end} KiB at the end, {plateau} KiB at the plateau");
}

/// Allocates and deletes, each time as somebody new.
fn come_and_go(server: SocketAddr, came: &AtomicU64, users: u64) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut nonce = Vec::new();
    let mut transaction = u64::from(socket.local_addr().unwrap().port()) << 40;
    loop {
        let number = came.fetch_add(1, Ordering::Relaxed);
        if number >= users {
            return;
        }
        let name = format!("{}:user-{number}", 4_000_000_000 + number);
        let password = rest_password(SECRET.as_bytes(), &name);
        let key =
            LongTermKey::derive(PasswordDigest::Md5, name.as_bytes(), REALM.as_bytes(), password.as_bytes());
        let mut ask = |method, build: &dyn Fn(&mut MessageWriter<'_>)| {
            for _ in 0..TRIES {
                transaction += 1;
                let mut id = [0; 12];
                id[4..].copy_from_slice(&transaction.to_be_bytes());
                let request = message(Class::Request, method, id, |writer| {
                    build(writer);
                    writer.add(&Username(name.as_bytes())).add(&Realm(REALM.as_bytes())).add(&Nonce(&nonce));
                    writer.integrity_sha1(&key);
                });
                let Some(answer) = exchange(&socket, &request, id) else { continue };
                let answer = Message::parse(&answer).unwrap();
                match (answer.class(), answer.get::<Nonce<'_>>()) {
                    (Class::Success, _) => return true,
                    (_, Ok(Some(fresh))) => nonce = fresh.0.to_vec(),
                    _ => return false,
                }
            }
            false
        };
        assert!(
            ask(Method::ALLOCATE, &|writer| _ = writer.add(&RequestedTransport::UDP)),
            "{name} allocates"
        );
        assert!(ask(Method::REFRESH, &|writer| _ = writer.add(&Lifetime(0))), "{name} deletes");
    }
}

fn exchange(socket: &UdpSocket, request: &[u8], id: [u8; 12]) -> Option<Vec<u8>> {
    socket.send(request).unwrap();
    let mut room = [0; 2048];
    loop {
        let length = socket.recv(&mut room).ok()?;
        if answers(&room[..length], id) {
            return Some(room[..length].to_vec());
        }
    }
}

/// Returns how large the largest page was.
fn scrape_until(metrics: SocketAddr, scrapes: &AtomicU64, stop: &AtomicBool) -> usize {
    let mut largest = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect(metrics).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n").unwrap();
        let mut page = Vec::new();
        stream.read_to_end(&mut page).unwrap();
        assert!(
            page.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&page[..page.len().min(200)])
        );
        largest = largest.max(page.len());
        scrapes.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(10));
    }
    largest
}

const SECRET: &str = "soak-secret";
const CLIENTS: usize = 8;
const TRIES: usize = 20;
const MOST_TIME: Duration = Duration::from_secs(300);
