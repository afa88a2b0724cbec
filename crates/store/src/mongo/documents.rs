//! Rows as documents, and the commands that change them.

use std::collections::{BTreeMap, HashMap};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mongodb::bson::{Bson, Document, doc};

use crate::rows::{AdminUser, Key, Kind, RealmOption, Row, StoredUser};
use crate::target::Target;
use crate::{Result, hex, sql};

/// Our own collection, for the keys that coturn has no place for.
pub(super) const USER_KEYS: &str = "turnpike_user_key";

/// Where rows of this kind are.
pub(super) fn collection(kind: Kind) -> &'static str {
    if is_of_realm(kind) { "realm" } else { kind.table() }
}

/// Whether rows of this kind are parts of a realm's document.
pub(super) fn is_of_realm(kind: Kind) -> bool {
    matches!(kind, Kind::Origin | Kind::RealmLimit | Kind::AllowedPeer | Kind::DeniedPeer)
}

/// What the documents of a list are in order of.
pub(super) fn columns(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::User => &["realm", "name"],
        Kind::Secret => &["realm", "value"],
        Kind::OAuthKey => &["kid"],
        Kind::AdminUser => &["name"],
        _ => &["realm"],
    }
}

/// The document that a key is in.
pub(super) fn filter(key: &Key) -> Document {
    match key {
        Key::User { realm, name } => doc! { "realm": realm, "name": name },
        Key::Secret { realm, value } => doc! { "realm": realm, "value": value },
        Key::SecretsOf { realm }
        | Key::AllowedPeer { realm, .. }
        | Key::DeniedPeer { realm, .. }
        | Key::RealmLimit { realm, .. } => doc! { "realm": realm },
        Key::Origin { origin } => doc! { "origin": origin },
        Key::OAuthKey { kid } => doc! { "kid": kid },
        Key::AdminUser { name } => doc! { "name": name },
    }
}

/// The documents behind a place, of one realm or of all.
pub(super) fn behind(columns: &[&str], realm: Option<&str>, place: &[String]) -> Document {
    let mut all = Vec::new();
    all.extend(realm.map(|realm| doc! { "realm": realm }));
    match (columns, place) {
        ([only], [value]) => all.push(doc! { *only: { "$gt": value } }),
        ([first, second], [one, two]) => all.push(doc! { "$or": [
            { *first: { "$gt": one } },
            { *first: one, *second: { "$gt": two } },
        ] }),
        _ => {}
    }
    if all.is_empty() {
        doc! {}
    } else {
        doc! { "$and": all }
    }
}

pub(super) fn place(columns: &[&str], document: &Document) -> Vec<String> {
    columns.iter().map(|column| text(document, column)).collect()
}

/// A place as text: no name has a NUL in it.
pub(super) fn token(place: Vec<String>) -> String {
    place.into_iter().map(|column| column + "\0").collect()
}

pub(super) fn place_of(token: &str) -> Vec<String> {
    token.split_terminator('\0').map(str::to_owned).collect()
}

/// The rows of one kind in a document.
pub(super) fn read(target: &Target, kind: Kind, document: &Document) -> Vec<Result<Row>> {
    let realm = text(document, "realm");
    let rows: Vec<Result<Row>> = match kind {
        Kind::User => {
            let name = text(document, "name");
            let hmackey = sql::hmackey(target, &realm, &name, &text(document, "hmackey"));
            vec![hmackey.map(|hmackey| Row::User { realm, name, user: StoredUser { hmackey, sha256: None } })]
        }
        Kind::Secret => vec![Ok(Row::Secret { realm, value: text(document, "value") })],
        Kind::AllowedPeer => list(document, "allowed_peer_ip")
            .map(|range| Ok(Row::AllowedPeer { realm: realm.clone(), range }))
            .collect(),
        Kind::DeniedPeer => list(document, "denied_peer_ip")
            .map(|range| Ok(Row::DeniedPeer { realm: realm.clone(), range }))
            .collect(),
        Kind::Origin => {
            list(document, "origin").map(|origin| Ok(Row::Origin { origin, realm: realm.clone() })).collect()
        }
        Kind::RealmLimit => {
            let options = document.get_document("options").ok();
            let present =
                |option: &RealmOption| options.is_some_and(|options| options.contains_key(option.name()));
            let read = |option: RealmOption| {
                let value = options.map(|options| text(options, option.name())).unwrap_or_default();
                sql::realm_limit(target, realm.clone(), option.name(), &value)
            };
            RealmOption::ALL.into_iter().filter(present).map(read).collect()
        }
        Kind::OAuthKey => {
            let fields = ["ikm_key", "timestamp", "lifetime", "as_rs_alg", "realm"];
            vec![sql::oauth_key(target, text(document, "kid"), fields.map(|field| text(document, field)))]
        }
        Kind::AdminUser => {
            let (name, password) = (text(document, "name"), text(document, "password"));
            vec![Ok(Row::AdminUser(AdminUser { name, realm, password }))]
        }
    };
    let checked = |row: Row| match target.check_rows(std::slice::from_ref(&row)) {
        Ok(()) => Ok(row),
        Err(error) => Err(target.corrupt(row.key(), &error.to_string())),
    };
    rows.into_iter().map(|row| row.and_then(checked)).collect()
}

/// What finds these users' keys of ours: a filter for each realm.
pub(super) fn of_users(rows: &[Row]) -> Vec<Document> {
    let mut realms: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in rows {
        if let Row::User { realm, name, .. } = row {
            realms.entry(realm).or_default().push(name);
        }
    }
    realms.into_iter().map(|(realm, names)| doc! { "realm": realm, "name": { "$in": names } }).collect()
}

/// Gives users their SHA-256 keys, where they are among these.
pub(super) fn add_sha256_keys(rows: &mut [Row], found: &[Document]) {
    let of = |ours: &Document| (text(ours, "realm"), text(ours, "name"));
    let found: HashMap<(String, String), &Document> = found.iter().map(|ours| (of(ours), ours)).collect();
    for row in rows {
        if let Row::User { realm, name, user } = row
            && let Some(ours) = found.get(&(realm.clone(), name.clone()))
        {
            user.sha256 = sql::accompanying(&user.hmackey, &text(ours, "hmackey"), &text(ours, "sha256key"));
        }
    }
}

/// The commands that write these rows, in their order.
pub(super) fn put(rows: &[Row]) -> Vec<Document> {
    let mut commands: Vec<(&'static str, Vec<Bson>)> = Vec::new();
    let mut add = |collection: &'static str, statement: Document| match commands.last_mut() {
        // Statements of one collection travel together.
        Some((last, statements)) if *last == collection && statements.len() < STATEMENTS => {
            statements.push(statement.into())
        }
        _ => commands.push((collection, vec![statement.into()])),
    };
    for kind in Kind::ALL {
        let of_kind = || rows.iter().filter(move |row| row.kind() == kind);
        // First, so that nobody is ever there without the key that he is to have: what goes wrong in between leaves a key
        // that accompanies nothing yet, which nobody heeds.
        for row in of_kind() {
            if let Row::User { user, .. } = row {
                // Without one it accompanies nothing.
                let hmackey = if user.sha256.is_some() { hex::encode(&user.hmackey) } else { String::new() };
                let sha256 = user.sha256.map(|sha256| hex::encode(&sha256)).unwrap_or_default();
                let keys = doc! { "$set": { "hmackey": hmackey, "sha256key": sha256 } };
                add(USER_KEYS, doc! { "q": filter(&row.key()), "u": keys, "upsert": true });
            }
        }
        for row in of_kind() {
            if let Row::Origin { origin, realm } = row {
                let others = doc! { "origin": origin, "realm": { "$ne": realm } };
                add("realm", doc! { "q": others, "u": { "$pull": { "origin": origin } }, "multi": true });
            }
            if is_of_realm(kind) {
                // Some servers add to a list only where there is one.
                let lists = doc! { "origin": [], "options": {}, "allowed_peer_ip": [], "denied_peer_ip": [] };
                let made = doc! { "$setOnInsert": lists };
                add("realm", doc! { "q": { "realm": row.realm() }, "u": made, "upsert": true });
            }
            add(collection(kind), doc! { "q": filter_to_put(row), "u": change(row), "upsert": true });
        }
    }
    let command =
        |(collection, statements)| doc! { "update": collection, "updates": statements, "ordered": true };
    commands.into_iter().map(command).collect()
}

/// The commands that make every collection's index.
pub(super) fn indexes() -> Vec<Document> {
    let keys = [
        ("turnusers_lt", columns(Kind::User)),
        (USER_KEYS, columns(Kind::User)),
        ("turn_secret", columns(Kind::Secret)),
        ("realm", columns(Kind::Origin)),
        ("oauth_key", columns(Kind::OAuthKey)),
        ("admin_user", columns(Kind::AdminUser)),
    ];
    let command = |(collection, columns): (&str, &[&str])| {
        let key: Document = columns.iter().map(|column| ((*column).to_owned(), 1.into())).collect();
        // As servers name an index when nobody does.
        let name = columns.iter().map(|column| format!("{column}_1")).collect::<Vec<_>>().join("_");
        doc! { "createIndexes": collection, "indexes": [{ "key": key, "name": name, "unique": true }] }
    };
    keys.into_iter().map(command).collect()
}

fn filter_to_put(row: &Row) -> Document {
    match row {
        Row::Origin { realm, .. } => doc! { "realm": realm },
        row => filter(&row.key()),
    }
}

fn change(row: &Row) -> Document {
    match row {
        Row::User { user, .. } => doc! { "$set": { "hmackey": hex::encode(&user.hmackey) } },
        Row::Secret { value, .. } => doc! { "$set": { "value": value } },
        Row::AllowedPeer { range, .. } => doc! { "$addToSet": { "allowed_peer_ip": range } },
        Row::DeniedPeer { range, .. } => doc! { "$addToSet": { "denied_peer_ip": range } },
        Row::Origin { origin, .. } => doc! { "$addToSet": { "origin": origin } },
        Row::RealmLimit { option, value: 0, .. } => {
            doc! { "$unset": { format!("options.{}", option.name()): 1 } }
        }
        Row::RealmLimit { option, value, .. } => {
            doc! { "$set": { format!("options.{}", option.name()): i64::try_from(*value).unwrap_or(i64::MAX) } }
        }
        Row::OAuthKey(key) => doc! { "$set": {
            "ikm_key": STANDARD.encode(&key.key),
            "timestamp": i64::try_from(key.timestamp).unwrap_or(i64::MAX),
            "lifetime": i32::try_from(key.lifetime).unwrap_or(i32::MAX),
            "as_rs_alg": &key.as_rs_alg,
            "realm": &key.realm,
        } },
        Row::AdminUser(admin) => doc! { "$set": { "realm": &admin.realm, "password": &admin.password } },
    }
}

/// The commands that remove what a key names; the first one's answer says how much that was.
pub(super) fn remove(key: &Key) -> Vec<Document> {
    let update = |change: Document| {
        vec![doc! { "update": "realm", "updates": [{ "q": part(key), "u": change, "multi": true }] }]
    };
    match key {
        Key::AllowedPeer { range, .. } => update(doc! { "$pull": { "allowed_peer_ip": range } }),
        Key::DeniedPeer { range, .. } => update(doc! { "$pull": { "denied_peer_ip": range } }),
        Key::Origin { origin } => update(doc! { "$pull": { "origin": origin } }),
        Key::RealmLimit { option, .. } => {
            update(doc! { "$unset": { format!("options.{}", option.name()): 1 } })
        }
        _ => {
            let delete = |from: &str| doc! { "delete": from, "deletes": [{ "q": filter(key), "limit": 0 }] };
            let mut commands = vec![delete(collection(key.kind()))];
            if let Key::User { .. } = key {
                commands.push(delete(USER_KEYS));
            }
            commands
        }
    }
}

/// The document that holds this part.
fn part(key: &Key) -> Document {
    let mut filter = filter(key);
    match key {
        Key::AllowedPeer { range, .. } => filter.insert("allowed_peer_ip", range),
        Key::DeniedPeer { range, .. } => filter.insert("denied_peer_ip", range),
        Key::RealmLimit { option, .. } => {
            filter.insert(format!("options.{}", option.name()), doc! { "$exists": true })
        }
        _ => None,
    };
    filter
}

/// How many documents a command changed or deleted.
pub(super) fn changed(answer: &Document) -> u64 {
    let field = if answer.contains_key("nModified") { "nModified" } else { "n" };
    text(answer, field).parse().unwrap_or(0)
}

/// A field as text; numbers come as they were written by whomever.
pub(super) fn text(document: &Document, field: &str) -> String {
    match document.get(field) {
        Some(Bson::String(text)) => text.clone(),
        Some(Bson::Int32(number)) => number.to_string(),
        Some(Bson::Int64(number)) => number.to_string(),
        Some(Bson::Double(number)) => number.to_string(),
        _ => String::new(),
    }
}

fn list(document: &Document, field: &str) -> impl Iterator<Item = String> {
    let values = document.get_array(field).cloned().unwrap_or_default();
    values.into_iter().filter_map(|value| match value {
        Bson::String(text) => Some(text),
        _ => None,
    })
}

/// So many statements travel together: each such message is to be answered in time.
const STATEMENTS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    /// There is no transaction around them: a server that dies between two commands must leave nothing wrong.
    #[test]
    fn a_users_sha256_key_is_written_before_the_user_and_removed_after_him() {
        let user = StoredUser { hmackey: [1; 16], sha256: Some([2; 32]) };
        let row = Row::User { realm: "r".into(), name: "alice".into(), user };
        let into = |command: &Document| text(command, "update") + &text(command, "delete");
        let written: Vec<String> = put(std::slice::from_ref(&row)).iter().map(into).collect();
        assert_eq!(written, [USER_KEYS, "turnusers_lt"]);
        let removed: Vec<String> = remove(&row.key()).iter().map(into).collect();
        assert_eq!(removed, ["turnusers_lt", USER_KEYS]);
    }
}
