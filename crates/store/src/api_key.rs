//! API keys: their rows, and the revision by which servers notice a change that another process made.

use privet_domain::api_key::{KeyHash, PublicId};
use privet_domain::id::{ApiKeyId, ProjectId};
use privet_domain::time::Timestamp;
use sqlx::types::Uuid;

use crate::db::{Store, reading, writing};
use crate::error::StoreError;
use crate::project::ShownProject;

/// What may be shown of a key.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// The project whose data it sees.
    pub project_id: ProjectId,
    /// That project's name.
    pub project: String,
    /// The id and the name of that project on the Langfuse surface.
    pub project_shown: ShownProject,
    /// The public part of its text.
    pub public_id: String,
    /// The public key of the pair that it is.
    pub public_key: String,
    /// The first key of its line of rotations; its own id unless it replaced another.
    pub family_id: ApiKeyId,
    /// What its owner calls it.
    pub name: String,
    /// The user it belongs to.
    pub user_id: String,
    /// What it may do, as names with spaces between them.
    pub scopes: String,
    /// What bounds it, as JSON.
    pub limits: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to within seconds.
    pub last_used_at: Option<Timestamp>,
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
    /// The public key of the pair that it is, where somebody chose one.
    pub public_key: Option<&'a str>,
    /// The hash of its text.
    pub hash: &'a KeyHash,
    /// What its owner calls it.
    pub name: &'a str,
    /// The user it belongs to.
    pub user_id: &'a str,
    /// What it may do, as names with spaces between them.
    pub scopes: &'a str,
    /// What bounds it, as JSON.
    pub limits: &'a str,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// A key that takes the place of another. All but this it inherits.
pub struct Successor<'a> {
    /// The public part of its text.
    pub public_id: &'a PublicId,
    /// The hash of its text.
    pub hash: &'a KeyHash,
}

/// What to change of a key; `None` leaves it.
#[derive(Clone, Copy, Default)]
pub struct KeyUpdate<'a> {
    /// What its owner calls it.
    pub name: Option<&'a str>,
    /// What it may do.
    pub scopes: Option<&'a str>,
    /// The public key of the pair that it is.
    pub public_key: Option<&'a str>,
    /// What bounds it: as it was read, and as it shall be.
    pub limits: Option<(&'a str, &'a str)>,
    /// When it ends; `Some(None)` for never.
    pub expires_at: Option<Option<Timestamp>>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    project_id: Uuid,
    project: String,
    project_given_id: Option<String>,
    project_given_name: Option<String>,
    public_id: String,
    public_key: Option<String>,
    hash: Vec<u8>,
    family_id: Uuid,
    name: String,
    user_id: String,
    scopes: String,
    limits: String,
    created_at: i64,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
    last_used_at: Option<i64>,
}

/// Lets every server read its keys again.
pub(crate) const BUMP: &str = "UPDATE revisions SET version = version + 1 WHERE name = 'api_keys'";

impl Store {
    /// Stores a key. `None` if a key with that public id is there already (an import that was done before).
    ///
    /// # Errors
    /// When the project is unknown or the database fails.
    pub async fn insert_key(&self, row: &NewKeyRow<'_>, now: Timestamp) -> Result<Option<ApiKeyId>, StoreError> {
        let id = ApiKeyId::new();
        let inserted = writing!(self, conn => {
            let inserted = sqlx::query(
                "INSERT INTO api_keys (id, family_id, project_id, public_id, hash, name, user_id, scopes, limits, \
                 created_at, expires_at, public_key) \
                 VALUES ($1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (public_id) DO NOTHING",
            )
            .bind(id.as_uuid())
            .bind(row.project_id.as_uuid())
            .bind(row.public_id.as_str())
            .bind(row.hash.as_bytes().as_slice())
            .bind(row.name)
            .bind(row.user_id)
            .bind(row.scopes)
            .bind(row.limits)
            .bind(now.as_micros())
            .bind(row.expires_at.map(Timestamp::as_micros))
            .bind(row.public_key)
            .execute(&mut *conn)
            .await?
            .rows_affected();
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
        successor: &Successor<'_>,
        overlap_until: Timestamp,
        now: Timestamp,
    ) -> Result<ApiKeyId, StoreError> {
        let id = ApiKeyId::new();
        writing!(self, conn => {
            // The old key is locked first, so that what the successor inherits is what it had in the end.
            let expiry: Option<Option<i64>> = sqlx::query_scalar(
                "UPDATE api_keys SET name = name WHERE id = $1 AND revoked_at IS NULL RETURNING expires_at",
            )
            .bind(old.as_uuid())
            .fetch_optional(&mut *conn)
            .await?;
            let Some(expiry) = expiry else { return Err(StoreError::NotFound) };
            let inserted = sqlx::query(
                "INSERT INTO api_keys (id, project_id, public_id, hash, family_id, name, user_id, scopes, limits, \
                 created_at, expires_at) \
                 SELECT $2, project_id, $3, $4, COALESCE(family_id, id), name, user_id, scopes, limits, $5, expires_at \
                 FROM api_keys WHERE id = $1 ON CONFLICT (public_id) DO NOTHING",
            )
            .bind(old.as_uuid())
            .bind(id.as_uuid())
            .bind(successor.public_id.as_str())
            .bind(successor.hash.as_bytes().as_slice())
            .bind(now.as_micros())
            .execute(&mut *conn)
            .await?
            .rows_affected();
            if inserted != 1 {
                return Err(StoreError::Exists(format!("API key {}", successor.public_id)));
            }
            let end = expiry.map_or(overlap_until.as_micros(), |expiry| expiry.min(overlap_until.as_micros()));
            sqlx::query("UPDATE api_keys SET expires_at = $2 WHERE id = $1")
                .bind(old.as_uuid())
                .bind(end)
                .execute(&mut *conn)
                .await?;
            sqlx::query(BUMP).execute(&mut *conn).await?;
        });
        Ok(id)
    }

    /// Changes a key.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is unknown or revoked, or its limits are no longer those that were read.
    pub async fn update_key(&self, id: ApiKeyId, update: &KeyUpdate<'_>) -> Result<(), StoreError> {
        writing!(self, conn => {
            let changed = sqlx::query(
                "UPDATE api_keys SET name = COALESCE($2, name), scopes = COALESCE($3, scopes), \
                 limits = COALESCE($5, limits), expires_at = CASE WHEN $6 THEN $7 ELSE expires_at END, \
                 public_key = COALESCE($8, public_key) \
                 WHERE id = $1 AND revoked_at IS NULL AND limits = COALESCE($4, limits)",
            )
            .bind(id.as_uuid())
            .bind(update.name)
            .bind(update.scopes)
            .bind(update.limits.map(|(read, _)| read))
            .bind(update.limits.map(|(_, wanted)| wanted))
            .bind(update.expires_at.is_some())
            .bind(update.expires_at.flatten().map(Timestamp::as_micros))
            .bind(update.public_key)
            .execute(&mut *conn)
            .await?
            .rows_affected();
            if changed != 1 {
                return Err(StoreError::NotFound);
            }
            sqlx::query(BUMP).execute(&mut *conn).await?;
        });
        Ok(())
    }

    /// Notes when keys were last used, all at once. A later use that another server noted stays.
    ///
    /// Servers do not read their keys again for it.
    ///
    /// # Errors
    /// When the database fails; then nothing is noted.
    pub async fn touch_keys(&self, uses: &[(ApiKeyId, Timestamp)]) -> Result<(), StoreError> {
        // In one order everywhere: two servers that note the same keys do not lock each other out.
        let mut uses = uses.to_vec();
        uses.sort_unstable();
        writing!(self, conn => {
            for (id, at) in &uses {
                sqlx::query(
                    "UPDATE api_keys SET last_used_at = $2 \
                     WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)",
                )
                .bind(id.as_uuid())
                .bind(at.as_micros())
                .execute(&mut *conn)
                .await?;
            }
        });
        Ok(())
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
                "SELECT k.id, k.project_id, p.name AS project, p.given_id AS project_given_id, \
                 p.given_name AS project_given_name, k.public_id, k.public_key, k.hash, \
                 COALESCE(k.family_id, k.id) AS family_id, k.name, k.user_id, k.scopes, k.limits, k.created_at, \
                 k.expires_at, k.revoked_at, k.last_used_at \
                 FROM api_keys k JOIN projects p ON p.id = k.project_id ORDER BY k.id",
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
        let public_id = PublicId::from(row.public_id);
        let key = ApiKey {
            id: row.id.into(),
            project_id: row.project_id.into(),
            project_shown: ShownProject {
                id: row.project_given_id.unwrap_or_else(|| ProjectId::from(row.project_id).to_string()),
                name: row.project_given_name.unwrap_or_else(|| row.project.clone()),
            },
            project: row.project,
            public_key: row.public_key.unwrap_or_else(|| public_id.public_key()),
            public_id: public_id.as_str().to_owned(),
            family_id: row.family_id.into(),
            name: row.name,
            user_id: row.user_id,
            scopes: row.scopes,
            limits: row.limits,
            created_at: Timestamp::from_micros(row.created_at),
            expires_at: row.expires_at.map(Timestamp::from_micros),
            revoked_at: row.revoked_at.map(Timestamp::from_micros),
            last_used_at: row.last_used_at.map(Timestamp::from_micros),
        };
        Ok(Self { key, hash })
    }
}
