//! The outbox: memories that are still to be embedded, or to be taken out of the index. A memory stands in it once, however often it
//! changed; whether it is to be put or removed is seen by whether it is there.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use privet_domain::id::ProjectId;
use privet_domain::memory::{
    ContentHash, INDEX_PAGE_MAX, IndexedMemory, IndexedPart, IndexedVersion, MemoryId, MemoryScope,
};
use privet_domain::time::Timestamp;
use sqlx::AssertSqlSafe;
use sqlx::types::Uuid;

use super::list::{IDS_OF_A_QUERY, padded, places};
use crate::db::{Store, reading, writing};
use crate::error::StoreError;

const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(600);

/// Whoever claims sees no task that another has: a claim is a time before which a task is not due.
const CLAIM: &str = "UPDATE memory_outbox SET due_at = $2, attempts = attempts + 1 WHERE due_at <= $1 AND seq IN ( \
     SELECT seq FROM memory_outbox WHERE due_at <= $1 ORDER BY due_at, seq LIMIT $3) \
     RETURNING seq, generation, memory_id, project_id, attempts, created_at";
const ACKNOWLEDGE: &str = "DELETE FROM memory_outbox WHERE seq = $1 AND generation = $2";
/// Nobody has it any more: somebody else did it meanwhile.
const AGAIN: &str = "INSERT INTO memory_outbox (memory_id, project_id, generation, attempts, due_at, created_at) \
     VALUES ($1, $2, 1, 0, $3, $3) ON CONFLICT (memory_id) DO NOTHING";
const RETRY: &str = "UPDATE memory_outbox SET due_at = $3 WHERE seq = $1 AND generation = $2";

type TaskRow = (i64, i64, Uuid, Uuid, i64, i64);

/// One memory of the outbox, claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxTask {
    seq: i64,
    generation: i64,
    /// The memory, which may be gone.
    pub memory: MemoryId,
    /// Its project.
    pub project: ProjectId,
    /// How often it was claimed since it last changed.
    pub attempts: u32,
    /// Since when it waits.
    pub since: Timestamp,
}

impl OutboxTask {
    /// How long to wait after this attempt failed: twice as long each time, up to ten minutes.
    #[must_use]
    pub fn backoff(&self) -> Duration {
        RETRY_FIRST.saturating_mul(1 << self.attempts.saturating_sub(1).min(16)).min(RETRY_LAST)
    }
}

/// What waits in the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxDepth {
    /// How many memories.
    pub tasks: u64,
    /// Since when the first of them waits.
    pub since: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct PartRow {
    id: Uuid,
    project_id: Uuid,
    user_id: String,
    conversation_id: Option<Uuid>,
    kind: String,
    created_at: i64,
    revision: i64,
    number: Option<i64>,
    representation: Option<String>,
    part: Option<i64>,
    text: Option<String>,
    content_hash: Option<Vec<u8>>,
}

impl Store {
    /// Takes tasks that are due, the oldest first. Nobody else gets them before `lease` is over; then they are due again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_outbox(
        &self,
        limit: u32,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<OutboxTask>, StoreError> {
        let rows: Vec<TaskRow> = writing!(self, conn => {
            sqlx::query_as(CLAIM)
                .bind(now.as_micros())
                .bind(now.after(lease).as_micros())
                .bind(i64::from(limit))
                .fetch_all(&mut *conn)
                .await?
        });
        let mut tasks: Vec<OutboxTask> = rows
            .into_iter()
            .map(|(seq, generation, memory, project, attempts, since)| OutboxTask {
                seq,
                generation,
                memory: memory.into(),
                project: project.into(),
                attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
                since: Timestamp::from_micros(since),
            })
            .collect();
        tasks.sort_unstable_by_key(|task| (task.since, task.seq));
        Ok(tasks)
    }

    /// Takes tasks that are done out of the outbox. Those whose memory changed meanwhile stay, and are due. One that somebody else
    /// has done meanwhile comes again: who was late may have put into the index what the other had removed.
    ///
    /// # Errors
    /// When the database fails; the tasks are then due again after their lease.
    pub async fn acknowledge_outbox(&self, tasks: &[OutboxTask]) -> Result<(), StoreError> {
        writing!(self, conn => {
            for task in tasks {
                let done = sqlx::query(ACKNOWLEDGE).bind(task.seq).bind(task.generation).execute(&mut *conn).await?;
                if done.rows_affected() == 0 {
                    sqlx::query(AGAIN)
                        .bind(task.memory.as_uuid())
                        .bind(task.project.as_uuid())
                        .bind(task.since.as_micros())
                        .execute(&mut *conn)
                        .await?;
                }
            }
        });
        Ok(())
    }

    /// Gives tasks back that failed, each for its [`OutboxTask::backoff`].
    ///
    /// # Errors
    /// When the database fails; the tasks are then due again after their lease.
    pub async fn retry_outbox(&self, tasks: &[OutboxTask], now: Timestamp) -> Result<(), StoreError> {
        writing!(self, conn => {
            for task in tasks {
                sqlx::query(RETRY)
                    .bind(task.seq)
                    .bind(task.generation)
                    .bind(now.after(task.backoff()).as_micros())
                    .execute(&mut *conn)
                    .await?;
            }
        });
        Ok(())
    }

    /// Makes every task due: what claimed them is dead, and what failed may go now. For the one server of a SQLite file, at its start.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_outbox(&self, now: Timestamp) -> Result<(), StoreError> {
        writing!(self, conn => {
            sqlx::query("UPDATE memory_outbox SET due_at = $1 WHERE due_at > $1")
                .bind(now.as_micros())
                .execute(&mut *conn)
                .await?;
        });
        Ok(())
    }

    /// How much waits, and since when.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn outbox_depth(&self) -> Result<OutboxDepth, StoreError> {
        let (tasks, since): (i64, Option<i64>) = reading!(self, pool => {
            sqlx::query_as("SELECT COUNT(*), MIN(created_at) FROM memory_outbox").fetch_one(pool).await
        })?;
        Ok(OutboxDepth { tasks: tasks.unsigned_abs(), since: since.map(Timestamp::from_micros) })
    }

    /// Those of these memories that wait in the outbox.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn waiting_in_outbox(&self, ids: &[MemoryId]) -> Result<Vec<MemoryId>, StoreError> {
        let select = format!("SELECT memory_id FROM memory_outbox WHERE memory_id IN ({})", places(1));
        let mut waiting = Vec::new();
        for ids in ids.chunks(IDS_OF_A_QUERY) {
            let rows: Vec<Uuid> = reading!(self, pool => {
                let mut query = sqlx::query_scalar(AssertSqlSafe(select.as_str()));
                for id in padded(ids) {
                    query = query.bind(id.as_uuid());
                }
                query.fetch_all(pool).await
            })?;
            waiting.extend(rows.into_iter().map(MemoryId::from));
        }
        Ok(waiting)
    }

    /// Those of these memories that are there, as the index is to hold them, without vectors. Of all projects: this is for the
    /// worker.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn memories_to_index(&self, ids: &[MemoryId]) -> Result<Vec<IndexedMemory>, StoreError> {
        let select = format!(
            "SELECT m.id, m.project_id, m.user_id, m.conversation_id, m.kind, m.created_at, m.revision, \
             r.number, r.kind AS representation, r.part, r.text, r.content_hash \
             FROM memories m LEFT JOIN memory_representations r ON r.memory_id = m.id WHERE m.id IN ({}) \
             ORDER BY m.id, r.number",
            places(1)
        );
        let mut memories: BTreeMap<Uuid, IndexedMemory> = BTreeMap::new();
        for ids in ids.chunks(IDS_OF_A_QUERY) {
            let rows: Vec<PartRow> = reading!(self, pool => {
                let mut query = sqlx::query_as(AssertSqlSafe(select.as_str()));
                for id in padded(ids) {
                    query = query.bind(id.as_uuid());
                }
                query.fetch_all(pool).await
            })?;
            for row in rows {
                let memory = match memories.entry(row.id) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => new.insert(row.memory()?),
                };
                memory.parts.extend(row.part()?);
            }
        }
        Ok(memories.into_values().collect())
    }

    /// The memories of representations with greater numbers than `after`, in their order, and the number after which the next page
    /// begins; `None` when this is the last. So everything that is there is passed once, also while memories come and go.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn memories_from(&self, after: i64, limit: u32) -> Result<(Vec<IndexedMemory>, Option<i64>), StoreError> {
        let rows: Vec<(i64, Uuid)> = reading!(self, pool => {
            sqlx::query_as("SELECT number, memory_id FROM memory_representations WHERE number > $1 ORDER BY number LIMIT $2")
                .bind(after)
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await
        })?;
        let next = rows.last().filter(|_| rows.len() == limit as usize).map(|(number, _)| *number);
        let mut ids: Vec<MemoryId> = rows.into_iter().map(|(_, id)| id.into()).collect();
        ids.sort_unstable();
        ids.dedup();
        Ok((self.memories_to_index(&ids).await?, next))
    }

    /// What the index should hold, in the order of ids from the one after `after` on, to be compared with what it holds.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn memory_versions(
        &self,
        after: Option<MemoryId>,
        limit: usize,
    ) -> Result<Vec<IndexedVersion>, StoreError> {
        let after = after.map_or(Uuid::nil(), MemoryId::as_uuid);
        let rows: Vec<(Uuid, i64)> = reading!(self, pool => {
            sqlx::query_as("SELECT id, revision FROM memories WHERE id > $1 ORDER BY id LIMIT $2")
                .bind(after)
                .bind(i64::try_from(limit.min(INDEX_PAGE_MAX)).unwrap_or(0))
                .fetch_all(pool)
                .await
        })?;
        Ok(rows.into_iter().map(|(id, revision)| IndexedVersion { id: id.into(), revision }).collect())
    }

    /// Puts memories into the outbox, whether they are there or not: for what was found to differ.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn enqueue_memories(&self, memories: &[(MemoryId, ProjectId)], now: Timestamp) -> Result<(), StoreError> {
        use super::rows::MemoryRows as _;
        writing!(self, conn => conn.enqueue(memories, now).await?);
        Ok(())
    }
}

impl PartRow {
    fn memory(&self) -> Result<IndexedMemory, StoreError> {
        Ok(IndexedMemory {
            id: self.id.into(),
            revision: self.revision,
            scope: MemoryScope::new(self.project_id.into(), self.user_id.as_str()),
            conversation: self.conversation_id.map(Into::into),
            kind: self.kind.parse().map_err(|error| self.damaged(&error))?,
            created_at: Timestamp::from_micros(self.created_at),
            parts: Vec::new(),
        })
    }

    fn part(self) -> Result<Option<IndexedPart>, StoreError> {
        let (Some(number), Some(kind), Some(part)) = (self.number, &self.representation, self.part) else {
            return Ok(None);
        };
        let hash = self.content_hash.as_deref().and_then(ContentHash::from_bytes);
        Ok(Some(IndexedPart {
            number,
            representation: kind.parse().map_err(|error| self.damaged(&error))?,
            part: u32::try_from(part).map_err(|error| self.damaged(&error))?,
            hash: hash.ok_or_else(|| self.damaged(&"its hash has not 32 bytes"))?,
            text: self.text.unwrap_or_default(),
            vectors: Vec::new(),
        }))
    }

    fn damaged(&self, why: &dyn std::fmt::Display) -> StoreError {
        StoreError::Damaged(format!("the memory {}: {why}", self.id))
    }
}
