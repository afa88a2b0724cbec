//! Lists, as coturn's tool prints them or as JSON.

use std::io::{self, BufWriter, StdoutLock, Write};

use serde_json::{Value, json};
use turnpike_store::{Kind, PAGE_ROWS, Row, Store, StoreError};

/// Prints the rows of a kind, of one realm or of all, and returns what makes no sense.
pub(super) async fn print(
    store: &dyn Store,
    kind: Kind,
    realm: Option<&str>,
    as_json: bool,
) -> anyhow::Result<Vec<StoreError>> {
    let mut output = Output { out: BufWriter::new(io::stdout().lock()), as_json, any: false };
    // coturn does not filter console users, and shows them and origins by realm.
    let realm = realm.filter(|_| kind != Kind::AdminUser);
    let sorted = matches!(kind, Kind::AdminUser | Kind::Origin);
    let (mut corrupt, mut kept, mut cursor) = (Vec::new(), Vec::new(), None);
    output.begin()?;
    loop {
        let page = store.list(kind, realm, cursor.as_ref(), PAGE_ROWS).await?;
        corrupt.extend(page.corrupt.into_iter().take(MOST_ERRORS.saturating_sub(corrupt.len())));
        if sorted {
            kept.extend(page.rows);
        } else {
            page.rows.iter().try_for_each(|row| output.row(row))?;
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    kept.sort_by(|one, other| one.realm().cmp(other.realm()));
    kept.iter().try_for_each(|row| output.row(row))?;
    output.end()?;
    Ok(corrupt)
}

struct Output {
    out: BufWriter<StdoutLock<'static>>,
    as_json: bool,
    any: bool,
}

impl Output {
    fn begin(&mut self) -> io::Result<()> {
        if self.as_json { write!(self.out, "[") } else { Ok(()) }
    }

    fn row(&mut self, row: &Row) -> io::Result<()> {
        if self.as_json {
            let before = if self.any { ",\n" } else { "\n" };
            self.any = true;
            return write!(self.out, "{before}{}", object(row));
        }
        writeln!(self.out, "{}", printable(&text(row)))
    }

    fn end(&mut self) -> io::Result<()> {
        if self.as_json {
            writeln!(self.out, "{}", if self.any { "\n]" } else { "]" })?;
        }
        self.out.flush()
    }
}

fn text(row: &Row) -> String {
    match row {
        Row::User { realm, name, .. } => format!("{name}[{realm}]"),
        Row::Secret { realm, value } => format!("{value}[{realm}]"),
        Row::AllowedPeer { realm, range } | Row::DeniedPeer { realm, range } => format!("{range}[{realm}]"),
        Row::Origin { origin, realm } => format!("{origin} ==>> {realm}"),
        Row::RealmLimit { realm, option, value } => format!("{}[{realm}]={value}", option.name()),
        Row::OAuthKey(key) => {
            let (timestamp, lifetime) = (key.timestamp, key.lifetime);
            let algorithm = &key.as_rs_alg;
            format!("{}[{}] {algorithm} timestamp={timestamp} lifetime={lifetime}", key.kid, key.realm)
        }
        Row::AdminUser(admin) if admin.realm.is_empty() => admin.name.clone(),
        Row::AdminUser(admin) => format!("{}[{}]", admin.name, admin.realm),
    }
}

fn object(row: &Row) -> Value {
    match row {
        Row::User { realm, name, user } => {
            json!({ "user": name, "realm": realm, "sha256": user.sha256.is_some() })
        }
        Row::Secret { realm, value } => json!({ "secret": value, "realm": realm }),
        Row::AllowedPeer { realm, range } | Row::DeniedPeer { realm, range } => {
            json!({ "range": range, "realm": realm })
        }
        Row::Origin { origin, realm } => json!({ "origin": origin, "realm": realm }),
        Row::RealmLimit { realm, option, value } => {
            json!({ "option": option.name(), "realm": realm, "value": value })
        }
        Row::OAuthKey(key) => json!({
            "kid": key.kid,
            "realm": key.realm,
            "algorithm": key.as_rs_alg,
            "timestamp": key.timestamp,
            "lifetime": key.lifetime,
        }),
        Row::AdminUser(admin) => {
            let realm = Some(&admin.realm).filter(|realm| !realm.is_empty());
            json!({ "name": admin.name, "realm": realm })
        }
    }
}

/// Whoever could write into the database must not command the terminal of whoever lists it.
fn printable(text: &str) -> String {
    let shown = |letter: char| -> String {
        if letter.is_control() { letter.escape_default().to_string() } else { letter.into() }
    };
    text.chars().map(shown).collect()
}

const MOST_ERRORS: usize = 100;

#[cfg(test)]
mod tests {
    use turnpike_store::{AdminUser, RealmOption};

    use super::*;

    #[test]
    fn rows_look_as_coturns_tool_prints_them() {
        let admin = |realm: &str| {
            Row::AdminUser(AdminUser { name: "root".into(), realm: realm.into(), password: "x".into() })
        };
        let limit = Row::RealmLimit { realm: "r".into(), option: RealmOption::UserQuota, value: 5 };
        for (row, expected) in [
            (Row::Secret { realm: "r".into(), value: "s".into() }, "s[r]"),
            (Row::Origin { origin: "http://a:80".into(), realm: "r".into() }, "http://a:80 ==>> r"),
            (limit, "user-quota[r]=5"),
            (admin(""), "root"),
            (admin("r"), "root[r]"),
        ] {
            assert_eq!(text(&row), expected);
        }
        assert_eq!(printable("a\u{1b}[2Jü\n"), "a\\u{1b}[2Jü\\n");
    }
}
