//! Conversations and their messages: reading, editing, deleting. How a turn is written is in `turn.rs`.

use privet_domain::id::{ConversationId, MessageId, ProjectId};
use privet_domain::time::Timestamp;
use serde::Serialize;
use sqlx::types::Uuid;

use crate::cached_answer;
use crate::db::{Store, reading, writing};
use crate::error::StoreError;
use crate::memory::change::{Former, MemoryChange as _};
use crate::memory::rows::{MemoryRows as _, OF_CONVERSATION, StandingRow};
use crate::memory::{Forgotten, MemoryUpdate};

/// A conversation without its messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// Whose key began it.
    pub user_id: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last added to or edited.
    pub updated_at: Timestamp,
}

/// Whether a message is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    /// It is.
    Complete,
    /// An answer that was cut: by the provider, by the client leaving, or by a shutdown.
    Incomplete,
}

impl MessageStatus {
    /// As stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
        }
    }
}

/// A message as kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its id.
    pub id: MessageId,
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// Its place in it.
    pub seq: i64,
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    pub role: String,
    /// The speaker's name, where given.
    pub name: Option<String>,
    /// Its text.
    pub content: String,
    /// The whole message in the canonical form (JSON), where it is more than its text.
    pub payload: Option<String>,
    /// Whether it is whole.
    pub status: MessageStatus,
    /// When it was said.
    pub created_at: Timestamp,
    /// When it was last edited.
    pub updated_at: Timestamp,
}

/// A page of conversations, newest first.
#[derive(Clone, Debug)]
pub struct ConversationPage {
    /// The conversations.
    pub conversations: Vec<Conversation>,
    /// Where the next page begins, if there is one.
    pub next: Option<ConversationId>,
}

#[derive(sqlx::FromRow)]
struct ConversationRow {
    id: Uuid,
    user_id: String,
    created_at: i64,
    updated_at: i64,
}

#[derive(sqlx::FromRow)]
pub(crate) struct MessageRow {
    id: Uuid,
    conversation_id: Uuid,
    seq: i64,
    role: String,
    name: Option<String>,
    content: String,
    payload: Option<String>,
    status: String,
    created_at: i64,
    updated_at: i64,
}

impl Store {
    /// Makes an empty conversation.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the id is taken.
    pub async fn create_conversation(
        &self,
        project: ProjectId,
        id: ConversationId,
        user_id: &str,
        now: Timestamp,
    ) -> Result<Conversation, StoreError> {
        let inserted = writing!(self, conn => {
            sqlx::query(
                "INSERT INTO conversations (id, project_id, user_id, created_at, updated_at) \
                 VALUES ($1, $2, $3, $4, $4) ON CONFLICT (id) DO NOTHING",
            )
            .bind(id.as_uuid())
            .bind(project.as_uuid())
            .bind(user_id)
            .bind(now.as_micros())
            .execute(&mut *conn)
            .await?
            .rows_affected()
        });
        if inserted == 0 {
            return Err(StoreError::Exists(format!("conversation {id}")));
        }
        Ok(Conversation { id, user_id: user_id.to_owned(), created_at: now, updated_at: now })
    }

    /// A conversation of the project.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is unknown or another project's.
    pub async fn conversation(&self, project: ProjectId, id: ConversationId) -> Result<Conversation, StoreError> {
        let row: ConversationRow = reading!(self, pool => {
            sqlx::query_as(
                "SELECT id, user_id, created_at, updated_at FROM conversations WHERE project_id = $1 AND id = $2",
            )
            .bind(project.as_uuid())
            .bind(id.as_uuid())
            .fetch_one(pool)
            .await
        })?;
        Ok(row.into())
    }

    /// The messages of a conversation, in order. Empty when it is unknown or another project's.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn messages(
        &self,
        project: ProjectId,
        conversation: ConversationId,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let rows: Vec<MessageRow> = reading!(self, pool => {
            sqlx::query_as(
                "SELECT id, conversation_id, seq, role, name, content, payload, status, created_at, updated_at \
                 FROM messages WHERE conversation_id = $2 AND project_id = $1 ORDER BY seq, id",
            )
            .bind(project.as_uuid())
            .bind(conversation.as_uuid())
            .fetch_all(pool)
            .await
        })?;
        // What is added to this conversation comes after what is there, also when the clock was set back.
        if let Some(last) = rows.last() {
            self.begin_seq_after(last.seq);
        }
        Ok(rows.into_iter().map(StoredMessage::from).collect())
    }

    /// Conversations of a project, newest first, from `before` (exclusive) on; at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn conversations(
        &self,
        project: ProjectId,
        before: Option<ConversationId>,
        limit: u32,
    ) -> Result<ConversationPage, StoreError> {
        let before = before.map_or(Uuid::max(), ConversationId::as_uuid);
        let rows: Vec<ConversationRow> = reading!(self, pool => {
            sqlx::query_as(
                "SELECT id, user_id, created_at, updated_at FROM conversations \
                 WHERE project_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
            )
            .bind(project.as_uuid())
            .bind(before)
            .bind(i64::from(limit) + 1)
            .fetch_all(pool)
            .await
        })?;
        let mut conversations: Vec<Conversation> = rows.into_iter().map(Conversation::from).collect();
        let more = conversations.len() > limit as usize;
        conversations.truncate(limit as usize);
        let next = if more { conversations.last().map(|last| last.id) } else { None };
        Ok(ConversationPage { conversations, next })
    }

    /// Deletes a conversation with its messages, and what is remembered of it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is unknown or another project's.
    pub async fn delete_conversation(
        &self,
        project: ProjectId,
        id: ConversationId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.conversation(project, id).await?;
        // In small steps; what is added meanwhile goes with the messages.
        self.forget(project, &Forgotten::Conversation(id), now).await?;
        let deleted = writing!(self, conn => {
            let rows: Vec<StandingRow> =
                sqlx::query_as(OF_CONVERSATION).bind(project.as_uuid()).bind(id.as_uuid()).fetch_all(&mut *conn).await?;
            conn.drop_standings(rows, now).await?;
            let mut deleted = 0;
            for statement in [cached_answer::OF_CONVERSATION, "DELETE FROM conversations WHERE project_id = $1 AND id = $2"] {
                let done = sqlx::query(statement).bind(project.as_uuid()).bind(id.as_uuid()).execute(&mut *conn).await?;
                deleted = done.rows_affected();
            }
            deleted
        });
        if deleted == 1 { Ok(()) } else { Err(StoreError::NotFound) }
    }

    /// A message of the project.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is unknown or another project's.
    pub async fn message(&self, project: ProjectId, id: MessageId) -> Result<StoredMessage, StoreError> {
        let row: MessageRow = reading!(self, pool => {
            sqlx::query_as(
                "SELECT id, conversation_id, seq, role, name, content, payload, status, created_at, updated_at \
                 FROM messages WHERE id = $2 AND project_id = $1",
            )
            .bind(project.as_uuid())
            .bind(id.as_uuid())
            .fetch_one(pool)
            .await
        })?;
        Ok(row.into())
    }

    /// Replaces a message's text and payload.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is unknown or another project's.
    pub async fn edit_message(
        &self,
        project: ProjectId,
        id: MessageId,
        content: &str,
        payload: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        writing!(self, conn => {
            sqlx::query(cached_answer::OF_MESSAGE).bind(project.as_uuid()).bind(id.as_uuid()).execute(&mut *conn).await?;
            let edited = sqlx::query(
                "UPDATE messages SET content = $3, payload = $4, updated_at = $5 WHERE id = $2 AND project_id = $1",
            )
            .bind(project.as_uuid())
            .bind(id.as_uuid())
            .bind(content)
            .bind(payload)
            .bind(now.as_micros())
            .execute(&mut *conn)
            .await?
            .rows_affected();
            if edited != 1 {
                return Err(StoreError::NotFound);
            }
            for standing in conn.standings(&[id.as_uuid()]).await? {
                let update = MemoryUpdate { text: Some(content.to_owned()), ..MemoryUpdate::default() };
                conn.change(project, standing.memory, &update, Former::Gone, now).await?;
            }
            sqlx::query(
                "UPDATE conversations SET updated_at = $2 \
                 WHERE id = (SELECT conversation_id FROM messages WHERE id = $1)",
            )
            .bind(id.as_uuid())
            .bind(now.as_micros())
            .execute(&mut *conn)
            .await?;
        });
        Ok(())
    }

    /// Deletes a message, and what is remembered of it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is unknown or another project's.
    pub async fn delete_message(&self, project: ProjectId, id: MessageId, now: Timestamp) -> Result<(), StoreError> {
        writing!(self, conn => {
            let standings = conn.standings(&[id.as_uuid()]).await?;
            sqlx::query(cached_answer::OF_MESSAGE).bind(project.as_uuid()).bind(id.as_uuid()).execute(&mut *conn).await?;
            let deleted = sqlx::query("DELETE FROM messages WHERE id = $2 AND project_id = $1")
                .bind(project.as_uuid())
                .bind(id.as_uuid())
                .execute(&mut *conn)
                .await?
                .rows_affected();
            if deleted != 1 {
                return Err(StoreError::NotFound);
            }
            conn.miss(&standings, now).await?;
        });
        Ok(())
    }
}

impl From<ConversationRow> for Conversation {
    fn from(row: ConversationRow) -> Self {
        Self {
            id: row.id.into(),
            user_id: row.user_id,
            created_at: Timestamp::from_micros(row.created_at),
            updated_at: Timestamp::from_micros(row.updated_at),
        }
    }
}

impl From<MessageRow> for StoredMessage {
    fn from(row: MessageRow) -> Self {
        Self {
            id: row.id.into(),
            conversation_id: row.conversation_id.into(),
            seq: row.seq,
            role: row.role,
            name: row.name,
            content: row.content,
            payload: row.payload,
            status: if row.status == MessageStatus::Incomplete.as_str() {
                MessageStatus::Incomplete
            } else {
                MessageStatus::Complete
            },
            created_at: Timestamp::from_micros(row.created_at),
            updated_at: Timestamp::from_micros(row.updated_at),
        }
    }
}
