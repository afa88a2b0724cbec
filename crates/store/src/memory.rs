//! A store in memory: for the tests of whoever uses stores, which it can also fail and keep waiting.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::page::Place;
use crate::rows::{Key, Kind, Row};
use crate::settings::Settings;
use crate::target::{Limits, Target};
use crate::{Counts, Cursor, ErrorKind, PAGE_ROWS, Page, Result, Store, StoreKind};

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    target: Target,
    rows: Mutex<BTreeMap<(Kind, Vec<String>), Row>>,
    weather: watch::Sender<Weather>,
}

/// How operations fare.
#[derive(Clone, Copy, Debug)]
enum Weather {
    Fair,
    Failing(ErrorKind),
    Waiting,
}

impl MemoryStore {
    /// An empty one.
    pub fn new() -> Self {
        let target = Target::new(StoreKind::Memory, "memory".to_owned(), Vec::new(), Limits::default());
        MemoryStore { target, rows: Mutex::default(), weather: watch::Sender::new(Weather::Fair) }
    }

    /// From now on every operation fails like this, also those that are waiting.
    pub fn fail(&self, kind: ErrorKind) {
        self.weather.send_replace(Weather::Failing(kind));
    }

    /// From now on every operation waits, for as long as an operation may take.
    pub fn hold(&self) {
        self.weather.send_replace(Weather::Waiting);
    }

    /// From now on operations succeed again, also those that are waiting.
    pub fn recover(&self) {
        self.weather.send_replace(Weather::Fair);
    }

    async fn weather(&self) -> Result<()> {
        let mut weather = self.weather.subscribe();
        let settled = weather.wait_for(|weather| !matches!(weather, Weather::Waiting));
        match tokio::time::timeout(self.target.limits.operation, settled).await {
            Ok(Ok(weather)) => match *weather {
                Weather::Failing(kind) => Err(self.target.error(kind, "as the test wants it")),
                Weather::Fair | Weather::Waiting => Ok(()),
            },
            Ok(Err(_)) | Err(_) => Err(self.target.too_late()),
        }
    }

    fn rows(&self) -> std::sync::MutexGuard<'_, BTreeMap<(Kind, Vec<String>), Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        MemoryStore::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Memory
    }

    fn address(&self) -> &str {
        &self.target.address
    }

    fn hosts(&self) -> &[String] {
        &self.target.hosts
    }

    async fn one(&self, key: &Key) -> Result<Option<Row>> {
        self.weather().await?;
        self.target.check_key(key)?;
        Ok(self.rows().get(&place(key)).cloned())
    }

    async fn secrets(&self, realm: &str) -> Result<Vec<String>> {
        self.weather().await?;
        self.target.check_realm(realm)?;
        let rows = self.rows();
        let secrets = rows.values().filter_map(|row| match row {
            Row::Secret { realm: found, value } if found == realm => Some(value.clone()),
            _ => None,
        });
        Ok(secrets.collect())
    }

    async fn settings(&self) -> Result<Settings> {
        self.weather().await?;
        let mut settings = Settings::default();
        for row in self.rows().values() {
            settings.add(row.clone());
        }
        Ok(settings)
    }

    async fn ping(&self) -> Result<()> {
        self.weather().await
    }

    async fn put(&self, rows: &[Row]) -> Result<()> {
        self.weather().await?;
        self.target.check_rows(rows)?;
        let mut kept = self.rows();
        for row in rows {
            if matches!(row, Row::RealmLimit { value: 0, .. }) {
                kept.remove(&place(&row.key()));
            } else {
                kept.insert(place(&row.key()), row.clone());
            }
        }
        Ok(())
    }

    async fn remove(&self, key: &Key) -> Result<u64> {
        self.weather().await?;
        self.target.check_key(key)?;
        let mut kept = self.rows();
        let before = kept.len();
        match key {
            Key::SecretsOf { realm } => {
                kept.retain(|(kind, columns), _| *kind != Kind::Secret || columns[0] != *realm);
            }
            key => {
                kept.remove(&place(key));
            }
        }
        Ok((before - kept.len()) as u64)
    }

    async fn list(
        &self,
        kind: Kind,
        realm: Option<&str>,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page> {
        self.weather().await?;
        let limit = limit.clamp(1, PAGE_ROWS);
        let after = match after {
            Some(Cursor(Place::After(columns))) => columns.clone(),
            _ => Vec::new(),
        };
        let kept = self.rows();
        let from = (kind, after.clone());
        let rows = kept.range(from..).take_while(|((found, _), _)| *found == kind);
        let wanted = rows.filter(|((_, columns), row)| {
            *columns != after && realm.is_none_or(|realm| row.realm() == realm)
        });
        let rows: Vec<Row> = wanted.take(limit).map(|(_, row)| row.clone()).collect();
        let next =
            rows.last().filter(|_| rows.len() == limit).map(|row| Cursor(Place::After(place(&row.key()).1)));
        Ok(Page { rows, corrupt: Vec::new(), next })
    }

    async fn counts(&self) -> Result<Counts> {
        self.weather().await?;
        let mut counts = Counts::default();
        for (kind, _) in self.rows().keys() {
            *counts.slot(*kind) += 1;
        }
        Ok(counts)
    }

    async fn keeps_sha256_keys(&self) -> Result<bool> {
        self.weather().await?;
        Ok(true)
    }
}

fn place(key: &Key) -> (Kind, Vec<String>) {
    (key.kind(), key.columns().into_iter().map(str::to_owned).collect())
}
