//! Messages that stand in the history and not in memory: what was said before memory was there, or was imported.

use privet_domain::id::{MessageId, ProjectId};
use privet_domain::memory::{MemoryId, MemoryKind, MemoryScope, NewMemory, remembered_text};
use privet_domain::time::Timestamp;
use sqlx::types::Uuid;

use super::rows::MemoryRows as _;
use crate::db::{Store, writing};
use crate::error::StoreError;

/// So many messages are remembered in one transaction.
const STEP_MESSAGES: i64 = 250;

/// Those after a message, by their ids: each is looked at once.
const UNREMEMBERED: &str = "SELECT m.id, m.conversation_id, c.user_id, m.seq, m.role, m.name, m.content, m.created_at \
     FROM messages m JOIN conversations c ON c.id = m.conversation_id \
     WHERE m.project_id = $1 AND m.id > $2 AND m.role IN ('user', 'assistant') \
     AND NOT EXISTS (SELECT 1 FROM memories WHERE message_id = m.id) ORDER BY m.id LIMIT $3";

type MessageRow = (Uuid, Uuid, String, i64, String, Option<String>, String, i64);

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RememberedHistory {
    /// How many messages are remembered now that were not.
    pub remembered: usize,
    /// The last message that was looked at; none when there are no more.
    pub last: Option<MessageId>,
}

impl Store {
    /// Remembers some messages of the project's history that are not remembered, from after `after` on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remember_history(
        &self,
        project: ProjectId,
        after: Option<MessageId>,
        now: Timestamp,
    ) -> Result<RememberedHistory, StoreError> {
        Ok(writing!(self, conn => {
            let rows: Vec<MessageRow> = sqlx::query_as(UNREMEMBERED)
                .bind(project.as_uuid())
                .bind(after.map_or(Uuid::nil(), MessageId::as_uuid))
                .bind(STEP_MESSAGES)
                .fetch_all(&mut *conn)
                .await?;
            let last = rows.last().map(|row| MessageId::from(row.0));
            let memories: Vec<NewMemory> = rows.into_iter().filter_map(|row| memory_of(project, row)).collect();
            let memories: Vec<_> = memories.iter().map(|memory| (memory, now)).collect();
            RememberedHistory { remembered: conn.remember(&memories, now).await?.len(), last }
        }))
    }
}

fn memory_of(project: ProjectId, row: MessageRow) -> Option<NewMemory> {
    let (id, conversation, user, seq, role, name, content, created_at) = row;
    let (message, scope) = (MessageId::from(id), MemoryScope::new(project, user));
    let text = remembered_text(&content)?;
    let at = Timestamp::from_micros(created_at);
    let mut memory = NewMemory::new(MemoryId::of_message(message), scope, MemoryKind::Message, text, at);
    memory.conversation = Some(conversation.into());
    memory.message = Some(message);
    memory.role = Some(role);
    memory.name = name;
    memory.seq = seq;
    Some(memory)
}
