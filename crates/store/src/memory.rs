//! Memories: kept, read, changed and deleted. Whatever changes what is searched of them is put into the outbox in the same
//! transaction; on SQLite the keyword index changes in it too.

pub(crate) mod change;
mod check;
mod codes;
mod description;
mod document;
mod embedded;
mod embedder;
mod history;
mod list;
mod outbox;
mod owner;
mod record;
mod refusal;
pub(crate) mod rows;
mod statements;
mod vector;
mod weave;
mod window;
mod words;

use privet_domain::id::{ConversationId, DocumentId, ProjectId};
use privet_domain::memory::{Memory, MemoryId, NewMemory, NewRepresentation};
use privet_domain::time::Timestamp;
use sqlx::AssertSqlSafe;
use sqlx::types::Uuid;

pub use check::{MemoryCheck, MemoryDrift};
pub use description::{Again, DescriptionCounts, DescriptionTask};
pub use document::{Document, DocumentList, DocumentPage};
pub use embedded::EmbeddedIndex;
pub use embedder::{EMBEDDER_COMPLETE, Embedder, EmbedderState, NewEmbedder};
pub use history::RememberedHistory;
pub use list::{FormerText, MemoryCursor, MemoryList, MemoryPage};
pub use outbox::{OutboxDepth, OutboxTask};
pub use vector::{Coverage, MissingTexts};

use crate::db::{Store, reading, writing};
use crate::error::StoreError;
use change::{Former, MemoryChange as _};
use rows::{MemoryRows as _, Standing};

/// So many memories are deleted in one transaction, with so many bytes of texts if one has not more by itself: their words are taken
/// out of the index one by one, and other writes wait for it.
const STEP_MEMORIES: usize = 25;
const STEP_BYTES: i64 = 64 * 1024;

/// What is to change of a memory. What is `None` stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryUpdate {
    /// Its text. Representations that were made of the old one go.
    pub text: Option<String>,
    /// What it is called.
    pub title: Option<Option<String>>,
    /// What the client noted beside it: a JSON object.
    pub metadata: Option<Option<String>>,
    /// When it is to be forgotten.
    pub expires_at: Option<Option<Timestamp>>,
    /// Further descriptions, in place of those of the same kind.
    pub representations: Vec<NewRepresentation>,
}

/// Which memories of a project are to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// Those of a user.
    User(String),
    /// Those of a conversation.
    Conversation(ConversationId),
    /// Those of a user in a conversation.
    UserInConversation(String, ConversationId),
    /// Those of a document.
    Document(DocumentId),
}

impl Store {
    /// Keeps memories. Those whose ids are there already stay as they are; gives how many are new.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the project, or the message that a memory is made of, does not exist; then nothing is kept.
    pub async fn add_memories(&self, memories: &[NewMemory], now: Timestamp) -> Result<usize, StoreError> {
        let memories: Vec<_> = memories.iter().map(|memory| (memory, now)).collect();
        Ok(writing!(self, conn => conn.remember(&memories, now).await?.len()))
    }

    /// Changes a memory. A text that differs is a new version; the old one stays in the history.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is unknown or another project's.
    pub async fn update_memory(
        &self,
        project: ProjectId,
        id: MemoryId,
        update: &MemoryUpdate,
        now: Timestamp,
    ) -> Result<Memory, StoreError> {
        Ok(writing!(self, conn => conn.change(project, id, update, Former::Kept, now).await?))
    }

    /// Deletes a memory with everything of it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is unknown or another project's.
    pub async fn delete_memory(&self, project: ProjectId, id: MemoryId, now: Timestamp) -> Result<(), StoreError> {
        let condition = "project_id = $1 AND id = $2";
        let step = self.forget_step(condition, project, Key::Id(id.as_uuid()), now).await?;
        if step.deleted == 1 { Ok(()) } else { Err(StoreError::NotFound) }
    }

    /// Deletes memories in small steps, so that other writes come between. Gives how many.
    ///
    /// # Errors
    /// When the database fails: what was deleted until then is.
    pub async fn forget(&self, project: ProjectId, which: &Forgotten, now: Timestamp) -> Result<u64, StoreError> {
        let (condition, key) = match which {
            Forgotten::User(user) => ("project_id = $1 AND user_id = $2", Key::Text(user.clone())),
            Forgotten::Conversation(id) => ("project_id = $1 AND conversation_id = $2", Key::Id(id.as_uuid())),
            Forgotten::UserInConversation(user, id) => {
                let condition = "project_id = $1 AND conversation_id = $2 AND user_id = $3";
                (condition, Key::IdAndText(id.as_uuid(), user.clone()))
            }
            Forgotten::Document(id) => ("project_id = $1 AND document_id = $2", Key::Id(id.as_uuid())),
        };
        let mut forgotten = 0;
        loop {
            let step = self.forget_step(condition, project, key.clone(), now).await?;
            forgotten += step.deleted;
            if step.is_last {
                return Ok(forgotten);
            }
        }
    }

    /// Deletes memories of all projects whose time is over, a few. Gives how many; there may be more while it is not 0.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn expire_memories(&self, now: Timestamp) -> Result<u64, StoreError> {
        let condition = "expires_at <= $2 AND project_id = $1";
        let project: Option<Uuid> = reading!(self, pool => {
            sqlx::query_scalar("SELECT project_id FROM memories WHERE expires_at <= $1 ORDER BY expires_at LIMIT 1")
                .bind(now.as_micros())
                .fetch_optional(pool)
                .await
        })?;
        let Some(project) = project else { return Ok(0) };
        Ok(self.forget_step(condition, project.into(), Key::Time(now.as_micros()), now).await?.deleted)
    }

    /// Deletes the first of those that a condition finds.
    async fn forget_step(
        &self,
        condition: &'static str,
        project: ProjectId,
        key: Key,
        now: Timestamp,
    ) -> Result<Step, StoreError> {
        let select = format!(
            "SELECT id, project_id, user_id, conversation_id, kind, seq, (SELECT CAST(COALESCE(SUM(octet_length(text)), 0) AS BIGINT) \
             FROM memory_representations WHERE memory_id = memories.id) FROM memories WHERE {condition} \
             ORDER BY id LIMIT {STEP_MEMORIES}"
        );
        Ok(writing!(self, conn => {
            // Only fixed pieces stand in the text.
            let query = sqlx::query_as::<_, WeighedRow>(AssertSqlSafe(select.as_str())).bind(project.as_uuid());
            let query = match key {
                Key::Id(id) => query.bind(id),
                Key::IdAndText(id, text) => query.bind(id).bind(text),
                Key::Text(text) => query.bind(text),
                Key::Time(micros) => query.bind(micros),
            };
            let rows = query.fetch_all(&mut *conn).await?;
            let found = first_of(&rows);
            let ids: Vec<MemoryId> = found.iter().map(|standing| standing.memory).collect();
            let deleted = conn.forget(&ids).await?;
            conn.miss(&found, now).await?;
            Step { deleted, is_last: rows.len() < STEP_MEMORIES && found.len() == rows.len() }
        }))
    }
}

/// A memory, where it stands, and how many bytes of texts are searched of it.
type WeighedRow = (Uuid, Uuid, String, Option<Uuid>, String, i64, i64);

/// The first of these, at least one, with no more text than a step takes.
fn first_of(rows: &[WeighedRow]) -> Vec<Standing> {
    let mut taken = 0_i64;
    let fits = |(at, row): &(usize, &WeighedRow)| {
        taken = taken.saturating_add(row.6);
        *at == 0 || taken <= STEP_BYTES
    };
    let fitting = rows.iter().enumerate().take_while(fits);
    let standing = |(id, project, user, conversation, kind, seq, _): &WeighedRow| {
        Standing::from((*id, *project, user.clone(), *conversation, kind.clone(), *seq))
    };
    fitting.map(|(_, row)| standing(row)).collect()
}

/// What one transaction deleted.
struct Step {
    deleted: u64,
    /// Whether nothing was left to delete.
    is_last: bool,
}

/// What a condition compares with.
#[derive(Clone)]
enum Key {
    Id(Uuid),
    IdAndText(Uuid, String),
    Text(String),
    Time(i64),
}
