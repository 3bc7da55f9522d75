//! Memory: what was said or read, kept to be recalled.
//!
//! A *memory* is one record (a message, a piece of a document, a note, a fact). It has several *representations*, each a text of its
//! own that is searched by its words and by its vectors; what is found of any of them is the memory. An *embedder* makes the vectors.

pub mod embedder;
mod embedding;
pub mod evaluation;
pub mod fusion;
mod index;
pub mod pack;
mod record;

pub use embedding::{BadEmbedding, Embedding};
pub use index::{
    Candidate, DenseQuery, INDEX_PAGE_MAX, IndexError, IndexedMemory, IndexedPart, IndexedVersion, MemoryFilter,
    SparseQuery, VectorIndex,
};
pub use record::{
    BadMemoryName, ContentHash, Memory, MemoryKind, MemoryScope, NewMemory, NewRepresentation, Representation, line,
    remembered_text,
};

pub use crate::id::MemoryId;
