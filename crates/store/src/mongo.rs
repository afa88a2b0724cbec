//! MongoDB, with coturn's collections. What SQL stores keep in four tables is one document for each realm here.

mod documents;
mod link;

use std::sync::Arc;

use async_trait::async_trait;
use mongodb::bson::{Document, doc};
use tokio::sync::OnceCell;

use crate::page::Place;
use crate::rows::{Key, Kind, Row};
use crate::settings::{SETTINGS_ROWS, Settings};
use crate::{Counts, Cursor, PAGE_ROWS, Page, Result, Store, StoreKind};

use documents::{USER_KEYS, collection, is_of_realm};
use link::Link;

/// A store in a MongoDB database.
#[derive(Debug)]
pub(crate) struct MongoStore {
    link: Link,
    indexes: OnceCell<()>,
}

/// A store in the database of this URI.
pub(crate) fn connect(uri: &str) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(MongoStore { link: Link::new(uri)?, indexes: OnceCell::new() }))
}

impl MongoStore {
    async fn add_sha256_keys(&self, rows: &mut [Row]) -> Result<()> {
        let filters = documents::of_users(rows);
        let mut found = Vec::new();
        for any in filters.chunks(REALMS_AT_ONCE) {
            found.extend(self.link.find(USER_KEYS, doc! { "$or": any }, doc! {}, rows.len()).await?);
        }
        documents::add_sha256_keys(rows, &found);
        Ok(())
    }

    /// Makes the indexes that coturn's set-up has, once. A database that has others, or does not let us, is used as it
    /// is.
    async fn make_indexes(&self) -> Result<()> {
        let make = async || {
            for command in documents::indexes() {
                match self.link.run(command).await {
                    Err(error) if error.is_transient() => return Err(error),
                    _ => {}
                }
            }
            Ok(())
        };
        self.indexes.get_or_try_init(make).await.copied()
    }
}

#[async_trait]
impl Store for MongoStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Mongo
    }

    fn address(&self) -> &str {
        &self.link.target.address
    }

    fn hosts(&self) -> &[String] {
        &self.link.target.hosts
    }

    async fn one(&self, key: &Key) -> Result<Option<Row>> {
        self.link.target.check_key(key)?;
        let kind = key.kind();
        let found = self.link.find(collection(kind), documents::filter(key), doc! {}, 1).await?;
        let Some(document) = found.first() else { return Ok(None) };
        let mut rows =
            documents::read(&self.link.target, kind, document).into_iter().collect::<Result<Vec<_>>>()?;
        if kind == Kind::User {
            self.add_sha256_keys(&mut rows).await?;
        }
        Ok(rows.pop())
    }

    async fn secrets(&self, realm: &str) -> Result<Vec<String>> {
        self.link.target.check_realm(realm)?;
        let documents = self.link.find("turn_secret", doc! { "realm": realm }, doc! {}, PAGE_ROWS).await?;
        let rows =
            documents.iter().flat_map(|document| documents::read(&self.link.target, Kind::Secret, document));
        let secret = |row| match row {
            Ok(Row::Secret { value, .. }) => Some(Ok(value)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        };
        rows.filter_map(secret).collect()
    }

    async fn settings(&self) -> Result<Settings> {
        let mut settings = Settings::default();
        let mut filter = doc! {};
        let mut count = 0;
        loop {
            let documents = self.link.find("realm", filter, doc! { "realm": 1 }, PAGE_ROWS).await?;
            for document in &documents {
                for kind in [Kind::Origin, Kind::RealmLimit, Kind::AllowedPeer, Kind::DeniedPeer] {
                    let rows = documents::read(&self.link.target, kind, document);
                    count += rows.len();
                    rows.into_iter().flatten().for_each(|row| settings.add(row));
                }
            }
            if count > SETTINGS_ROWS {
                let what = format_args!("more than {SETTINGS_ROWS} settings");
                return Err(self.link.target.wrong_schema("realm", what));
            }
            let Some(last) = documents.last().filter(|_| documents.len() == PAGE_ROWS) else {
                return Ok(settings);
            };
            filter = doc! { "realm": { "$gt": last.get_str("realm").unwrap_or_default() } };
        }
    }

    async fn ping(&self) -> Result<()> {
        self.link.run(doc! { "ping": 1 }).await.map(drop)
    }

    async fn put(&self, rows: &[Row]) -> Result<()> {
        self.link.target.check_rows(rows)?;
        self.make_indexes().await?;
        for command in documents::put(rows) {
            self.link.run(command).await?;
        }
        Ok(())
    }

    async fn remove(&self, key: &Key) -> Result<u64> {
        self.link.target.check_key(key)?;
        let mut count = 0;
        for (number, command) in documents::remove(key).into_iter().enumerate() {
            let answer = self.link.run(command).await?;
            if number == 0 {
                count = documents::changed(&answer);
            }
        }
        Ok(count)
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
        let mut page = Page::default();
        let mut from = Some(Vec::new());
        if let Some(Cursor(Place::Pending { token, rows })) = after {
            page.rows.clone_from(rows);
            from = Some(documents::place_of(token)).filter(|place| !place.is_empty());
        }
        if let Some(place) = from.as_ref().filter(|_| page.rows.len() < limit) {
            let columns = documents::columns(kind);
            let filter = documents::behind(columns, realm, place);
            let sort: Document = columns.iter().map(|column| ((*column).to_owned(), 1.into())).collect();
            let found = self.link.find(collection(kind), filter, sort, limit).await?;
            let mut read = Vec::new();
            for row in found.iter().flat_map(|document| documents::read(&self.link.target, kind, document)) {
                match row {
                    Ok(row) => read.push(row),
                    Err(error) => page.corrupt.push(error),
                }
            }
            if kind == Kind::User {
                self.add_sha256_keys(&mut read).await?;
            }
            page.rows.extend(read);
            from = found.last().filter(|_| found.len() == limit).map(|last| documents::place(columns, last));
        }
        let rows = page.rows.split_off(page.rows.len().min(limit));
        if from.is_some() || !rows.is_empty() {
            page.next =
                Some(Cursor(Place::Pending { token: documents::token(from.unwrap_or_default()), rows }));
        }
        Ok(page)
    }

    async fn counts(&self) -> Result<Counts> {
        let mut counts = Counts::default();
        for kind in Kind::ALL.into_iter().filter(|kind| !is_of_realm(*kind)) {
            *counts.slot(kind) = self.link.count(collection(kind)).await?;
        }
        for kind in Kind::ALL.into_iter().filter(|kind| is_of_realm(*kind)) {
            let mut after = None;
            loop {
                let page = self.list(kind, None, after.as_ref(), PAGE_ROWS).await?;
                *counts.slot(kind) += (page.rows.len() + page.corrupt.len()) as u64;
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(counts)
    }

    async fn keeps_sha256_keys(&self) -> Result<bool> {
        Ok(true)
    }
}

/// Users of so many realms are asked for at once.
const REALMS_AT_ONCE: usize = 50;
