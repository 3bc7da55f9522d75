//! Descriptions by a model: which memories still wait for one, who makes it, and what was made. A memory stands here once; what it is
//! described by stands among its representations.
//!
//! A description is void as soon as a text that the model was shown changes or goes: then what was made of it is deleted in the same
//! transaction, so that nothing of that text lives on in it, and the memory waits again.

use std::time::Duration;

use privet_domain::id::ProjectId;
use privet_domain::memory::{Memory, MemoryId, MemoryKind, MemoryScope, NewRepresentation, Representation};
use privet_domain::time::Timestamp;
use serde::Serialize;
use sqlx::types::Uuid;
use sqlx::{AssertSqlSafe, PgConnection, SqliteConnection};

use super::list::{IDS_OF_A_QUERY, padded, places};
use super::owner::Owner;
use super::record::{COLUMNS, MemoryRow};
use super::rows::MemoryRows;
use crate::db::{Store, reading, writing};
use crate::error::StoreError;

const RETRY_FIRST: Duration = Duration::from_secs(30);
const RETRY_LAST: Duration = Duration::from_secs(3_600);
/// So many memories are looked at in one step of a sweep.
const STEP_SWEPT: i64 = 500;

/// What is worth a description and has none of its present text. One that came with its description is not described again.
const QUEUE: &str = "INSERT INTO memory_descriptions (memory_id, project_id, said_at, version, generation, state, attempts, due_at) \
     SELECT m.id, m.project_id, m.created_at, m.version, 1, 'waiting', 0, CAST($1 AS BIGINT) FROM memories m \
     WHERE octet_length(m.text) >= $2 AND NOT EXISTS (SELECT 1 FROM memory_representations r WHERE r.memory_id = m.id \
         AND r.kind IN ('summary', 'facts', 'questions'))";
const QUEUED_ALREADY: &str = "ON CONFLICT (memory_id) DO UPDATE SET version = excluded.version, \
     generation = memory_descriptions.generation + 1, state = 'waiting', attempts = 0, due_at = excluded.due_at, \
     previous_id = NULL, next_id = NULL WHERE memory_descriptions.version < excluded.version";
const SWEEP: &str = "SELECT id FROM memories m WHERE id < $1 \
     AND NOT EXISTS (SELECT 1 FROM memory_outbox o WHERE o.memory_id = m.id) ORDER BY id DESC LIMIT $2";
const NEXT_PROJECT: &str = "SELECT project_id FROM memory_descriptions WHERE state = 'waiting' AND due_at <= $2 AND project_id > $1 \
     ORDER BY project_id LIMIT 1";
/// As in the outbox: a claim is a time before which a task is not due.
const CLAIM: &str = "UPDATE memory_descriptions SET due_at = $3, attempts = attempts + 1 \
     WHERE state = 'waiting' AND due_at <= $2 AND memory_id IN ( \
         SELECT memory_id FROM memory_descriptions WHERE project_id = $1 AND state = 'waiting' AND due_at <= $2 \
         ORDER BY said_at DESC, memory_id DESC LIMIT $4) \
     RETURNING memory_id, generation, attempts";
const SHOWN: &str = "UPDATE memory_descriptions SET previous_id = $2, next_id = $3 WHERE memory_id = $1";
const NOT_WORTH: &str = "DELETE FROM memory_descriptions WHERE memory_id = $1";
const END: &str =
    "UPDATE memory_descriptions SET state = $3 WHERE memory_id = $1 AND generation = $2 AND state = 'waiting'";
const POSTPONE: &str = "UPDATE memory_descriptions SET due_at = $3, attempts = $4 \
     WHERE memory_id = $1 AND generation = $2 AND state = 'waiting'";
const AGAIN: &str = "UPDATE memory_descriptions SET generation = generation + 1, state = 'waiting', attempts = 0, due_at = $2 \
     WHERE project_id = $1 AND (state = 'given_up' OR ($3 AND state = 'made'))";
/// The text that it was made of is another, or gone.
const VOID: &str = "UPDATE memory_descriptions SET generation = generation + 1, state = 'waiting', attempts = 0, due_at = $2, \
     previous_id = NULL, next_id = NULL, version = (SELECT m.version FROM memories m WHERE m.id = memory_id) WHERE memory_id = $1";
const UNDESCRIBE: &str =
    "DELETE FROM memory_representations WHERE memory_id = $1 AND kind IN ('summary', 'facts', 'questions')";

const DESCRIBED_BY: &str = "SELECT EXISTS (SELECT 1 FROM memory_representations WHERE owner = $1), \
     EXISTS (SELECT 1 FROM memory_representations WHERE owner = $2), \
     EXISTS (SELECT 1 FROM memory_representations WHERE owner = $3)";

const WAITING: &str = "waiting";
const MADE: &str = "made";
const GIVEN_UP: &str = "given_up";

/// A memory to be described, claimed, with what it stands between.
#[derive(Clone, Debug, PartialEq)]
pub struct DescriptionTask {
    /// The memory.
    pub memory: Memory,
    /// What its user heard or said before it in the conversation, or the piece before it in the document.
    pub previous: Option<Memory>,
    /// The piece after it in the document. A message has none: what is said to it later does not make it another.
    pub next: Option<Memory>,
    /// How often it was claimed since its text last changed.
    pub attempts: u32,
    generation: i64,
}

impl DescriptionTask {
    /// How long to wait after this attempt failed: twice as long each time, up to an hour.
    #[must_use]
    pub fn backoff(&self) -> Duration {
        RETRY_FIRST.saturating_mul(1 << self.attempts.saturating_sub(1).min(16)).min(RETRY_LAST)
    }
}

/// Which memories of a project are to be described again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Those that were given up.
    GivenUp,
    /// Those that were described, too: by another prompt or model.
    All,
}

/// How far the descriptions of a project are. A memory that is not worth one counts nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DescriptionCounts {
    /// Memories that wait for theirs.
    pub waiting: u64,
    /// Those that were described.
    pub made: u64,
    /// Those that the model could not or would not describe.
    pub given_up: u64,
}

/// The waiting for descriptions inside a transaction, on either database.
pub(crate) trait DescriptionRows: MemoryRows {
    /// Lets memories wait that are worth it and not described in their present version. Gives how many.
    async fn queue_descriptions(
        &mut self,
        memories: &[MemoryId],
        bytes_min: i64,
        now: Timestamp,
    ) -> Result<u64, sqlx::Error>;

    /// A memory has another text: its description is to be made anew, or not at all where it came with one. Those that were made with
    /// its old text in view are void.
    async fn renew_description(
        &mut self,
        memory: MemoryId,
        given: &[NewRepresentation],
        now: Timestamp,
    ) -> Result<(), sqlx::Error>;

    /// Deletes what was made with these memories in view, and lets it be made anew.
    async fn void_descriptions_beside(&mut self, memories: &[MemoryId], now: Timestamp) -> Result<(), sqlx::Error>;

    /// A memory with what it stands between, and notes what that is; `None` if it is not worth a description any more.
    async fn task(&mut self, claimed: ClaimRow, bytes_min: usize) -> Result<Option<DescriptionTask>, StoreError>;
}

/// Memory, generation, attempts.
type ClaimRow = (Uuid, i64, i64);

/// The same for both databases.
macro_rules! define_rows {
    ($connection:ty) => {
        impl DescriptionRows for $connection {
            async fn queue_descriptions(
                &mut self,
                memories: &[MemoryId],
                bytes_min: i64,
                now: Timestamp,
            ) -> Result<u64, sqlx::Error> {
                let insert = format!("{QUEUE} AND m.id IN ({}) {QUEUED_ALREADY}", places(3));
                let mut queued = 0;
                for ids in memories.chunks(IDS_OF_A_QUERY) {
                    let mut query =
                        sqlx::query(AssertSqlSafe(insert.as_str())).bind(now.as_micros()).bind(bytes_min);
                    for id in padded(ids) {
                        query = query.bind(id.as_uuid());
                    }
                    queued += query.execute(&mut *self).await?.rows_affected();
                }
                Ok(queued)
            }

            async fn renew_description(
                &mut self,
                memory: MemoryId,
                given: &[NewRepresentation],
                now: Timestamp,
            ) -> Result<(), sqlx::Error> {
                let query = if given.iter().any(|new| Representation::DESCRIPTIONS.contains(&new.representation)) {
                    sqlx::query(NOT_WORTH).bind(memory.as_uuid())
                } else {
                    sqlx::query(VOID).bind(memory.as_uuid()).bind(now.as_micros())
                };
                query.execute(&mut *self).await?;
                self.void_descriptions_beside(&[memory], now).await
            }

            async fn void_descriptions_beside(
                &mut self,
                memories: &[MemoryId],
                now: Timestamp,
            ) -> Result<(), sqlx::Error> {
                let select = format!(
                    "SELECT memory_id, project_id FROM memory_descriptions WHERE previous_id IN ({0}) OR next_id IN ({0})",
                    places(1)
                );
                for ids in memories.chunks(IDS_OF_A_QUERY) {
                    let mut query = sqlx::query_as::<_, (Uuid, Uuid)>(AssertSqlSafe(select.as_str()));
                    for id in padded(ids) {
                        query = query.bind(id.as_uuid());
                    }
                    let beside: Vec<(MemoryId, ProjectId)> = query
                        .fetch_all(&mut *self)
                        .await?
                        .into_iter()
                        .map(|(memory, project)| (memory.into(), project.into()))
                        .collect();
                    let ids: Vec<MemoryId> = beside.iter().map(|(id, _)| *id).collect();
                    // Whoever stores a description locks its memory first, too.
                    self.revise(&ids).await?;
                    for id in &ids {
                        sqlx::query(UNDESCRIBE).bind(id.as_uuid()).execute(&mut *self).await?;
                        sqlx::query(VOID).bind(id.as_uuid()).bind(now.as_micros()).execute(&mut *self).await?;
                    }
                    self.enqueue(&beside, now).await?;
                }
                Ok(())
            }

            async fn task(
                &mut self,
                (id, generation, attempts): ClaimRow,
                bytes_min: usize,
            ) -> Result<Option<DescriptionTask>, StoreError> {
                let select = format!("SELECT {COLUMNS} FROM memories WHERE id = $1");
                let row: MemoryRow = sqlx::query_as(AssertSqlSafe(select)).bind(id).fetch_one(&mut *self).await?;
                let memory = row.read()?;
                if memory.text.len() < bytes_min {
                    sqlx::query(NOT_WORTH).bind(id).execute(&mut *self).await?;
                    return Ok(None);
                }
                let mut beside = [None, None];
                for (neighbour, direction) in beside.iter_mut().zip([Direction::Before, Direction::After]) {
                    let Some((select, whole)) = neighbour_of(&memory, direction) else { continue };
                    let row: Option<MemoryRow> = sqlx::query_as(AssertSqlSafe(select))
                        .bind(whole)
                        .bind(memory.scope.project.as_uuid())
                        .bind(&memory.scope.user)
                        .bind(memory.seq)
                        .fetch_optional(&mut *self)
                        .await?;
                    *neighbour = row.map(MemoryRow::read).transpose()?;
                }
                let [previous, next] = beside;
                let id_of = |memory: &Option<Memory>| memory.as_ref().map(|memory| memory.id.as_uuid());
                sqlx::query(SHOWN).bind(id).bind(id_of(&previous)).bind(id_of(&next)).execute(&mut *self).await?;
                let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
                Ok(Some(DescriptionTask { memory, previous, next, attempts, generation }))
            }
        }
    };
}

define_rows!(SqliteConnection);
define_rows!(PgConnection);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Before,
    After,
}

/// The statement that finds what stands beside a memory, and the conversation or document. Only what is the same user's is seen.
fn neighbour_of(memory: &Memory, direction: Direction) -> Option<(String, Uuid)> {
    let (column, whole) = match (memory.kind, memory.conversation, memory.document, direction) {
        (MemoryKind::Message, Some(conversation), _, Direction::Before) => ("conversation_id", conversation.as_uuid()),
        (MemoryKind::Document, _, Some(document), _) => ("document_id", document.as_uuid()),
        _ => return None,
    };
    let (than, order) = match direction {
        Direction::Before => ("<", "DESC"),
        Direction::After => (">", "ASC"),
    };
    let kind = memory.kind.as_str();
    let select = format!(
        "SELECT {COLUMNS} FROM memories WHERE {column} = $1 AND project_id = $2 AND user_id = $3 AND kind = '{kind}' \
         AND seq {than} $4 ORDER BY seq {order}, id {order} LIMIT 1"
    );
    Some((select, whole))
}

fn bytes(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Store {
    /// Lets those of these memories wait for a description whose text has so many bytes and none yet. Gives how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn queue_descriptions(
        &self,
        memories: &[MemoryId],
        bytes_min: usize,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        Ok(writing!(self, conn => conn.queue_descriptions(memories, bytes(bytes_min), now).await?))
    }

    /// The same for some of all that is there, from behind `before` on; what stands in the outbox comes by that. Gives where the next
    /// step begins; `None` at the end.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sweep_descriptions(
        &self,
        before: Option<MemoryId>,
        bytes_min: usize,
        now: Timestamp,
    ) -> Result<Option<MemoryId>, StoreError> {
        let before = before.map_or(Uuid::max(), MemoryId::as_uuid);
        let rows: Vec<Uuid> = reading!(self, pool => {
            sqlx::query_scalar(SWEEP)
                .bind(before)
                .bind(STEP_SWEPT)
                .fetch_all(pool)
                .await
        })?;
        let ids: Vec<MemoryId> = rows.into_iter().map(MemoryId::from).collect();
        self.queue_descriptions(&ids, bytes_min, now).await?;
        Ok(ids.last().copied().filter(|_| bytes(ids.len()) == STEP_SWEPT))
    }

    /// The first project after this one, in the order of ids, in which a memory waits for its description.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_to_describe(
        &self,
        after: Option<ProjectId>,
        now: Timestamp,
    ) -> Result<Option<ProjectId>, StoreError> {
        let after = after.map_or(Uuid::nil(), ProjectId::as_uuid);
        let found: Option<Uuid> = reading!(self, pool => {
            sqlx::query_scalar(NEXT_PROJECT).bind(after).bind(now.as_micros()).fetch_optional(pool).await
        })?;
        Ok(found.map(ProjectId::from))
    }

    /// Takes memories of a project to be described, those that were said last first. Nobody else gets them before `lease` is over.
    /// Those whose text has become too short are left out and wait no more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_descriptions(
        &self,
        project: ProjectId,
        limit: u32,
        lease: Duration,
        bytes_min: usize,
        now: Timestamp,
    ) -> Result<Vec<DescriptionTask>, StoreError> {
        Ok(writing!(self, conn => {
            let claimed: Vec<ClaimRow> = sqlx::query_as(CLAIM)
                .bind(project.as_uuid())
                .bind(now.as_micros())
                .bind(now.after(lease).as_micros())
                .bind(i64::from(limit))
                .fetch_all(&mut *conn)
                .await?;
            let mut tasks = Vec::with_capacity(claimed.len());
            for row in claimed {
                tasks.extend(conn.task(row, bytes_min).await?);
            }
            tasks
        }))
    }

    /// Gives a memory its description. `false`, and nothing is given, if its text or one beside it changed meanwhile: then it waits
    /// again; or if somebody else was faster.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn describe_memory(
        &self,
        task: &DescriptionTask,
        made: &[NewRepresentation],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (id, scope) = (task.memory.id, &task.memory.scope);
        let beside = [&task.previous, &task.next];
        Ok(writing!(self, conn => {
            // Writing the row locks it: a change of the text comes before or after.
            let same = sqlx::query("UPDATE memories SET version = version WHERE project_id = $1 AND id = $2 AND version = $3")
                .bind(scope.project.as_uuid())
                .bind(id.as_uuid())
                .bind(task.memory.version)
                .execute(&mut *conn)
                .await?;
            let mut is_same = same.rows_affected() == 1;
            for neighbour in beside.into_iter().flatten() {
                let version: Option<i64> = sqlx::query_scalar("SELECT version FROM memories WHERE id = $1")
                    .bind(neighbour.id.as_uuid())
                    .fetch_optional(&mut *conn)
                    .await?;
                is_same &= version == Some(neighbour.version);
            }
            if is_same {
                let ended = sqlx::query(END)
                    .bind(id.as_uuid())
                    .bind(task.generation)
                    .bind(MADE)
                    .execute(&mut *conn)
                    .await?;
                let is_ours = ended.rows_affected() == 1;
                if is_ours {
                    let before = sqlx::query(UNDESCRIBE).bind(id.as_uuid()).execute(&mut *conn).await?;
                    conn.describe(id, scope, made).await?;
                    if before.rows_affected() > 0 || !made.is_empty() {
                        conn.revise(&[id]).await?;
                        conn.enqueue(&[(id, scope.project)], now).await?;
                    }
                }
                is_ours
            } else {
                let again = format!("{VOID} AND generation = $3");
                sqlx::query(AssertSqlSafe(again))
                    .bind(id.as_uuid())
                    .bind(now.as_micros())
                    .bind(task.generation)
                    .execute(&mut *conn)
                    .await?;
                false
            }
        }))
    }

    /// Gives a task back until then. What failed through no fault of the text is `as_before`: the attempt does not count.
    ///
    /// # Errors
    /// When the database fails; the task is then due again after its lease.
    pub async fn postpone_description(
        &self,
        task: &DescriptionTask,
        until: Timestamp,
        as_before: bool,
    ) -> Result<(), StoreError> {
        let attempts = i64::from(task.attempts) - i64::from(as_before);
        writing!(self, conn => {
            sqlx::query(POSTPONE)
                .bind(task.memory.id.as_uuid())
                .bind(task.generation)
                .bind(until.as_micros())
                .bind(attempts.max(0))
                .execute(&mut *conn)
                .await?;
        });
        Ok(())
    }

    /// Notes that a memory cannot be described as it is. It waits no more until its text changes or [`Store::describe_again`].
    ///
    /// # Errors
    /// When the database fails; the task is then due again after its lease.
    pub async fn give_up_description(&self, task: &DescriptionTask) -> Result<(), StoreError> {
        writing!(self, conn => {
            sqlx::query(END)
                .bind(task.memory.id.as_uuid())
                .bind(task.generation)
                .bind(GIVEN_UP)
                .execute(&mut *conn)
                .await?;
        });
        Ok(())
    }

    /// Lets those of a project wait again that were given up, or all. What was made stays until another is in its place. Gives how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn describe_again(&self, project: ProjectId, which: Again, now: Timestamp) -> Result<u64, StoreError> {
        Ok(writing!(self, conn => {
            sqlx::query(AGAIN)
                .bind(project.as_uuid())
                .bind(now.as_micros())
                .bind(which == Again::All)
                .execute(&mut *conn)
                .await?
                .rows_affected()
        }))
    }

    /// Makes every task due: what claimed them is dead, and what failed may go now. For the one server of a SQLite file, at its start.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_descriptions(&self, now: Timestamp) -> Result<(), StoreError> {
        writing!(self, conn => {
            sqlx::query("UPDATE memory_descriptions SET due_at = $1 WHERE state = 'waiting' AND due_at > $1")
                .bind(now.as_micros())
                .execute(&mut *conn)
                .await?;
        });
        Ok(())
    }

    /// How far the descriptions are, of a project or of all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn description_counts(&self, project: Option<ProjectId>) -> Result<DescriptionCounts, StoreError> {
        let rows: Vec<(String, i64)> = reading!(self, pool => {
            sqlx::query_as(
                "SELECT state, COUNT(*) FROM memory_descriptions WHERE project_id = COALESCE($1, project_id) GROUP BY state",
            )
            .bind(project.map(ProjectId::as_uuid))
            .fetch_all(pool)
            .await
        })?;
        let of =
            |state: &str| rows.iter().find(|(known, _)| known == state).map_or(0, |(_, count)| count.unsigned_abs());
        Ok(DescriptionCounts { waiting: of(WAITING), made: of(MADE), given_up: of(GIVEN_UP) })
    }

    /// How many memories wait for a description, in all projects.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn undescribed(&self) -> Result<u64, StoreError> {
        let waiting: i64 = reading!(self, pool => {
            sqlx::query_scalar("SELECT COUNT(*) FROM memory_descriptions WHERE state = 'waiting'").fetch_one(pool).await
        })?;
        Ok(waiting.unsigned_abs())
    }

    /// Which descriptions any memory of the scope has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn described_by(&self, scope: &MemoryScope) -> Result<Vec<Representation>, StoreError> {
        let [summary, facts, questions] = Representation::DESCRIPTIONS.map(|kind| Owner::of(scope, kind).token());
        let (has_summary, has_facts, has_questions): (bool, bool, bool) = reading!(self, pool => {
            sqlx::query_as(DESCRIBED_BY).bind(summary).bind(facts).bind(questions).fetch_one(pool).await
        })?;
        let there = Representation::DESCRIPTIONS.into_iter().zip([has_summary, has_facts, has_questions]);
        Ok(there.filter(|(_, is_there)| *is_there).map(|(kind, _)| kind).collect())
    }

    /// How a memory is described, in the order of kinds and parts: what was given or made beside its own text and its window. Empty
    /// when it is unknown or another project's.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn descriptions_of(
        &self,
        project: ProjectId,
        id: MemoryId,
    ) -> Result<Vec<NewRepresentation>, StoreError> {
        let rows: Vec<(String, String)> = reading!(self, pool => {
            sqlx::query_as(
                "SELECT kind, text FROM memory_representations WHERE project_id = $1 AND memory_id = $2 \
                 AND (part > 0 OR kind NOT IN ('text', 'window')) ORDER BY number",
            )
            .bind(project.as_uuid())
            .bind(id.as_uuid())
            .fetch_all(pool)
            .await
        })?;
        let read = |(kind, text): (String, String)| {
            let representation =
                kind.parse().map_err(|error| StoreError::Damaged(format!("the memory {id}: {error}")))?;
            Ok(NewRepresentation { representation, text })
        };
        rows.into_iter().map(read).collect()
    }
}
