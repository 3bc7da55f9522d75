//! Where memory is searched: inside SQLite, or on a Qdrant server beside PostgreSQL. Which one it is changes nothing above.

use std::collections::HashMap;
use std::time::Duration;

use privet_domain::id::EmbedderId;
use privet_domain::memory::{
    Candidate, ContentHash, DenseQuery, Embedding, IndexError, IndexedMemory, IndexedVersion, MemoryId, SparseQuery,
    VectorIndex,
};
use privet_index::QdrantIndex;
use privet_store::{EmbeddedIndex, Embedder, EmbedderState, StoreError};

use super::Memory;

/// A server that does not answer is tried again after this time.
const PAUSE: Duration = Duration::from_secs(2);

/// Why the index is not ready.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The index fails, or refuses.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The database fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The index of all projects' memory.
#[derive(Clone)]
pub enum MemoryIndex {
    /// Inside SQLite: its words come with the rows.
    Embedded(EmbeddedIndex),
    /// On a Qdrant server, which follows the database by the outbox.
    Server(QdrantIndex),
}

impl MemoryIndex {
    /// Whether words come into it by being put: then they must not wait for vectors.
    pub(super) fn is_given_words(&self) -> bool {
        matches!(self, Self::Server(_))
    }
}

impl Memory {
    /// Makes a server's index ready for the vectors of every embedder in use. What is inside SQLite is ready.
    ///
    /// # Errors
    /// When the server does not answer or refuses, or the database fails.
    pub async fn prepare_index(&self) -> Result<(), PrepareError> {
        let MemoryIndex::Server(index) = &self.index else { return Ok(()) };
        // Without an embedder, too, it is seen whether the server answers.
        index.versions(None, 1).await?;
        for embedder in self.store.embedders().await? {
            if embedder.state != EmbedderState::Old {
                index.prepare(embedder.id, embedder.dimensions).await?;
            }
        }
        Ok(())
    }

    /// The embedder's vectors of these memories' texts that are kept somewhere: in SQLite, or in the server's index.
    pub(super) async fn known_vectors(
        &self,
        embedder: &Embedder,
        memories: &[IndexedMemory],
    ) -> Result<HashMap<ContentHash, Embedding>, PrepareError> {
        match &self.index {
            MemoryIndex::Embedded(_) => {
                let hashes: Vec<ContentHash> =
                    memories.iter().flat_map(|memory| &memory.parts).map(|part| part.hash).collect();
                Ok(self.store.cached_vectors(embedder, &hashes).await?)
            }
            MemoryIndex::Server(index) => {
                let ids: Vec<MemoryId> = memories.iter().map(|memory| memory.id).collect();
                Ok(index.known_vectors(embedder.id, &ids).await?)
            }
        }
    }

    /// Tries to make the index ready until it is.
    pub async fn until_index_is_ready(&self) {
        while let Err(error) = self.prepare_index().await {
            tracing::warn!(%error, "memory waits for its index");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl VectorIndex for MemoryIndex {
    async fn put(&self, memories: Vec<IndexedMemory>) -> Result<(), IndexError> {
        match self {
            Self::Embedded(index) => index.put(memories).await,
            Self::Server(index) => index.put(memories).await,
        }
    }

    async fn remove(&self, memories: &[MemoryId]) -> Result<(), IndexError> {
        match self {
            Self::Embedded(index) => index.remove(memories).await,
            Self::Server(index) => index.remove(memories).await,
        }
    }

    async fn dense(&self, query: DenseQuery) -> Result<Vec<Candidate>, IndexError> {
        match self {
            Self::Embedded(index) => index.dense(query).await,
            Self::Server(index) => index.dense(query).await,
        }
    }

    async fn sparse(&self, query: SparseQuery) -> Result<Vec<Candidate>, IndexError> {
        match self {
            Self::Embedded(index) => index.sparse(query).await,
            Self::Server(index) => index.sparse(query).await,
        }
    }

    async fn versions(&self, after: Option<MemoryId>, limit: usize) -> Result<Vec<IndexedVersion>, IndexError> {
        match self {
            Self::Embedded(index) => index.versions(after, limit).await,
            Self::Server(index) => index.versions(after, limit).await,
        }
    }

    async fn prepare(&self, embedder: EmbedderId, dimensions: usize) -> Result<(), IndexError> {
        match self {
            Self::Embedded(index) => index.prepare(embedder, dimensions).await,
            Self::Server(index) => index.prepare(embedder, dimensions).await,
        }
    }

    async fn drop_embedder(&self, embedder: EmbedderId) -> Result<(), IndexError> {
        match self {
            Self::Embedded(index) => index.drop_embedder(embedder).await,
            Self::Server(index) => index.drop_embedder(embedder).await,
        }
    }
}
