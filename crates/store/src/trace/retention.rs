//! Expiry: traces that were begun too long ago go, with all that is theirs, and so do bodies that nothing refers to any more.
//!
//! In steps so small that no writer waits long. A body is used by what was written up to [`TOUCH_AFTER_MINUTES`] after it was
//! last touched, so bodies stay twice as long behind the oldest trace that is left. Sums of days stay.

use privet_domain::time::Timestamp;
use sqlx::types::Uuid;

use super::TraceStore;
use super::body::TOUCH_AFTER_MINUTES;
use super::lock::alone;
use super::writer::MICROS_PER_MINUTE;
use crate::db::{Db, reading, truncate_log};
use crate::error::StoreError;

/// So many rows are deleted in one transaction.
const STEP_ROWS: i64 = 150;
/// So many traces are looked at for it.
const STEP_TRACES: i64 = 100;
/// And no more bytes of bodies, unless one is larger.
const STEP_BYTES: i64 = 2 << 20;
const STEP_METRICS: i64 = 100;
/// Sums of days stay so long.
const METRICS_DAYS: i64 = 400;
const MINUTES_PER_DAY: i64 = 24 * 60;
/// So many free pages stay in the file for what is written next: 4 MiB.
const FREE_PAGES_KEPT: i64 = 1024;

const EXPIRED: &str = "SELECT project_id, id FROM traces WHERE touched_minute < $1 ORDER BY touched_minute LIMIT $2";
/// Without those of which something is still to be exported.
const EXPIRED_AND_EXPORTED: &str = "SELECT project_id, id FROM traces WHERE touched_minute < $1 AND NOT EXISTS (\
     SELECT 1 FROM observations JOIN export_queue ON export_queue.project_id = observations.project_id \
     AND export_queue.observation_id = observations.id \
     WHERE observations.project_id = traces.project_id AND observations.trace_id = traces.id) \
     ORDER BY touched_minute LIMIT $2";
const DELETE_OBSERVATIONS: &str = "DELETE FROM observations WHERE project_id = $1 AND id IN (\
     SELECT id FROM observations WHERE project_id = $1 AND trace_id = $2 ORDER BY started_at, id LIMIT $3)";
const OLD_BODIES: &str = "SELECT CAST(length(content) AS BIGINT) FROM bodies \
     WHERE touched_minute >= 0 AND touched_minute < $1 ORDER BY touched_minute, hash LIMIT $2";
const DELETE_BODIES: &str = "DELETE FROM bodies WHERE hash IN (SELECT hash FROM bodies \
     WHERE touched_minute >= 0 AND touched_minute < $1 ORDER BY touched_minute, hash LIMIT $2)";
const OLD_METRICS: &str = "SELECT project_id, day, dimension, value, environment FROM daily_metrics \
     WHERE day < $1 LIMIT $2";

/// What expires.
#[derive(Clone, Copy, Debug)]
pub struct Expiry {
    /// What was first written before this instant.
    pub before: Timestamp,
    /// Whether traces stay of which something is still to be exported.
    pub waits_for_export: bool,
}

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Traces.
    pub traces: u64,
    /// Observations.
    pub observations: u64,
    /// Scores.
    pub scores: u64,
    /// Contents.
    pub bodies: u64,
    /// Sums of days.
    pub metrics: u64,
}

impl Removed {
    /// Whether nothing was.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl TraceStore {
    /// One step. When it deletes nothing, there is nothing more to delete.
    ///
    /// # Errors
    /// When the database fails; then the step is undone.
    pub async fn expire_step(&self, expiry: Expiry, now: Timestamp) -> Result<Removed, StoreError> {
        let before = minute(expiry.before);
        let mut removed = self.expire_traces(before, expiry.waits_for_export).await?;
        if removed.is_nothing() {
            removed.scores = self.expire_scores(before).await?;
        }
        if removed.is_nothing() {
            removed.bodies = self.expire_bodies(before).await?;
        }
        if removed.is_nothing() {
            removed.metrics = self.expire_metrics(minute(now)).await?;
        }
        Ok(removed)
    }

    /// When the oldest trace was first written.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn oldest(&self) -> Result<Option<Timestamp>, StoreError> {
        let minute: Option<i64> = reading!(self, pool => {
            sqlx::query_scalar("SELECT MIN(touched_minute) FROM traces").fetch_one(pool).await
        })?;
        Ok(minute.map(|minute| Timestamp::from_micros(minute.saturating_mul(MICROS_PER_MINUTE))))
    }

    /// How many traces there are.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_all(&self) -> Result<u64, StoreError> {
        let count: i64 =
            reading!(self, pool => sqlx::query_scalar("SELECT COUNT(*) FROM traces").fetch_one(pool).await)?;
        Ok(count.unsigned_abs())
    }

    /// The bytes that the traces take: of SQLite the pages that are used, and the log; of PostgreSQL the tables with their
    /// indexes, which do not shrink by what is deleted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn used_bytes(&self) -> Result<u64, StoreError> {
        let bytes: i64 = match &*self.db {
            Db::Sqlite(sqlite) => {
                let bytes: i64 = sqlx::query_scalar(
                    "SELECT (page_count - freelist_count) * page_size \
                     FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
                )
                .fetch_one(&sqlite.readers)
                .await?;
                let log = self.log_file.as_ref().and_then(|path| std::fs::metadata(path).ok());
                bytes.saturating_add(i64::try_from(log.map_or(0, |log| log.len())).unwrap_or(i64::MAX))
            }
            Db::Postgres(pool) => {
                sqlx::query_scalar(
                    "SELECT CAST(COALESCE(SUM(pg_total_relation_size(to_regclass(name))), 0) AS BIGINT) \
                     FROM unnest(ARRAY['bodies', 'traces', 'observations', 'scores', 'daily_metrics', 'export_queue']) AS name",
                )
                .fetch_one(pool)
                .await?
            }
        };
        Ok(u64::try_from(bytes).unwrap_or(0))
    }

    /// Whether what is deleted leaves [`TraceStore::used_bytes`] at once.
    #[must_use]
    pub fn frees_at_once(&self) -> bool {
        matches!(&*self.db, Db::Sqlite(_))
    }

    /// Gives a little of what was freed back to the disk; `false` when there is no more. PostgreSQL does it by itself.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reclaim_step(&self) -> Result<bool, StoreError> {
        let Db::Sqlite(sqlite) = &*self.db else { return Ok(false) };
        let free: i64 = sqlx::query_scalar("PRAGMA freelist_count").fetch_one(&sqlite.readers).await?;
        if free <= FREE_PAGES_KEPT {
            return Ok(false);
        }
        sqlx::query("PRAGMA incremental_vacuum(128)").fetch_all(&sqlite.writer).await?;
        Ok(true)
    }

    /// Copies the log of SQLite into the database and empties it, so that nothing deleted is left in it. `false` when readers
    /// were in the way.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn truncate_log(&self) -> Result<bool, StoreError> {
        truncate_log(&self.db).await
    }

    async fn expire_traces(&self, before: i64, waits_for_export: bool) -> Result<Removed, StoreError> {
        let statement = if waits_for_export { EXPIRED_AND_EXPORTED } else { EXPIRED };
        let removed = alone!(self, conn => {
            let mut removed = Removed::default();
            let expired: Vec<(Uuid, Vec<u8>)> =
                sqlx::query_as(statement).bind(before).bind(STEP_TRACES).fetch_all(&mut *conn).await?;
            for (project, id) in expired {
                let left = STEP_ROWS - i64::try_from(removed.traces + removed.observations + removed.scores).unwrap_or(0);
                if left <= 0 {
                    break;
                }
                let observations = sqlx::query(DELETE_OBSERVATIONS)
                    .bind(project)
                    .bind(&id)
                    .bind(left)
                    .execute(&mut *conn)
                    .await?
                    .rows_affected();
                removed.observations += observations;
                if i64::try_from(observations).unwrap_or(left) >= left {
                    // There may be more of it.
                    break;
                }
                removed.scores += sqlx::query("DELETE FROM scores WHERE project_id = $1 AND trace_id = $2")
                    .bind(project)
                    .bind(&id)
                    .execute(&mut *conn)
                    .await?
                    .rows_affected();
                removed.traces += sqlx::query("DELETE FROM traces WHERE project_id = $1 AND id = $2")
                    .bind(project)
                    .bind(&id)
                    .execute(&mut *conn)
                    .await?
                    .rows_affected();
            }
            removed
        });
        Ok(removed)
    }

    /// Scores of sessions and runs, and those whose trace never came.
    async fn expire_scores(&self, before: i64) -> Result<u64, StoreError> {
        let deleted = alone!(self, conn => {
            sqlx::query(
                "DELETE FROM scores WHERE touched_minute < $1 AND (project_id, id) IN (\
                 SELECT project_id, id FROM scores WHERE touched_minute < $1 AND (trace_id IS NULL OR NOT EXISTS (\
                 SELECT 1 FROM traces WHERE traces.project_id = scores.project_id AND traces.id = scores.trace_id)) \
                 ORDER BY touched_minute LIMIT $2)",
            )
            .bind(before)
            .bind(STEP_ROWS)
            .execute(&mut *conn)
            .await?
            .rows_affected()
        });
        Ok(deleted)
    }

    async fn expire_bodies(&self, before: i64) -> Result<u64, StoreError> {
        let deleted = alone!(self, conn => {
            let oldest: Option<i64> =
                sqlx::query_scalar("SELECT MIN(touched_minute) FROM traces").fetch_one(&mut *conn).await?;
            let before = before.min(oldest.unwrap_or(before)) - 2 * TOUCH_AFTER_MINUTES;
            let sizes: Vec<i64> =
                sqlx::query_scalar(OLD_BODIES).bind(before).bind(STEP_ROWS).fetch_all(&mut *conn).await?;
            match count_within(&sizes, STEP_BYTES) {
                0 => 0,
                count => sqlx::query(DELETE_BODIES).bind(before).bind(count).execute(&mut *conn).await?.rows_affected(),
            }
        });
        Ok(deleted)
    }

    /// Sums of long ago.
    async fn expire_metrics(&self, now: i64) -> Result<u64, StoreError> {
        let rows: Vec<(Uuid, i64, String, String, String)> = reading!(self, pool => {
            sqlx::query_as(OLD_METRICS)
                .bind(now.div_euclid(MINUTES_PER_DAY) - METRICS_DAYS)
                .bind(STEP_METRICS)
                .fetch_all(pool)
                .await
        })?;
        if rows.is_empty() {
            return Ok(0);
        }
        let deleted = alone!(self, conn => {
            let mut deleted = 0;
            for (project, day, dimension, value, environment) in &rows {
                deleted += sqlx::query(
                    "DELETE FROM daily_metrics WHERE project_id = $1 AND day = $2 AND dimension = $3 AND value = $4 \
                     AND environment = $5",
                )
                .bind(project)
                .bind(day)
                .bind(dimension)
                .bind(value)
                .bind(environment)
                .execute(&mut *conn)
                .await?
                .rows_affected();
            }
            deleted
        });
        Ok(deleted)
    }
}

pub(super) fn minute(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(MICROS_PER_MINUTE)
}

/// How many of the first have no more bytes together; one at least.
fn count_within(sizes: &[i64], bytes_max: i64) -> i64 {
    let mut bytes = 0_i64;
    let fitting = sizes.iter().take_while(|size| {
        bytes = bytes.saturating_add(**size);
        bytes <= bytes_max
    });
    let count = fitting.count().max(usize::from(!sizes.is_empty()));
    i64::try_from(count).unwrap_or(STEP_ROWS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_takes_what_fits_and_one_at_least() {
        assert_eq!(count_within(&[], 10), 0);
        assert_eq!(count_within(&[11, 1], 10), 1);
        assert_eq!(count_within(&[5, 5, 1], 10), 2);
    }
}
