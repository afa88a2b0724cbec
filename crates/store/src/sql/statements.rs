//! What is asked of an SQL database. sea-query writes the text, each dialect its own, and values are always parameters.

use std::collections::BTreeMap;

use sea_query::{
    Asterisk, Cond, Expr, ExprTrait, Func, MysqlQueryBuilder, OnConflict, Order, PostgresQueryBuilder,
    Query as Build, QueryStatementWriter, SelectStatement, SqliteQueryBuilder,
};

use super::Value;
use crate::PAGE_ROWS;
use crate::rows::{Key, Kind, Row};
use crate::{Appended, Datum};

/// A statement and its parameters.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value>,
}

/// Whose SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
    Mysql,
}

/// Makes statements of one dialect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Statements {
    dialect: Dialect,
}

impl Statements {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Statements { dialect }
    }

    pub(crate) fn dialect(self) -> Dialect {
        self.dialect
    }

    /// Adds rows that are not there yet.
    pub(crate) fn append(self, appended: &Appended<'_>, rows: &[Vec<Datum>]) -> Query {
        let mut insert = Build::insert();
        insert.into_table(appended.table).columns(appended.columns.iter().copied());
        for row in rows {
            insert.values_panic(row.iter().map(|datum| Expr::value(Value::from(datum))));
        }
        let mut conflict = OnConflict::columns(appended.columns[..1].iter().copied());
        // MySQL has no other way to say so.
        insert.on_conflict(conflict.do_nothing_on(appended.columns[..1].iter().copied()).to_owned());
        self.build(&insert)
    }

    pub(crate) fn ping(self) -> Query {
        self.build(Build::select().expr(Expr::value(1)))
    }

    /// The row of a key.
    pub(crate) fn one(self, key: &Key) -> Query {
        let mut select = all_columns(key.kind());
        select.cond_where(matches(key));
        self.build(&select)
    }

    /// A user with the key of ours beside him. Parameters stand on both sides of the join, because columns of two
    /// tables may be of different collations, which MySQL refuses to compare.
    pub(crate) fn user(self, realm: &str, name: &str) -> Query {
        let users = Kind::User.table();
        let belongs = Cond::all()
            .add(Expr::col((USER_KEY_TABLE, "realm")).eq(realm))
            .add(Expr::col((USER_KEY_TABLE, "name")).eq(name));
        self.build(
            Build::select()
                .columns([(users, "realm"), (users, "name"), (users, "hmackey")])
                .columns([(USER_KEY_TABLE, "hmackey"), (USER_KEY_TABLE, "sha256key")])
                .from(users)
                .left_join(USER_KEY_TABLE, belongs)
                .and_where(Expr::col((users, "realm")).eq(realm))
                .and_where(Expr::col((users, "name")).eq(name)),
        )
    }

    /// The keys of ours of these users, who are in order; of others too, perhaps. Where rows can be compared, everything
    /// between the first and the last is one stretch of the index. A planner has to think long about hundreds of pairs.
    pub(crate) fn user_keys(self, users: &[Key]) -> Query {
        let which = match (self.dialect, users) {
            (Dialect::Sqlite | Dialect::Postgres, [first, .., last]) => {
                let here = || Expr::tuple([Expr::col("realm"), Expr::col("name")]);
                let of = |user: &Key| Expr::tuple(user.columns().into_iter().map(Expr::value));
                Cond::all().add(here().gte(of(first))).add(here().lte(of(last)))
            }
            _ => users.iter().fold(Cond::any(), |any, user| any.add(matches(user))),
        };
        self.build(
            Build::select()
                .columns(["realm", "name", "hmackey", "sha256key"])
                .from(USER_KEY_TABLE)
                .cond_where(which),
        )
    }

    /// So many users' keys are asked for at once.
    pub(crate) fn user_keys_at_once(self) -> usize {
        if self.dialect == Dialect::Mysql { PAIRS_OF_A_STATEMENT } else { PAGE_ROWS }
    }

    /// Nothing, if the table of ours is there.
    pub(crate) fn probe_user_keys(self) -> Query {
        self.build(
            Build::select().columns(["realm", "name", "hmackey", "sha256key"]).from(USER_KEY_TABLE).limit(1),
        )
    }

    /// Every row of a kind, up to a limit.
    pub(crate) fn all(self, kind: Kind, limit: usize) -> Query {
        self.build(all_columns(kind).limit(limit as u64))
    }

    /// The peer ranges of a database older than realms.
    pub(crate) fn all_without_realm(self, kind: Kind, limit: usize) -> Query {
        self.build(Build::select().column("ip_range").from(kind.table()).limit(limit as u64))
    }

    /// A page of rows in the order of their keys.
    pub(crate) fn list(
        self,
        kind: Kind,
        realm: Option<&str>,
        after: Option<&[String]>,
        limit: usize,
    ) -> Query {
        let keys = key_columns(kind);
        let mut select = all_columns(kind);
        if let Some(realm) = realm {
            select.and_where(Expr::col("realm").eq(realm));
        }
        match after {
            Some([only]) => {
                select.and_where(Expr::col(keys[0]).gt(only));
            }
            Some([_, second]) if realm.is_some() => {
                select.and_where(Expr::col(keys[1]).gt(second));
            }
            Some([first, second]) => {
                select.cond_where(self.behind(keys, first, second));
            }
            _ => {}
        }
        for key in keys {
            select.order_by(*key, Order::Asc);
        }
        self.build(select.limit(limit as u64))
    }

    /// Behind a pair, so that each database's planner goes straight to the place in the index.
    fn behind(self, keys: &[&'static str], first: &str, second: &str) -> Cond {
        if self.dialect == Dialect::Mysql {
            let same_first = Cond::all().add(Expr::col(keys[0]).eq(first)).add(Expr::col(keys[1]).gt(second));
            Cond::any().add(Expr::col(keys[0]).gt(first)).add(same_first)
        } else {
            let here = Expr::tuple([Expr::col(keys[0]), Expr::col(keys[1])]);
            Cond::all().add(here.gt(Expr::tuple([Expr::value(first), Expr::value(second)])))
        }
    }

    pub(crate) fn count(self, kind: Kind) -> Query {
        self.build(Build::select().expr(Func::count(Expr::col(Asterisk))).from(kind.table()))
    }

    /// Adds rows, or replaces those that have their keys; of two with the same key the later one counts.
    pub(crate) fn put(self, rows: &[Row], has_user_keys: bool) -> Vec<Query> {
        let mut queries = Vec::new();
        for kind in Kind::ALL {
            let of_kind = rows.iter().filter(|row| row.kind() == kind);
            let latest: BTreeMap<Vec<String>, &Row> = of_kind
                .map(|row| (row.key().columns().into_iter().map(str::to_owned).collect(), row))
                .collect();
            let (zero, kept): (Vec<&Row>, Vec<&Row>) =
                latest.into_values().partition(|row| matches!(row, Row::RealmLimit { value: 0, .. }));
            for row in zero {
                queries.extend(self.remove(&row.key(), false));
            }
            for chunk in kept.chunks(ROWS_OF_A_STATEMENT) {
                queries.push(self.upsert(chunk));
                if kind == Kind::User && has_user_keys {
                    queries.extend(self.put_user_keys(chunk));
                }
            }
        }
        queries
    }

    fn upsert(self, rows: &[&Row]) -> Query {
        let kind = rows[0].kind();
        let (keys, values) = (key_columns(kind), value_columns(kind));
        let mut insert = Build::insert();
        insert.into_table(kind.table()).columns(keys.iter().chain(values).copied());
        for row in rows {
            insert.values_panic(super::columns::write(row).into_iter().map(Expr::value));
        }
        // A row that is nothing but its key is replaced by itself.
        let replaced = if values.is_empty() { &keys[1..] } else { values };
        let mut conflict = OnConflict::columns(keys.iter().copied());
        insert.on_conflict(conflict.update_columns(replaced.iter().copied()).to_owned());
        self.build(&insert)
    }

    fn put_user_keys(self, rows: &[&Row]) -> Vec<Query> {
        let mut insert = Build::insert();
        insert.into_table(USER_KEY_TABLE).columns(["realm", "name", "hmackey", "sha256key"]);
        let mut any = false;
        let mut queries = Vec::new();
        for row in rows {
            let Row::User { realm, name, user } = row else { continue };
            let Some(sha256) = &user.sha256 else {
                queries.push(self.remove_user_key(&row.key()));
                continue;
            };
            let (hmackey, sha256) = (crate::hex::encode(&user.hmackey), crate::hex::encode(sha256));
            insert.values_panic([realm, name, &hmackey, &sha256].map(|text| Expr::value(text.as_str())));
            any = true;
        }
        if any {
            let mut conflict = OnConflict::columns(["realm", "name"]);
            insert.on_conflict(conflict.update_columns(["hmackey", "sha256key"]).to_owned());
            queries.push(self.build(&insert));
        }
        queries
    }

    /// Removes what a key names. The first statement's count is the answer.
    pub(crate) fn remove(self, key: &Key, has_user_keys: bool) -> Vec<Query> {
        let mut delete = Build::delete();
        delete.from_table(key.kind().table()).cond_where(matches(key));
        let mut queries = vec![self.build(&delete)];
        if has_user_keys {
            queries.push(self.remove_user_key(key));
        }
        queries
    }

    fn remove_user_key(self, user: &Key) -> Query {
        self.build(Build::delete().from_table(USER_KEY_TABLE).cond_where(matches(user)))
    }

    fn build(self, statement: &impl QueryStatementWriter) -> Query {
        let (sql, values) = match self.dialect {
            Dialect::Sqlite => statement.build(SqliteQueryBuilder),
            Dialect::Postgres => statement.build(PostgresQueryBuilder),
            Dialect::Mysql => statement.build(MysqlQueryBuilder),
        };
        Query { sql, values: values.into_iter().map(Value::from).collect() }
    }
}

fn all_columns(kind: Kind) -> SelectStatement {
    let mut select = Build::select();
    select.columns(key_columns(kind).iter().chain(value_columns(kind)).copied()).from(kind.table());
    select
}

/// What names a row among its kind, in the order of [`Key::columns`].
fn matches(key: &Key) -> Cond {
    let columns = key_columns(key.kind()).iter().zip(key.columns());
    columns.fold(Cond::all(), |all, (column, value)| all.add(Expr::col(*column).eq(value)))
}

pub(super) fn key_columns(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::User => &["realm", "name"],
        Kind::Secret => &["realm", "value"],
        Kind::AllowedPeer | Kind::DeniedPeer => &["realm", "ip_range"],
        Kind::Origin => &["origin"],
        Kind::RealmLimit => &["realm", "opt"],
        Kind::OAuthKey => &["kid"],
        Kind::AdminUser => &["name"],
    }
}

fn value_columns(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::User => &["hmackey"],
        Kind::Secret | Kind::AllowedPeer | Kind::DeniedPeer => &[],
        Kind::Origin => &["realm"],
        Kind::RealmLimit => &["value"],
        Kind::OAuthKey => &["ikm_key", "timestamp", "lifetime", "as_rs_alg", "realm"],
        Kind::AdminUser => &["realm", "password"],
    }
}

impl From<Value> for sea_query::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => sea_query::Value::String(None),
            Value::Text(text) => text.into(),
            Value::Integer(integer) => integer.into(),
        }
    }
}

impl From<sea_query::Value> for Value {
    /// Statements have texts and integers alone: ours, and the limits that sea-query adds.
    fn from(value: sea_query::Value) -> Self {
        match value {
            sea_query::Value::String(Some(text)) => Value::Text(text),
            sea_query::Value::BigInt(Some(integer)) => Value::Integer(integer),
            sea_query::Value::Int(Some(integer)) => Value::Integer(integer.into()),
            sea_query::Value::BigUnsigned(Some(integer)) => {
                Value::Integer(i64::try_from(integer).unwrap_or(i64::MAX))
            }
            _ => Value::Null,
        }
    }
}

/// Our own table beside coturn's, for the keys that coturn has no place for.
pub(crate) const USER_KEY_TABLE: &str = "turnpike_user_key";
/// Every parameter counts: PostgreSQL and MySQL allow 65,535 of them, SQLite half of that.
const ROWS_OF_A_STATEMENT: usize = 250;
/// Each is thought about.
const PAIRS_OF_A_STATEMENT: usize = 200;
