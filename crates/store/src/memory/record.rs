//! Memories as rows.

use privet_domain::id::ProjectId;
use privet_domain::memory::{Memory, MemoryScope};
use privet_domain::time::Timestamp;
use sqlx::types::Uuid;

use crate::error::StoreError;

/// The columns of [`MemoryRow`].
pub(super) const COLUMNS: &str = "id, project_id, user_id, conversation_id, message_id, document_id, kind, role, name, seq, \
     text, title, source, metadata, created_at, updated_at, expires_at, version";

#[derive(sqlx::FromRow)]
pub(super) struct MemoryRow {
    id: Uuid,
    project_id: Uuid,
    user_id: String,
    conversation_id: Option<Uuid>,
    message_id: Option<Uuid>,
    document_id: Option<Uuid>,
    kind: String,
    role: Option<String>,
    name: Option<String>,
    seq: i64,
    text: String,
    title: Option<String>,
    source: Option<String>,
    metadata: Option<String>,
    created_at: i64,
    updated_at: i64,
    expires_at: Option<i64>,
    version: i64,
}

impl MemoryRow {
    pub(super) fn read(self) -> Result<Memory, StoreError> {
        Ok(Memory {
            id: self.id.into(),
            scope: MemoryScope { project: ProjectId::from(self.project_id), user: self.user_id },
            conversation: self.conversation_id.map(Into::into),
            message: self.message_id.map(Into::into),
            document: self.document_id.map(Into::into),
            kind: self.kind.parse().map_err(|error| StoreError::Damaged(format!("the memory {}: {error}", self.id)))?,
            role: self.role,
            name: self.name,
            seq: self.seq,
            text: self.text,
            title: self.title,
            source: self.source,
            metadata: self.metadata,
            created_at: Timestamp::from_micros(self.created_at),
            updated_at: Timestamp::from_micros(self.updated_at),
            expires_at: self.expires_at.map(Timestamp::from_micros),
            version: self.version,
        })
    }
}
