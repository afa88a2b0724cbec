//! Users who are kept outside: their requests wait, bounded, and nothing is done twice or for ever.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use turnpike_turn::{Directory, Found, InquiryId, OAuthKeys, Reason, StoredKeys};
use turnpike_wire::attributes::{PasswordAlgorithms, RequestedTransport};
use turnpike_wire::{AttributeType, LongTermKey, Method, PasswordDigest};

use crate::harness::{Caller, Outcome, SECOND, Setup, World, carry_out, credentials};

const CALLER: &str = "203.0.113.1:4000";

/// What a database would have said by now.
#[derive(Debug, Default)]
struct Book(Mutex<HashMap<String, Found>>, AtomicBool, AtomicBool);

impl Directory for Book {
    fn find(&self, realm: &str, name: &str, _: bool) -> Found {
        self.0.lock().expect("nobody panicked").get(&format!("{realm}/{name}")).cloned().unwrap_or(Found::Ask)
    }

    fn all_have_sha256(&self, realm: &str) -> bool {
        assert_eq!(realm, "example.org");
        self.1.load(Ordering::Relaxed)
    }

    fn is_unreachable(&self) -> bool {
        self.2.load(Ordering::Relaxed)
    }
}

impl Book {
    fn note(&self, name: &str, found: Found) {
        self.0.lock().expect("nobody panicked").insert(format!("example.org/{name}"), found);
    }
}

fn keys(name: &str, password: &str) -> StoredKeys {
    let key = LongTermKey::derive(PasswordDigest::Md5, name.as_bytes(), b"example.org", password.as_bytes());
    StoredKeys::new(key.bytes().try_into().expect("16 bytes"), None)
}

fn world() -> (World, Arc<Book>) {
    let book = Arc::new(Book::default());
    let mut known = credentials();
    known.add_secret(b"north");
    known.set_directory(book.clone());
    (Setup::with_credentials(known).build(), book)
}

fn erin() -> Caller {
    Caller::new(CALLER).named("erin", "reindeer")
}

/// An Allocate whose sender has to be asked for.
fn asking(world: &mut World, caller: &mut Caller) -> InquiryId {
    match caller.allocate_with(world, |_| {}) {
        Outcome::Asking(inquiry) => inquiry,
        other => panic!("{other:?}"),
    }
}

fn answered(world: &mut World, inquiry: InquiryId) -> Outcome {
    let outcome = carry_out(world.server.handle_credential(world.now, inquiry), &[]);
    world.settle(outcome)
}

#[test]
fn a_user_of_the_database_gets_in_once_it_has_answered() {
    let (mut world, book) = world();
    let mut caller = erin();
    let inquiry = asking(&mut world, &mut caller);
    let (asked, realm, name) = world.inquiries.pop_front().expect("somebody was asked for");
    assert_eq!((asked, &*realm, &*name), (inquiry, "example.org", "erin"));
    book.note("erin", Found::Keys(keys("erin", "reindeer")));
    let reply = answered(&mut world, inquiry).expect_success();
    assert_eq!(reply.to, caller.client);
    caller.check_integrity(&reply);
    assert_eq!(world.server.stats().allocations(), 1);
    assert_eq!(
        caller.refresh(&mut world, 600).expect_success().to,
        caller.client,
        "whoever is in needs no database"
    );
    assert!(world.inquiries.is_empty());
}

#[test]
fn a_wrong_password_and_an_unknown_name_are_refused_alike() {
    for (found, reason) in
        [(Found::Keys(keys("erin", "another")), Reason::WrongPassword), (Found::Nobody, Reason::UnknownUser)]
    {
        let (mut world, book) = world();
        let mut caller = erin();
        let inquiry = asking(&mut world, &mut caller);
        book.note("erin", found);
        answered(&mut world, inquiry).expect_error(401);
        assert_eq!(world.server.stats().refused(reason), 1);
    }
}

#[test]
fn a_key_that_may_have_changed_is_asked_for_again_before_it_refuses_anybody() {
    let (mut world, book) = world();
    let mut caller = erin();
    book.note("erin", Found::Keys(keys("erin", "of old").aged(true)));
    let inquiry = asking(&mut world, &mut caller);
    book.note("erin", Found::Keys(keys("erin", "reindeer")));
    answered(&mut world, inquiry).expect_success();
}

#[test]
fn while_the_database_is_down_users_are_left_to_try_again_and_others_are_served() {
    let (mut world, book) = world();
    book.note("erin", Found::Unavailable);
    let mut caller = erin();
    caller.allocate_with(&mut world, |_| {}).expect_drop(Reason::StoreUnavailable);
    let mut alice = Caller::new("203.0.113.2:4000");
    alice.allocate(&mut world);
    let name = "1900000000:frank";
    let mut frank =
        Caller::new("203.0.113.3:4000").named(name, &turnpike_turn::rest_password(b"north", name));
    frank.allocate(&mut world);
    assert!(world.inquiries.is_empty(), "static users and REST secrets need no database");
}

#[test]
fn an_answer_that_brings_nothing_ends_the_wait() {
    let (mut world, _) = world();
    let mut caller = erin();
    let inquiry = asking(&mut world, &mut caller);
    answered(&mut world, inquiry).expect_drop(Reason::StoreUnavailable);
    answered(&mut world, inquiry).expect_drop(Reason::StoreUnavailable);
    asking(&mut world, &mut caller);
}

#[test]
fn a_retransmission_of_a_request_that_waits_is_dropped_and_asks_nobody() {
    let (mut world, _) = world();
    let mut caller = erin();
    caller.fetch_nonce(&mut world);
    let id = world.transaction();
    let request = caller.signed(id, Method::ALLOCATE, |writer| {
        writer.add(&RequestedTransport::UDP);
    });
    assert!(matches!(world.receive(caller.client, &request), Outcome::Asking(_)));
    world.receive(caller.client, &request).expect_drop(Reason::InProgress);
    assert_eq!(world.inquiries.len(), 1);
}

#[test]
fn nobody_waits_for_ever_nor_without_bound() {
    let (mut world, _) = world();
    let mut first = erin();
    let inquiry = asking(&mut world, &mut first);
    for number in 0..5000_u32 {
        let from = format!("198.51.{}.{}:4000", number / 250, number % 250);
        let mut caller = Caller::new(&from).named("erin", "reindeer");
        match caller.allocate_with(&mut world, |_| {}) {
            Outcome::Asking(_) => assert!(number < 4096),
            Outcome::Drop(Reason::TooManyWaiting) => assert!(number >= 4095, "{number}"),
            other => panic!("{other:?}"),
        }
    }
    world.advance(11 * SECOND);
    world.server.check_invariants();
    answered(&mut world, inquiry).expect_drop(Reason::StoreUnavailable);
    asking(&mut world, &mut first);
}

#[test]
fn a_client_that_is_gone_is_not_answered() {
    let (mut world, book) = world();
    let mut caller = erin();
    let inquiry = asking(&mut world, &mut caller);
    world.server.handle_link_closed(world.now, caller.client);
    book.note("erin", Found::Keys(keys("erin", "reindeer")));
    answered(&mut world, inquiry).expect_drop(Reason::StoreUnavailable);
    assert_eq!(world.server.stats().allocations(), 0);
}

#[test]
fn what_opens_nothing_never_waits() {
    let (mut world, _) = world();
    let mut caller = erin();
    let channel = caller.bind(&mut world, 0x4000, "192.0.2.1:9");
    channel.expect_drop(Reason::StoreUnavailable);
    assert!(world.inquiries.is_empty());
}

/// RFC 8489 §9.2.4 has the offer made before anybody is known. Where it turns out to be more than somebody can take up,
/// it is taken back while he waits, and his nonce with it: he hears of that, and not that his password is wrong.
#[test]
fn who_takes_up_sha256_without_such_a_key_is_challenged_anew_and_gets_in_with_the_other() {
    let (mut world, book) = world();
    book.1.store(true, Ordering::Relaxed);
    let mut modern = erin().choosing(PasswordDigest::Sha256);
    modern.fetch_nonce(&mut world);
    let id = world.transaction();
    let request = modern.signed(id, Method::ALLOCATE, |writer| {
        writer.add(&RequestedTransport::UDP);
    });
    let Outcome::Asking(inquiry) = world.receive(modern.client, &request) else { panic!("she is asked for") };
    book.note("erin", Found::Keys(keys("erin", "reindeer")));
    book.1.store(false, Ordering::Relaxed);
    let challenge = answered(&mut world, inquiry).expect_error(438);
    let offered = challenge.expect::<PasswordAlgorithms<'_>>();
    assert_eq!(offered, PasswordAlgorithms::MD5);
    let mut modern = modern.choosing(PasswordDigest::Md5);
    modern.take_nonce(&challenge);
    modern.allocate_with(&mut world, |_| {}).expect_success();
    assert_eq!(world.server.stats().refused(Reason::WrongPassword), 0);
}

#[test]
fn where_everybody_has_a_sha256_key_it_is_offered_and_opens() {
    let (mut world, book) = world();
    book.1.store(true, Ordering::Relaxed);
    let key = |digest| LongTermKey::derive(digest, b"erin", b"example.org", b"reindeer");
    let (md5, sha256) = (key(PasswordDigest::Md5), key(PasswordDigest::Sha256));
    let [md5, sha256] = [md5.bytes(), sha256.bytes()];
    let both = StoredKeys::new(md5.try_into().expect("16 bytes"), Some(sha256.try_into().expect("32 bytes")));
    book.note("erin", Found::Keys(both));
    for (number, digest) in [PasswordDigest::Sha256, PasswordDigest::Md5].into_iter().enumerate() {
        let mut caller = Caller::new(&format!("203.0.113.1:{}", 4000 + number));
        caller = caller.named("erin", "reindeer").choosing(digest);
        caller.allocate(&mut world);
    }
}

/// RFC 7635: the key that a token was sealed with may be in a database that does not answer.
#[test]
fn a_bearer_whose_key_cannot_be_asked_for_is_left_to_try_again() {
    let (book, mut known) = (Arc::new(Book::default()), credentials());
    known.set_directory(book.clone());
    known.set_oauth(OAuthKeys::new("turn.example.org"));
    let mut world = Setup::with_credentials(known).build();
    let mut bearer = Caller::new(CALLER).named("kid", "nothing");
    // RFC 7635 §6.2: the length of the nonce, the nonce, and what is sealed.
    let mut token = [7; 60];
    token[..2].copy_from_slice(&[0, 12]);
    let outcome = bearer.allocate_with(&mut world, |writer| {
        writer.add_raw(AttributeType::ACCESS_TOKEN, &token);
    });
    outcome.expect_error(401);
    book.2.store(true, Ordering::Relaxed);
    let outcome = bearer.allocate_with(&mut world, |writer| {
        writer.add_raw(AttributeType::ACCESS_TOKEN, &token);
    });
    outcome.expect_drop(Reason::StoreUnavailable);
}
