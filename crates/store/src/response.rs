//! Responses of the Responses API: which messages are theirs, and the thread that each ends. Their output is not kept again: it is the
//! conversation's. They are written with the turn, in `turn.rs`.

use privet_domain::id::{ApiKeyId, ConversationId, MessageId, ProjectId, ResponseId};
use privet_domain::time::Timestamp;
use sqlx::types::Uuid;

use crate::cached_answer;
use crate::conversation::{MessageRow, StoredMessage};
use crate::db::{Store, reading, writing};
use crate::error::StoreError;
use crate::memory::rows::MemoryRows as _;
use crate::turn::WITHDRAW_CONVERSATION;

/// A response to keep.
#[derive(Clone, Debug)]
pub struct NewResponse {
    /// Its id.
    pub id: ResponseId,
    /// The key that asked, with all that follow it.
    pub family_id: ApiKeyId,
    /// The response of the same conversation that it went on from.
    pub parent_id: Option<ResponseId>,
    /// Without a parent: up to which place the conversation is its thread.
    pub history_seq: i64,
    /// The response without its output, as JSON.
    pub record: String,
    /// The messages that it was asked.
    pub asked: Vec<MessageId>,
}

/// A response as kept.
#[derive(Clone, Debug)]
pub struct StoredResponse {
    /// Its id.
    pub id: ResponseId,
    /// The conversation that it belongs to.
    pub conversation_id: ConversationId,
    /// The response without its output, as JSON.
    pub record: String,
}

/// The messages of a response.
#[derive(Clone, Debug, Default)]
pub struct OwnMessages {
    /// What it was asked, in order.
    pub asked: Vec<StoredMessage>,
    /// What it answered.
    pub answered: Vec<StoredMessage>,
}

/// All that was said up to a response, and with it.
#[derive(Clone, Debug)]
pub struct ResponseThread {
    /// The messages, in order.
    pub messages: Vec<StoredMessage>,
    /// Whether nothing was said in the conversation since.
    pub is_newest: bool,
}

/// Inserts a response: id, project, family, conversation, parent, history's place, record, created.
pub(crate) const RESPONSE: &str = "INSERT INTO responses \
     (id, project_id, family_id, conversation_id, parent_id, history_seq, record, created_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
/// Gives a response a message, unless that was deleted meanwhile: response, message, whether it is output.
pub(crate) const OWN_MESSAGE: &str = "INSERT INTO response_messages (response_id, message_id, is_output) \
     SELECT $1, id, $3 FROM messages WHERE id = $2";
/// The messages of the thread that a response ends.
const THREAD: &str = "WITH RECURSIVE chain (id, parent_id, history_seq) AS ( \
     SELECT id, parent_id, history_seq FROM responses WHERE project_id = $1 AND id = $2 \
     UNION ALL SELECT parent.id, parent.parent_id, parent.history_seq FROM responses parent \
     JOIN chain ON parent.id = chain.parent_id) \
     SELECT id, conversation_id, seq, role, name, content, payload, status, created_at, updated_at FROM messages \
     WHERE project_id = $1 AND conversation_id = $3 AND (seq <= (SELECT MAX(history_seq) FROM chain) \
     OR id IN (SELECT own.message_id FROM response_messages own JOIN chain ON own.response_id = chain.id)) \
     ORDER BY seq, id";
/// The messages of a response, on one side of it.
const OWN: &str = "SELECT m.id, m.conversation_id, m.seq, m.role, m.name, m.content, m.payload, m.status, m.created_at, m.updated_at \
     FROM response_messages own JOIN messages m ON m.id = own.message_id \
     WHERE own.response_id = $2 AND m.project_id = $1 AND own.is_output = $3 ORDER BY m.seq, m.id";
/// The places of a response's messages.
const PLACES: &str = "SELECT m.id, m.seq FROM response_messages own JOIN messages m ON m.id = own.message_id \
     WHERE own.response_id = $1";
/// Whether others went on after a place of a conversation, or from a response.
const GOES_ON: &str = "SELECT 1 WHERE EXISTS (SELECT 1 FROM messages WHERE conversation_id = $1 AND seq > $2) \
     OR EXISTS (SELECT 1 FROM responses WHERE parent_id = $3)";

#[derive(sqlx::FromRow)]
struct ResponseRow {
    id: Uuid,
    conversation_id: Uuid,
    parent_id: Option<Uuid>,
    record: Option<String>,
}

impl Store {
    /// A response that a key may read.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is unknown, deleted, or another key's.
    pub async fn response(
        &self,
        project: ProjectId,
        family: ApiKeyId,
        id: ResponseId,
    ) -> Result<StoredResponse, StoreError> {
        let row: ResponseRow = reading!(self, pool => {
            sqlx::query_as(
                "SELECT id, conversation_id, parent_id, record FROM responses \
                 WHERE project_id = $1 AND family_id = $2 AND id = $3 AND record IS NOT NULL",
            )
            .bind(project.as_uuid())
            .bind(family.as_uuid())
            .bind(id.as_uuid())
            .fetch_one(pool)
            .await
        })?;
        let record = row.record.ok_or(StoreError::NotFound)?;
        Ok(StoredResponse { id: row.id.into(), conversation_id: row.conversation_id.into(), record })
    }

    /// The thread that a response ends.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn response_thread(
        &self,
        project: ProjectId,
        response: &StoredResponse,
    ) -> Result<ResponseThread, StoreError> {
        let rows: Vec<MessageRow> = reading!(self, pool => {
            sqlx::query_as(THREAD)
                .bind(project.as_uuid())
                .bind(response.id.as_uuid())
                .bind(response.conversation_id.as_uuid())
                .fetch_all(pool)
                .await
        })?;
        let newest: Option<i64> = reading!(self, pool => {
            sqlx::query_scalar("SELECT MAX(seq) FROM messages WHERE conversation_id = $1")
                .bind(response.conversation_id.as_uuid())
                .fetch_one(pool)
                .await
        })?;
        let messages: Vec<StoredMessage> = rows.into_iter().map(StoredMessage::from).collect();
        let last = messages.last().map(|message| message.seq);
        // What is added to this conversation comes after what is there, also when the clock was set back.
        if let Some(newest) = newest {
            self.begin_seq_after(newest);
        }
        Ok(ResponseThread { is_newest: last == newest, messages })
    }

    /// The messages of a response.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn own_messages(&self, project: ProjectId, response: ResponseId) -> Result<OwnMessages, StoreError> {
        let mut sides = Vec::with_capacity(2);
        for is_output in [0, 1] {
            let rows: Vec<MessageRow> = reading!(self, pool => {
                sqlx::query_as(OWN)
                    .bind(project.as_uuid())
                    .bind(response.as_uuid())
                    .bind(is_output)
                    .fetch_all(pool)
                    .await
            })?;
            sides.push(rows.into_iter().map(StoredMessage::from).collect::<Vec<_>>());
        }
        let (answered, asked) = (sides.pop().unwrap_or_default(), sides.pop().unwrap_or_default());
        Ok(OwnMessages { asked, answered })
    }

    /// Deletes a response. Where nobody went on after it, what was said goes with it, and so do responses before it that were deleted
    /// already; else the conversation keeps what was said, since others build on it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is unknown, deleted, or another key's.
    pub async fn delete_response(
        &self,
        project: ProjectId,
        family: ApiKeyId,
        id: ResponseId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let conversation = self.response(project, family, id).await?.conversation_id.as_uuid();
        writing!(self, conn => {
            let deleted = sqlx::query("UPDATE responses SET record = NULL WHERE id = $1 AND record IS NOT NULL")
                .bind(id.as_uuid())
                .execute(&mut *conn)
                .await?
                .rows_affected();
            if deleted == 0 {
                return Err(StoreError::NotFound);
            }
            // Writing the row locks it: a turn of another replica comes before or after, not in between.
            sqlx::query("UPDATE conversations SET updated_at = updated_at WHERE id = $1")
                .bind(conversation)
                .execute(&mut *conn)
                .await?;
            sqlx::query(cached_answer::OF_CONVERSATION)
                .bind(project.as_uuid())
                .bind(conversation)
                .execute(&mut *conn)
                .await?;
            let mut next = Some(id.as_uuid());
            while let Some(id) = next.take() {
                let row: Option<ResponseRow> =
                    sqlx::query_as("SELECT id, conversation_id, parent_id, record FROM responses WHERE id = $1")
                        .bind(id)
                        .fetch_optional(&mut *conn)
                        .await?;
                let Some(row) = row.filter(|row| row.record.is_none()) else { break };
                let places: Vec<(Uuid, i64)> = sqlx::query_as(PLACES).bind(id).fetch_all(&mut *conn).await?;
                let last = places.iter().map(|(_, seq)| *seq).max().unwrap_or(i64::MAX);
                let goes_on: Option<i32> = sqlx::query_scalar(GOES_ON)
                    .bind(conversation)
                    .bind(last)
                    .bind(id)
                    .fetch_optional(&mut *conn)
                    .await?;
                if goes_on.is_some() {
                    break;
                }
                let messages: Vec<Uuid> = places.iter().map(|(id, _)| *id).collect();
                let standings = conn.standings(&messages).await?;
                for message in messages {
                    sqlx::query("DELETE FROM messages WHERE id = $1").bind(message).execute(&mut *conn).await?;
                }
                conn.miss(&standings, now).await?;
                sqlx::query("DELETE FROM responses WHERE id = $1").bind(id).execute(&mut *conn).await?;
                next = row.parent_id;
            }
            sqlx::query(WITHDRAW_CONVERSATION).bind(conversation).execute(&mut *conn).await?;
        });
        Ok(())
    }
}
