//! Erasing a user's traces, and with them every body that nobody else's refer to.
//!
//! A body can be shared, and a writer can come to share it at any moment. So the bodies of what is deleted are first marked, in
//! the transaction that deletes and lets every writer forget what it knows to be stored: whoever uses a marked body from then on
//! writes it again, which takes the mark away. Then, without keeping anybody from writing, everything that is left is read for
//! what it refers to; and what is still marked and not referred to is deleted. If the process dies in between, the marks stay,
//! and [`TraceStore::finish_erasures`] goes on.

use std::collections::{HashMap, HashSet};

use futures_util::TryStreamExt as _;
use privet_domain::id::ProjectId;
use privet_domain::time::Timestamp;
use serde::Serialize;
use sqlx::FromRow;

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
const STEP_TRACES: i64 = 20;
const STEP_OBSERVATIONS: i64 = 250;

/// Marks a body and all before it.
const MARK: &str = "WITH RECURSIVE chain (hash, parent) AS (\
     SELECT hash, parent FROM bodies WHERE hash = $1 \
     UNION SELECT bodies.hash, bodies.parent FROM bodies JOIN chain ON bodies.hash = chain.parent) \
     UPDATE bodies SET touched_minute = -1 WHERE hash IN (SELECT hash FROM chain) AND touched_minute <> -1";
const FORGET: &str = "UPDATE body_generation SET generation = generation + 1 WHERE id = 1";
const TRACES: &str = "SELECT * FROM traces WHERE project_id = $1 AND user_id = $2 ORDER BY id LIMIT $3";
const OBSERVATIONS: &str = "SELECT input, output, resource FROM observations \
     WHERE project_id = $1 AND trace_id = $2 ORDER BY id LIMIT $3";
const DELETE_QUEUED: &str = "DELETE FROM export_queue WHERE project_id = $1 AND observation_id IN (\
     SELECT id FROM observations WHERE project_id = $1 AND trace_id = $2 ORDER BY id LIMIT $3)";
const DELETE_OBSERVATIONS: &str = "DELETE FROM observations WHERE project_id = $1 AND id IN (\
     SELECT id FROM observations WHERE project_id = $1 AND trace_id = $2 ORDER BY id LIMIT $3)";

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

/// What one step deleted, and what has to be done after the last.
#[derive(Default)]
struct Step {
    erased: ErasedTraces,
    /// Whether all that the step looked at is gone.
    is_last: bool,
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
            let step = self.erase_step(project, user).await?;
            erased.traces += step.erased.traces;
            erased.observations += step.erased.observations;
            erased.scores += step.erased.scores;
            erased.export_queue += step.erased.export_queue;
            sessions.extend(step.sessions);
            if step.is_last {
                break;
            }
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

    async fn erase_step(&self, project: ProjectId, user: &str) -> Result<Step, StoreError> {
        let step = alone!(self, conn => {
            let mut step = Step::default();
            let mut references = HashSet::new();
            let traces: Vec<TraceRow> =
                sqlx::query_as(TRACES).bind(project.as_uuid()).bind(user).bind(STEP_TRACES).fetch_all(&mut *conn).await?;
            step.is_last = i64::try_from(traces.len()).is_ok_and(|traces| traces < STEP_TRACES);
            for trace in traces {
                let left = STEP_OBSERVATIONS - i64::try_from(step.erased.observations).unwrap_or(STEP_OBSERVATIONS);
                let rows: Vec<Contents> = sqlx::query_as(OBSERVATIONS)
                    .bind(project.as_uuid())
                    .bind(&trace.id)
                    .bind(left)
                    .fetch_all(&mut *conn)
                    .await?;
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
                    *count += sqlx::query(statement)
                        .bind(project.as_uuid())
                        .bind(&trace.id)
                        .bind(left)
                        .execute(&mut *conn)
                        .await?
                        .rows_affected();
                }
                if i64::try_from(rows.len()).unwrap_or(left) >= left {
                    // There may be more of it: it goes with the next step.
                    step.is_last = false;
                    break;
                }
                for stored in [&trace.input, &trace.output].into_iter().flatten() {
                    body::references(stored, &mut |hash| {
                            references.insert(hash);
                        });
                }
                step.erased.scores += sqlx::query("DELETE FROM scores WHERE project_id = $1 AND trace_id = $2")
                    .bind(project.as_uuid())
                    .bind(&trace.id)
                    .execute(&mut *conn)
                    .await?
                    .rows_affected();
                step.erased.traces += sqlx::query("DELETE FROM traces WHERE project_id = $1 AND id = $2")
                    .bind(project.as_uuid())
                    .bind(&trace.id)
                    .execute(&mut *conn)
                    .await?
                    .rows_affected();
                step.sessions.extend(trace.session_id.clone());
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
