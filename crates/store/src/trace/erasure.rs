//! Deleting traces with every body that nothing else refers to: those of a user, those of a list, the oldest.
//!
//! A body can be shared, and a writer can come to share it at any moment. So the bodies of what is deleted are first marked, in
//! the transaction that deletes and lets every writer forget what it knows to be stored: whoever uses a marked body from then on
//! writes it again, which takes the mark away. Then, without keeping anybody from writing, everything that is left is read for
//! what it refers to; and what is still marked and not referred to is deleted. If the process dies in between, the marks stay,
//! and [`TraceStore::finish_erasures`] goes on.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use privet_domain::id::ProjectId;
use privet_domain::time::Timestamp;
use serde::Serialize;
use sqlx::FromRow;
use sqlx::types::Uuid;

use super::TraceStore;
use super::body::{self, Hash, REFERENCE_BYTES};
use super::lock::alone;
use super::metrics::{VALUE_CHARS_MAX, dimension};
use super::retention::minute;
use super::row::TraceRow;
use super::statements;
use crate::db::{Db, reading};
use crate::error::StoreError;
use crate::statements::chunks;

/// So many traces are deleted in one transaction, and so many observations.
const STEP_TRACES: usize = 20;
const STEP_OBSERVATIONS: i64 = 250;
/// Between two transactions, for whoever writes.
const PAUSE: Duration = Duration::from_millis(10);

/// Marks a body and all before it.
const MARK: &str = "WITH RECURSIVE chain (hash, parent) AS (\
     SELECT hash, parent FROM bodies WHERE hash = $1 \
     UNION SELECT bodies.hash, bodies.parent FROM bodies JOIN chain ON bodies.hash = chain.parent) \
     UPDATE bodies SET touched_minute = -1 WHERE hash IN (SELECT hash FROM chain) AND touched_minute <> -1";
const FORGET: &str = "UPDATE body_generation SET generation = generation + 1 WHERE id = 1";
const OF_USER: &str = "SELECT project_id, id FROM traces WHERE project_id = $1 AND user_id = $2 ORDER BY id LIMIT $3";
const OLDEST: &str = "SELECT project_id, id FROM traces WHERE touched_minute < $1 ORDER BY touched_minute, id LIMIT $2";
const TRACE: &str = "SELECT * FROM traces WHERE project_id = $1 AND id = $2";
const OBSERVATIONS: &str = "SELECT input, output, resource FROM observations \
     WHERE project_id = $1 AND trace_id = $2 ORDER BY started_at, id LIMIT $3";
const DELETE_QUEUED: &str = "DELETE FROM export_queue WHERE project_id = $1 AND observation_id IN (\
     SELECT id FROM observations WHERE project_id = $1 AND trace_id = $2 ORDER BY started_at, id LIMIT $3)";
const DELETE_OBSERVATIONS: &str = "DELETE FROM observations WHERE project_id = $1 AND id IN (\
     SELECT id FROM observations WHERE project_id = $1 AND trace_id = $2 ORDER BY started_at, id LIMIT $3)";

/// What was erased of a user, in rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ErasedTraces {
    /// Traces.
    pub traces: u64,
    /// Observations.
    pub observations: u64,
    /// Scores of them, of sessions that nobody else had a part in, and those that the user gave.
    pub scores: u64,
    /// Contents that nothing else refers to.
    pub bodies: u64,
    /// Observations that were still to be exported.
    pub export_queue: u64,
    /// Sums of days by the user.
    pub daily_metrics: u64,
}

#[derive(FromRow)]
struct Contents {
    input: Option<Vec<u8>>,
    output: Option<Vec<u8>>,
    resource: Option<Vec<u8>>,
}

/// A trace: its project, and its id as stored.
pub(super) type TraceKey = (Uuid, Vec<u8>);

/// What one step deleted, and what has to be done after the last.
#[derive(Default)]
struct Step {
    erased: ErasedTraces,
    /// How many of the traces are gone, of the first.
    done: usize,
    sessions: HashSet<String>,
}

impl TraceStore {
    /// Erases what a user left. What the user sends meanwhile is not erased.
    ///
    /// # Errors
    /// When the database fails: what was deleted until then is, and erasing again goes on.
    pub async fn erase_user(&self, project: ProjectId, user: &str, now: Timestamp) -> Result<ErasedTraces, StoreError> {
        let mut erased = ErasedTraces::default();
        let mut sessions = HashSet::new();
        loop {
            let traces: Vec<TraceKey> = reading!(self, pool => {
                sqlx::query_as(OF_USER)
                    .bind(project.as_uuid())
                    .bind(user)
                    .bind(i64::try_from(STEP_TRACES).unwrap_or(i64::MAX))
                    .fetch_all(pool)
                    .await
            })?;
            if traces.is_empty() {
                break;
            }
            sessions.extend(self.erase_traces(&traces, &mut erased).await?);
        }
        erased.scores += self.erase_scores(project, user, &sessions).await?;
        erased.daily_metrics = self.erase_metrics(project, user).await?;
        erased.bodies = self.finish_erasures(now).await?;
        Ok(erased)
    }

    /// Deletes the bodies that erasures marked and that nothing refers to. Gives how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn finish_erasures(&self, now: Timestamp) -> Result<u64, StoreError> {
        let marked: Vec<(Vec<u8>, Option<Vec<u8>>)> = reading!(self, pool => {
            sqlx::query_as("SELECT hash, parent FROM bodies WHERE touched_minute = -1").fetch_all(pool).await
        })?;
        if marked.is_empty() {
            return Ok(0);
        }
        let hash = |bytes: &[u8]| Hash::try_from(bytes).ok();
        let marked: HashMap<Hash, Option<Hash>> =
            marked.iter().filter_map(|(own, parent)| Some((hash(own)?, parent.as_deref().and_then(hash)))).collect();
        let kept = self.referred(&marked).await?;
        let (kept, unused): (Vec<Hash>, Vec<Hash>) = marked.into_keys().partition(|hash| kept.contains(hash));
        self.keep(&kept, minute(now)).await?;
        self.delete_marked(&unused).await
    }

    /// Deletes the oldest traces, and the bodies that nothing else refers to: room is free when this returns. Gives how many traces
    /// are gone.
    ///
    /// # Errors
    /// When the database fails: what was deleted until then is.
    pub async fn discard_oldest(&self, before: Timestamp, count: u64, now: Timestamp) -> Result<u64, StoreError> {
        let traces: Vec<TraceKey> = reading!(self, pool => {
            sqlx::query_as(OLDEST)
                .bind(minute(before))
                .bind(i64::try_from(count).unwrap_or(i64::MAX))
                .fetch_all(pool)
                .await
        })?;
        let mut erased = ErasedTraces::default();
        self.erase_traces(&traces, &mut erased).await?;
        self.finish_erasures(now).await?;
        Ok(erased.traces)
    }

    /// Deletes traces with all that is theirs, in steps, and marks their bodies. Gives their sessions.
    pub(super) async fn erase_traces(
        &self,
        traces: &[TraceKey],
        erased: &mut ErasedTraces,
    ) -> Result<HashSet<String>, StoreError> {
        let mut sessions = HashSet::new();
        let mut left = traces;
        while !left.is_empty() {
            let step = self.erase_step(left.get(..STEP_TRACES).unwrap_or(left)).await?;
            erased.traces += step.erased.traces;
            erased.observations += step.erased.observations;
            erased.scores += step.erased.scores;
            erased.export_queue += step.erased.export_queue;
            sessions.extend(step.sessions);
            left = left.get(step.done..).unwrap_or_default();
            tokio::time::sleep(PAUSE).await;
        }
        Ok(sessions)
    }

    async fn erase_step(&self, traces: &[TraceKey]) -> Result<Step, StoreError> {
        let step = alone!(self, conn => {
            let mut step = Step::default();
            let mut references = HashSet::new();
            for (project, id) in traces {
                let left = STEP_OBSERVATIONS - i64::try_from(step.erased.observations).unwrap_or(STEP_OBSERVATIONS);
                if left <= 0 {
                    break;
                }
                let rows: Vec<Contents> =
                    sqlx::query_as(OBSERVATIONS).bind(project).bind(id).bind(left).fetch_all(&mut *conn).await?;
                for row in &rows {
                    for stored in [&row.input, &row.output, &row.resource].into_iter().flatten() {
                        body::references(stored, &mut |hash| {
                            references.insert(hash);
                        });
                    }
                }
                for (statement, count) in [
                    (DELETE_QUEUED, &mut step.erased.export_queue),
                    (DELETE_OBSERVATIONS, &mut step.erased.observations),
                ] {
                    let deleted = sqlx::query(statement).bind(project).bind(id).bind(left).execute(&mut *conn).await?;
                    *count += deleted.rows_affected();
                }
                if i64::try_from(rows.len()).unwrap_or(left) >= left {
                    // There may be more of it: it goes with the next step.
                    break;
                }
                let trace: Option<TraceRow> =
                    sqlx::query_as(TRACE).bind(project).bind(id).fetch_optional(&mut *conn).await?;
                for stored in trace.iter().flat_map(|trace| [&trace.input, &trace.output]).flatten() {
                    body::references(stored, &mut |hash| {
                        references.insert(hash);
                    });
                }
                for (statement, count) in [
                    ("DELETE FROM scores WHERE project_id = $1 AND trace_id = $2", &mut step.erased.scores),
                    ("DELETE FROM traces WHERE project_id = $1 AND id = $2", &mut step.erased.traces),
                ] {
                    let deleted = sqlx::query(statement).bind(project).bind(id).execute(&mut *conn).await?;
                    *count += deleted.rows_affected();
                }
                step.sessions.extend(trace.and_then(|trace| trace.session_id));
                step.done += 1;
            }
            for hash in references {
                sqlx::query(MARK).bind(hash.as_slice()).execute(&mut *conn).await?;
            }
            sqlx::query(FORGET).execute(&mut *conn).await?;
            step
        });
        Ok(step)
    }

    async fn erase_scores(
        &self,
        project: ProjectId,
        user: &str,
        sessions: &HashSet<String>,
    ) -> Result<u64, StoreError> {
        let mut erased = alone!(self, conn => {
            sqlx::query("DELETE FROM scores WHERE project_id = $1 AND author_user_id = $2")
                .bind(project.as_uuid())
                .bind(user)
                .execute(&mut *conn)
                .await?
                .rows_affected()
        });
        for session in sessions {
            erased += alone!(self, conn => {
                sqlx::query(
                    "DELETE FROM scores WHERE project_id = $1 AND session_id = $2 AND NOT EXISTS (\
                     SELECT 1 FROM traces WHERE project_id = $1 AND session_id = $2)",
                )
                .bind(project.as_uuid())
                .bind(session)
                .execute(&mut *conn)
                .await?
                .rows_affected()
            });
        }
        Ok(erased)
    }

    async fn erase_metrics(&self, project: ProjectId, user: &str) -> Result<u64, StoreError> {
        let value: String = user.chars().take(VALUE_CHARS_MAX).collect();
        let erased = alone!(self, conn => {
            sqlx::query("DELETE FROM daily_metrics WHERE project_id = $1 AND dimension = $2 AND value = $3")
                .bind(project.as_uuid())
                .bind(dimension::USER)
                .bind(value)
                .execute(&mut *conn)
                .await?
                .rows_affected()
        });
        Ok(erased)
    }

    /// Which of these bodies something refers to, with all before them.
    async fn referred(&self, marked: &HashMap<Hash, Option<Hash>>) -> Result<HashSet<Hash>, StoreError> {
        let mut kept = HashSet::new();
        let mut note = |hash: Hash| {
            if marked.contains_key(&hash) {
                kept.insert(hash);
            }
        };
        let contents = "SELECT substr(input, 1, $1) AS input, substr(output, 1, $1) AS output, \
                        CAST(NULL AS BLOB) AS resource FROM traces";
        let of_traces = match &*self.db {
            Db::Sqlite(_) => contents.to_owned(),
            Db::Postgres(_) => contents.replace("BLOB", "BYTEA"),
        };
        let of_observations = "SELECT substr(input, 1, $1) AS input, substr(output, 1, $1) AS output, \
                               substr(resource, 1, $1) AS resource FROM observations";
        let length = i32::try_from(REFERENCE_BYTES).unwrap_or(i32::MAX);
        reading!(self, pool => {
            for statement in [of_traces.as_str(), of_observations] {
                let mut rows = sqlx::query_as(sqlx::AssertSqlSafe(statement)).bind(length).fetch(pool);
                while let Some(row) = rows.try_next().await? {
                    let row: Contents = row;
                    for stored in [&row.input, &row.output, &row.resource].into_iter().flatten() {
                        body::references(stored, &mut note);
                    }
                }
            }
            let parents = "SELECT parent FROM bodies WHERE parent IS NOT NULL AND touched_minute <> -1";
            let mut rows = sqlx::query_scalar(parents).fetch(pool);
            while let Some(parent) = rows.try_next().await? {
                let parent: Vec<u8> = parent;
                Hash::try_from(parent).into_iter().for_each(&mut note);
            }
        });
        for hash in kept.clone() {
            let mut next = marked.get(&hash).copied().flatten();
            while let Some(parent) = next.filter(|parent| marked.contains_key(parent) && kept.insert(*parent)) {
                next = marked.get(&parent).copied().flatten();
            }
        }
        Ok(kept)
    }

    async fn keep(&self, hashes: &[Hash], minute: i64) -> Result<(), StoreError> {
        let statement = match &*self.db {
            Db::Sqlite(_) => |rows| statements::SQLITE.keep_bodies(rows),
            Db::Postgres(_) => |rows| statements::POSTGRES.keep_bodies(rows),
        };
        for hashes in chunks(hashes) {
            alone!(self, conn => {
                let mut keep = sqlx::query(statement(hashes.len())).bind(minute);
                for hash in hashes {
                    keep = keep.bind(hash.as_slice());
                }
                keep.execute(&mut *conn).await?;
            });
        }
        Ok(())
    }

    async fn delete_marked(&self, hashes: &[Hash]) -> Result<u64, StoreError> {
        let statement = match &*self.db {
            Db::Sqlite(_) => |rows| statements::SQLITE.delete_bodies(rows),
            Db::Postgres(_) => |rows| statements::POSTGRES.delete_bodies(rows),
        };
        let mut deleted = 0;
        for hashes in chunks(hashes) {
            deleted += alone!(self, conn => {
                let mut delete = sqlx::query(statement(hashes.len()));
                for hash in hashes {
                    delete = delete.bind(hash.as_slice());
                }
                delete.execute(&mut *conn).await?.rows_affected()
            });
        }
        Ok(deleted)
    }
}
