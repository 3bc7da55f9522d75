//! The index: where representations are found by their words and by their vectors. What is kept in it can be made again from the
//! database at any time; it holds no more than what is needed to find.

use std::future::Future;

use crate::id::{ConversationId, EmbedderId, MemoryId};
use crate::memory::{ContentHash, Embedding, MemoryKind, MemoryScope, Representation};
use crate::time::Timestamp;

/// The longest page of [`VectorIndex::versions`].
pub const INDEX_PAGE_MAX: usize = 1_000;

/// What an index answers instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// It does not answer, or not now. Trying again may help.
    #[error("the memory's index does not answer: {0}")]
    Unavailable(String),
    /// The vector is not of the embedder's dimension.
    #[error("the vector has {found} dimensions, those of the embedder have {expected}")]
    Dimensions {
        /// What the embedder has.
        expected: usize,
        /// What came.
        found: usize,
    },
    /// The embedder is unknown to it.
    #[error("the memory's index knows no embedder {0}")]
    UnknownEmbedder(EmbedderId),
    /// It refuses; trying again would not help.
    #[error("the memory's index refuses: {0}")]
    Refused(String),
}

/// Which memories of a scope are searched. What is `None` does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryFilter {
    /// Only those of this kind.
    pub kind: Option<MemoryKind>,
    /// Only those said at this time or later.
    pub since: Option<Timestamp>,
    /// Only those said before this time.
    pub until: Option<Timestamp>,
    /// Only those of this conversation.
    pub conversation: Option<ConversationId>,
    /// None of this conversation.
    pub exclude_conversation: Option<ConversationId>,
}

impl MemoryFilter {
    /// Whether it lets a memory pass.
    #[must_use]
    pub fn passes(&self, kind: MemoryKind, created_at: Timestamp, conversation: Option<ConversationId>) -> bool {
        self.kind.is_none_or(|wanted| wanted == kind)
            && self.since.is_none_or(|since| created_at >= since)
            && self.until.is_none_or(|until| created_at < until)
            && self.conversation.is_none_or(|wanted| conversation == Some(wanted))
            && self.exclude_conversation.is_none_or(|unwanted| conversation != Some(unwanted))
    }

    /// Whether it lets every memory pass.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }
}

/// A search by a vector.
#[derive(Clone, Debug, PartialEq)]
pub struct DenseQuery {
    /// Whose vectors.
    pub embedder: EmbedderId,
    /// What is searched, of the same embedder.
    pub vector: Embedding,
    /// Only this representation; every one if `None`.
    pub representation: Option<Representation>,
    /// Whose memories.
    pub scope: MemoryScope,
    /// Which of them.
    pub filter: MemoryFilter,
    /// How many representations, at most.
    pub limit: usize,
}

/// A search by words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparseQuery {
    /// Any text; one of its words is enough to be found.
    pub words: String,
    /// Only this representation; every one if `None`.
    pub representation: Option<Representation>,
    /// Whose memories.
    pub scope: MemoryScope,
    /// Which of them.
    pub filter: MemoryFilter,
    /// How many representations, at most.
    pub limit: usize,
}

/// A representation that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The representation's number.
    pub number: i64,
    /// Its memory.
    pub memory: MemoryId,
    /// Which representation it is.
    pub representation: Representation,
    /// How well it fits, higher is better: the cosine, or BM25.
    pub score: f64,
}

/// One representation of a memory, as it is to be found.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexedPart {
    /// The representation's number in the database.
    pub number: i64,
    /// Which it is.
    pub representation: Representation,
    /// Which part of it, counted from 0.
    pub part: u32,
    /// Its text.
    pub text: String,
    /// Its text's hash.
    pub hash: ContentHash,
    /// Its vectors, one for each embedder that made one.
    pub vectors: Vec<(EmbedderId, Embedding)>,
}

/// A memory with all its representations, as it is to be found.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexedMemory {
    /// Its id.
    pub id: MemoryId,
    /// Grows with each change of its representations.
    pub revision: i64,
    /// Whose.
    pub scope: MemoryScope,
    /// The conversation that it belongs to.
    pub conversation: Option<ConversationId>,
    /// What it is.
    pub kind: MemoryKind,
    /// When it was said.
    pub created_at: Timestamp,
    /// All its representations.
    pub parts: Vec<IndexedPart>,
}

/// Which state of a memory the index holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexedVersion {
    /// The memory.
    pub id: MemoryId,
    /// Its revision.
    pub revision: i64,
}

/// The index. All of it can be repeated: putting or removing twice is as good as once.
///
/// Candidates come with the best first, equals in the order of their memory and number.
pub trait VectorIndex: Send + Sync {
    /// Puts memories with all their representations and vectors, in place of what it had of them. A revision that is older than
    /// the one it has changes nothing. Vectors of embedders that are not given stay where the text has not changed.
    fn put(&self, memories: Vec<IndexedMemory>) -> impl Future<Output = Result<(), IndexError>> + Send;

    /// Removes memories with everything of them.
    fn remove(&self, memories: &[MemoryId]) -> impl Future<Output = Result<(), IndexError>> + Send;

    /// The representations whose vectors are nearest.
    fn dense(&self, query: DenseQuery) -> impl Future<Output = Result<Vec<Candidate>, IndexError>> + Send;

    /// The representations that the words fit best.
    fn sparse(&self, query: SparseQuery) -> impl Future<Output = Result<Vec<Candidate>, IndexError>> + Send;

    /// What it holds, in the order of ids from the one after `after` on; at most `limit`, and never more than [`INDEX_PAGE_MAX`].
    fn versions(
        &self,
        after: Option<MemoryId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<IndexedVersion>, IndexError>> + Send;

    /// Makes ready to hold and to search an embedder's vectors.
    fn prepare(&self, embedder: EmbedderId, dimensions: usize) -> impl Future<Output = Result<(), IndexError>> + Send;

    /// Removes all vectors of an embedder.
    fn drop_embedder(&self, embedder: EmbedderId) -> impl Future<Output = Result<(), IndexError>> + Send;
}
