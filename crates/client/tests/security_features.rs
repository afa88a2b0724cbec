//! What RFC 8489 §9.2 added, from the client's side: algorithms by rank, USERHASH, prepared strings, and servers that
//! have none of it.

use std::sync::Arc;
use std::time::Duration;

use turnpike_client::{AllocateOptions, Client, ClientConfig, Credentials, DiscardReason, Event, Failure};
use turnpike_wire::attributes::{
    ErrorCode, Nonce, PasswordAlgorithm, Realm, UserHash, Username, XorMappedAddress, XorRelayedAddress,
};
use turnpike_wire::{
    AttributeType, Class, ErrorNumber, Integrity, LongTermKey, Message, MessageWriter, PasswordDigest,
    SecurityFeatures,
};

const NOW: Duration = Duration::from_secs(1000);
const SHA256_THEN_MD5: &[u8] = &[0, 2, 0, 0, 0, 1, 0, 0];

fn client(username: &str, password: &str, change: impl FnOnce(&mut ClientConfig)) -> Client {
    let credentials = Some(Credentials { username: username.into(), password: password.into() });
    let mut config = ClientConfig { credentials, ..ClientConfig::default() };
    change(&mut config);
    Client::new(Arc::new(config), [7; 16])
}

fn ada() -> Client {
    client("ada", "lovelace", |_| {})
}

fn nonce(password_algorithms: bool, username_anonymity: bool) -> Vec<u8> {
    let features = SecurityFeatures { password_algorithms, username_anonymity };
    [&features.nonce_prefix()[..], b"rest"].concat()
}

fn sent(client: &mut Client) -> Vec<u8> {
    let mut buffer = [0; 4096];
    let length = client.poll_transmit(&mut buffer).expect("something to send");
    buffer[..length].to_vec()
}

fn answer(request: &[u8], class: Class, fill: impl FnOnce(&mut MessageWriter<'_>)) -> Vec<u8> {
    let request = Message::parse(request).expect("a message");
    let mut buffer = [0; 2048];
    let mut writer = MessageWriter::new(&mut buffer, class, request.method(), request.transaction_id());
    fill(&mut writer);
    writer.finish().expect("room").to_vec()
}

/// Has the client's first request challenged, and returns what it makes of that.
fn challenged(client: &mut Client, nonce: &[u8], list: Option<&[u8]>) -> Result<Vec<u8>, Failure> {
    client.allocate(NOW, AllocateOptions::default()).expect("a small request");
    let request = sent(client);
    challenged_again(client, &request, ErrorNumber::UNAUTHENTICATED, nonce, list)
}

fn challenged_again(
    client: &mut Client,
    request: &[u8],
    number: ErrorNumber,
    nonce: &[u8],
    list: Option<&[u8]>,
) -> Result<Vec<u8>, Failure> {
    let challenge = answer(request, Class::Error, |writer| {
        writer.add(&ErrorCode { number, reason: "" }).add(&Realm(b"example.org")).add(&Nonce(nonce));
        if let Some(list) = list {
            writer.add_raw(AttributeType::PASSWORD_ALGORITHMS, list);
        }
    });
    match client.handle_input(NOW, &challenge) {
        None => Ok(sent(client)),
        Some(Event::Failed { failure, .. }) => Err(failure),
        other => panic!("{other:?}"),
    }
}

fn key(digest: PasswordDigest, username: &str, password: &str) -> LongTermKey {
    LongTermKey::derive(digest, username.as_bytes(), b"example.org", password.as_bytes())
}

fn chosen(request: &[u8]) -> Option<u16> {
    let message = Message::parse(request).expect("a message");
    message.get::<PasswordAlgorithm<'_>>().expect("readable").map(|chosen| chosen.algorithm)
}

#[test]
fn sha256_is_chosen_wherever_it_stands_in_the_list() {
    let unknown_first: &[u8] = &[0, 9, 0, 1, 5, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0];
    for list in [SHA256_THEN_MD5, &[0, 1, 0, 0, 0, 2, 0, 0], &[0, 2, 0, 0], unknown_first] {
        let request = challenged(&mut ada(), &nonce(true, false), Some(list)).unwrap();
        assert_eq!(chosen(&request), Some(PasswordAlgorithm::SHA256));
        let message = Message::parse(&request).unwrap();
        assert_eq!(message.value(AttributeType::PASSWORD_ALGORITHMS), Some(list), "echoed as it came");
        let key = key(PasswordDigest::Sha256, "ada", "lovelace");
        assert_eq!(message.verify_sha256(key.bytes()), Ok(()));
        assert!(!message.has_sha1());
    }
}

#[test]
fn md5_is_chosen_where_it_is_all_there_is_and_still_signed_with_sha256() {
    let request = challenged(&mut ada(), &nonce(true, false), Some(&[0, 1, 0, 0])).unwrap();
    assert_eq!(chosen(&request), Some(PasswordAlgorithm::MD5));
    let message = Message::parse(&request).unwrap();
    assert_eq!(message.verify_sha256(key(PasswordDigest::Md5, "ada", "lovelace").bytes()), Ok(()));
}

#[test]
fn a_list_of_strange_algorithms_ends_the_request() {
    for list in [&[][..], &[0, 9, 0, 0], &[0, 2, 0, 1, 5, 0, 0, 0], &[0, 2]] {
        let failure = challenged(&mut ada(), &nonce(true, false), Some(list)).unwrap_err();
        assert_eq!(failure, Failure::Malformed("PASSWORD-ALGORITHMS"));
    }
}

#[test]
fn a_hash_stands_in_place_of_the_name_where_the_nonce_offers_it() {
    for (password_algorithms, list) in [(true, Some(SHA256_THEN_MD5)), (false, None)] {
        let request = challenged(&mut ada(), &nonce(password_algorithms, true), list).unwrap();
        let message = Message::parse(&request).unwrap();
        assert_eq!(message.get(), Ok(Some(UserHash::of(b"ada", b"example.org"))));
        assert!(!message.has(AttributeType::USERNAME));
        assert!(!request.windows(3).any(|bytes| bytes == b"ada"));
    }
}

#[test]
fn a_server_that_offers_nothing_is_spoken_to_as_ever() {
    // coturn's nonces have no cookie; nor does a list without the bit count.
    for (nonce, list) in [
        (&b"5f2a8c1e9b7d3a60"[..], None),
        (b"5f2a8c1e9b7d3a60", Some(SHA256_THEN_MD5)),
        (&nonce(false, false), Some(SHA256_THEN_MD5)),
    ] {
        let request = challenged(&mut ada(), nonce, list).unwrap();
        let message = Message::parse(&request).unwrap();
        assert_eq!(message.integrity(), Integrity::Sha1);
        assert_eq!(message.verify_sha1(key(PasswordDigest::Md5, "ada", "lovelace").bytes()), Ok(()));
        assert_eq!(message.get(), Ok(Some(Username(b"ada"))));
        for kind in [AttributeType::PASSWORD_ALGORITHM, AttributeType::PASSWORD_ALGORITHMS] {
            assert!(!message.has(kind));
        }
    }
}

#[test]
fn a_client_that_is_told_to_speaks_the_old_way() {
    let mut legacy = client("ada", "lovelace", |config| config.password_algorithms = false);
    let request = challenged(&mut legacy, &nonce(true, true), Some(SHA256_THEN_MD5)).unwrap();
    let message = Message::parse(&request).unwrap();
    assert_eq!(message.integrity(), Integrity::Sha1);
    assert_eq!(message.get(), Ok(Some(Username(b"ada"))));
    assert_eq!(chosen(&request), None);
}

#[test]
fn a_server_that_changes_its_offer_with_a_new_nonce_is_followed() {
    let mut client = ada();
    let first = challenged(&mut client, &nonce(true, true), Some(SHA256_THEN_MD5)).unwrap();
    let stale = ErrorNumber::STALE_NONCE;
    let second =
        challenged_again(&mut client, &first, stale, &nonce(true, false), Some(&[0, 1, 0, 0])).unwrap();
    assert_eq!(chosen(&second), Some(PasswordAlgorithm::MD5));
    let message = Message::parse(&second).unwrap();
    assert_eq!(message.get(), Ok(Some(Username(b"ada"))));
    let key = key(PasswordDigest::Md5, "ada", "lovelace");
    assert_eq!(message.verify_sha256(key.bytes()), Ok(()));

    let grant = |writer: &mut MessageWriter<'_>| {
        writer
            .add(&XorRelayedAddress("203.0.113.1:50000".parse().unwrap()))
            .add(&XorMappedAddress("198.51.100.9:1234".parse().unwrap()));
    };
    let weak = answer(&second, Class::Success, |writer| {
        grant(writer);
        writer.integrity_sha1(&key);
    });
    let discarded = Some(Event::Discarded(DiscardReason::BadIntegrity));
    assert_eq!(client.handle_input(NOW, &weak), discarded, "who sent an algorithm is answered with SHA-256");
    let strong = answer(&second, Class::Success, |writer| {
        grant(writer);
        writer.integrity_sha256_with(key.bytes());
    });
    assert!(matches!(client.handle_input(NOW, &strong), Some(Event::Allocated(_))));
}

#[test]
fn names_and_passwords_are_prepared() {
    // RFC 8489 §9.2.2: as one character or as letter and mark, they are the same.
    let mut client = client("zoe\u{308}", "nai\u{308}ve\u{3000}pass", |_| {});
    let request = challenged(&mut client, &nonce(true, false), Some(SHA256_THEN_MD5)).unwrap();
    let message = Message::parse(&request).unwrap();
    assert_eq!(message.get(), Ok(Some(Username("zo\u{EB}".as_bytes()))));
    let key = key(PasswordDigest::Sha256, "zo\u{EB}", "na\u{EF}ve pass");
    assert_eq!(message.verify_sha256(key.bytes()), Ok(()));
}

#[test]
fn what_the_profile_does_not_allow_is_used_as_it_stands() {
    let mut client = client("zo\u{EB}\u{200B}", "lovelace", |_| {});
    let request = challenged(&mut client, b"old nonce", None).unwrap();
    let message = Message::parse(&request).unwrap();
    assert_eq!(message.get(), Ok(Some(Username("zo\u{EB}\u{200B}".as_bytes()))));
}
