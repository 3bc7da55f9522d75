//! The index inside SQLite. Words come into it with the rows themselves; vectors by [`VectorIndex::put`], their codes in memory after
//! the commit. What is found in the codes is compared by the vectors in the database, which also says what is gone.

mod common_words;
mod dense;
mod shelf;
mod sparse;
mod write;

use std::collections::HashSet;
use std::sync::Arc;

use privet_domain::id::EmbedderId;
use privet_domain::memory::{
    Candidate, DenseQuery, INDEX_PAGE_MAX, IndexError, IndexedMemory, IndexedVersion, MemoryId, SparseQuery,
    VectorIndex,
};
use sqlx::types::Uuid;

use crate::db::{Db, Sqlite, Store};
use crate::error::StoreError;
use common_words::WordCounts;
use shelf::Shelves;

/// Those of which every representation has its words in the index.
const VERSIONS: &str = "SELECT id, revision FROM memories m WHERE id > $1 AND NOT EXISTS ( \
     SELECT 1 FROM memory_representations r WHERE r.memory_id = m.id \
     AND NOT EXISTS (SELECT 1 FROM memory_terms_docsize d WHERE d.id = r.number)) ORDER BY id LIMIT $2";

/// The index inside SQLite. Cheap to clone; all clones share the codes.
#[derive(Clone)]
pub struct EmbeddedIndex {
    db: Arc<Db>,
    shelves: Arc<Shelves>,
    word_counts: Arc<WordCounts>,
}

impl Store {
    /// The index inside SQLite, with no codes in memory yet; `None` with PostgreSQL. There should be one for each store.
    #[must_use]
    pub fn embedded_index(&self) -> Option<EmbeddedIndex> {
        match &*self.db {
            Db::Sqlite(_) => {
                Some(EmbeddedIndex { db: self.db.clone(), shelves: Arc::default(), word_counts: Arc::default() })
            }
            Db::Postgres(_) => None,
        }
    }
}

impl EmbeddedIndex {
    /// Keeps the codes of these embedders in memory and no others: the rest is read again if it is ever needed.
    pub fn keep_codes(&self, embedders: &[EmbedderId]) {
        self.shelves.keep(embedders);
    }

    fn sqlite(&self) -> Result<&Sqlite, IndexError> {
        match &*self.db {
            Db::Sqlite(sqlite) => Ok(sqlite),
            Db::Postgres(_) => Err(IndexError::Refused("it is inside SQLite only".to_owned())),
        }
    }
}

impl VectorIndex for EmbeddedIndex {
    async fn put(&self, memories: Vec<IndexedMemory>) -> Result<(), IndexError> {
        self.write(memories).await
    }

    async fn remove(&self, memories: &[MemoryId]) -> Result<(), IndexError> {
        // Words and vectors went with the rows.
        let gone: HashSet<MemoryId> = memories.iter().copied().collect();
        self.shelves.remove_from_all(|book| book.remove_memories(&gone));
        Ok(())
    }

    async fn dense(&self, query: DenseQuery) -> Result<Vec<Candidate>, IndexError> {
        self.nearest(query).await
    }

    async fn sparse(&self, query: SparseQuery) -> Result<Vec<Candidate>, IndexError> {
        self.matching(query).await
    }

    async fn versions(&self, after: Option<MemoryId>, limit: usize) -> Result<Vec<IndexedVersion>, IndexError> {
        let rows: Vec<(Uuid, i64)> = sqlx::query_as(VERSIONS)
            .bind(after.map_or(Uuid::nil(), MemoryId::as_uuid))
            .bind(i64::try_from(limit.min(INDEX_PAGE_MAX)).unwrap_or(0))
            .fetch_all(&self.sqlite()?.readers)
            .await
            .map_err(failed)?;
        Ok(rows.into_iter().map(|(id, revision)| IndexedVersion { id: id.into(), revision }).collect())
    }

    async fn prepare(&self, embedder: EmbedderId, dimensions: usize) -> Result<(), IndexError> {
        let shelf = self.ready(embedder).await?;
        if shelf.dimensions == dimensions {
            Ok(())
        } else {
            Err(IndexError::Dimensions { expected: shelf.dimensions, found: dimensions })
        }
    }

    async fn drop_embedder(&self, embedder: EmbedderId) -> Result<(), IndexError> {
        self.shelves.drop_embedder(embedder);
        self.drop_vectors(embedder).await
    }
}

fn failed(error: sqlx::Error) -> IndexError {
    IndexError::Unavailable(StoreError::from(error).to_string())
}

/// The best first, equals in the order of their memory and number, so that every index tells them alike.
fn rank(candidates: &mut Vec<Candidate>, limit: usize) {
    candidates.sort_unstable_by(|one, other| {
        other.score.total_cmp(&one.score).then(one.memory.cmp(&other.memory)).then(one.number.cmp(&other.number))
    });
    candidates.truncate(limit);
}
