//! Answers kept for the same question. Which questions are the same, and whose answers are kept, is decided above.
//!
//! A row is a copy of what somebody said: it goes with its user, with its conversation, and with its time. Losing one loses nothing.

use privet_domain::id::{ConversationId, ProjectId};
use privet_domain::time::Timestamp;

use crate::db::{Store, reading, writing};
use crate::error::StoreError;

/// An answer to keep.
#[derive(Clone, Debug)]
pub struct NewCachedAnswer {
    /// The project whose questions it answers.
    pub project_id: ProjectId,
    /// What tells its question from others.
    pub request_hash: [u8; 32],
    /// The user who asked.
    pub user_id: String,
    /// The conversation that keeps question and answer, if one does.
    pub conversation_id: Option<ConversationId>,
    /// The provider that answered.
    pub provider: String,
    /// Its model.
    pub model: String,
    /// The answer, as JSON.
    pub answer: String,
    /// Now.
    pub at: Timestamp,
    /// From then on it counts no more.
    pub expires_at: Timestamp,
}

/// An answer that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedAnswer {
    /// The provider that answered.
    pub provider: String,
    /// Its model.
    pub model: String,
    /// The answer, as JSON.
    pub answer: String,
    /// Since when.
    pub created_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    provider: String,
    model: String,
    answer: String,
    created_at: i64,
}

impl Store {
    /// The answer to a question, if one is kept and still counts.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cached_answer(
        &self,
        project: ProjectId,
        request_hash: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<CachedAnswer>, StoreError> {
        let row: Option<Row> = reading!(self, pool => {
            sqlx::query_as(
                "SELECT provider, model, answer, created_at FROM cached_answers \
                 WHERE project_id = $1 AND request_hash = $2 AND expires_at > $3",
            )
            .bind(project.as_uuid())
            .bind(request_hash.as_slice())
            .bind(now.as_micros())
            .fetch_optional(pool)
            .await
        })?;
        Ok(row.map(|Row { provider, model, answer, created_at }| CachedAnswer {
            provider,
            model,
            answer,
            created_at: Timestamp::from_micros(created_at),
        }))
    }

    /// Keeps an answer in place of an earlier one. An answer of a conversation that is gone is not kept.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cache_answer(&self, new: &NewCachedAnswer) -> Result<(), StoreError> {
        let bytes = i64::try_from(new.answer.len()).unwrap_or(i64::MAX);
        writing!(self, conn => {
            sqlx::query(
                "INSERT INTO cached_answers (project_id, request_hash, user_id, conversation_id, provider, model, answer, \
                 bytes, created_at, expires_at) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 \
                 WHERE $4 IS NULL OR EXISTS (SELECT 1 FROM conversations WHERE id = $4) \
                 ON CONFLICT (project_id, request_hash) DO UPDATE SET user_id = excluded.user_id, \
                 conversation_id = excluded.conversation_id, provider = excluded.provider, model = excluded.model, \
                 answer = excluded.answer, bytes = excluded.bytes, created_at = excluded.created_at, \
                 expires_at = excluded.expires_at",
            )
            .bind(new.project_id.as_uuid())
            .bind(new.request_hash.as_slice())
            .bind(new.user_id.as_str())
            .bind(new.conversation_id.map(|id| id.as_uuid()))
            .bind(new.provider.as_str())
            .bind(new.model.as_str())
            .bind(new.answer.as_str())
            .bind(bytes)
            .bind(new.at.as_micros())
            .bind(new.expires_at.as_micros())
            .execute(&mut *conn)
            .await?;
        });
        Ok(())
    }

    /// Deletes answers that count no more, and the oldest of those that are more than `bytes_max` together; at most `rows_max` of
    /// each. Gives how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge_cached_answers(&self, now: Timestamp, bytes_max: u64, rows_max: u32) -> Result<u64, StoreError> {
        let bytes: i64 = reading!(self, pool => {
            sqlx::query_scalar("SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM cached_answers").fetch_one(pool).await
        })?;
        let is_over = u64::try_from(bytes).unwrap_or(0) > bytes_max;
        Ok(writing!(self, conn => {
            let mut deleted = sqlx::query(
                "DELETE FROM cached_answers WHERE (project_id, request_hash) IN \
                 (SELECT project_id, request_hash FROM cached_answers WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
            )
            .bind(now.as_micros())
            .bind(i64::from(rows_max))
            .execute(&mut *conn)
            .await?
            .rows_affected();
            if is_over && deleted == 0 {
                deleted = sqlx::query(
                    "DELETE FROM cached_answers WHERE (project_id, request_hash) IN \
                     (SELECT project_id, request_hash FROM cached_answers ORDER BY created_at LIMIT $1)",
                )
                .bind(i64::from(rows_max))
                .execute(&mut *conn)
                .await?
                .rows_affected();
            }
            deleted
        }))
    }
}

/// With a conversation its answers go.
pub(crate) const OF_CONVERSATION: &str = "DELETE FROM cached_answers WHERE project_id = $1 AND conversation_id = $2";
/// With a message those of its conversation go.
pub(crate) const OF_MESSAGE: &str = "DELETE FROM cached_answers WHERE project_id = $1 \
     AND conversation_id IN (SELECT conversation_id FROM messages WHERE id = $2 AND project_id = $1)";
