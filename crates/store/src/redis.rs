//! Redis, with coturn's keys. Lists come by SCAN, which stops nobody; when to save is for the server's owner to say.

mod keys;
mod link;
mod sentinel;
mod status;
mod values;

use std::sync::Arc;

use async_trait::async_trait;
use redis::pipe;

use crate::page::Place;
use crate::rows::{Key, Kind, Row};
use crate::settings::{SETTINGS_ROWS, Settings};
use crate::{Counts, Cursor, PAGE_ROWS, Page, Result, Store, StoreKind};

use link::Link;
pub use status::{RedisStatus, StatusCommand};

/// A store in a Redis database.
#[derive(Debug)]
pub(crate) struct RedisStore {
    link: Link,
}

/// A store in this database.
pub(crate) fn connect(text: &str) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(RedisStore { link: Link::new(text)? }))
}

impl RedisStore {
    /// The rows behind keys of one kind, with an error for each that makes no sense.
    async fn rows_of(&self, kind: Kind, keys: &[String]) -> Result<Vec<Result<Row>>> {
        let mut questions = pipe();
        for key in keys {
            values::ask(&mut questions, kind, key);
        }
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let answers = self.link.ask::<Vec<redis::Value>>(&questions).await?;
        let each = answers.chunks(values::answers_of(kind)).zip(keys);
        Ok(each.flat_map(|(answers, key)| values::read(&self.link.target, kind, key, answers)).collect())
    }

    /// One step of a scan: the keys found, and the cursor behind them.
    async fn scan(&self, cursor: u64, pattern: &str) -> Result<(u64, Vec<String>)> {
        let mut scan = pipe();
        scan.cmd("SCAN").arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(PAGE_ROWS);
        let ((next, found),): ((u64, Vec<Vec<u8>>),) = self.link.ask(&scan).await?;
        let mut keys: Vec<String> = found.into_iter().filter_map(|key| String::from_utf8(key).ok()).collect();
        keys.sort_unstable();
        keys.dedup();
        Ok((next, keys))
    }

    async fn settings_of(&self, pattern: &str, settings: &mut Settings) -> Result<()> {
        let (mut cursor, mut count) = (0, 0);
        loop {
            let (next, found) = self.scan(cursor, pattern).await?;
            for kind in [Kind::Origin, Kind::RealmLimit, Kind::AllowedPeer, Kind::DeniedPeer] {
                let keys: Vec<String> = found.iter().filter(|key| keys::is(kind, key)).cloned().collect();
                let rows = self.rows_of(kind, &keys).await?;
                count += rows.len();
                rows.into_iter().flatten().for_each(|row| settings.add(row));
            }
            if count > SETTINGS_ROWS {
                let what = format_args!("more than {SETTINGS_ROWS} settings");
                return Err(self.link.target.wrong_schema("turn/realm", what));
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }
}

#[async_trait]
impl Store for RedisStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Redis
    }

    fn address(&self) -> &str {
        &self.link.target.address
    }

    fn hosts(&self) -> &[String] {
        &self.link.target.hosts
    }

    async fn one(&self, key: &Key) -> Result<Option<Row>> {
        self.link.target.check_key(key)?;
        keys::check(&self.link.target, key)?;
        let mut rows = Vec::new();
        for row in self.rows_of(key.kind(), &[keys::of(key)]).await? {
            rows.push(row?);
        }
        Ok(rows.pop())
    }

    async fn secrets(&self, realm: &str) -> Result<Vec<String>> {
        self.link.target.check_realm(realm)?;
        let key = keys::of(&Key::SecretsOf { realm: realm.into() });
        let rows = self.rows_of(Kind::Secret, &[key]).await?;
        let secret = |row: Result<Row>| match row {
            Ok(Row::Secret { value, .. }) => Some(Ok(value)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        };
        rows.into_iter().filter_map(secret).collect()
    }

    async fn settings(&self) -> Result<Settings> {
        let mut settings = Settings::default();
        for pattern in keys::SETTINGS {
            self.settings_of(pattern, &mut settings).await?;
        }
        Ok(settings)
    }

    async fn ping(&self) -> Result<()> {
        self.link.ask::<redis::Value>(pipe().cmd("PING")).await.map(drop)
    }

    async fn put(&self, rows: &[Row]) -> Result<()> {
        self.link.target.check_rows(rows)?;
        let mut changes = pipe();
        changes.atomic();
        for row in rows {
            keys::check(&self.link.target, &row.key())?;
            values::put(&mut changes, row);
        }
        if rows.is_empty() {
            return Ok(());
        }
        self.link.ask::<redis::Value>(&changes).await.map(drop)
    }

    async fn remove(&self, key: &Key) -> Result<u64> {
        self.link.target.check_key(key)?;
        keys::check(&self.link.target, key)?;
        let mut changes = pipe();
        values::remove(changes.atomic(), key);
        let counts: Vec<u64> = self.link.ask(&changes).await?;
        Ok(counts.first().copied().unwrap_or(0))
    }

    async fn list(
        &self,
        kind: Kind,
        realm: Option<&str>,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page> {
        let limit = limit.clamp(1, PAGE_ROWS);
        if let Some(realm) = realm {
            self.link.target.check_realm(realm)?;
        }
        let pattern = keys::pattern(kind, realm);
        let mut page = Page::default();
        let mut cursor = Some(0);
        if let Some(Cursor(Place::Pending { token, rows })) = after {
            cursor = token.parse().ok();
            page.rows.clone_from(rows);
        }
        for _ in 0..SCANS_A_PAGE {
            let Some(from) = cursor.filter(|_| page.rows.len() < limit) else { break };
            let (next, mut found) = self.scan(from, &pattern).await?;
            found.retain(|key| keys::is(kind, key));
            for row in self.rows_of(kind, &found).await? {
                match row {
                    Ok(row) if realm.is_none_or(|realm| row.realm() == realm) => page.rows.push(row),
                    Ok(_) => {}
                    Err(error) => page.corrupt.push(error),
                }
            }
            cursor = Some(next).filter(|next| *next != 0);
        }
        let rows = page.rows.split_off(page.rows.len().min(limit));
        if cursor.is_some() || !rows.is_empty() {
            let token = cursor.map(|cursor| cursor.to_string()).unwrap_or_default();
            page.next = Some(Cursor(Place::Pending { token, rows }));
        }
        Ok(page)
    }

    async fn counts(&self) -> Result<Counts> {
        let mut counts = Counts::default();
        let mut cursor = 0;
        loop {
            let (next, found) = self.scan(cursor, "turn/*").await?;
            let mut sets = pipe();
            let mut kinds = Vec::new();
            for key in &found {
                match Kind::ALL.into_iter().find(|kind| keys::is(*kind, key)) {
                    Some(kind @ (Kind::Secret | Kind::AllowedPeer | Kind::DeniedPeer)) => {
                        sets.cmd("SCARD").arg(key);
                        kinds.push(kind);
                    }
                    Some(kind) => *counts.slot(kind) += 1,
                    None => {}
                }
            }
            if !kinds.is_empty() {
                let sizes: Vec<u64> = self.link.ask(&sets).await?;
                kinds.into_iter().zip(sizes).for_each(|(kind, size)| *counts.slot(kind) += size);
            }
            if next == 0 {
                return Ok(counts);
            }
            cursor = next;
        }
    }

    async fn keeps_sha256_keys(&self) -> Result<bool> {
        Ok(true)
    }
}

/// So often the server is asked for one page, before whoever reads it gets a word in.
const SCANS_A_PAGE: usize = 32;
