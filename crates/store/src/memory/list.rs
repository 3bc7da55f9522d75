//! Memories read: one, a page, those that were found, the texts that one had before.

use privet_domain::id::{ConversationId, DocumentId, ProjectId};
use privet_domain::memory::{Memory, MemoryFilter, MemoryId, MemoryScope};
use privet_domain::time::Timestamp;
use sqlx::AssertSqlSafe;
use sqlx::types::Uuid;

use super::record::{COLUMNS, MemoryRow};
use crate::db::{Store, reading};
use crate::error::StoreError;

/// Where a page ends: the memory's time and id.
pub type MemoryCursor = (Timestamp, MemoryId);

/// Which memories of a project are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryList {
    /// Only those of this user; of every user if `None`.
    pub user: Option<String>,
    /// Only the pieces of this document.
    pub document: Option<DocumentId>,
    /// Which of them.
    pub filter: MemoryFilter,
    /// Only those after this one.
    pub after: Option<MemoryCursor>,
    /// So many, at most.
    pub limit: u32,
}

/// A page of memories, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryPage {
    /// The memories.
    pub memories: Vec<Memory>,
    /// Where the next page begins, if there is one.
    pub next: Option<MemoryCursor>,
}

/// A text that a memory had before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerText {
    /// Which it was, counted from 1.
    pub version: i64,
    /// The text.
    pub text: String,
    /// When another took its place.
    pub changed_at: Timestamp,
}

impl Store {
    /// A memory of the project.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is unknown or another project's.
    pub async fn memory(&self, project: ProjectId, id: MemoryId) -> Result<Memory, StoreError> {
        let select = format!("SELECT {COLUMNS} FROM memories WHERE project_id = $1 AND id = $2");
        let row: MemoryRow = reading!(self, pool => {
            sqlx::query_as(AssertSqlSafe(select)).bind(project.as_uuid()).bind(id.as_uuid()).fetch_one(pool).await
        })?;
        row.read()
    }

    /// Memories of the project, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn memories(&self, project: ProjectId, list: &MemoryList) -> Result<MemoryPage, StoreError> {
        let (before, before_id) = list.after.map_or((i64::MAX, Uuid::max()), |(at, id)| (at.as_micros(), id.as_uuid()));
        let filter = &list.filter;
        // A filter that is not there compares a column with itself; that of the user has an index.
        let user = if list.user.is_some() { "user_id = $4" } else { "CAST($4 AS TEXT) IS NULL" };
        let document = if list.document.is_some() { "document_id = $12" } else { "$12 = $12" };
        let select = format!(
            "SELECT {COLUMNS} FROM memories WHERE project_id = $1 AND (created_at, id) < ($2, $3) \
             AND {user} AND kind = COALESCE($5, kind) AND created_at >= $6 AND created_at < $7 \
             AND ($8 = 0 OR conversation_id = $9) \
             AND ($10 = 0 OR conversation_id IS NULL OR conversation_id <> $11) \
             AND {document} ORDER BY created_at DESC, id DESC LIMIT $13"
        );
        let id = |id: Option<ConversationId>| id.map_or(Uuid::nil(), ConversationId::as_uuid);
        let rows: Vec<MemoryRow> = reading!(self, pool => {
            sqlx::query_as(AssertSqlSafe(select))
                .bind(project.as_uuid())
                .bind(before)
                .bind(before_id)
                .bind(list.user.as_deref())
                .bind(filter.kind.map(|kind| kind.as_str()))
                .bind(filter.since.map_or(i64::MIN, Timestamp::as_micros))
                .bind(filter.until.map_or(i64::MAX, Timestamp::as_micros))
                .bind(i32::from(filter.conversation.is_some()))
                .bind(id(filter.conversation))
                .bind(i32::from(filter.exclude_conversation.is_some()))
                .bind(id(filter.exclude_conversation))
                .bind(list.document.map_or(Uuid::nil(), DocumentId::as_uuid))
                .bind(i64::from(list.limit) + 1)
                .fetch_all(pool)
                .await
        })?;
        let mut memories = rows.into_iter().map(MemoryRow::read).collect::<Result<Vec<_>, _>>()?;
        let more = memories.len() > list.limit as usize;
        memories.truncate(list.limit as usize);
        let next = memories.last().filter(|_| more).map(|last| (last.created_at, last.id));
        Ok(MemoryPage { memories, next })
    }

    /// Those of these memories that are the scope's and not expired, in no order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn memories_of(
        &self,
        scope: &MemoryScope,
        ids: &[MemoryId],
        now: Timestamp,
    ) -> Result<Vec<Memory>, StoreError> {
        let mut memories = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_OF_A_QUERY) {
            let select = format!(
                "SELECT {COLUMNS} FROM memories WHERE project_id = $1 AND user_id = $2 \
                 AND (expires_at IS NULL OR expires_at > $3) AND id IN ({})",
                places(4)
            );
            let rows: Vec<MemoryRow> = reading!(self, pool => {
                let mut query = sqlx::query_as(AssertSqlSafe(select))
                    .bind(scope.project.as_uuid())
                    .bind(&scope.user)
                    .bind(now.as_micros());
                for id in padded(ids) {
                    query = query.bind(id.as_uuid());
                }
                query.fetch_all(pool).await
            })?;
            for row in rows {
                memories.push(row.read()?);
            }
        }
        Ok(memories)
    }

    /// The texts that a memory had before, the latest first. Empty when it is unknown or another project's.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn memory_history(&self, project: ProjectId, id: MemoryId) -> Result<Vec<FormerText>, StoreError> {
        let rows: Vec<(i64, String, i64)> = reading!(self, pool => {
            sqlx::query_as(
                "SELECT version, text, changed_at FROM memory_history WHERE memory_id = $2 AND project_id = $1 \
                 ORDER BY version DESC",
            )
            .bind(project.as_uuid())
            .bind(id.as_uuid())
            .fetch_all(pool)
            .await
        })?;
        let read =
            |(version, text, changed_at)| FormerText { version, text, changed_at: Timestamp::from_micros(changed_at) };
        Ok(rows.into_iter().map(read).collect())
    }
}

/// So many ids stand in one query.
pub(super) const IDS_OF_A_QUERY: usize = 64;

/// The places of so many ids, from a number on.
pub(super) fn places(first: usize) -> String {
    (first..first + IDS_OF_A_QUERY).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
}

/// As many ids as there are places: one statement serves every number of them. The last stands for those that are not there.
pub(super) fn padded<T>(ids: &[T]) -> impl Iterator<Item = &T> {
    ids.iter().chain(ids.last().into_iter().cycle()).take(IDS_OF_A_QUERY)
}
