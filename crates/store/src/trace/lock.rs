//! Writing to the traces one after the other, and work that only one of several servers does.

use sqlx::{Connection as _, PgConnection};

use super::TraceStore;
use crate::db::Db;
use crate::error::StoreError;

/// Whoever changes traces on PostgreSQL holds this lock for as long as its transaction: replicas that join patches to one trace, or
/// delete it, come one after the other. With SQLite the one writing connection is the lock.
pub(super) async fn lock(conn: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock(7218301)").execute(conn).await?;
    Ok(())
}

/// Runs one expression in a transaction with `$conn` bound to its connection, while nobody else changes traces, and commits. A
/// `?` inside rolls back.
macro_rules! alone {
    ($store:expr, $conn:ident => $body:expr) => {
        match &*$store.db {
            $crate::db::Db::Sqlite(sqlite) => {
                let mut transaction = sqlite.writer.begin_with("BEGIN IMMEDIATE").await?;
                let $conn = &mut *transaction;
                let outcome = $body;
                transaction.commit().await?;
                outcome
            }
            $crate::db::Db::Postgres(pool) => {
                let mut transaction = pool.begin().await?;
                $crate::trace::lock::lock(&mut transaction).await?;
                let $conn = &mut *transaction;
                let outcome = $body;
                transaction.commit().await?;
                outcome
            }
        }
    };
}

pub(super) use alone;

/// Work of which one server at a time does its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedWork {
    /// Deleting what expired.
    Retention,
    /// Sending traces to a collector.
    Export,
}

impl SharedWork {
    const fn lock(self) -> i64 {
        match self {
            Self::Retention => 7_218_302,
            Self::Export => 7_218_303,
        }
    }
}

/// The right to do it, until it is dropped or its connection breaks.
pub struct Lease(Option<PgConnection>);

impl TraceStore {
    /// The right to do some work; `None` while another server has it. With SQLite there is only one server.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lease(&self, work: SharedWork) -> Result<Option<Lease>, StoreError> {
        let Db::Postgres(pool) = &*self.db else { return Ok(Some(Lease(None))) };
        // A connection of its own: its end, however it comes, is the end of the lease.
        let mut connection = pool.acquire().await?.detach();
        let is_ours: bool =
            sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(work.lock()).fetch_one(&mut connection).await?;
        Ok(is_ours.then_some(Lease(Some(connection))))
    }
}

impl Lease {
    /// Whether it is still held.
    pub async fn is_held(&mut self) -> bool {
        match &mut self.0 {
            None => true,
            Some(connection) => connection.ping().await.is_ok(),
        }
    }
}
