//! Texts that an embedder refuses. They stay without a vector until they change, or until all is made again.

use std::collections::HashSet;

use privet_domain::id::EmbedderId;
use sqlx::AssertSqlSafe;

use super::list::{IDS_OF_A_QUERY, padded, places};
use crate::db::{Store, reading, writing};
use crate::error::StoreError;

impl Store {
    /// Notes that an embedder refuses these representations, by their numbers. Those that are gone meanwhile are left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_refusals(&self, embedder: EmbedderId, numbers: &[i64]) -> Result<(), StoreError> {
        if numbers.is_empty() {
            return Ok(());
        }
        writing!(self, conn => {
            for number in numbers {
                sqlx::query(
                    "INSERT INTO memory_refusals (number, embedder_id) \
                     SELECT number, $2 FROM memory_representations WHERE number = $1 ON CONFLICT DO NOTHING",
                )
                .bind(number)
                .bind(embedder.as_uuid())
                .execute(&mut *conn)
                .await?;
            }
        });
        Ok(())
    }

    /// Those of these representations that the embedder refused.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn refusals(&self, embedder: EmbedderId, numbers: &[i64]) -> Result<HashSet<i64>, StoreError> {
        let select = format!("SELECT number FROM memory_refusals WHERE embedder_id = $1 AND number IN ({})", places(2));
        let mut refused = HashSet::new();
        for numbers in numbers.chunks(IDS_OF_A_QUERY) {
            let found: Vec<i64> = reading!(self, pool => {
                // Only fixed pieces stand in the text.
                let mut query = sqlx::query_scalar(AssertSqlSafe(select.as_str())).bind(embedder.as_uuid());
                for number in padded(numbers) {
                    query = query.bind(number);
                }
                query.fetch_all(pool).await
            })?;
            refused.extend(found);
        }
        Ok(refused)
    }

    /// How many representations the embedder refused.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_refusals(&self, embedder: EmbedderId) -> Result<u64, StoreError> {
        let count: i64 = reading!(self, pool => {
            sqlx::query_scalar("SELECT COUNT(*) FROM memory_refusals WHERE embedder_id = $1")
                .bind(embedder.as_uuid())
                .fetch_one(pool)
                .await
        })?;
        Ok(count.unsigned_abs())
    }

    /// Forgets what an embedder refused: it is asked again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_refusals(&self, embedder: EmbedderId) -> Result<(), StoreError> {
        writing!(self, conn => {
            sqlx::query("DELETE FROM memory_refusals WHERE embedder_id = $1")
                .bind(embedder.as_uuid())
                .execute(&mut *conn)
                .await?;
        });
        Ok(())
    }
}
