//! Embedders: what makes vectors, and which of them recall uses.

use std::fmt;
use std::str::FromStr;

use privet_domain::id::EmbedderId;
use privet_domain::time::Timestamp;
use serde::Serialize;
use sqlx::types::Uuid;

use crate::db::{Db, Store, reading, writing};
use crate::error::StoreError;

/// The progress of an embedder that has vectors of all that was there before it.
pub const EMBEDDER_COMPLETE: i64 = i64::MAX;

/// What an embedder is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbedderState {
    /// Its vectors are being made; what is written gets vectors of it too.
    Building,
    /// Recall uses it. At most one is.
    Active,
    /// Recall used it. Its vectors are kept until it is dropped, and new ones are made no more.
    Old,
}

impl EmbedderState {
    /// As stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Active => "active",
            Self::Old => "old",
        }
    }
}

impl FromStr for EmbedderState {
    type Err = StoreError;

    fn from_str(name: &str) -> Result<Self, StoreError> {
        [Self::Building, Self::Active, Self::Old]
            .into_iter()
            .find(|state| state.as_str() == name)
            .ok_or_else(|| StoreError::Damaged(format!("no embedder has the state `{name}`")))
    }
}

impl fmt::Display for EmbedderState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An embedder to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEmbedder {
    /// Its name, unique.
    pub name: String,
    /// Whose model.
    pub provider: String,
    /// The model.
    pub model: String,
    /// How many dimensions its vectors have.
    pub dimensions: usize,
    /// `Active` where there is no other one and nothing to be made anew.
    pub state: EmbedderState,
}

/// An embedder as kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedder {
    /// Its id.
    pub id: EmbedderId,
    /// Its name, unique.
    pub name: String,
    /// Whose model.
    pub provider: String,
    /// The model.
    pub model: String,
    /// How many dimensions its vectors have.
    pub dimensions: usize,
    /// What it is for.
    pub state: EmbedderState,
    /// Of representations up to this number its vectors are made, of those that were there before it; [`EMBEDDER_COMPLETE`] when
    /// that is done.
    pub progress: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its state or progress last changed.
    pub updated_at: Timestamp,
}

const FIRST_WITHOUT_VECTOR: &str = "SELECT MIN(r.number) FROM memory_representations r WHERE NOT EXISTS ( \
     SELECT 1 FROM memory_vectors v WHERE v.content_hash = r.content_hash AND v.embedder_id = $1 \
     AND length(v.vector) = 4 * (SELECT dimensions FROM embedders WHERE id = $1)) \
     AND NOT EXISTS (SELECT 1 FROM memory_outbox o WHERE o.memory_id = r.memory_id) \
     AND NOT EXISTS (SELECT 1 FROM memory_refusals x WHERE x.number = r.number AND x.embedder_id = $1)";

#[derive(sqlx::FromRow)]
struct EmbedderRow {
    id: Uuid,
    name: String,
    provider: String,
    model: String,
    dimensions: i64,
    state: String,
    progress_number: i64,
    created_at: i64,
    updated_at: i64,
}

impl EmbedderRow {
    fn read(self) -> Result<Embedder, StoreError> {
        Ok(Embedder {
            id: self.id.into(),
            name: self.name,
            provider: self.provider,
            model: self.model,
            dimensions: usize::try_from(self.dimensions)
                .map_err(|error| StoreError::Damaged(format!("the embedder {}: {error}", self.id)))?,
            state: self.state.parse()?,
            progress: self.progress_number,
            created_at: Timestamp::from_micros(self.created_at),
            updated_at: Timestamp::from_micros(self.updated_at),
        })
    }
}

impl Store {
    /// Keeps an embedder.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken, or it is to be active and another one is.
    pub async fn create_embedder(&self, new: &NewEmbedder, now: Timestamp) -> Result<Embedder, StoreError> {
        let id = EmbedderId::new();
        let dimensions = i64::try_from(new.dimensions).map_err(|error| StoreError::Damaged(error.to_string()))?;
        // A conflict with any unique index leaves the row out.
        let inserted = writing!(self, conn => {
            sqlx::query(
                "INSERT INTO embedders (id, name, provider, model, dimensions, state, progress_number, created_at, updated_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $7) ON CONFLICT DO NOTHING",
            )
            .bind(id.as_uuid())
            .bind(&new.name)
            .bind(&new.provider)
            .bind(&new.model)
            .bind(dimensions)
            .bind(new.state.as_str())
            .bind(now.as_micros())
            .execute(&mut *conn)
            .await?
            .rows_affected()
        });
        if inserted == 0 {
            return Err(StoreError::Exists(format!("embedder `{}`, or an active one,", new.name)));
        }
        Ok(Embedder {
            id,
            name: new.name.clone(),
            provider: new.provider.clone(),
            model: new.model.clone(),
            dimensions: new.dimensions,
            state: new.state,
            progress: 0,
            created_at: now,
            updated_at: now,
        })
    }

    /// All embedders, in the order in which they were made. Whoever embeds a task asks after claiming it: then no embedder that is
    /// being built misses what was written before it was there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn embedders(&self) -> Result<Vec<Embedder>, StoreError> {
        let rows: Vec<EmbedderRow> = reading!(self, pool => {
            sqlx::query_as(
                "SELECT id, name, provider, model, dimensions, state, progress_number, created_at, updated_at \
                 FROM embedders ORDER BY created_at, id",
            )
            .fetch_all(pool)
            .await
        })?;
        rows.into_iter().map(EmbedderRow::read).collect()
    }

    /// Notes up to which representation an embedder's vectors were made. It never goes back.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn advance_embedder(&self, id: EmbedderId, progress: i64, now: Timestamp) -> Result<(), StoreError> {
        writing!(self, conn => {
            sqlx::query(
                "UPDATE embedders SET progress_number = $2, updated_at = $3 WHERE id = $1 AND progress_number < $2",
            )
            .bind(id.as_uuid())
            .bind(progress)
            .bind(now.as_micros())
            .execute(&mut *conn)
            .await?;
        });
        Ok(())
    }

    /// Makes an embedder the one that recall uses; the one that was it becomes old. Both at once, or neither.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is unknown.
    pub async fn activate_embedder(&self, id: EmbedderId, now: Timestamp) -> Result<(), StoreError> {
        writing!(self, conn => {
            sqlx::query("UPDATE embedders SET state = 'old', updated_at = $2 WHERE state = 'active' AND id <> $1")
                .bind(id.as_uuid())
                .bind(now.as_micros())
                .execute(&mut *conn)
                .await?;
            let activated = sqlx::query("UPDATE embedders SET state = 'active', updated_at = $2 WHERE id = $1")
                .bind(id.as_uuid())
                .bind(now.as_micros())
                .execute(&mut *conn)
                .await?
                .rows_affected();
            if activated != 1 {
                return Err(StoreError::NotFound);
            }
        });
        Ok(())
    }

    /// Takes on the making of an embedder's vectors: of several servers that saw it in the same state one. `false` if another was
    /// faster.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_embedder(&self, seen: &Embedder, now: Timestamp) -> Result<bool, StoreError> {
        let claimed = writing!(self, conn => {
            sqlx::query("UPDATE embedders SET updated_at = $3 WHERE id = $1 AND updated_at = $2")
                .bind(seen.id.as_uuid())
                .bind(seen.updated_at.as_micros())
                .bind(now.as_micros())
                .execute(&mut *conn)
                .await?
                .rows_affected()
        });
        Ok(claimed == 1)
    }

    /// Lets an active embedder's vectors be made from the first on that is missing: while none was named, texts came without.
    /// Gives whether any is. Nothing changes with PostgreSQL, where the index knows what is missing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn resume_embedder(&self, id: EmbedderId, now: Timestamp) -> Result<bool, StoreError> {
        let Db::Sqlite(sqlite) = &*self.db else { return Ok(false) };
        let missing: Option<i64> =
            sqlx::query_scalar(FIRST_WITHOUT_VECTOR).bind(id.as_uuid()).fetch_one(&sqlite.readers).await?;
        let Some(missing) = missing else { return Ok(false) };
        sqlx::query(
            "UPDATE embedders SET progress_number = $2, updated_at = $3 WHERE id = $1 AND progress_number > $2",
        )
        .bind(id.as_uuid())
        .bind(missing - 1)
        .bind(now.as_micros())
        .execute(&sqlite.writer)
        .await?;
        Ok(true)
    }

    /// Gives up an embedder that is being built; what it made is kept until it is dropped.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is unknown or not being built.
    pub async fn retire_embedder(&self, id: EmbedderId, now: Timestamp) -> Result<(), StoreError> {
        let changed = writing!(self, conn => {
            sqlx::query("UPDATE embedders SET state = 'old', updated_at = $2 WHERE id = $1 AND state = 'building'")
                .bind(id.as_uuid())
                .bind(now.as_micros())
                .execute(&mut *conn)
                .await?
                .rows_affected()
        });
        if changed == 1 { Ok(()) } else { Err(StoreError::NotFound) }
    }

    /// Lets an old embedder's vectors be made again, from the beginning on: what was written since has none. What it refused it is
    /// asked again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is unknown or active.
    pub async fn rebuild_embedder(&self, id: EmbedderId, now: Timestamp) -> Result<(), StoreError> {
        let changed = writing!(self, conn => {
            sqlx::query("DELETE FROM memory_refusals WHERE embedder_id = $1")
                .bind(id.as_uuid())
                .execute(&mut *conn)
                .await?;
            sqlx::query(
                "UPDATE embedders SET state = 'building', progress_number = 0, updated_at = $2 \
                 WHERE id = $1 AND state <> 'active'",
            )
            .bind(id.as_uuid())
            .bind(now.as_micros())
            .execute(&mut *conn)
            .await?
            .rows_affected()
        });
        if changed == 1 { Ok(()) } else { Err(StoreError::NotFound) }
    }

    /// Forgets an embedder that has made no vector yet, be it the active one. Gives whether it had made none; with PostgreSQL the index
    /// knows, and it stays.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_unused_embedder(&self, id: EmbedderId) -> Result<bool, StoreError> {
        let Db::Sqlite(sqlite) = &*self.db else { return Ok(false) };
        let forgotten = sqlx::query(
            "DELETE FROM embedders WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM memory_vectors WHERE embedder_id = $1)",
        )
        .bind(id.as_uuid())
        .execute(&sqlite.writer)
        .await?;
        Ok(forgotten.rows_affected() == 1)
    }

    /// Forgets an embedder whose vectors are gone from the index.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is unknown or active, or vectors of it are left.
    pub async fn delete_embedder(&self, id: EmbedderId) -> Result<(), StoreError> {
        let deleted = writing!(self, conn => {
            sqlx::query("DELETE FROM embedders WHERE id = $1 AND state <> 'active'")
                .bind(id.as_uuid())
                .execute(&mut *conn)
                .await?
                .rows_affected()
        });
        if deleted == 1 { Ok(()) } else { Err(StoreError::NotFound) }
    }
}
