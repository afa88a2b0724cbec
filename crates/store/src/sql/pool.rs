//! A bounded number of connections, made when they are needed and again when they are lost.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Dialect, Query, Value};
use crate::StoreError;
use crate::backoff::Backoff;
use crate::target::Target;

/// Makes connections.
#[async_trait]
pub(crate) trait Driver: fmt::Debug + Send + Sync + 'static {
    type Connection: Connection;

    fn target(&self) -> &Target;

    fn dialect(&self) -> Dialect;

    async fn connect(&self) -> Result<Self::Connection, StoreError>;
}

/// One connection, which one operation at a time uses.
#[async_trait]
pub(crate) trait Connection: Send + 'static {
    /// Whether it may be used again.
    fn is_usable(&self) -> bool;

    /// It must not be used again: an answer may still be on its way.
    fn abandon(&mut self);

    async fn rows(&mut self, query: &Query) -> Result<Vec<Vec<Value>>, Fault>;

    /// Executes all in one transaction, and says how many rows each changed.
    async fn batch(&mut self, queries: &[Query]) -> Result<Vec<u64>, Fault>;
}

/// Why a statement failed, as far as a driver knows.
#[derive(Debug)]
pub(crate) enum Fault {
    MissingTable,
    /// A column is missing, or of another type.
    Schema(String),
    /// The connection is gone.
    Lost(StoreError),
    Other(StoreError),
}

/// The connections of a store.
pub(crate) struct Pool<D: Driver> {
    driver: D,
    permits: Semaphore,
    idle: Mutex<Vec<D::Connection>>,
    backoff: Backoff,
}

impl<D: Driver> Pool<D> {
    pub(crate) fn new(driver: D, connections: usize) -> Self {
        Pool {
            driver,
            permits: Semaphore::new(connections),
            idle: Mutex::new(Vec::new()),
            backoff: Backoff::default(),
        }
    }

    pub(crate) fn target(&self) -> &Target {
        self.driver.target()
    }

    pub(crate) async fn rows(&self, query: &Query) -> Result<Vec<Vec<Value>>, Fault> {
        self.ask(query).await
    }

    /// Executes all in one transaction. They are meant to be such as may be repeated: a connection that is lost before
    /// the answer came leaves open whether they were executed.
    pub(crate) async fn batch(&self, queries: &[Query]) -> Result<Vec<u64>, Fault> {
        if queries.is_empty() {
            return Ok(Vec::new());
        }
        self.ask(queries).await
    }

    async fn ask<Q: Question<D::Connection> + ?Sized>(&self, question: &Q) -> Result<Q::Answer, Fault> {
        let answer = timeout(self.target().limits.longest(), self.ask_patiently(question)).await;
        answer.unwrap_or_else(|_| Err(Fault::Other(self.target().too_late())))
    }

    async fn ask_patiently<Q: Question<D::Connection> + ?Sized>(
        &self,
        question: &Q,
    ) -> Result<Q::Answer, Fault> {
        let Ok(_permit) = self.permits.acquire().await else {
            return Err(Fault::Other(self.target().too_late()));
        };
        // A connection that has been idle may have been closed by the other side, a new one has not.
        while let Some(mut connection) = self.take_idle() {
            match self.ask_on(&mut connection, question).await {
                Err(Fault::Lost(_)) => {}
                answer => {
                    self.give_back(connection);
                    return answer;
                }
            }
        }
        let mut connection = self.connect().await.map_err(Fault::Other)?;
        let answer = self.ask_on(&mut connection, question).await;
        self.give_back(connection);
        answer
    }

    async fn ask_on<Q: Question<D::Connection> + ?Sized>(
        &self,
        connection: &mut D::Connection,
        question: &Q,
    ) -> Result<Q::Answer, Fault> {
        let answer = timeout(self.target().limits.operation, question.ask(connection)).await;
        answer.unwrap_or_else(|_| {
            connection.abandon();
            Err(Fault::Other(self.target().too_late()))
        })
    }

    async fn connect(&self) -> Result<D::Connection, StoreError> {
        if let Some(error) = self.backoff.too_early() {
            return Err(error);
        }
        let connected = match timeout(self.target().limits.connect, self.driver.connect()).await {
            Ok(connected) => connected,
            Err(_) => Err(self.target().too_late()),
        };
        match &connected {
            Ok(_) => self.backoff.succeeded(),
            Err(error) => self.backoff.failed(error),
        }
        connected
    }

    fn take_idle(&self) -> Option<D::Connection> {
        self.idle().pop()
    }

    fn give_back(&self, connection: D::Connection) {
        if connection.is_usable() {
            self.idle().push(connection);
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<D::Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is asked on a connection: a query for its rows, or a batch.
#[async_trait]
pub(crate) trait Question<C>: Sync {
    type Answer: Send;

    async fn ask(&self, connection: &mut C) -> Result<Self::Answer, Fault>;
}

#[async_trait]
impl<C: Connection> Question<C> for Query {
    type Answer = Vec<Vec<Value>>;

    async fn ask(&self, connection: &mut C) -> Result<Self::Answer, Fault> {
        connection.rows(self).await
    }
}

#[async_trait]
impl<C: Connection> Question<C> for [Query] {
    type Answer = Vec<u64>;

    async fn ask(&self, connection: &mut C) -> Result<Self::Answer, Fault> {
        connection.batch(self).await
    }
}

impl<D: Driver> fmt::Debug for Pool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("driver", &self.driver)
            .field("idle", &self.idle().len())
            .finish_non_exhaustive()
    }
}
