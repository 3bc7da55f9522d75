//! The queue of observations that are still to be exported, first in first out.

use std::collections::HashMap;

use privet_domain::id::ProjectId;
use privet_domain::time::NanoTimestamp;
use privet_domain::trace::{Observation, Trace};
use sqlx::types::Uuid;

use super::TraceStore;
use super::contents::Bodies;
use super::row::{ObservationRow, TraceRow};
use super::statements;
use super::stored_id::StoredId;
use crate::db::{Db, reading, writing};
use crate::error::StoreError;
use crate::statements::chunks;

/// An observation of the queue.
#[derive(Clone, Debug)]
pub struct QueuedObservation {
    /// Its place in the queue.
    pub seq: i64,
    /// Its project.
    pub project: ProjectId,
    /// It and its trace, whose input and output are there only where the observation is the trace's first step; `None` if
    /// it expired before it was sent.
    pub observation: Option<(Trace, Observation)>,
}

/// What is still to be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportBacklog {
    /// How many observations, roughly.
    pub observations: u64,
    /// When the first of them ended.
    pub since: Option<NanoTimestamp>,
}

type Key = (Uuid, StoredId);

impl TraceStore {
    /// The first of the queue: so many, and no more once their contents have so many bytes.
    ///
    /// # Errors
    /// When the database fails, or holds what cannot be read.
    pub async fn queued_for_export(
        &self,
        observations_max: u32,
        bytes_max: usize,
    ) -> Result<Vec<QueuedObservation>, StoreError> {
        let queued: Vec<(i64, Uuid, Vec<u8>)> = reading!(self, pool => {
            sqlx::query_as("SELECT seq, project_id, observation_id FROM export_queue ORDER BY seq LIMIT $1")
                .bind(i64::from(observations_max))
                .fetch_all(pool)
                .await
        })?;
        let keys: Vec<Key> = queued.iter().map(|(_, project, id)| (*project, id.clone())).collect();
        let mut observations = self.observation_rows(&keys).await?;
        let mut keys: Vec<Key> = observations.values().map(|row| (row.project_id, row.trace_id.clone())).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut traces = self.trace_rows(&keys).await?;
        let mut bodies = Bodies::default();
        let (mut bytes, mut items) = (0, Vec::with_capacity(queued.len()));
        for (seq, project, id) in queued {
            if bytes > bytes_max {
                break;
            }
            let Some(row) = observations.remove(&(project, id)) else {
                items.push(QueuedObservation { seq, project: project.into(), observation: None });
                continue;
            };
            let is_first = row.parent_id.is_none();
            let Some(trace) = traces.get_mut(&(project, row.trace_id.clone())) else {
                items.push(QueuedObservation { seq, project: project.into(), observation: None });
                continue;
            };
            let trace = TraceRow {
                input: trace.input.clone().filter(|_| is_first),
                output: trace.output.clone().filter(|_| is_first),
                ..trace.clone()
            };
            let read = self.read_for_export(trace, row, &mut bodies).await?;
            bytes += size(&read);
            items.push(QueuedObservation { seq, project: project.into(), observation: Some(read) });
        }
        Ok(items)
    }

    /// Takes everything up to this place out of the queue.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn exported(&self, seq: i64) -> Result<(), StoreError> {
        writing!(self, conn => {
            sqlx::query("DELETE FROM export_queue WHERE seq <= $1").bind(seq).execute(&mut *conn).await?;
        });
        Ok(())
    }

    /// What is still to be exported.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn export_backlog(&self) -> Result<ExportBacklog, StoreError> {
        let (first, last): (Option<i64>, Option<i64>) = reading!(self, pool => {
            sqlx::query_as("SELECT (SELECT MIN(seq) FROM export_queue), (SELECT MAX(seq) FROM export_queue)")
                .fetch_one(pool)
                .await
        })?;
        let Some((first, last)) = first.zip(last) else { return Ok(ExportBacklog { observations: 0, since: None }) };
        let since: Option<i64> = reading!(self, pool => {
            sqlx::query_scalar(
                "SELECT COALESCE(ended_at, started_at) FROM observations WHERE (project_id, id) IN (\
                 SELECT project_id, observation_id FROM export_queue WHERE seq = $1)",
            )
            .bind(first)
            .fetch_optional(pool)
            .await
        })?;
        let observations = u64::try_from(last - first + 1).unwrap_or(0);
        Ok(ExportBacklog { observations, since: since.map(NanoTimestamp::from_nanos) })
    }

    async fn read_for_export(
        &self,
        trace: TraceRow,
        row: ObservationRow,
        bodies: &mut Bodies,
    ) -> Result<(Trace, Observation), StoreError> {
        let trace = self.read_trace(trace, bodies).await?.trace;
        Ok((trace, self.read_observation(row, bodies).await?))
    }

    async fn observation_rows(&self, keys: &[Key]) -> Result<HashMap<Key, ObservationRow>, StoreError> {
        let mut found = HashMap::with_capacity(keys.len());
        for (project, ids) in by_project(keys) {
            for ids in chunks(&ids) {
                let rows: Vec<ObservationRow> = match &*self.db {
                    Db::Sqlite(sqlite) => {
                        let load = sqlx::query_as(statements::SQLITE.load_observations(ids.len())).bind(project);
                        ids.iter().fold(load, |load, id| load.bind(*id)).fetch_all(&sqlite.readers).await?
                    }
                    Db::Postgres(pool) => {
                        let load = sqlx::query_as(statements::POSTGRES.load_observations(ids.len())).bind(project);
                        ids.iter().fold(load, |load, id| load.bind(*id)).fetch_all(pool).await?
                    }
                };
                found.extend(rows.into_iter().map(|row| ((row.project_id, row.id.clone()), row)));
            }
        }
        Ok(found)
    }

    async fn trace_rows(&self, keys: &[Key]) -> Result<HashMap<Key, TraceRow>, StoreError> {
        let mut found = HashMap::with_capacity(keys.len());
        for (project, ids) in by_project(keys) {
            for ids in chunks(&ids) {
                let rows: Vec<TraceRow> = match &*self.db {
                    Db::Sqlite(sqlite) => {
                        let load = sqlx::query_as(statements::SQLITE.load_traces(ids.len())).bind(project);
                        ids.iter().fold(load, |load, id| load.bind(*id)).fetch_all(&sqlite.readers).await?
                    }
                    Db::Postgres(pool) => {
                        let load = sqlx::query_as(statements::POSTGRES.load_traces(ids.len())).bind(project);
                        ids.iter().fold(load, |load, id| load.bind(*id)).fetch_all(pool).await?
                    }
                };
                found.extend(rows.into_iter().map(|row| ((row.project_id, row.id.clone()), row)));
            }
        }
        Ok(found)
    }
}

fn by_project(keys: &[Key]) -> HashMap<Uuid, Vec<&[u8]>> {
    let mut ids: HashMap<Uuid, Vec<&[u8]>> = HashMap::new();
    for (project, id) in keys {
        ids.entry(*project).or_default().push(id);
    }
    ids
}

/// Roughly the bytes of the contents.
fn size((trace, observation): &(Trace, Observation)) -> usize {
    let contents = [&trace.input, &trace.output, &observation.input, &observation.output];
    contents.into_iter().flatten().map(|content| content.len()).sum()
}
