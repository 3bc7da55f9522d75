//! API keys: their rows, and the revision by which servers notice a change that another process made.

use privet_domain::api_key::{KeyHash, PublicId};
use privet_domain::id::{ApiKeyId, ProjectId};
use privet_domain::time::Timestamp;
use serde::Serialize;
use sqlx::types::Uuid;

use crate::db::{Store, reading, writing};
use crate::error::StoreError;

/// What may be shown of a key.
#[derive(Clone, Debug, Serialize)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// The project whose data it sees.
    pub project_id: ProjectId,
    /// That project's name.
    pub project: String,
    /// The public part of its text.
    pub public_id: String,
    /// What its owner calls it.
    pub name: String,
    /// The user it belongs to.
    pub user_id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A key with what is compared, for the keyring of a server.
pub struct KeySecret {
    /// The key.
    pub key: ApiKey,
    /// What a presented key must match.
    pub hash: KeyHash,
}

/// A key to store.
pub struct NewKeyRow<'a> {
    /// Its project.
    pub project_id: ProjectId,
    /// The public part of its text.
    pub public_id: &'a PublicId,
    /// The hash of its text.
    pub hash: &'a KeyHash,
    /// What its owner calls it.
    pub name: &'a str,
    /// The user it belongs to.
    pub user_id: &'a str,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    project_id: Uuid,
    project: String,
    public_id: String,
    hash: Vec<u8>,
    name: String,
    user_id: String,
    created_at: i64,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
}

const INSERT: &str = "INSERT INTO api_keys (id, project_id, public_id, hash, name, user_id, created_at, expires_at) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (public_id) DO NOTHING";
const BUMP: &str = "UPDATE revisions SET version = version + 1 WHERE name = 'api_keys'";

/// Binds a new key's columns to [`INSERT`] and runs it.
macro_rules! insert {
    ($conn:expr, $id:expr, $row:expr, $now:expr) => {
        sqlx::query(INSERT)
            .bind($id.as_uuid())
            .bind($row.project_id.as_uuid())
            .bind($row.public_id.as_str())
            .bind($row.hash.as_bytes().as_slice())
            .bind($row.name)
            .bind($row.user_id)
            .bind($now.as_micros())
            .bind($row.expires_at.map(Timestamp::as_micros))
            .execute(&mut *$conn)
            .await?
            .rows_affected()
    };
}

impl Store {
    /// Stores a key. `None` if a key with that public id is there already (an import that was done before).
    ///
    /// # Errors
    /// When the project is unknown or the database fails.
    pub async fn insert_key(&self, row: &NewKeyRow<'_>, now: Timestamp) -> Result<Option<ApiKeyId>, StoreError> {
        let id = ApiKeyId::new();
        let inserted = writing!(self, conn => {
            let inserted = insert!(conn, id, row, now);
            sqlx::query(BUMP).execute(&mut *conn).await?;
            inserted
        });
        Ok((inserted == 1).then_some(id))
    }

    /// Stores the successor of a key and lets the old one end at `overlap_until`, both at once.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the old key is unknown or revoked, [`StoreError::Exists`] when the successor's public id
    /// is taken.
    pub async fn replace_key(
        &self,
        old: ApiKeyId,
        successor: &NewKeyRow<'_>,
        overlap_until: Timestamp,
        now: Timestamp,
    ) -> Result<ApiKeyId, StoreError> {
        let id = ApiKeyId::new();
        writing!(self, conn => {
            let ended = sqlx::query(
                "UPDATE api_keys SET expires_at = CASE WHEN expires_at < $2 THEN expires_at ELSE $2 END \
                 WHERE id = $1 AND revoked_at IS NULL",
            )
            .bind(old.as_uuid())
            .bind(overlap_until.as_micros())
            .execute(&mut *conn)
            .await?
            .rows_affected();
            if ended != 1 {
                return Err(StoreError::NotFound);
            }
            if insert!(conn, id, successor, now) != 1 {
                return Err(StoreError::Exists(format!("API key {}", successor.public_id)));
            }
            sqlx::query(BUMP).execute(&mut *conn).await?;
        });
        Ok(id)
    }

    /// Revokes a key. Revoking twice is the same as once.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is unknown.
    pub async fn revoke_key(&self, id: ApiKeyId, now: Timestamp) -> Result<(), StoreError> {
        writing!(self, conn => {
            let revoked = sqlx::query("UPDATE api_keys SET revoked_at = COALESCE(revoked_at, $2) WHERE id = $1")
                .bind(id.as_uuid())
                .bind(now.as_micros())
                .execute(&mut *conn)
                .await?
                .rows_affected();
            if revoked != 1 {
                return Err(StoreError::NotFound);
            }
            sqlx::query(BUMP).execute(&mut *conn).await?;
        });
        Ok(())
    }

    /// All keys, oldest first, with their hashes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keys(&self) -> Result<Vec<KeySecret>, StoreError> {
        let rows: Vec<Row> = reading!(self, pool => {
            sqlx::query_as(
                "SELECT k.id, k.project_id, p.name AS project, k.public_id, k.hash, k.name, k.user_id, k.created_at, \
                 k.expires_at, k.revoked_at FROM api_keys k JOIN projects p ON p.id = k.project_id ORDER BY k.id",
            )
            .fetch_all(pool)
            .await
        })?;
        rows.into_iter().map(KeySecret::try_from).collect()
    }

    /// A number that grows with each change of a key, in any process.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keys_revision(&self) -> Result<i64, StoreError> {
        Ok(reading!(self, pool => {
            sqlx::query_scalar("SELECT version FROM revisions WHERE name = 'api_keys'").fetch_one(pool).await
        })?)
    }
}

impl TryFrom<Row> for KeySecret {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let hash = KeyHash::from_slice(&row.hash)
            .ok_or_else(|| StoreError::Damaged(format!("the hash of the API key {}", row.public_id)))?;
        let key = ApiKey {
            id: row.id.into(),
            project_id: row.project_id.into(),
            project: row.project,
            public_id: row.public_id,
            name: row.name,
            user_id: row.user_id,
            created_at: Timestamp::from_micros(row.created_at),
            expires_at: row.expires_at.map(Timestamp::from_micros),
            revoked_at: row.revoked_at.map(Timestamp::from_micros),
        };
        Ok(Self { key, hash })
    }
}
