//! Import of a lesson's `database.db`: its table `messages` becomes conversations of a project.

use std::path::Path;

use privet_domain::id::{ConversationId, MessageId, ProjectId};
use privet_domain::time::Timestamp;
use serde::Serialize;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::types::Uuid;

use crate::db::{Store, writing};
use crate::error::StoreError;

/// The namespace of ids that are made from texts which are no UUIDs.
const NAMESPACE: Uuid = Uuid::from_u128(0x6c65_7373_6f6e_4d73_8000_7072_6976_6574);

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LessonImport {
    /// Conversations that were made.
    pub conversations: u64,
    /// Messages that were added.
    pub messages: u64,
    /// Messages that were there already, from an earlier import.
    pub present: u64,
}

#[derive(sqlx::FromRow)]
struct LessonRow {
    id: i64,
    uuid: String,
    conversation_id: String,
    content: String,
    name: Option<String>,
    role: String,
    created_at: String,
    updated_at: String,
}

impl Store {
    /// Adds the messages of a lesson's `database.db`. Doing it twice adds nothing the second time.
    ///
    /// Ids that are UUIDs stay; other texts get a UUID made from project and text. Times are read as UTC.
    ///
    /// # Errors
    /// When the file cannot be read as such a database; then nothing is added.
    pub async fn import_lesson(
        &self,
        project: ProjectId,
        user_id: &str,
        file: &Path,
        now: Timestamp,
    ) -> Result<LessonImport, StoreError> {
        let rows = read_lesson(file).await?;
        let mut report = LessonImport::default();
        writing!(self, conn => {
            for row in &rows {
                let message = message_of(row, project, now);
                report.conversations += sqlx::query(
                    "INSERT INTO conversations (id, project_id, user_id, created_at, updated_at) \
                     VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING",
                )
                .bind(message.conversation.as_uuid())
                .bind(project.as_uuid())
                .bind(user_id)
                .bind(message.created_at.as_micros())
                .bind(message.updated_at.as_micros())
                .execute(&mut *conn)
                .await?
                .rows_affected();
                let added = sqlx::query(
                    "INSERT INTO messages (id, conversation_id, project_id, seq, role, name, content, status, \
                     created_at, updated_at) \
                     SELECT $1, $2, $3, $4, $5, $6, $7, 'complete', $8, $9 \
                     WHERE EXISTS (SELECT 1 FROM conversations WHERE id = $2 AND project_id = $3) \
                     ON CONFLICT (id) DO NOTHING",
                )
                .bind(message.id.as_uuid())
                .bind(message.conversation.as_uuid())
                .bind(project.as_uuid())
                // The lesson's times have whole seconds: its row numbers keep the order within one.
                .bind(message.created_at.as_micros().saturating_add(row.id))
                .bind(row.role.as_str())
                .bind(row.name.as_deref())
                .bind(row.content.as_str())
                .bind(message.created_at.as_micros())
                .bind(message.updated_at.as_micros())
                .execute(&mut *conn)
                .await?
                .rows_affected();
                report.messages += added;
                if added == 0 {
                    let here: Option<i64> =
                        sqlx::query_scalar("SELECT seq FROM messages WHERE id = $1 AND project_id = $2")
                            .bind(message.id.as_uuid())
                            .bind(project.as_uuid())
                            .fetch_optional(&mut *conn)
                            .await?;
                    if here.is_none() {
                        return Err(StoreError::Exists(format!("message {} or its conversation, in another project,", message.id)));
                    }
                    report.present += 1;
                }
                sqlx::query(
                    "UPDATE conversations SET updated_at = $2 WHERE id = $1 AND updated_at < $2 AND project_id = $3",
                )
                .bind(message.conversation.as_uuid())
                .bind(message.updated_at.as_micros())
                .bind(project.as_uuid())
                .execute(&mut *conn)
                .await?;
            }
        });
        Ok(report)
    }
}

struct Imported {
    id: MessageId,
    conversation: ConversationId,
    created_at: Timestamp,
    updated_at: Timestamp,
}

fn message_of(row: &LessonRow, project: ProjectId, now: Timestamp) -> Imported {
    let created_at = Timestamp::parse(&row.created_at).unwrap_or(now);
    Imported {
        id: uuid_of(&row.uuid, project, "message").into(),
        conversation: uuid_of(&row.conversation_id, project, "conversation").into(),
        created_at,
        updated_at: Timestamp::parse(&row.updated_at).unwrap_or(created_at),
    }
}

fn uuid_of(text: &str, project: ProjectId, kind: &str) -> Uuid {
    Uuid::parse_str(text).unwrap_or_else(|_| Uuid::new_v5(&NAMESPACE, format!("{kind}/{project}/{text}").as_bytes()))
}

async fn read_lesson(file: &Path) -> Result<Vec<LessonRow>, StoreError> {
    let unusable = |reason: String| StoreError::Open {
        location: file.display().to_string(),
        reason: format!("{reason}; expected a lesson's database.db with the table `messages`"),
    };
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await;
    let pool = pool.map_err(|error| unusable(error.to_string()))?;
    let read = async {
        // A NULL would be read as an empty text.
        let incomplete: Option<i64> = sqlx::query_scalar(
            "SELECT id FROM messages WHERE conversation_id IS NULL OR content IS NULL OR role IS NULL LIMIT 1",
        )
        .fetch_optional(&pool)
        .await?;
        let rows: Vec<LessonRow> = sqlx::query_as(
            "SELECT id, COALESCE(uuid, 'row ' || id) AS uuid, conversation_id, content, name, role, \
             COALESCE(created_at, '') AS created_at, COALESCE(updated_at, '') AS updated_at FROM messages ORDER BY id",
        )
        .fetch_all(&pool)
        .await?;
        Ok::<_, sqlx::Error>((incomplete, rows))
    };
    let read = read.await;
    pool.close().await;
    match read.map_err(|error| unusable(error.to_string()))? {
        (Some(id), _) => Err(unusable(format!("the message {id} lacks its conversation_id, content or role"))),
        (None, rows) => Ok(rows),
    }
}
