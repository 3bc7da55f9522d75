//! Writing vectors: into the database first, their codes after the commit.

use std::collections::BTreeSet;

use privet_domain::id::EmbedderId;
use privet_domain::memory::{IndexError, IndexedMemory, IndexedPart};

use super::{EmbeddedIndex, failed};
use crate::memory::codes::CodeRow;
use crate::memory::owner::Owner;

/// A vector is kept only while a representation has its text: one that was deleted or changed meanwhile leaves none behind.
const PUT: &str = "INSERT INTO memory_vectors (content_hash, embedder_id, vector) SELECT $1, $2, $3 \
     WHERE EXISTS (SELECT 1 FROM memory_representations WHERE content_hash = $1) \
     ON CONFLICT (content_hash, embedder_id) DO UPDATE SET vector = excluded.vector \
     WHERE length(memory_vectors.vector) <> length(excluded.vector)";
/// Words that are missing, as they can be while the index is made anew.
const WORDS: &str = "INSERT INTO memory_terms (rowid, owner, text) SELECT number, owner, text FROM memory_representations r \
     WHERE memory_id = $1 AND NOT EXISTS (SELECT 1 FROM memory_terms_docsize d WHERE d.id = r.number)";
const DROP: &str = "DELETE FROM memory_vectors WHERE rowid IN ( \
     SELECT rowid FROM memory_vectors WHERE embedder_id = $1 LIMIT $2)";
/// So many vectors are deleted in one transaction.
const STEP_VECTORS: i64 = 500;
/// So many memories are written in one transaction.
const STEP_MEMORIES: usize = 64;

impl EmbeddedIndex {
    pub(super) async fn write(&self, memories: Vec<IndexedMemory>) -> Result<(), IndexError> {
        for memory in &memories {
            for (embedder, vector) in memory.parts.iter().flat_map(|part| &part.vectors) {
                let expected = self.shelf(*embedder).await?.dimensions;
                let found = vector.dimensions();
                if expected != found {
                    return Err(IndexError::Dimensions { expected, found });
                }
            }
        }
        let embedders: BTreeSet<EmbedderId> = memories
            .iter()
            .flat_map(|memory| &memory.parts)
            .flat_map(|part| part.vectors.iter().map(|(embedder, _)| *embedder))
            .collect();
        for memories in memories.chunks(STEP_MEMORIES) {
            self.write_step(memories).await.map_err(failed)?;
            for memory in memories {
                for part in &memory.parts {
                    self.shelve(memory, part).await?;
                }
            }
        }
        for embedder in embedders {
            self.renew(embedder).await?;
        }
        Ok(())
    }

    async fn write_step(&self, memories: &[IndexedMemory]) -> Result<(), sqlx::Error> {
        let Ok(sqlite) = self.sqlite() else { return Ok(()) };
        let mut transaction = sqlite.writer.begin_with("BEGIN IMMEDIATE").await?;
        for memory in memories {
            sqlx::query(WORDS).bind(memory.id.as_uuid()).execute(&mut *transaction).await?;
            for part in &memory.parts {
                for (embedder, vector) in &part.vectors {
                    sqlx::query(PUT)
                        .bind(part.hash.as_bytes().as_slice())
                        .bind(embedder.as_uuid())
                        .bind(vector.to_bytes())
                        .execute(&mut *transaction)
                        .await?;
                }
            }
        }
        transaction.commit().await
    }

    /// The codes of what was written. One whose representation is gone is dropped when it is found.
    async fn shelve(&self, memory: &IndexedMemory, part: &IndexedPart) -> Result<(), IndexError> {
        for (embedder, vector) in &part.vectors {
            let row = CodeRow {
                number: part.number,
                memory: memory.id,
                conversation: memory.conversation,
                kind: memory.kind,
                created_at: memory.created_at,
            };
            let owner = Owner::of(&memory.scope, part.representation);
            self.shelf(*embedder).await?.put(owner, row, vector);
        }
        Ok(())
    }

    /// Deletes an embedder's vectors in small steps.
    pub(super) async fn drop_vectors(&self, embedder: EmbedderId) -> Result<(), IndexError> {
        let writer = &self.sqlite()?.writer;
        loop {
            let dropped =
                sqlx::query(DROP).bind(embedder.as_uuid()).bind(STEP_VECTORS).execute(writer).await.map_err(failed)?;
            if dropped.rows_affected() < STEP_VECTORS.unsigned_abs() {
                return Ok(());
            }
        }
    }
}
