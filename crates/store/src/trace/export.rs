//! The queue of observations that are still to be sent to a collector. What was sent is taken out only afterwards: after a crash
//! some are sent twice, and none never.

use privet_domain::trace::{Observation, Trace};
use sqlx::types::Uuid;

use super::TraceStore;
use super::contents::Bodies;
use super::row::{ObservationRow, TraceRow};
use crate::db::{Db, reading, writing};
use crate::error::StoreError;

/// The right to export, which one server has at a time.
pub struct ExportTurn(
    #[expect(dead_code, reason = "held, not read")] Option<sqlx::pool::PoolConnection<sqlx::Postgres>>,
);

/// What is next to be exported.
#[derive(Debug)]
pub struct ExportBatch {
    /// The place in the queue up to which it goes.
    pub up_to: i64,
    /// Observations with their traces; those that were deleted meanwhile are left out.
    pub observations: Vec<(Observation, Option<Trace>)>,
}

impl TraceStore {
    /// Asks for the right to export; `None` while another server has it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn export_turn(&self) -> Result<Option<ExportTurn>, StoreError> {
        let Db::Postgres(pool) = &*self.db else { return Ok(Some(ExportTurn(None))) };
        let mut connection = pool.acquire().await?;
        // Held by the connection: it ends with the process.
        let held: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(7218302)").fetch_one(&mut *connection).await?;
        Ok(held.then(|| ExportTurn(Some(connection))))
    }

    /// What is next to be exported, up to so many; `None` where nothing waits.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_export(&self, most: i64) -> Result<Option<ExportBatch>, StoreError> {
        let queued: Vec<(i64, Uuid, Vec<u8>)> = reading!(self, pool => {
            sqlx::query_as("SELECT seq, project_id, observation_id FROM export_queue ORDER BY seq LIMIT $1")
                .bind(most)
                .fetch_all(pool)
                .await
        })?;
        let Some((up_to, ..)) = queued.last() else { return Ok(None) };
        let (up_to, mut observations, mut bodies) = (*up_to, Vec::with_capacity(queued.len()), Bodies::default());
        for (_, project, id) in queued {
            let row: Option<ObservationRow> = reading!(self, pool => {
                sqlx::query_as("SELECT * FROM observations WHERE project_id = $1 AND id = $2")
                    .bind(project)
                    .bind(&id)
                    .fetch_optional(pool)
                    .await
            })?;
            let Some(row) = row else { continue };
            let trace: Option<TraceRow> = reading!(self, pool => {
                sqlx::query_as("SELECT * FROM traces WHERE project_id = $1 AND id = $2")
                    .bind(project)
                    .bind(&row.trace_id)
                    .fetch_optional(pool)
                    .await
            })?;
            let trace = match trace {
                Some(trace) => Some(self.read_trace(trace, &mut bodies).await?.trace),
                None => None,
            };
            observations.push((self.read_observation(row, &mut bodies).await?, trace));
        }
        Ok(Some(ExportBatch { up_to, observations }))
    }

    /// Takes what was exported out of the queue.
    ///
    /// # Errors
    /// When the database fails: then it is exported again.
    pub async fn exported(&self, up_to: i64) -> Result<(), StoreError> {
        writing!(self, conn => {
            sqlx::query("DELETE FROM export_queue WHERE seq <= $1").bind(up_to).execute(&mut *conn).await?;
        });
        Ok(())
    }

    /// How many wait to be exported.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn exports_waiting(&self) -> Result<u64, StoreError> {
        let count: i64 =
            reading!(self, pool => sqlx::query_scalar("SELECT COUNT(*) FROM export_queue").fetch_one(pool).await)?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}
