//! Expiry: what nobody has touched for long goes, and the oldest goes first where the disk is too small. In small steps, so that
//! writing never waits for long; the room goes back to the disk in small steps as well.
//!
//! Sums of days stay. A body goes a while after the last trace that may refer to it: the writer touches what it refers to at
//! least every [`TOUCH_AFTER_MINUTES`].

use privet_domain::time::Timestamp;
use sqlx::AssertSqlSafe;

use super::TraceStore;
use super::body::TOUCH_AFTER_MINUTES;
use crate::db::{Db, reading, writing};
use crate::error::StoreError;

/// So many rows of a table go in one step.
const STEP_ROWS: i64 = 500;
/// So many free pages go back to the disk in one step (4 MiB).
const STEP_PAGES: i64 = 1_024;
const MICROS_PER_MINUTE: i64 = 60_000_000;
/// The tables of traces, whose sizes PostgreSQL tells.
const TABLES: [&str; 6] = ["bodies", "traces", "observations", "scores", "daily_metrics", "export_queue"];

/// What a step of expiry deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Traces, with all that belongs to them.
    pub traces: u64,
    /// Scores that belonged to none.
    pub scores: u64,
    /// Contents.
    pub bodies: u64,
}

impl Expired {
    /// Whether there was nothing to delete.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.traces == 0 && self.scores == 0 && self.bodies == 0
    }
}

/// The traces of one step, by how long ago they were written.
const OLDEST: &str = "SELECT project_id, id FROM traces WHERE touched_minute < $1 ORDER BY touched_minute LIMIT $2";

impl TraceStore {
    /// Deletes some of what was last touched before an instant, oldest first. Repeat it until nothing is left.
    ///
    /// # Errors
    /// When the database fails; then nothing of the step is deleted.
    pub async fn expire(&self, before: Timestamp) -> Result<Expired, StoreError> {
        let minute = before.as_micros().div_euclid(MICROS_PER_MINUTE);
        // Twice the time after which a body in use is touched again.
        let bodies_before = minute - 2 * TOUCH_AFTER_MINUTES;
        let expired = writing!(self, conn => {
            let ids: Vec<(sqlx::types::Uuid, Vec<u8>)> =
                sqlx::query_as(OLDEST).bind(minute).bind(STEP_ROWS).fetch_all(&mut *conn).await?;
            for (project, id) in &ids {
                for statement in [
                    "DELETE FROM scores WHERE project_id = $1 AND trace_id = $2",
                    "DELETE FROM observations WHERE project_id = $1 AND trace_id = $2",
                    "DELETE FROM traces WHERE project_id = $1 AND id = $2",
                ] {
                    sqlx::query(statement).bind(project).bind(id).execute(&mut *conn).await?;
                }
            }
            let scores = sqlx::query(
                "DELETE FROM scores WHERE (project_id, id) IN \
                 (SELECT project_id, id FROM scores WHERE touched_minute < $1 AND trace_id IS NULL LIMIT $2)",
            )
            .bind(minute)
            .bind(STEP_ROWS)
            .execute(&mut *conn)
            .await?
            .rows_affected();
            let bodies = sqlx::query(
                "DELETE FROM bodies WHERE hash IN (SELECT hash FROM bodies WHERE touched_minute < $1 LIMIT $2)",
            )
            .bind(bodies_before)
            .bind(STEP_ROWS)
            .execute(&mut *conn)
            .await?
            .rows_affected();
            Expired { traces: ids.len() as u64, scores, bodies }
        });
        Ok(expired)
    }

    /// When the trace that was written longest ago was written; `None` without any.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn oldest(&self) -> Result<Option<Timestamp>, StoreError> {
        let minute: Option<i64> = reading!(self, pool => {
            sqlx::query_scalar("SELECT MIN(touched_minute) FROM traces").fetch_one(pool).await
        })?;
        Ok(minute.map(|minute| Timestamp::from_micros(minute.saturating_mul(MICROS_PER_MINUTE))))
    }

    /// The bytes in use: of the file without its free pages, or of PostgreSQL's tables with their indexes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn bytes_used(&self) -> Result<u64, StoreError> {
        let bytes: i64 = match &*self.db {
            Db::Sqlite(sqlite) => {
                sqlx::query_scalar(
                    "SELECT (page_count.page_count - freelist_count.freelist_count) * page_size.page_size \
                     FROM pragma_page_count AS page_count, pragma_freelist_count AS freelist_count, pragma_page_size AS page_size",
                )
                .fetch_one(&sqlite.readers)
                .await?
            }
            Db::Postgres(pool) => {
                let sizes: Vec<String> =
                    TABLES.iter().map(|table| format!("pg_total_relation_size('{table}')")).collect();
                let sql = format!("SELECT CAST({} AS BIGINT)", sizes.join(" + "));
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(pool).await?
            }
        };
        Ok(u64::try_from(bytes).unwrap_or(0))
    }

    /// Gives some free pages of a SQLite file back to the disk. Gives whether there may be more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn give_back(&self) -> Result<bool, StoreError> {
        let Db::Sqlite(sqlite) = &*self.db else { return Ok(false) };
        let free: i64 =
            sqlx::query_scalar("SELECT freelist_count FROM pragma_freelist_count").fetch_one(&sqlite.readers).await?;
        if free == 0 {
            return Ok(false);
        }
        let pragma = AssertSqlSafe(format!("PRAGMA incremental_vacuum({STEP_PAGES})"));
        sqlx::query(pragma).fetch_all(&sqlite.writer).await?;
        Ok(free > STEP_PAGES)
    }
}
