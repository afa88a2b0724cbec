//! What is true of every store. Each begins with an empty one.

use std::collections::BTreeSet;

use turnpike_store::{
    AdminUser, ErrorKind, Key, Kind, OAuthKey, PAGE_ROWS, RealmOption, Row, Store, StoredUser,
};

/// Everything that is asserted of every store.
pub(crate) async fn all(store: &dyn Store) {
    empty(store).await;
    every_kind_of_row_comes_back_as_it_was_put(store).await;
    clear(store).await;
    putting_again_replaces(store).await;
    clear(store).await;
    realms_and_letter_case_are_kept_apart(store).await;
    clear(store).await;
    names_of_every_script_come_back(store).await;
    clear(store).await;
    settings_show_all_realms_and_compare(store).await;
    clear(store).await;
    a_limit_of_zero_removes_the_limit(store).await;
    clear(store).await;
    secrets_go_one_by_one_and_all_at_once(store).await;
    clear(store).await;
    lists_come_in_pages(store).await;
    clear(store).await;
    what_is_too_long_or_holds_a_nul_is_refused(store).await;
    clear(store).await;
    of_a_page_that_is_refused_nothing_is_kept(store).await;
    clear(store).await;
    many_ask_at_once(store).await;
    clear(store).await;
    empty(store).await;
}

async fn empty(store: &dyn Store) {
    store.ping().await.unwrap();
    assert_eq!(store.user("r", "alice").await.unwrap(), None);
    assert_eq!(store.secrets("r").await.unwrap(), Vec::<String>::new());
    assert!(store.oauth_key("k").await.unwrap().is_none());
    assert!(store.admin_user("root").await.unwrap().is_none());
    assert_eq!(store.settings().await.unwrap(), turnpike_store::Settings::default());
    let counts = store.counts().await.unwrap();
    for kind in Kind::ALL {
        assert_eq!(counts.of(kind), 0, "{kind:?}");
        assert!(collect(store, kind, None, 10).await.is_empty(), "{kind:?}");
    }
    for row in samples() {
        assert_eq!(store.remove(&row.key()).await.unwrap(), 0, "removing what is not there is no error");
    }
}

async fn every_kind_of_row_comes_back_as_it_was_put(store: &dyn Store) {
    store.put(&samples()).await.unwrap();
    let counts = store.counts().await.unwrap();
    for kind in Kind::ALL {
        let put: Vec<Row> = samples().into_iter().filter(|row| row.kind() == kind).collect();
        assert_eq!(collect(store, kind, None, 10).await, put, "{kind:?}");
        assert_eq!(collect(store, kind, Some("elsewhere"), 10).await, [], "{kind:?}");
        assert_eq!(counts.of(kind), put.len() as u64, "{kind:?}");
    }
    assert_eq!(store.user("example.org", "alice").await.unwrap(), Some(keys(1)));
    assert_eq!(store.user("example.org", "bob").await.unwrap(), None);
    assert_eq!(store.secrets("example.org").await.unwrap(), ["north"]);
    assert_eq!(store.oauth_key("key 1").await.unwrap(), Some(oauth_key()));
    assert_eq!(store.admin_user("root").await.unwrap(), Some(admin()));
    assert!(store.keeps_sha256_keys().await.unwrap());
    for row in samples() {
        assert_eq!(store.remove(&row.key()).await.unwrap(), 1, "{row:?}");
        assert!(!collect(store, row.kind(), None, 10).await.contains(&row), "{row:?}");
    }
}

async fn putting_again_replaces(store: &dyn Store) {
    store.put(&[user("r", "alice", keys(1))]).await.unwrap();
    store.put(&[user("r", "alice", keys(2))]).await.unwrap();
    assert_eq!(store.user("r", "alice").await.unwrap(), Some(keys(2)));
    let without = StoredUser { sha256: None, ..keys(2) };
    store.put(&[user("r", "alice", without.clone())]).await.unwrap();
    assert_eq!(store.user("r", "alice").await.unwrap(), Some(without));
    // Twice in one page, the later one counts.
    store.put(&[user("r", "alice", keys(3)), user("r", "alice", keys(4))]).await.unwrap();
    assert_eq!(store.user("r", "alice").await.unwrap(), Some(keys(4)));
    let secret = Row::Secret { realm: "r".into(), value: "s".into() };
    store.put(&[secret.clone(), secret.clone()]).await.unwrap();
    store.put(&[secret]).await.unwrap();
    assert_eq!(store.secrets("r").await.unwrap(), ["s"]);
    for realm in ["first", "second"] {
        store
            .put(&[Row::Origin { origin: "https://example.org:443".into(), realm: realm.into() }])
            .await
            .unwrap();
    }
    assert_eq!(store.settings().await.unwrap().origins["https://example.org:443"], "second");
    let admin =
        |password: &str| AdminUser { name: "root".into(), realm: String::new(), password: password.into() };
    for password in ["one", "two"] {
        store.put(&[Row::AdminUser(admin(password))]).await.unwrap();
    }
    assert_eq!(store.admin_user("root").await.unwrap(), Some(admin("two")));
    assert_eq!(store.counts().await.unwrap().users, 1);
}

async fn realms_and_letter_case_are_kept_apart(store: &dyn Store) {
    store
        .put(&[user("a", "alice", keys(1)), user("b", "alice", keys(2)), user("", "alice", keys(3))])
        .await
        .unwrap();
    for (realm, number) in [("a", 1), ("b", 2), ("", 3)] {
        assert_eq!(store.user(realm, "alice").await.unwrap(), Some(keys(number)), "{realm}");
        assert_eq!(
            collect(store, Kind::User, Some(realm), 10).await,
            [user(realm, "alice", keys(number))],
            "{realm}"
        );
    }
    for (realm, name) in [("A", "alice"), ("a", "Alice"), ("a", "alice "), ("a", "álice"), ("a ", "alice")] {
        assert_eq!(store.user(realm, name).await.unwrap(), None, "{realm:?} {name:?}");
    }
    assert_eq!(store.remove(&key("a", "alice")).await.unwrap(), 1);
    assert_eq!(store.user("b", "alice").await.unwrap(), Some(keys(2)));
}

async fn names_of_every_script_come_back(store: &dyn Store) {
    let rows: Vec<Row> = NAMES.iter().map(|name| user("r", name, keys(name.len() as u8))).collect();
    store.put(&rows).await.unwrap();
    for name in NAMES {
        assert_eq!(store.user("r", name).await.unwrap(), Some(keys(name.len() as u8)), "{name:?}");
    }
    let listed: BTreeSet<String> =
        collect(store, Kind::User, Some("r"), 3).await.into_iter().map(name_of).collect();
    assert_eq!(listed, NAMES.iter().map(|name| (*name).to_owned()).collect());
    for name in NAMES {
        assert_eq!(store.remove(&key("r", name)).await.unwrap(), 1, "{name:?}");
    }
    for realm in NAMES.iter().filter(|name| !name.contains('/')) {
        let secret = Row::Secret { realm: (*realm).into(), value: (*realm).into() };
        store.put(std::slice::from_ref(&secret)).await.unwrap();
        assert_eq!(store.secrets(realm).await.unwrap(), [*realm]);
        assert_eq!(collect(store, Kind::Secret, Some(realm), 10).await, [secret]);
    }
}

async fn settings_show_all_realms_and_compare(store: &dyn Store) {
    store.put(&samples()).await.unwrap();
    let first = store.settings().await.unwrap();
    assert_eq!(first, store.settings().await.unwrap());
    assert_eq!(first.origins["https://example.org:443"], "example.org");
    let realm = &first.realms["example.org"];
    assert_eq!(realm.limits, [(RealmOption::MaxBps, 64_000), (RealmOption::UserQuota, 10)].into());
    assert_eq!(realm.allowed_peers, ["10.0.0.0-10.0.0.9".to_owned()].into());
    assert_eq!(first.realms[""].denied_peers, ["192.0.2.1".to_owned()].into());
    let more = Row::DeniedPeer { realm: "example.org".into(), range: "2001:db8::1".into() };
    store.put(std::slice::from_ref(&more)).await.unwrap();
    assert_ne!(first, store.settings().await.unwrap());
    store.remove(&more.key()).await.unwrap();
    assert_eq!(first, store.settings().await.unwrap());
}

async fn a_limit_of_zero_removes_the_limit(store: &dyn Store) {
    let limit = |option, value| Row::RealmLimit { realm: "r".into(), option, value };
    store.put(&RealmOption::ALL.map(|option| limit(option, 5))).await.unwrap();
    assert_eq!(store.settings().await.unwrap().realms["r"].limits.len(), 3);
    store
        .put(&[limit(RealmOption::TotalQuota, 0), limit(RealmOption::MaxBps, u64::from(u32::MAX) * 2)])
        .await
        .unwrap();
    let left = [(RealmOption::MaxBps, u64::from(u32::MAX) * 2), (RealmOption::UserQuota, 5)];
    assert_eq!(store.settings().await.unwrap().realms["r"].limits, left.into());
    assert_eq!(store.counts().await.unwrap().realm_limits, 2);
}

async fn secrets_go_one_by_one_and_all_at_once(store: &dyn Store) {
    let secret = |realm: &str, value: &str| Row::Secret { realm: realm.into(), value: value.into() };
    let rows =
        [("r", "1"), ("r", "2"), ("r", "3"), ("other", "1")].map(|(realm, value)| secret(realm, value));
    store.put(&rows).await.unwrap();
    assert_eq!(store.remove(&rows[1].key()).await.unwrap(), 1);
    let left: BTreeSet<String> = store.secrets("r").await.unwrap().into_iter().collect();
    assert_eq!(left, ["1".to_owned(), "3".to_owned()].into());
    assert_eq!(store.counts().await.unwrap().secrets, 3);
    assert_eq!(store.remove(&Key::SecretsOf { realm: "r".into() }).await.unwrap(), 2);
    assert_eq!(store.secrets("r").await.unwrap(), Vec::<String>::new());
    assert_eq!(store.secrets("other").await.unwrap(), ["1"]);
}

async fn lists_come_in_pages(store: &dyn Store) {
    let users: Vec<Row> = (0..2500_u32)
        .map(|number| {
            user(&format!("realm{}", number % 3), &format!("user{number}"), keys((number % 251) as u8))
        })
        .collect();
    for page in users.chunks(PAGE_ROWS) {
        store.put(page).await.unwrap();
    }
    assert_eq!(store.counts().await.unwrap().users, 2500);
    let by_name = |rows: Vec<Row>| {
        let mut named: Vec<(String, Row)> = rows.into_iter().map(|row| (name_of(row.clone()), row)).collect();
        named.sort_by(|one, other| one.0.cmp(&other.0));
        named
    };
    for limit in [700, 1000, usize::MAX] {
        assert_eq!(by_name(collect(store, Kind::User, None, limit).await), by_name(users.clone()), "{limit}");
    }
    let of_realm: Vec<Row> = users.iter().filter(|row| row.realm() == "realm1").cloned().collect();
    assert_eq!(by_name(collect(store, Kind::User, Some("realm1"), 100).await), by_name(of_realm));
    let range = |number: usize| Row::AllowedPeer { realm: "r".into(), range: format!("10.0.0.{number}") };
    store.put(&(0..25).map(range).collect::<Vec<_>>()).await.unwrap();
    for realm in [None, Some("r")] {
        assert_eq!(collect(store, Kind::AllowedPeer, realm, 10).await.len(), 25);
    }
    let secrets: Vec<Row> =
        (0..30).map(|number| Row::Secret { realm: "r".into(), value: format!("s{number}") }).collect();
    store.put(&secrets).await.unwrap();
    assert_eq!(collect(store, Kind::Secret, Some("r"), 7).await.len(), 30);
}

async fn what_is_too_long_or_holds_a_nul_is_refused(store: &dyn Store) {
    let long = "x".repeat(100_000);
    let widest = "ä".repeat(256);
    store.put(&[user("r", &widest, keys(1))]).await.unwrap();
    assert_eq!(store.user("r", &widest).await.unwrap(), Some(keys(1)));
    let secret = |value: &str| Row::Secret { realm: "r".into(), value: value.into() };
    store.put(&[secret(&"s".repeat(256))]).await.unwrap();
    let refused = [
        (user("r", &"x".repeat(513), keys(1)), ErrorKind::TooLong),
        (user(&long, "alice", keys(1)), ErrorKind::TooLong),
        (secret(&long), ErrorKind::TooLong),
        (secret("nul\0"), ErrorKind::Invalid),
        (user("r", "a\0b", keys(1)), ErrorKind::Invalid),
        (Row::Origin { origin: long.clone(), realm: "r".into() }, ErrorKind::TooLong),
        (Row::AdminUser(AdminUser { password: long.clone(), ..admin() }), ErrorKind::TooLong),
        (Row::OAuthKey(OAuthKey { key: vec![0; 193], ..oauth_key() }), ErrorKind::TooLong),
        (
            Row::RealmLimit { realm: "r".into(), option: RealmOption::MaxBps, value: u64::MAX },
            ErrorKind::Invalid,
        ),
    ];
    for (row, kind) in refused {
        let error = store.put(std::slice::from_ref(&row)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().len() < 1200, "{error}");
    }
    for (realm, name, kind) in
        [("r", long.as_str(), ErrorKind::TooLong), ("r\0", "alice", ErrorKind::Invalid)]
    {
        assert_eq!(store.user(realm, name).await.unwrap_err().kind(), kind);
        assert_eq!(store.remove(&key(realm, name)).await.unwrap_err().kind(), kind);
    }
    assert_eq!(store.secrets(&long).await.unwrap_err().kind(), ErrorKind::TooLong);
    assert_eq!(store.oauth_key(&long).await.unwrap_err().kind(), ErrorKind::TooLong);
}

async fn of_a_page_that_is_refused_nothing_is_kept(store: &dyn Store) {
    let rows =
        [user("r", "first", keys(1)), user("r", &"x".repeat(600), keys(1)), user("r", "last", keys(1))];
    assert_eq!(store.put(&rows).await.unwrap_err().kind(), ErrorKind::TooLong);
    let many: Vec<Row> = (0..=PAGE_ROWS).map(|number| user("r", &number.to_string(), keys(1))).collect();
    assert_eq!(store.put(&many).await.unwrap_err().kind(), ErrorKind::TooLong);
    assert_eq!(store.counts().await.unwrap().users, 0);
    store.put(&[]).await.unwrap();
}

async fn many_ask_at_once(store: &dyn Store) {
    let put = |number: u8| async move {
        store.put(&[user("r", &format!("user{number}"), keys(number))]).await.unwrap();
        assert_eq!(store.user("r", &format!("user{number}")).await.unwrap(), Some(keys(number)));
    };
    let mut together = Vec::new();
    for number in 0..50 {
        together.push(Box::pin(put(number)));
    }
    join(together).await;
    assert_eq!(store.counts().await.unwrap().users, 50);
}

/// Waits for all of them, which make progress in turn.
async fn join<F: Future<Output = ()> + Unpin>(mut futures: Vec<F>) {
    std::future::poll_fn(|context| {
        futures.retain_mut(|future| std::pin::Pin::new(future).poll(context).is_pending());
        if futures.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// All pages of a list; the cursors must come to an end.
pub(crate) async fn collect(store: &dyn Store, kind: Kind, realm: Option<&str>, limit: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut after = None;
    for _ in 0..10_000 {
        let page = store.list(kind, realm, after.as_ref(), limit).await.unwrap();
        assert_eq!(page.corrupt, []);
        rows.extend(page.rows);
        after = page.next;
        if after.is_none() {
            return rows;
        }
    }
    panic!("the list of {kind:?} does not end");
}

pub(crate) async fn clear(store: &dyn Store) {
    for kind in Kind::ALL {
        for row in collect(store, kind, None, PAGE_ROWS).await {
            store.remove(&row.key()).await.unwrap();
        }
    }
}

/// A row of each kind.
pub(crate) fn samples() -> Vec<Row> {
    vec![
        user("example.org", "alice", keys(1)),
        Row::Secret { realm: "example.org".into(), value: "north".into() },
        Row::AllowedPeer { realm: "example.org".into(), range: "10.0.0.0-10.0.0.9".into() },
        Row::DeniedPeer { realm: String::new(), range: "192.0.2.1".into() },
        Row::Origin { origin: "https://example.org:443".into(), realm: "example.org".into() },
        Row::RealmLimit { realm: "example.org".into(), option: RealmOption::MaxBps, value: 64_000 },
        Row::RealmLimit { realm: "example.org".into(), option: RealmOption::UserQuota, value: 10 },
        Row::OAuthKey(oauth_key()),
        Row::AdminUser(admin()),
    ]
}

pub(crate) fn user(realm: &str, name: &str, user: StoredUser) -> Row {
    Row::User { realm: realm.into(), name: name.into(), user }
}

pub(crate) fn key(realm: &str, name: &str) -> Key {
    Key::User { realm: realm.into(), name: name.into() }
}

pub(crate) fn keys(number: u8) -> StoredUser {
    StoredUser { hmackey: [number; 16], sha256: Some([number ^ 0xFF; 32]) }
}

fn oauth_key() -> OAuthKey {
    OAuthKey {
        kid: "key 1".into(),
        key: (0..32).collect(),
        timestamp: 1_700_000_000,
        lifetime: 86_400,
        as_rs_alg: "A256GCM".into(),
        realm: "example.org".into(),
    }
}

fn admin() -> AdminUser {
    AdminUser { name: "root".into(), realm: "example.org".into(), password: "$5$00$11".into() }
}

fn name_of(row: Row) -> String {
    match row.key() {
        Key::User { name, .. } => name,
        other => panic!("{other:?}"),
    }
}

const NAMES: [&str; 22] = [
    "O'Hara",
    "\"quoted\"",
    "back\\slash",
    "semi;colon--",
    "1700000000:alice",
    "a/b/c",
    "per%cent_",
    "star*?[x]",
    "new\nline",
    "{curly}",
    "$dollar",
    "Ελένη",
    "Мария",
    "محمد",
    "שרה",
    "देवी",
    "ไทย",
    "한국어",
    "日本語",
    "👩‍👩‍👧‍👦",
    "e\u{301}",
    "\u{10FFFD}",
];
