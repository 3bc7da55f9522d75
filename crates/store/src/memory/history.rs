//! Conversations that stand in the history and of which nothing is remembered: from before memory was there, or imported. Who said what
//! in a conversation of several is not kept with the messages: so one of which anything is remembered is left alone.

use privet_domain::id::{ConversationId, MessageId, ProjectId};
use privet_domain::memory::{MemoryId, MemoryKind, MemoryScope, NewMemory, remembered_text};
use privet_domain::time::Timestamp;
use sqlx::types::Uuid;

use super::rows::MemoryRows as _;
use crate::db::{Store, writing};
use crate::error::StoreError;

const UNREMEMBERED: &str = "SELECT c.id, c.user_id FROM conversations c WHERE c.project_id = $1 AND c.id > $2 \
     AND NOT EXISTS (SELECT 1 FROM memories WHERE conversation_id = c.id) ORDER BY c.id LIMIT 1";
const SAID: &str = "SELECT id, seq, role, name, content, created_at FROM messages \
     WHERE conversation_id = $1 AND role IN ('user', 'assistant') ORDER BY seq, id";

type MessageRow = (Uuid, i64, String, Option<String>, String, i64);

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RememberedHistory {
    /// How many messages are remembered now that were not.
    pub remembered: usize,
    /// The conversation that was looked at; none when there are no more.
    pub last: Option<ConversationId>,
}

impl Store {
    /// Remembers the messages of the project's next conversation of which nothing is remembered, from after `after` on: as memories of
    /// the user whose conversation it is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remember_history(
        &self,
        project: ProjectId,
        after: Option<ConversationId>,
        now: Timestamp,
    ) -> Result<RememberedHistory, StoreError> {
        Ok(writing!(self, conn => {
            let next: Option<(Uuid, String)> = sqlx::query_as(UNREMEMBERED)
                .bind(project.as_uuid())
                .bind(after.map_or(Uuid::nil(), ConversationId::as_uuid))
                .fetch_optional(&mut *conn)
                .await?;
            match next {
                None => RememberedHistory { remembered: 0, last: None },
                Some((conversation, user)) => {
                    let rows: Vec<MessageRow> =
                        sqlx::query_as(SAID).bind(conversation).fetch_all(&mut *conn).await?;
                    let (conversation, scope) = (ConversationId::from(conversation), MemoryScope::new(project, user));
                    let memories: Vec<NewMemory> =
                        rows.into_iter().filter_map(|row| memory_of(&scope, conversation, row)).collect();
                    let memories: Vec<_> = memories.iter().map(|memory| (memory, now)).collect();
                    let remembered = conn.remember(&memories, now).await?.len();
                    RememberedHistory { remembered, last: Some(conversation) }
                }
            }
        }))
    }
}

fn memory_of(scope: &MemoryScope, conversation: ConversationId, row: MessageRow) -> Option<NewMemory> {
    let (id, seq, role, name, content, created_at) = row;
    let (message, at) = (MessageId::from(id), Timestamp::from_micros(created_at));
    let text = remembered_text(&content)?;
    let mut memory = NewMemory::new(MemoryId::of_message(message), scope.clone(), MemoryKind::Message, text, at);
    memory.conversation = Some(conversation);
    memory.message = Some(message);
    memory.role = Some(role);
    memory.name = name;
    memory.seq = seq;
    Some(memory)
}
