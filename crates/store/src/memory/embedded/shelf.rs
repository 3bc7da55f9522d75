//! The codes of each embedder: read from the database when they are first needed, kept up to date after that.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::TryStreamExt as _;
use privet_domain::id::EmbedderId;
use privet_domain::memory::{Embedding, IndexError};
use privet_domain::time::Timestamp;
use sqlx::types::Uuid;
use tokio::sync::OnceCell;

use super::{EmbeddedIndex, failed};
use crate::memory::codes::{CodeBook, CodeRow, code};
use crate::memory::owner::Owner;

const LOAD: &str = "SELECT r.number, r.owner, r.memory_id, m.conversation_id, m.kind, m.created_at, v.vector \
     FROM memory_representations r CROSS JOIN memory_vectors v ON v.content_hash = r.content_hash AND v.embedder_id = $1 \
     CROSS JOIN memories m ON m.id = r.memory_id WHERE r.number > $2 ORDER BY r.number LIMIT $3";
/// So many vectors are read at a time, each time from the database as it is then.
const PAGE: i64 = 5_000;

#[derive(sqlx::FromRow)]
struct LoadedRow {
    number: i64,
    owner: String,
    memory_id: Uuid,
    conversation_id: Option<Uuid>,
    kind: String,
    created_at: i64,
    vector: Vec<u8>,
}

/// An embedder's codes.
pub(super) struct Shelf {
    pub(super) dimensions: usize,
    book: RwLock<CodeBook>,
    /// Whether what is written from now on is put in: from the beginning of the reading on, so that nothing falls between.
    collects: AtomicBool,
    read: OnceCell<()>,
}

impl Shelf {
    /// Reads the codes.
    pub(super) fn look<T>(&self, look: impl FnOnce(&CodeBook) -> T) -> T {
        look(&self.book.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the codes, after the commit of what they stand for. Before they are read from the database nothing need be done.
    pub(super) fn change(&self, change: impl FnOnce(&mut CodeBook)) {
        if self.collects.load(Ordering::SeqCst) {
            change(&mut self.book.write().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// The codes of all embedders.
#[derive(Default)]
pub(super) struct Shelves(RwLock<HashMap<EmbedderId, Arc<Shelf>>>);

impl Shelves {
    fn get(&self, embedder: EmbedderId) -> Option<Arc<Shelf>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&embedder).cloned()
    }

    fn add(&self, embedder: EmbedderId, dimensions: usize) -> Arc<Shelf> {
        let mut shelves = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            Arc::new(Shelf {
                dimensions,
                book: RwLock::new(CodeBook::new(dimensions)),
                collects: AtomicBool::new(false),
                read: OnceCell::new(),
            })
        };
        shelves.entry(embedder).or_insert_with(new).clone()
    }

    pub(super) fn remove(&self, embedder: EmbedderId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&embedder);
    }

    /// Changes all codes.
    pub(super) fn each(&self, change: impl Fn(&mut CodeBook)) {
        let shelves: Vec<Arc<Shelf>> =
            self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for shelf in shelves {
            shelf.change(&change);
        }
    }
}

impl EmbeddedIndex {
    /// An embedder's codes, which may not be read yet.
    pub(super) async fn shelf(&self, embedder: EmbedderId) -> Result<Arc<Shelf>, IndexError> {
        if let Some(shelf) = self.shelves.get(embedder) {
            return Ok(shelf);
        }
        let dimensions: Option<i64> = sqlx::query_scalar("SELECT dimensions FROM embedders WHERE id = $1")
            .bind(embedder.as_uuid())
            .fetch_optional(&self.sqlite()?.readers)
            .await
            .map_err(failed)?;
        let dimensions = dimensions.and_then(|dimensions| usize::try_from(dimensions).ok());
        Ok(self.shelves.add(embedder, dimensions.ok_or(IndexError::UnknownEmbedder(embedder))?))
    }

    /// An embedder's codes, read from the database if they are not yet. A call that goes away leaves that to the next.
    pub(super) async fn ready(&self, embedder: EmbedderId) -> Result<Arc<Shelf>, IndexError> {
        let shelf = self.shelf(embedder).await?;
        shelf.read.get_or_try_init(|| self.load(embedder, &shelf)).await?;
        Ok(shelf)
    }

    async fn load(&self, embedder: EmbedderId, shelf: &Shelf) -> Result<(), IndexError> {
        shelf.collects.store(true, Ordering::SeqCst);
        let readers = &self.sqlite()?.readers;
        let mut loaded = CodeBook::new(shelf.dimensions);
        let mut after = 0;
        loop {
            let mut rows =
                sqlx::query_as::<_, LoadedRow>(LOAD).bind(embedder.as_uuid()).bind(after).bind(PAGE).fetch(readers);
            let mut count = 0;
            while let Some(row) = rows.try_next().await.map_err(failed)? {
                count += 1;
                after = row.number;
                load_row(&mut loaded, row, shelf.dimensions);
            }
            if count < PAGE {
                break;
            }
        }
        loaded.shrink();
        shelf.change(|book| {
            loaded.put_all(book);
            *book = loaded;
        });
        Ok(())
    }
}

/// A row that cannot be read is left out: the check finds it.
fn load_row(book: &mut CodeBook, row: LoadedRow, dimensions: usize) {
    let (Some(owner), Ok(kind)) = (Owner::read(&row.owner), row.kind.parse()) else { return };
    let Ok(vector) = Embedding::from_bytes(&row.vector, dimensions) else { return };
    let code_row = CodeRow {
        number: row.number,
        memory: row.memory_id.into(),
        conversation: row.conversation_id.map(Into::into),
        kind,
        created_at: Timestamp::from_micros(row.created_at),
    };
    book.put(owner, code_row, &code(vector.values()));
}
