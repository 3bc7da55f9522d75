//! Memory at scale: its index on a Qdrant server, for thousands of projects in one collection.
//!
//! What stands in the collection is a projection of the database that can be made again at any time. Each representation of a memory
//! is a point of its own (`point`), found by the words' weights (`words`) and by one named vector for each embedder (`collection`).
//! No text is kept there. Fusion happens above, in the engine: this crate answers one leg at a time.

mod call;
mod collection;
mod point;
mod search;
mod settings;
mod words;
mod write;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};

use privet_domain::id::EmbedderId;
use privet_domain::memory::{
    Candidate, DenseQuery, IndexError, IndexedMemory, IndexedVersion, MemoryId, SparseQuery, VectorIndex,
};
use qdrant_client::Qdrant;

pub use settings::{QdrantSettings, SettingsError};

/// The index on a Qdrant server. Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct QdrantIndex {
    client: Qdrant,
    collection: Arc<str>,
    state: Arc<State>,
}

/// What is known of the collection without asking.
#[derive(Default)]
struct State {
    /// It is there, with its payload indexes.
    is_made: AtomicBool,
    /// The dimensions of the embedders' vectors.
    dimensions: RwLock<HashMap<EmbedderId, usize>>,
}

impl fmt::Debug for QdrantIndex {
    /// The client holds the API key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("QdrantIndex").field("collection", &self.collection).finish_non_exhaustive()
    }
}

impl QdrantIndex {
    /// The index in this collection, which is made when it is first needed. Connects when it is first used.
    ///
    /// # Errors
    /// When the URL, the collection's name or the key cannot be used.
    pub fn new(settings: &QdrantSettings) -> Result<Self, SettingsError> {
        let client = settings.client()?;
        Ok(Self { client, collection: settings.collection.as_str().into(), state: Arc::default() })
    }
}

impl VectorIndex for QdrantIndex {
    async fn put(&self, memories: Vec<IndexedMemory>) -> Result<(), IndexError> {
        self.write(memories).await
    }

    async fn remove(&self, memories: &[MemoryId]) -> Result<(), IndexError> {
        self.erase(memories).await
    }

    async fn dense(&self, query: DenseQuery) -> Result<Vec<Candidate>, IndexError> {
        self.nearest(query).await
    }

    async fn sparse(&self, query: SparseQuery) -> Result<Vec<Candidate>, IndexError> {
        self.matching(query).await
    }

    async fn versions(&self, after: Option<MemoryId>, limit: usize) -> Result<Vec<IndexedVersion>, IndexError> {
        self.list(after, limit).await
    }

    async fn prepare(&self, embedder: EmbedderId, dimensions: usize) -> Result<(), IndexError> {
        self.add_embedder(embedder, dimensions).await
    }

    async fn drop_embedder(&self, embedder: EmbedderId) -> Result<(), IndexError> {
        self.delete_embedder(embedder).await
    }
}
