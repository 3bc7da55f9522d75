//! Vectors that were made before, found by their text's hash: what is there need not be bought again.

use std::collections::HashMap;

use privet_domain::id::EmbedderId;
use privet_domain::memory::{ContentHash, Embedding};

use super::embedder::Embedder;
use super::list::{IDS_OF_A_QUERY, padded, places};
use crate::db::{Db, Store};
use crate::error::StoreError;

/// How far an embedder's vectors have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// Representations.
    pub representations: u64,
    /// Those of them that have a vector.
    pub with_vector: u64,
}

/// Texts that are still to be embedded, each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingTexts {
    /// How many.
    pub texts: u64,
    /// How many bytes they have together.
    pub bytes: u64,
}

impl Store {
    /// What an embedder has no vectors of; everything if it is none yet, and always with PostgreSQL, where the index knows.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn missing_texts(&self, embedder: Option<EmbedderId>) -> Result<MissingTexts, StoreError> {
        const TEXTS: &str = "SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM ( \
             SELECT content_hash, MAX(octet_length(text)) AS bytes FROM memory_representations GROUP BY content_hash) r";
        let (texts, bytes): (i64, i64) = match &*self.db {
            Db::Postgres(pool) => sqlx::query_as(TEXTS).fetch_one(pool).await?,
            Db::Sqlite(sqlite) => {
                let select = format!(
                    "{TEXTS} WHERE NOT EXISTS (SELECT 1 FROM memory_vectors v WHERE v.content_hash = r.content_hash \
                     AND v.embedder_id = $1)"
                );
                let embedder = embedder.map(EmbedderId::as_uuid).unwrap_or_default();
                sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(embedder).fetch_one(&sqlite.readers).await?
            }
        };
        Ok(MissingTexts { texts: texts.unsigned_abs(), bytes: bytes.unsigned_abs() })
    }

    /// The vectors that an embedder made of texts with these hashes; those that are missing are to be made. Always empty with
    /// PostgreSQL, where vectors are the index's alone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cached_vectors(
        &self,
        embedder: &Embedder,
        hashes: &[ContentHash],
    ) -> Result<HashMap<ContentHash, Embedding>, StoreError> {
        let Db::Sqlite(sqlite) = &*self.db else { return Ok(HashMap::new()) };
        let select = format!(
            "SELECT content_hash, vector FROM memory_vectors WHERE embedder_id = $1 AND content_hash IN ({})",
            places(2)
        );
        let mut vectors = HashMap::with_capacity(hashes.len());
        for hashes in hashes.chunks(IDS_OF_A_QUERY) {
            let mut query = sqlx::query_as::<_, (Vec<u8>, Vec<u8>)>(sqlx::AssertSqlSafe(select.as_str()))
                .bind(embedder.id.as_uuid());
            for hash in padded(hashes) {
                query = query.bind(hash.as_bytes().as_slice());
            }
            for (hash, vector) in query.fetch_all(&sqlite.readers).await? {
                let hash = ContentHash::from_bytes(&hash)
                    .ok_or_else(|| StoreError::Damaged("a vector's hash has not 32 bytes".to_owned()))?;
                // A damaged one is made anew; `privet memory check` counts it.
                match Embedding::from_bytes(&vector, embedder.dimensions) {
                    Ok(vector) => drop(vectors.insert(hash, vector)),
                    Err(error) => tracing::warn!(?hash, %error, "a vector is damaged: it is made anew"),
                }
            }
        }
        Ok(vectors)
    }

    /// How far an embedder's vectors have come; `None` with PostgreSQL, where the index knows.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn coverage(&self, embedder: EmbedderId) -> Result<Option<Coverage>, StoreError> {
        let Db::Sqlite(sqlite) = &*self.db else { return Ok(None) };
        let (all, with): (i64, i64) = sqlx::query_as(
            "SELECT COUNT(*), COUNT(v.content_hash) FROM memory_representations r \
             LEFT JOIN memory_vectors v ON v.content_hash = r.content_hash AND v.embedder_id = $1",
        )
        .bind(embedder.as_uuid())
        .fetch_one(&sqlite.readers)
        .await?;
        Ok(Some(Coverage { representations: all.unsigned_abs(), with_vector: with.unsigned_abs() }))
    }
}
