//! Documents: what their pieces, which are memories, say together. A document has no row of its own.

use privet_domain::id::{DocumentId, ProjectId};
use privet_domain::time::Timestamp;
use sqlx::types::Uuid;

use crate::db::{Store, reading};
use crate::error::StoreError;

/// A document that is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its id.
    pub id: DocumentId,
    /// Whose it is; empty where nobody was named.
    pub user: String,
    /// What its first piece stands under: its title, and the headings below it.
    pub title: Option<String>,
    /// Where it is from.
    pub source: Option<String>,
    /// How many pieces it has.
    pub pieces: u64,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it is to be forgotten.
    pub expires_at: Option<Timestamp>,
}

/// Which documents of a project are listed, the latest added first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentList {
    /// Only those of this user; of every user if `None`.
    pub user: Option<String>,
    /// Only those after this one.
    pub after: Option<DocumentId>,
    /// So many, at most.
    pub limit: u32,
}

/// A page of documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentPage {
    /// The documents.
    pub documents: Vec<Document>,
    /// Where the next page begins, if there is one.
    pub next: Option<DocumentId>,
}

#[derive(sqlx::FromRow)]
struct DocumentRow {
    document_id: Uuid,
    user_id: String,
    title: Option<String>,
    source: Option<String>,
    pieces: i64,
    created_at: i64,
    expires_at: Option<i64>,
}

impl From<DocumentRow> for Document {
    fn from(row: DocumentRow) -> Self {
        Self {
            id: row.document_id.into(),
            user: row.user_id,
            title: row.title,
            source: row.source,
            pieces: row.pieces.unsigned_abs(),
            created_at: Timestamp::from_micros(row.created_at),
            expires_at: row.expires_at.map(Timestamp::from_micros),
        }
    }
}

impl Store {
    /// Documents of the project, the latest added first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn documents(&self, project: ProjectId, list: &DocumentList) -> Result<DocumentPage, StoreError> {
        let rows: Vec<DocumentRow> = reading!(self, pool => {
            sqlx::query_as(
                "SELECT document_id, MAX(user_id) AS user_id, MAX(source) AS source, COUNT(*) AS pieces, \
                 MIN(created_at) AS created_at, MAX(expires_at) AS expires_at, \
                 (SELECT first.title FROM memories first WHERE first.document_id = memories.document_id \
                  ORDER BY first.seq LIMIT 1) AS title \
                 FROM memories WHERE document_id IS NOT NULL AND document_id < $2 AND project_id = $1 \
                 AND user_id = COALESCE($3, user_id) \
                 GROUP BY document_id ORDER BY document_id DESC LIMIT $4",
            )
            .bind(project.as_uuid())
            .bind(list.after.map_or(Uuid::max(), DocumentId::as_uuid))
            .bind(list.user.as_deref())
            .bind(i64::from(list.limit) + 1)
            .fetch_all(pool)
            .await
        })?;
        let mut documents: Vec<Document> = rows.into_iter().map(Document::from).collect();
        let more = documents.len() > list.limit as usize;
        documents.truncate(list.limit as usize);
        let next = documents.last().filter(|_| more).map(|last| last.id);
        Ok(DocumentPage { documents, next })
    }

    /// A document of the project.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is unknown or another project's.
    pub async fn document(&self, project: ProjectId, id: DocumentId) -> Result<Document, StoreError> {
        let row: DocumentRow = reading!(self, pool => {
            sqlx::query_as(
                "SELECT document_id, MAX(user_id) AS user_id, MAX(source) AS source, COUNT(*) AS pieces, \
                 MIN(created_at) AS created_at, MAX(expires_at) AS expires_at, \
                 (SELECT first.title FROM memories first WHERE first.document_id = $2 ORDER BY first.seq LIMIT 1) AS title \
                 FROM memories WHERE document_id = $2 AND project_id = $1 GROUP BY document_id",
            )
            .bind(project.as_uuid())
            .bind(id.as_uuid())
            .fetch_one(pool)
            .await
        })?;
        Ok(row.into())
    }
}
