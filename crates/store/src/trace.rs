//! Traces: written in batches as they arrive, in pieces and in any order; kept in a database of their own, since they are large
//! and expire.
//!
//! With SQLite that is `traces.db`, with PostgreSQL tables beside the others. What is written survives the end of the process, but
//! the last moments may be lost with the power: traces are not money.

mod apply;
mod body;
mod columns;
mod condition;
mod contents;
mod daily;
mod delete;
mod detail;
mod erasure;
mod export;
mod list;
mod lock;
mod merge;
mod metrics;
mod page;
#[cfg(test)]
mod plans;
mod retention;
mod row;
mod scan;
mod score;
mod session;
mod sql;
mod statements;
mod stored_id;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use privet_domain::id::ProjectId;
use privet_domain::money::Nanos;
use privet_domain::time::{Clock, NanoTimestamp};
use privet_domain::trace::TraceBatch;

use crate::db::{Database, Db, Durability, Location, connect};
use crate::error::StoreError;
use crate::migration;
pub use columns::{JudgedColumn, ObservationColumn, OwnColumn, ScoreColumn, TraceColumn};
pub use condition::{Column, Comparison, Condition, Kind, Test, TextTest};
pub use daily::{DailyQuery, DailySums, Dimension};
pub use delete::DeletedTraces;
pub use detail::{TraceTotals, TraceWithTotals};
pub use erasure::ErasedTraces;
pub use export::{ExportBacklog, QueuedObservation};
pub use list::{ObservationList, ObservationQuery, TraceList, TraceOrder, TraceQuery, Within};
pub use lock::{Lease, SharedWork};
pub use page::{BadCursor, COUNT_MAX, Count, Page, Place};
pub use retention::{Expiry, Removed};
pub use scan::{SCAN_ROWS_MAX, Scan, ScanRow, Scanned};
pub use score::{ScoreList, StoredScore};
pub use session::{Days, Sums, TraceSession, TraceUser};
use writer::TraceWriter;

/// What a model's use cost by kind, where a sender does not say. `None` for a model without a known price.
pub trait Pricing: Send + Sync + 'static {
    /// The cost by kind of so many tokens by kind, at that time.
    fn cost(&self, model: &str, usage: &BTreeMap<String, u64>, at: NanoTimestamp) -> Option<BTreeMap<String, Nanos>>;
}

/// No model has a price.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unpriced;

impl Pricing for Unpriced {
    fn cost(&self, _: &str, _: &BTreeMap<String, u64>, _: NanoTimestamp) -> Option<BTreeMap<String, Nanos>> {
        None
    }
}

/// How traces are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteSettings {
    /// Whether observations that end are queued for export.
    pub exports: bool,
}

/// The store of traces. Cheap to share by `Arc`.
pub struct TraceStore {
    pub(crate) db: Arc<Db>,
    writer: TraceWriter,
    /// SQLite's log.
    log_file: Option<PathBuf>,
}

impl TraceStore {
    /// Opens the database, made if missing, and brings its schema up to date.
    ///
    /// # Errors
    /// When it cannot be reached, was written by a newer version, or a migration fails.
    pub async fn open(
        location: &Location,
        settings: WriteSettings,
        pricing: Arc<dyn Pricing>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let _one_at_a_time = migration::lock(location).await?;
        let db = connect(location, Database::Traces, Durability::Process).await?;
        migration::migrate(&db, Database::Traces, location).await?;
        let db = Arc::new(db);
        let log_file = location.file_of(Database::Traces).map(|file| {
            let mut log = file.into_os_string();
            log.push("-wal");
            PathBuf::from(log)
        });
        Ok(Self { writer: TraceWriter::start(db.clone(), settings, pricing, clock)?, db, log_file })
    }

    /// Writes what arrived together. When this returns, it survives the end of the process and is seen by readers. While too
    /// much is waiting to be written, this waits.
    ///
    /// # Errors
    /// When the database fails; then nothing of it is written.
    pub async fn write(&self, project: ProjectId, batch: TraceBatch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.writer.submit(project, batch).await
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        crate::db::reading!(self, pool => sqlx::query("SELECT 1").execute(pool).await.map(drop))?;
        Ok(())
    }

    /// Writes what is queued and closes the connections.
    pub async fn close(&self) {
        self.writer.close().await;
        self.db.close().await;
    }
}
