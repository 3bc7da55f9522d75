//! The codes of each embedder: read from the database when they are first needed, kept up to date after that.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use futures_util::TryStreamExt as _;
use privet_domain::id::EmbedderId;
use privet_domain::memory::{Embedding, IndexError};
use privet_domain::time::Timestamp;
use sqlx::types::Uuid;
use tokio::sync::OnceCell;

use super::{EmbeddedIndex, failed};
use crate::memory::codes::{CodeBook, CodeRow};
use crate::memory::owner::Owner;

const LOAD: &str = "SELECT r.number, r.owner, r.memory_id, m.conversation_id, m.kind, m.created_at, v.vector \
     FROM memory_representations r CROSS JOIN memory_vectors v ON v.content_hash = r.content_hash AND v.embedder_id = $1 \
     CROSS JOIN memories m ON m.id = r.memory_id WHERE r.number > $2 ORDER BY r.number LIMIT $3";
/// Hashes are in no order, so that the first of them are any.
const SAMPLE: &str = "SELECT vector FROM memory_vectors WHERE embedder_id = $1 ORDER BY content_hash LIMIT $2";
/// So many vectors are enough to know their mean.
const SAMPLE_VECTORS: i64 = 2_000;
/// From so few codes on a centre is worth while, and with so many it will not change any more.
const RENEWED_FIRST: usize = 1_000;
const RENEWED_LAST: usize = 16_000;
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

/// A code's vector that was written while the codes were read.
type Written = (Owner, CodeRow, Embedding);

struct Codes {
    book: CodeBook,
    /// Whether they were read from the database.
    is_read: bool,
    /// What was written since they began to be read, so that nothing falls between.
    written: Option<Vec<Written>>,
    /// At so many codes they are read again, around a centre that fits all of them.
    renewed_at: usize,
}

/// An embedder's codes.
pub(super) struct Shelf {
    pub(super) dimensions: usize,
    codes: RwLock<Codes>,
    read: OnceCell<()>,
}

impl Shelf {
    fn new(dimensions: usize) -> Self {
        let book = CodeBook::around(vec![0.0; dimensions]);
        let codes = Codes { book, is_read: false, written: None, renewed_at: RENEWED_FIRST };
        Self { dimensions, codes: RwLock::new(codes), read: OnceCell::new() }
    }

    /// Reads the codes.
    pub(super) fn look<T>(&self, look: impl FnOnce(&CodeBook) -> T) -> T {
        look(&self.codes.read().unwrap_or_else(PoisonError::into_inner).book)
    }

    fn codes(&self) -> RwLockWriteGuard<'_, Codes> {
        self.codes.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes codes away, after the commit.
    pub(super) fn remove(&self, remove: impl FnOnce(&mut CodeBook)) {
        remove(&mut self.codes().book);
    }

    /// Puts a vector's code in, after the commit. Before codes are read from the database nothing need be done.
    pub(super) fn put(&self, owner: Owner, row: CodeRow, vector: &Embedding) {
        let mut codes = self.codes();
        if codes.is_read {
            codes.book.put(owner, row, vector);
        }
        if let Some(written) = &mut codes.written {
            written.push((owner, row, vector.clone()));
        }
    }

    /// Whether there are so many more codes than when they were read that another centre would fit them better.
    pub(super) fn is_outgrown(&self) -> bool {
        let codes = self.codes.read().unwrap_or_else(PoisonError::into_inner);
        codes.is_read && codes.written.is_none() && codes.book.rows() >= codes.renewed_at
    }

    fn replace(&self, mut book: CodeBook) {
        let mut codes = self.codes();
        for (owner, row, vector) in codes.written.take().unwrap_or_default() {
            book.put(owner, row, &vector);
        }
        let next = book.rows().saturating_mul(2).max(RENEWED_FIRST);
        codes.renewed_at = if book.rows() >= RENEWED_LAST { usize::MAX } else { next };
        codes.book = book;
        codes.is_read = true;
    }
}

/// While it lives, what is written is noted.
struct Noting<'a>(&'a Shelf);

impl<'a> Noting<'a> {
    fn begin(shelf: &'a Shelf) -> Self {
        shelf.codes().written = Some(Vec::new());
        Self(shelf)
    }
}

impl Drop for Noting<'_> {
    fn drop(&mut self) {
        self.0.codes().written = None;
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
        shelves.entry(embedder).or_insert_with(|| Arc::new(Shelf::new(dimensions))).clone()
    }

    pub(super) fn drop_embedder(&self, embedder: EmbedderId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&embedder);
    }

    pub(super) fn keep(&self, embedders: &[EmbedderId]) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|embedder, _| embedders.contains(embedder));
    }

    /// Takes codes of all embedders away, after the commit.
    pub(super) fn remove_from_all(&self, remove: impl Fn(&mut CodeBook)) {
        let shelves: Vec<Arc<Shelf>> =
            self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for shelf in shelves {
            shelf.remove(&remove);
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

    /// Reads the codes again where they have outgrown their centre. Searches go on with those that are there.
    pub(super) async fn renew(&self, embedder: EmbedderId) -> Result<(), IndexError> {
        let shelf = self.shelf(embedder).await?;
        if shelf.is_outgrown() { self.load(embedder, &shelf).await } else { Ok(()) }
    }

    async fn load(&self, embedder: EmbedderId, shelf: &Shelf) -> Result<(), IndexError> {
        let _noting = Noting::begin(shelf);
        let readers = &self.sqlite()?.readers;
        let mut book = CodeBook::around(self.centre(embedder, shelf.dimensions).await?);
        let mut after = 0;
        loop {
            let mut rows =
                sqlx::query_as::<_, LoadedRow>(LOAD).bind(embedder.as_uuid()).bind(after).bind(PAGE).fetch(readers);
            let mut count = 0;
            while let Some(row) = rows.try_next().await.map_err(failed)? {
                count += 1;
                after = row.number;
                load_row(&mut book, row, shelf.dimensions);
            }
            if count < PAGE {
                break;
            }
        }
        book.shrink();
        shelf.replace(book);
        Ok(())
    }

    /// The mean of some of an embedder's vectors.
    async fn centre(&self, embedder: EmbedderId, dimensions: usize) -> Result<Vec<f32>, IndexError> {
        let mut rows = sqlx::query_scalar::<_, Vec<u8>>(SAMPLE)
            .bind(embedder.as_uuid())
            .bind(SAMPLE_VECTORS)
            .fetch(&self.sqlite()?.readers);
        let (mut sums, mut count) = (vec![0.0_f32; dimensions], 0.0_f32);
        while let Some(bytes) = rows.try_next().await.map_err(failed)? {
            let Ok(vector) = Embedding::from_bytes(&bytes, dimensions) else { continue };
            sums.iter_mut().zip(vector.values()).for_each(|(sum, value)| *sum += value);
            count += 1.0;
        }
        sums.iter_mut().for_each(|sum| *sum /= count.max(1.0));
        Ok(sums)
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
    book.put(owner, code_row, &vector);
}
